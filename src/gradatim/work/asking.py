"""What `attempt` and `teach` share: an engine whose answers are durable before anything reads them.

Order of events for one answer: the reply arrives, it is put into the journal, the journal commits it (at most about
20 ms later), and only then does anything read it. A process killed at any moment loses no more than that.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeAlias

from gradatim.library import batches
from gradatim.library.attempts import NewAttempt, NewFault, check_weights
from gradatim.library.batches import Closed, write
from gradatim.library.journal import Journal
from gradatim.models.batch_api import BatchEndpoint
from gradatim.models.engine import Engine
from gradatim.progress import Tick, Ticker
from gradatim.work.batching import BatchEngine
from gradatim.work.requests import question_and_sample
from gradatim.work.shelving import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings, EngineStats
    from gradatim.progress import Progress
    from gradatim.types import Fault, Reply, Request
    from gradatim.work.batching import BatchFeed

_Item: TypeAlias = "NewAttempt | NewFault | Closed"
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
        committed: Callable[[Sequence[NewAttempt | NewFault]], None] | None = None,
    ) -> None:
        self._library = library
        self._model = model
        self._setting = setting
        self._stage = stage
        self._price = price
        self._committed = committed
        self.cost = 0.0
        self.faults: dict[str, int] = {}
        self.closed = threading.Event()
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

        Raises `UsageError` where the library holds answers of other weights under the model's name.
        """
        if fingerprint := getattr(self._model, "fingerprint", ""):
            check_weights(self._library, self._model.name, fingerprint)
        journal: Journal[_Item] = Journal(self._library, write, self._written)
        engine = self.engine = self._engine(_Guarded(feed, journal), journal, settings, budget)
        with Ticker(lambda: progress(self._stage, watch(engine.stats))):
            try:
                engine.run()
            finally:
                journal.close()
        return engine.stats

    def _engine(
        self, feed: _Guarded, journal: Journal[_Item], settings: EngineSettings | None, budget: Budget | None
    ) -> Engine | BatchEngine:
        """Return what asks: in batches where the model is one for them."""
        if isinstance(self._model, BatchEndpoint):
            return BatchEngine(
                self._model,
                feed,
                Shelf(
                    self._library,
                    self._setting,
                    self._stage,
                    fault=self.fault,
                    close=lambda end: self._end(journal, end),
                ),
                on_reply=lambda key, reply: journal.put(self.attempt(key, reply)),
                on_fault=lambda key, fault: journal.put(self.fault(key, fault)),
                settings=settings,
                budget=budget,
            )
        return Engine(
            self._model,
            feed,
            on_reply=lambda request, reply: journal.put(self.attempt(request.key, reply)),
            on_fault=lambda request, fault: journal.put(self.fault(request.key, fault)),
            settings=settings,
            budget=budget,
        )

    def _end(self, journal: Journal[_Item], end: Closed) -> None:
        """Write the end of a batch, and wait until it is durable: what it frees goes into the next one."""
        self.closed.clear()
        journal.put(end)
        while not self.closed.wait(_LOOK_SECONDS):
            journal.check()

    def _written(self, items: Sequence[_Item]) -> None:
        """Tell of what is durable now; called from the journal's thread."""
        plain: list[NewAttempt | NewFault] = []
        for item in items:
            plain += item.faults if isinstance(item, Closed) else (item,)
        if plain and self._committed is not None:
            self._committed(plain)
        if any(isinstance(item, Closed) for item in items):
            self.closed.set()

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
        said = getattr(getattr(self, "engine", None), "standing", "")
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What the model found out about its server and concerns the user; a model need not note anything."""
        return tuple(getattr(self._model, "notes", ()))

    def wake(self) -> None:
        """Say that the feed may have something again; from any thread."""
        self.engine.wake()

    def attempt(self, key: int, reply: Reply) -> NewAttempt:
        """Return an answer as it is to be stored, and count its cost."""
        question, sample = question_and_sample(key)
        cost = None if self._price is None else self._price.cost(reply.usage)
        self.cost += cost or 0.0
        return NewAttempt(
            setting=self._setting.pk, question=question, sample=sample, reply=reply, cost=cost, made_at=time.time()
        )

    def fault(self, key: int, fault: Fault) -> NewFault:
        """Return a fault as it is to be stored, and count it."""
        question, sample = question_and_sample(key)
        self.faults[fault.reason] = self.faults.get(fault.reason, 0) + 1
        return NewFault(stage=self._stage, fault=fault, question=question, setting=self._setting.pk, sample=sample)


class _Guarded:
    """A feed that ends when the journal fails: a feed that waits for commits would wait for ever."""

    def __init__(self, feed: BatchFeed, journal: Journal[_Item]) -> None:
        self._feed = feed
        self._journal = journal

    def take(self) -> Request | None:
        """Give the next request."""
        return self._feed.take()

    def open(self) -> bool:
        """Whether there may be more. Raises what keeps the journal from committing."""
        self._journal.check()
        return self._feed.open()

    def waiting(self) -> int:
        """How many results are still to be taken note of. Raises as `open`."""
        self._journal.check()
        return self._feed.waiting()

    def expect(self, keys: Sequence[int]) -> None:
        """Take note of what an earlier run asked."""
        self._feed.expect(keys)
