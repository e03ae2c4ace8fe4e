"""Before a run asks an endpoint anything: what can it do, and is that what the run needs?

The answer is kept with the endpoint, so that a second run in the same process does not ask again. A run that has
nothing to send asks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradatim.errors import SetupError
from gradatim.library import ledger
from gradatim.models.endpoint import Endpoint
from gradatim.models.loops import run_async
from gradatim.models.needs import Needs, notes
from gradatim.models.probe import Tally, probe, worst_case
from gradatim.types import Usage
from gradatim.work.served import ServedModel

if TYPE_CHECKING:
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget
    from gradatim.types import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """Where what a probe costs is booked."""

    library: Library
    account: int


def ensure(model: Model, needs: Needs, *, at_once: int, budget: Budget | None, purse: Purse | None = None) -> None:
    """Ask an endpoint what it can do, unless it was asked with these settings or is not to be; note what it lacks.

    The worst case is reserved from the budget; where it does not fit, nothing is asked. Raises `SetupError` or
    `UsageError` where the run cannot succeed.
    """
    if not isinstance(model, Endpoint | ServedModel) or not model.probe:
        return
    while True:
        endpoint, sampling = (model, needs.sampling) if isinstance(model, Endpoint) else model.ready(needs.sampling)
        try:
            if sampling not in endpoint.known and not _asked(endpoint, sampling, at_once, budget, purse):
                return
        except SetupError:
            if isinstance(model, Endpoint) or not model.lost():
                raise
            # A server of our own that died meanwhile: the next one is asked.
        else:
            break
    for topic, text in notes(needs, endpoint.known[sampling]):
        endpoint.note(topic, text)


def _asked(endpoint: Endpoint, sampling: Sampling, at_once: int, budget: Budget | None, purse: Purse | None) -> bool:
    """Probe the endpoint and book what it took. False where the budget has no room for that."""
    tally = Tally()
    if budget is None:
        endpoint.known[sampling] = run_async(probe(endpoint, sampling, at_once=at_once, tally=tally))
        return True
    reservation = budget.reserve(*worst_case(sampling))
    if reservation is None:
        return False
    entry = None
    if purse is not None:
        pico = None if budget.price is None else reservation.pico
        entry = ledger.Entry(
            account=purse.account, prompt=reservation.prompt, completion=reservation.completion, pico=pico
        )
        with purse.library.transaction() as connection:
            ledger.reserve(connection, entry)
    try:
        endpoint.known[sampling] = run_async(probe(endpoint, sampling, at_once=at_once, tally=tally))
    finally:
        # A cache may cost more than none: what nobody counted is the dearer of the two.
        dear = budget.price is not None and (budget.price.cached_input or 0.0) > budget.price.input
        cached = tally.cached + (tally.unknown if dear else 0)
        spent = budget.settle(reservation, Usage(prompt=tally.prompt, completion=tally.completion, cached=cached))
        if purse is not None and entry is not None:
            with purse.library.transaction() as connection:
                ledger.pay(connection, entry, ledger.PROBE, replace(spent, assumed=tally.assumed))
    return True
