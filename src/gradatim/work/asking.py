"""What `attempt` and `teach` share: an engine whose answers are durable before anything reads them.

Order of events for one answer: where money or tokens are limited or priced, its worst case is committed; the request is
sent; the reply arrives, it is put into the journal, the journal commits it with what it cost (at most about 20 ms
later), and only then does anything read it. A process killed at any moment loses no more than that.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gradatim.library.attempts import NewAttempt, NewFault, check_weights
from gradatim.library.journal import Journal
from gradatim.library.ledger import ensure_account
from gradatim.models.budget import Budget
from gradatim.models.engine import Engine
from gradatim.models.needs import Needs
from gradatim.models.pace import EngineSettings
from gradatim.progress import Tick, Ticker
from gradatim.types import Request
from gradatim.work import books, probing
from gradatim.work.books import Books, Item, Paid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Price
    from gradatim.models.engine import Feed
    from gradatim.models.pace import EngineStats
    from gradatim.progress import Progress
    from gradatim.types import Fault, Question, Reply, Sampling

_SAMPLE_BITS = 20
"""A request's key is the question's key and, in the low bits, the sample index: nothing has to be remembered."""


def request(question_pk: int, question: Question, sample: int, sampling: Sampling) -> Request:
    """Return the request for one sample; its seed is made from the run's seed, the question and the sample."""
    digest = hashlib.blake2b(f"{sampling.seed}:{question.id}:{sample}".encode(), digest_size=4).digest()
    seed = int.from_bytes(digest, "big") & 0x7FFFFFFF
    messages = sampling.suited(question.domain).messages(question.prompt)
    return Request(key=question_pk << _SAMPLE_BITS | sample, messages=messages, sampling=sampling, seed=seed)


def question_and_sample(key: int) -> tuple[int, int]:
    """Return what a request's key stands for."""
    return key >> _SAMPLE_BITS, key & (1 << _SAMPLE_BITS) - 1


class Asking:
    """Runs a feed of requests through the engine and the answers into the library."""

    def __init__(
        self,
        library: Library,
        model: Model,
        setting: Setting,
        *,
        stage: str,
        price: Price | None,
        committed: Callable[[Sequence[NewAttempt | NewFault]], None] | None = None,
        level_of: Callable[[int], int | None] = lambda _: None,
    ) -> None:
        """`committed` gets answers and faults once they are durable; `level_of` a question's level, for the ledger."""
        self._library = library
        self._model = model
        self._setting = setting
        self._stage = stage
        self._price = price
        self._committed = committed
        self._level_of = level_of
        self.samples = 1
        """Answers to a question that must be able to differ."""
        self.tries = 1
        """How often a question is asked at most."""
        self._books: Books | None = None
        self._account: int | None = None
        self.cost = 0.0
        self.faults: dict[str, int] = {}

    def run(
        self,
        feed: Feed,
        settings: EngineSettings | None,
        budget: Budget | None,
        watch: Callable[[EngineStats], Tick],
        progress: Progress,
    ) -> EngineStats:
        """Ask everything the feed gives; every answer is committed before this returns or raises.

        Raises `UsageError` where the library holds answers of other weights under the model's name, and what
        `probing.ensure` raises, before anything is asked.
        """
        if fingerprint := getattr(self._model, "fingerprint", ""):
            check_weights(self._library, self._model.name, fingerprint)
        if budget is None:
            budget = None if self._price is None else Budget(price=self._price)
        else:
            budget.know(self._price)
        account = self._account = self._opened_account() if budget is not None and budget.counts else None
        journal: Journal[Item] = Journal(
            self._library,
            books.write,
            self._durable,
            failed=books.not_committed,
            gather=None if account is None else books.GATHER,
        )
        if budget is not None and account is not None:
            self._books = Books(journal.put, account, priced=budget.price is not None, about=self._about)
        guarded = _Guarded(feed, journal)
        engine = Engine(
            self._model,
            guarded,
            on_reply=lambda request, reply: journal.put(self._attempt(request, reply)),
            on_fault=lambda request, fault: journal.put(self._fault(request, fault)),
            settings=settings,
            budget=budget,
            books=self._books,
        )
        self.engine = engine
        with Ticker(lambda: progress(self._stage, self._told(watch(engine.stats)))):
            try:
                if (first := guarded.peek()) is not None:
                    self._probe(first, settings, budget)
                engine.run()
            finally:
                journal.close()
        return engine.stats

    def _told(self, tick: Tick) -> Tick:
        """Return the tick with what keeps answers waiting, where something does: a server that is being started."""
        state = getattr(self._model, "state", "")
        return replace(tick, note=state) if state else tick

    @property
    def notes(self) -> tuple[str, ...]:
        """What the model found out about its server and concerns the user; a model need not note anything."""
        return tuple(getattr(self._model, "notes", ()))

    def wake(self) -> None:
        """Say that the feed may have something again; from any thread."""
        self.engine.wake()

    def _probe(self, first: Request, settings: EngineSettings | None, budget: Budget | None) -> None:
        needs = Needs(
            sampling=first.sampling,
            samples=self.samples,
            tries=self.tries,
            limited=budget is not None and budget.limited,
        )
        at_once = (settings or EngineSettings()).concurrency
        purse = None if self._account is None else probing.Purse(library=self._library, account=self._account)
        probing.ensure(self._model, needs, at_once=at_once, budget=budget, purse=purse)

    def _opened_account(self) -> int:
        """Return the key of what this run spends on its model, under its setting."""
        setting = self._setting
        return ensure_account(self._library, self._stage, setting.role, setting.model, setting.pk)

    def _about(self, request: Request) -> tuple[int, int | None]:
        """Return the question that a request asks, and its level."""
        question, _ = question_and_sample(request.key)
        return question, self._level_of(question)

    def _durable(self, batch: Sequence[Item]) -> None:
        """Let requests go whose reservations are durable; hand on the answers and faults."""
        results = books.committed(batch)
        if self._committed is not None and results:
            self._committed(results)

    def _attempt(self, request: Request, reply: Reply) -> NewAttempt | Paid:
        question, sample = question_and_sample(request.key)
        cost = None if self._price is None else self._price.cost(reply.usage)
        self.cost += cost or 0.0
        made = NewAttempt(
            setting=self._setting.pk, question=question, sample=sample, reply=reply, cost=cost, made_at=time.time()
        )
        return made if self._books is None else self._books.paid(request, made)

    def _fault(self, request: Request, fault: Fault) -> NewFault:
        question, sample = question_and_sample(request.key)
        self.faults[fault.reason] = self.faults.get(fault.reason, 0) + 1
        return NewFault(stage=self._stage, fault=fault, question=question, setting=self._setting.pk, sample=sample)


class _Guarded:
    """A feed that ends when the journal fails: a feed that waits for commits would wait for ever."""

    def __init__(self, feed: Feed, journal: Journal[Item]) -> None:
        self._first: Request | None = None
        self._feed = feed
        self._journal = journal

    def peek(self) -> Request | None:
        """Return the next request, which `take` will give."""
        self._first = self._feed.take()
        return self._first

    def take(self) -> Request | None:
        """Give the next request."""
        first, self._first = self._first, None
        return first or self._feed.take()

    def open(self) -> bool:
        """Whether there may be more. Raises what keeps the journal from committing."""
        self._journal.check()
        return self._first is not None or self._feed.open()
