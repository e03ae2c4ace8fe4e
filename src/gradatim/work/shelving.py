"""What batches need of the library, for one setting: which are open, their requests made again, their ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gradatim.library import batches, questions
from gradatim.library.batches import Closed, Item
from gradatim.types import Sampling
from gradatim.work.requests import key_of, question_and_sample, request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.library.attempts import NewFault, Setting
    from gradatim.library.batches import Batch
    from gradatim.library.store import Library
    from gradatim.types import Fault, Request
    from gradatim.work.drafting import Asked


class Shelf:
    """The batches of one setting."""

    def __init__(
        self,
        library: Library,
        setting: Setting,
        stage: str,
        *,
        fault: Callable[[int, Fault], NewFault],
        close: Callable[[Closed], None],
    ) -> None:
        """`fault` makes a fault of a request's key; `close` writes an end, and returns when it is durable."""
        self._library = library
        self._setting = setting
        self._stage = stage
        self._sampling = Sampling(**json.loads(setting.sampling))
        self._fault = fault
        self._close = close

    def opened(self) -> list[Batch]:
        """Return the batches that are open."""
        return batches.opened(self._library, self._setting)

    def keys(self, batch: Batch) -> list[tuple[int, int, bool]]:
        """Return each item's key and tries, and whether its answer is there, in the order of lines."""
        there = batches.answered(self._library, batch)
        return [
            (key_of(item.question, item.sample), item.tries, (item.question, item.sample) in there)
            for item in batches.items(self._library, batch)
        ]

    def make(self, base_url: str, asked: Sequence[Asked]) -> Batch:
        """Write a new batch down."""
        items = []
        for one in asked:
            question, sample = question_and_sample(one.key)
            items.append(Item(question=question, sample=sample, tries=one.tries))
        return batches.make(self._library, self._setting, self._stage, base_url, items)

    def move(self, batch: Batch, **changes: str) -> Batch:
        """Change what is written of a batch."""
        return batches.move(self._library, batch, **changes)

    def name(self, key: int) -> str:
        """Return the id that the server sees: the attempt's, as `attempts.id` has it."""
        question, sample = question_and_sample(key)
        id_ = self._library.value("SELECT id FROM question WHERE pk = ?", (question,))
        return f"{id_}-{self._setting.id}-{sample}"

    def request(self, key: int) -> Request:
        """Make a request again."""
        question, sample = question_and_sample(key)
        return request(question, questions.get(self._library, question), sample, self._sampling)

    def close(self, batch: Batch, status: str, state: str, items: Sequence[tuple[int, str, Fault | None]]) -> None:
        """Make the end of a batch durable: key, outcome, and the fault where it is final."""
        outcomes = [(*question_and_sample(key), outcome) for key, outcome, _ in items]
        faults = [self._fault(key, fault) for key, _, fault in items if fault is not None]
        self._close(Closed(batch=batch.pk, state=state, status=status, outcomes=outcomes, faults=faults))
