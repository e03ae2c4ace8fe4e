"""What `attempt` and `teach` share: an engine whose answers are durable before anything reads them.

Order of events for one answer: where money or tokens are limited or priced, its worst case is committed; the request is
sent; the reply arrives, it is put into the journal, the journal commits it with what it cost (at most about 20 ms
later), and only then does anything read it. A process killed at any moment loses no more than that.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from gradatim.library import batches
from gradatim.library.attempts import NewAttempt, NewFault, check_weights
from gradatim.library.batches import BatchEnd
from gradatim.library.furthers import NewFurther
from gradatim.library.journal import Journal
from gradatim.library.ledger import ensure_account
from gradatim.models.batch_api import BatchEndpoint
from gradatim.models.budget import Budget
from gradatim.models.engine import Engine
from gradatim.models.needs import Needs
from gradatim.models.pace import EngineSettings
from gradatim.progress import Tick, Ticker
from gradatim.work import books, probing
from gradatim.work.batching import BatchEngine
from gradatim.work.books import Books, Item, Paid
from gradatim.work.requests import question_and_sample
from gradatim.work.served import kept
from gradatim.work.shelving import Account, Shelf

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Price
    from gradatim.models.engine import Feed
    from gradatim.models.pace import EngineStats
    from gradatim.progress import Progress
    from gradatim.types import Fault, Reply, Request
    from gradatim.work.batching import BatchFeed
    from gradatim.work.books import Stored
    from gradatim.work.truncation import Furthers

_Item: TypeAlias = Item | BatchEnd
_LOOK_SECONDS = 0.2
"""How often it is asked why a commit does not come."""


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
        committed: Callable[[Sequence[Stored]], None] | None = None,
        level_of: Callable[[int], int | None] = lambda _: None,
    ) -> None:
        """`committed` gets answers and faults once they are durable; `level_of` a question's level, for the ledger."""
        self._library = library
        self._model = model
        self._setting = setting
        self._stage = stage
        self._price = price
        self._committed = committed
        self.further: Furthers | None = None
        """The further requests that its feed makes; what they bring is looked at here."""
        self.second = 0
        """Further answers that came."""
        self._level_of = level_of
        self.samples = 1
        """Answers to a question that must be able to differ."""
        self.tries = 1
        """How often a question is asked at most."""
        self._books: Books | None = None
        self._account: int | None = None
        self.cost = 0.0
        self.faults: dict[str, int] = {}
        self._ended = threading.Event()
        """Set when the end of a batch is durable."""

    def run(
        self,
        feed: BatchFeed,
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
        journal: Journal[_Item] = Journal(
            self._library,
            _write,
            self._durable,
            failed=lambda batch, error: books.not_committed(_plain(batch), error),
            gather=None if account is None else books.GATHER,
        )
        if budget is not None and account is not None:
            self._books = Books(journal.put, account, priced=budget.price is not None, about=self._about)
        guarded = _Guarded(feed, journal)
        if isinstance(self._model, BatchEndpoint):
            self.engine: Engine | BatchEngine = self._batches(self._model, guarded, journal, settings, budget)
        else:
            self.engine = self._engine(guarded, journal, settings, budget)
        with Ticker(lambda: progress(self._stage, self._told(watch(self.engine.stats)))), kept(self._model):
            try:
                if (first := guarded.peek()) is not None:
                    self._probe(first, settings, budget)
                self.engine.run()
            finally:
                journal.close()
        return self.engine.stats

    def _engine(
        self, feed: Feed, journal: Journal[_Item], settings: EngineSettings | None, budget: Budget | None
    ) -> Engine:
        """Return what asks one by one."""
        return Engine(
            self._model,
            feed,
            on_reply=lambda request, reply: journal.put(self._attempt(request, reply)),
            on_fault=lambda request, fault: journal.put(self._gave_up(request, fault)),
            settings=settings,
            budget=budget,
            books=self._books,
        )

    def _batches(
        self,
        model: BatchEndpoint,
        feed: _Guarded,
        journal: Journal[_Item],
        settings: EngineSettings | None,
        budget: Budget | None,
    ) -> BatchEngine:
        """Return what asks in batches; what is left over for single requests is asked with the same books."""
        account = None
        if self._account is not None and budget is not None:
            account = Account(pk=self._account, priced=budget.price is not None, level_of=self._level_of)
        shelf = Shelf(
            self._library,
            self._setting,
            self._stage,
            account=account,
            attempt=self._answer,
            fault=self._fault,
            put=journal.put,
            end=lambda end: self._end(journal, end),
        )
        return BatchEngine(
            model,
            feed,
            shelf,
            online=lambda few: self._engine(few, journal, settings, budget),
            settings=settings,
            budget=budget or Budget(),
        )

    def _end(self, journal: Journal[_Item], end: BatchEnd) -> None:
        """Write the end of a batch, and wait until it is durable: what it frees goes into the next one."""
        self._ended.clear()
        journal.put(end)
        while not self._ended.wait(_LOOK_SECONDS):
            journal.check()

    @property
    def batched(self) -> bool:
        """Whether batches of this setting are open that this model can take up."""
        return isinstance(self._model, BatchEndpoint) and bool(batches.opened(self._library, self._setting))

    @property
    def under_way(self) -> int:
        """How many requests are in batches that are open."""
        return sum(map(len, batches.under_way(self._library, self._setting).values()))

    @property
    def standing(self) -> str:
        """Why requests are under way when a run has ended; empty where none are."""
        said: str = getattr(getattr(self, "engine", None), "standing", "")
        if said or not (count := self.under_way):
            return said
        return (
            f"{count:,} requests are in batches, and are not asked again: set batch for the model and run the same "
            "command to take their answers. See: gradatim batches"
        )

    def tick(self, stats: EngineStats, *, done: int, total: int) -> Tick:
        """Return how far a run is."""
        engine = self.engine
        return Tick(
            done=done,
            total=total,
            tokens=stats.prompt_tokens + stats.completion_tokens,
            cost=self.cost if self._price else None,
            faults=stats.faults,
            note=engine.where if isinstance(engine, BatchEngine) else f"{stats.in_flight} in flight",
            said=tuple(engine.said) if isinstance(engine, BatchEngine) else (),
        )

    def _told(self, tick: Tick) -> Tick:
        """Return the tick with what keeps answers waiting, where something does: a server that is being started."""
        state = getattr(self._model, "state", "")
        return replace(tick, note=state) if state else tick

    @property
    def notes(self) -> tuple[str, ...]:
        """What the model found out about its server and concerns the user; a model need not note anything."""
        found = () if self.further is None else self.further.notes(self._model.name)
        return (*getattr(self._model, "notes", ()), *found)

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
        model = self._model.endpoint if isinstance(self._model, BatchEndpoint) else self._model
        probing.ensure(model, needs, at_once=at_once, budget=budget, purse=purse)

    def _opened_account(self) -> int:
        """Return the key of what this run spends on its model, under its setting."""
        setting = self._setting
        return ensure_account(self._library, self._stage, setting.role, setting.model, setting.pk)

    def _about(self, request: Request) -> tuple[int, int | None]:
        """Return the question that a request asks, and its level."""
        question, _ = question_and_sample(request.key)
        return question, self._level_of(question)

    def _durable(self, batch: Sequence[_Item]) -> None:
        """Let requests go whose reservations are durable; hand on the answers and faults."""
        results = books.committed(_plain(batch))
        ends = [item for item in batch if isinstance(item, BatchEnd)]
        results += [fault for end in ends for fault in end.faults]
        if self._committed is not None and results:
            self._committed(results)
        if ends:
            self._ended.set()

    def _attempt(self, request: Request, reply: Reply) -> NewAttempt | NewFurther | Paid:
        made = self._further_answer(request, reply) if request.further else self._answer(request.key, reply)
        return made if self._books is None else self._books.paid(request, made)

    def _cost(self, reply: Reply) -> float | None:
        cost = None if self._price is None else self._price.cost(reply.usage)
        self.cost += cost or 0.0
        return cost

    def _answer(self, key: int, reply: Reply) -> NewAttempt:
        question, sample = question_and_sample(key)
        cost = self._cost(reply)
        return NewAttempt(
            setting=self._setting.pk, question=question, sample=sample, reply=reply, cost=cost, made_at=time.time()
        )

    def _further_answer(self, request: Request, reply: Reply) -> NewFurther:
        assert self.further is not None
        question, sample = question_and_sample(request.key)
        self.second += 1
        cost = self._cost(reply)
        kind, reply = self.further.read(request, reply)
        return NewFurther(
            setting=self._setting.pk,
            question=question,
            sample=sample,
            kind=kind,
            max_tokens=request.sampling.max_tokens,
            reply=reply,
            cost=cost,
            made_at=time.time(),
        )

    def _gave_up(self, request: Request, fault: Fault) -> NewFault:
        if self.further is not None:
            self.further.failed(request)
        return self._fault(request.key, fault)

    def _fault(self, key: int, fault: Fault) -> NewFault:
        question, sample = question_and_sample(key)
        self.faults[fault.reason] = self.faults.get(fault.reason, 0) + 1
        return NewFault(stage=self._stage, fault=fault, question=question, setting=self._setting.pk, sample=sample)


def _plain(batch: Sequence[_Item]) -> list[Item]:
    return [item for item in batch if not isinstance(item, BatchEnd)]


def _write(connection: sqlite3.Connection, batch: Sequence[_Item]) -> None:
    """Put what came into the open transaction; ends of batches behind the answers that came before them."""
    books.write(connection, _plain(batch))
    for item in batch:
        if isinstance(item, BatchEnd):
            batches.end(connection, item)


class _Guarded:
    """A feed that ends when the journal fails: a feed that waits for commits would wait for ever."""

    def __init__(self, feed: BatchFeed, journal: Journal[_Item]) -> None:
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

    def waiting(self) -> int:
        """How many results are still to be taken note of. Raises as `open`."""
        self._journal.check()
        return self._feed.waiting()

    def expect(self, keys: Sequence[int]) -> None:
        """Take note of what an earlier run asked."""
        self._feed.expect(keys)
