"""The checker for programs: runs them in a sandbox against the question's suite of tests."""

from __future__ import annotations

from gradatim.checkers.code.checker import CodeChecker, Reference
from gradatim.checkers.code.rules import Rules

__all__ = ["CodeChecker", "Reference", "Rules"]
