"""Before a run asks an endpoint anything: what can it do, and is that what the run needs?

The answer is kept with the endpoint, so that a second run in the same process does not ask again. A run that has
nothing to send asks nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.models.endpoint import Endpoint
from gradatim.models.loops import run_async
from gradatim.models.needs import Needs, notes
from gradatim.models.probe import Tally, probe, worst_case
from gradatim.types import Usage

if TYPE_CHECKING:
    from gradatim.models import Model
    from gradatim.models.budget import Budget


def ensure(model: Model, needs: Needs, *, at_once: int, budget: Budget | None) -> None:
    """Ask an endpoint what it can do, unless it was asked with these settings or is not to be; note what it lacks.

    The worst case is reserved from the budget; where it does not fit, nothing is asked. Raises `SetupError` or
    `UsageError` where the run cannot succeed.
    """
    if not isinstance(model, Endpoint) or not model.probe:
        return
    sampling = needs.sampling
    if sampling not in model.known:
        reservation = None if budget is None else budget.reserve(*worst_case(sampling))
        if budget is not None and reservation is None:
            return
        tally = Tally()
        try:
            model.known[sampling] = run_async(probe(model, sampling, at_once=at_once, tally=tally))
        finally:
            if budget is not None and reservation is not None:
                budget.settle(reservation, Usage(prompt=tally.prompt, completion=tally.completion))
    for topic, text in notes(needs, model.known[sampling]):
        model.note(topic, text)
