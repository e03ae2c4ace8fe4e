"""Decides what becomes of a batch's requests that have no answer: the next batch, or a place in the list of faults."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradatim.errors import SetupError
from gradatim.models.batch_lines import Result
from gradatim.models.faults import Refused, Retry, Stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.library.ledger import Entry
    from gradatim.models.batch_api import BatchEndpoint, BatchError, ServerBatch
    from gradatim.models.budget import Budget
    from gradatim.models.faults import ModelFault
    from gradatim.types import Fault, Spent
    from gradatim.work.drafting import Asked, UnderWay

_REFUSALS = 2
"""Batches in a row that a server may refuse for no reason that concerns a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What became of one request when its batch ended."""

    key: int
    outcome: str
    """`answered`, or a reason."""
    fault: Fault | None = None
    """Where it is final."""
    entry: Entry | None = None
    """Its line in the ledger, where that is to be closed now."""
    spent: Spent | None = None
    """What it counts as; None: nothing."""


@dataclass(slots=True, kw_only=True)
class Course:
    """Where a run of batches goes on to."""

    most: int
    """Requests in the next batch, at most."""
    again: deque[tuple[int, int]] = field(default_factory=deque)
    """Keys that go into the next batch, with how often they were in one."""
    alone: bool = False
    """Whether one batch is sent after the other: the server's queue has no room for two."""
    taking: bool = True
    """Whether another batch is to be made at all."""
    error: Exception | None = None
    """What ends the run."""
    refusals: int = 0
    """Batches in a row that the server did not take."""


class Settler:
    """Settles batches that have ended; one for a run."""

    def __init__(self, model: BatchEndpoint, course: Course, tries: int, budget: Budget) -> None:
        self._model = model
        self._course = course
        self._tries = tries
        self._budget = budget

    def ended(self, run: UnderWay, told: ServerBatch) -> list[End]:
        """Settle a batch whose files were read."""
        self._course.refusals = 0
        if told.status == "cancelled":
            # Whoever cancels wants an end, not another batch at once.
            self._course.taking = False
        done = told.status == "completed"
        missing = Retry(
            "batch_missing" if done else f"batch_{told.status}",
            f"neither file of the batch {told.id}, which is {told.status}, holds it",
            billed=done,
        )
        ends = [End(key=key, outcome="answered") for key in run.answered]
        for name, asked in run.items.items():
            result = run.faults.get(name) or Result(custom_id=name, fault=missing)
            assert result.fault is not None
            ends.append(self._failed(run, asked, result.fault, result.unsupported))
        return ends

    def _failed(self, run: UnderWay, asked: Asked, fault: ModelFault, unsupported: str | None) -> End:
        """Decide about one request: what may pass is asked again."""
        spent = None
        if fault.billed:
            spent = self._budget.assume_worst(asked.reservation)
        else:
            self._budget.release(asked.reservation)
        course, final = self._course, True
        tries, again = asked.tries, not isinstance(fault, (Stop, Refused))
        if unsupported is not None and unsupported not in run.dropped:
            self._model.endpoint.drop(unsupported)
            tries, again = tries - 1, True
        elif isinstance(fault, Stop):
            course.error = course.error or SetupError(f"{self._model.name}: {fault.fault.message}")
            course.taking = False
        if again and course.taking and tries < self._tries:
            course.again.append((asked.key, tries))
            final = False
        return End(
            key=asked.key,
            outcome=fault.fault.reason,
            fault=fault.fault if final else None,
            entry=asked.entry,
            spent=spent,
        )

    def refused(self, run: UnderWay, errors: Sequence[BatchError], *, others: bool) -> list[End]:
        """Settle a batch that never ran, for the reasons that the server gives; `others`: more of ours are there."""
        error = errors[0] if errors else None
        lines = {one.line: one for one in errors if one.line is not None and 0 < one.line <= len(run.ids)}
        self._consider(run, errors, others=others, lines=bool(lines))
        numbers = {name: number for number, name in enumerate(run.ids, start=1)}
        ends: list[End] = []
        for name, asked in run.items.items():
            self.release(asked)
            why = lines.get(numbers[name])
            if why is None and self._course.taking:
                # It did not run, so this was no try.
                self._course.again.append((asked.key, asked.tries - 1))
                ends.append(End(key=asked.key, outcome="batch_failed", entry=asked.entry))
                continue
            why = why or error
            reason = (why and why.code) or "batch_failed"
            fault = Refused(reason, said_of(errors if why is None else (why,))).fault
            ends.append(End(key=asked.key, outcome=reason, fault=fault, entry=asked.entry))
        return ends

    def _consider(self, run: UnderWay, errors: Sequence[BatchError], *, others: bool, lines: bool) -> None:
        """Decide how to go on after a refusal: wait for room, make smaller batches, or end."""
        course, crowded = self._course, any(map(_is_crowded, errors))
        course.alone = course.alone or crowded
        if crowded and others:
            return
        if crowded and len(run.ids) > 1:
            course.most = len(run.ids) // 2
            return
        course.refusals += not lines
        if crowded or course.refusals >= _REFUSALS:
            course.taking = False
            course.error = SetupError(
                f"{self._model.name}: the server refuses the batch {run.batch.called}: {said_of(errors)}. Put that "
                "right and run the same command again; nothing was bought"
            )

    def release(self, asked: Asked) -> None:
        """Give back what was reserved for a request that did not run."""
        self._budget.release(asked.reservation)


def said_of(errors: Sequence[BatchError]) -> str:
    """Return what a server says of a batch that it refuses."""
    return next((one.message for one in errors if one.message), "it gives no reason").strip().rstrip(".")


def _is_crowded(error: BatchError) -> bool:
    """Whether the server has as many tokens of ours in its queue as it takes."""
    return "token_limit" in (error.code or "") or "nqueued token" in (error.message or "")
