"""The checker for mathematics: what is exact first, what is symbolic in processes that can be killed."""

from __future__ import annotations

from gradatim.checkers.math.checker import MathChecker

__all__ = ["MathChecker"]
