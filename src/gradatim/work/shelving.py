"""What batches need of the library, for one setting: which are open, their requests made again, their ends."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library import batches, ledger, questions
from gradatim.library.batches import BatchEnd, Item
from gradatim.library.ledger import Entry
from gradatim.models.budget import prompt_bound
from gradatim.types import Sampling
from gradatim.work.books import Paid
from gradatim.work.drafting import Asked
from gradatim.work.requests import key_of, question_and_sample, request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.library.attempts import NewAttempt, NewFault, Setting
    from gradatim.library.batches import Batch
    from gradatim.library.store import Library
    from gradatim.models.budget import Budget, Reservation
    from gradatim.types import Fault, Reply, Request, Spent
    from gradatim.work.settling import End


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where a run's money is booked."""

    pk: int
    priced: bool
    level_of: Callable[[int], int | None]


class Shelf:
    """The batches of one setting."""

    def __init__(
        self,
        library: Library,
        setting: Setting,
        stage: str,
        *,
        account: Account | None,
        attempt: Callable[[int, Reply], NewAttempt],
        fault: Callable[[int, Fault], NewFault],
        put: Callable[[NewAttempt | NewFault | Paid], None],
        end: Callable[[BatchEnd], None],
    ) -> None:
        """Args besides the setting connect it to the run.

        Args:
            library: with the batches.
            setting: whose they are.
            stage: that makes them.
            account: where they are booked; None: nowhere.
            attempt: makes an attempt of a request's key and its answer.
            fault: makes a fault of a request's key.
            put: hands something to the journal.
            end: writes the end of a batch, and returns when it is durable.
        """
        self._library = library
        self._setting = setting
        self._stage = stage
        self.sampling = Sampling(**json.loads(setting.sampling))
        self._account = account
        self._attempt = attempt
        self._fault = fault
        self._put = put
        self._end = end

    def opened(self) -> list[Batch]:
        """Return the batches that are open."""
        return batches.opened(self._library, self._setting)

    def asked(self, batch: Batch, budget: Budget) -> list[tuple[str, int, Asked | None]]:
        """Return each item's name and key, in the order of lines, and the request itself where it has no answer yet.

        What it may cost is taken over into the budget.
        """
        there = batches.answered(self._library, batch)
        entries = defaultdict[int | None, list[Entry]](list)
        for entry in ledger.open_entries(self._library, batch.marker):
            entries[entry.question].append(entry)
        found: list[tuple[str, int, Asked | None]] = []
        for item in batches.items(self._library, batch):
            key, asked = key_of(item.question, item.sample), None
            if (item.question, item.sample) not in there:
                # Samples of one question cost alike, so that it is all one which of their entries is whose.
                left = entries[item.question]
                booked = left.pop() if left else None
                reservation = self._taken_over(key, booked, budget)
                asked = Asked(key=key, tries=item.tries, reservation=reservation, entry=booked)
            found.append((self.name(key), key, asked))
        return found

    def _taken_over(self, key: int, entry: Entry | None, budget: Budget) -> Reservation:
        if entry is not None:
            question, _ = question_and_sample(key)
            # The books of a draw hold what its own questions cost, and no others.
            own = self._stage != "teach" or self._account is None or self._account.level_of(question) is not None
            counted = budget.open_counted and own
            return budget.take_over(entry.prompt, entry.completion, entry.pico or 0, counted=counted)
        if not budget.counts:
            return budget.take_over(0, 0, 0, counted=False)
        asked = self.request(key)
        prompt, completion = prompt_bound(asked.messages), asked.sampling.max_tokens
        pico = 0 if budget.price is None else budget.price.worst(prompt, completion)
        return budget.take_over(prompt, completion, pico, counted=False)

    def make(self, base_url: str, asked: Sequence[Asked]) -> Batch:
        """Write a new batch down, and what it may cost."""
        items, entries = [], []
        for one in asked:
            question, sample = question_and_sample(one.key)
            items.append(Item(question=question, sample=sample, tries=one.tries))
            if self._account is not None:
                one.entry = Entry(
                    account=self._account.pk,
                    question=question,
                    level=self._account.level_of(question),
                    prompt=one.reservation.prompt,
                    completion=one.reservation.completion,
                    pico=one.reservation.pico if self._account.priced else None,
                )
                entries.append(one.entry)
        return batches.make(self._library, self._setting, self._stage, base_url, items, entries)

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
        return request(question, questions.get(self._library, question), sample, self.sampling)

    def answer(self, asked: Asked, reply: Reply, spent: Spent) -> None:
        """Hand an answer to the journal, with what it cost."""
        made = self._attempt(asked.key, reply)
        self._put(made if asked.entry is None else Paid(entry=asked.entry, spent=spent, item=made))

    def give_up(self, key: int, fault: Fault) -> None:
        """Hand a fault to the journal."""
        self._put(self._fault(key, fault))

    def close(self, batch: Batch, status: str, state: str, ends: Sequence[End]) -> None:
        """Make the end of a batch durable."""
        self._end(
            BatchEnd(
                batch=batch.pk,
                state=state,
                status=status,
                outcomes=[(*question_and_sample(end.key), end.outcome) for end in ends],
                faults=[self._fault(end.key, end.fault) for end in ends if end.fault is not None],
                payments=[(end.entry, end.spent) for end in ends if end.entry is not None],
            )
        )
