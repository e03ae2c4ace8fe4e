"""Attempt: a model answers every question of the chosen sets, each sample that is not in the library yet.

The first step of arXiv 2504.11919: the base model answers the pool and, for P_eval, the evaluation set. A rerun asks
for what is missing and nothing else; a fault is kept as a fault and asked again by the next run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.config import AttemptSettings
from gradatim.library import questions
from gradatim.progress import Progress, silent
from gradatim.types import Role
from gradatim.work.answering import AttemptResult, Means, Wanted, answer
from gradatim.work.truncation import policy_of

if TYPE_CHECKING:
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings

__all__ = ["AttemptResult", "attempt"]


def attempt(
    library: Library,
    model: Model,
    settings: AttemptSettings | None = None,
    *,
    role: Role = Role.BASE,
    engine: EngineSettings | None = None,
    price: Price | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> AttemptResult:
    """Ask the model for what is missing.

    Raises `SetupError` where the server refuses all (a wrong key), `KeyboardInterrupt` after saving. A budget or a
    limit on faults that is reached ends the run with `stopped` set. In each case what was answered is in the library.
    """
    settings = settings or AttemptSettings()
    wanted = Wanted(
        stage="attempt",
        role=role,
        sets=questions.chosen_sets(library, settings.sets),
        samples=settings.samples,
        sampling=settings.sampling(),
        limit=settings.limit,
        truncated=policy_of(settings, model),
    )
    return answer(library, model, wanted, Means(engine=engine, price=price, budget=budget, progress=progress))
