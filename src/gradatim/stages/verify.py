"""Verify: a checker decides every attempt that has no verdict of its present version.

Reads attempts, asks no model: `again=True` judges everything anew and costs no tokens. A cut-off or filtered answer is
`undecided` and not shown to the checker; a fault of the checker is a fault, not a verdict, and is tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.progress import Progress, silent
from gradatim.work.verifying import VerifyResult, judge_all

if TYPE_CHECKING:
    from gradatim.config import VerifySettings
    from gradatim.library.store import Library

__all__ = ["VerifyResult", "verify"]


def verify(
    library: Library, settings: VerifySettings | None = None, *, again: bool = False, progress: Progress = silent
) -> VerifyResult:
    """Judge what is not judged yet, or with `again` everything, as a new round beside the old verdicts."""
    return judge_all(library, settings, again=again, progress=progress)
