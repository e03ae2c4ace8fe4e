"""What `attempt` and `teach` share: an engine whose answers are durable before anything reads them.

Order of events for one answer: the reply arrives, it is put into the journal, the journal commits it (at most about
20 ms later), and only then does anything read it. A process killed at any moment loses no more than that.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from gradatim.library import attempts, furthers
from gradatim.library.attempts import NewAttempt, NewFault, check_weights
from gradatim.library.furthers import NewFurther
from gradatim.library.journal import Journal
from gradatim.models.engine import Engine
from gradatim.progress import Tick, Ticker
from gradatim.types import Request

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.engine import Feed
    from gradatim.models.pace import EngineSettings, EngineStats
    from gradatim.progress import Progress
    from gradatim.types import Fault, Question, Reply, Sampling
    from gradatim.work.truncation import Furthers

    Stored = NewAttempt | NewFurther | NewFault

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


def write(connection: sqlite3.Connection, batch: Sequence[Stored]) -> None:
    """Put answers and faults into the open transaction, in their order: a further answer comes after the first."""
    for item in batch:
        if isinstance(item, NewFurther):
            furthers.write(connection, item)
        else:
            attempts.write(connection, [item])


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
        further: Furthers | None = None,
    ) -> None:
        self._library = library
        self._model = model
        self._setting = setting
        self._stage = stage
        self._price = price
        self._committed = committed
        self._further = further
        self.first = 0
        """First answers that came."""
        self.second = 0
        """Further answers that came."""
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

        Raises `UsageError` where the library holds answers of other weights under the model's name.
        """
        if fingerprint := getattr(self._model, "fingerprint", ""):
            check_weights(self._library, self._model.name, fingerprint)
        journal: Journal[Stored] = Journal(self._library, write, self._committed)
        engine = Engine(
            self._model,
            _Guarded(feed, journal),
            on_reply=lambda request, reply: journal.put(self._answer(request, reply)),
            on_fault=lambda request, fault: journal.put(self._fault(request, fault)),
            settings=settings,
            budget=budget,
        )
        self.engine = engine
        with Ticker(lambda: progress(self._stage, watch(engine.stats))):
            try:
                engine.run()
            finally:
                journal.close()
        return engine.stats

    @property
    def notes(self) -> tuple[str, ...]:
        """What the model found out about its server and concerns the user; a model need not note anything."""
        found = () if self._further is None else self._further.notes(self._model.name)
        return (*getattr(self._model, "notes", ()), *found)

    def wake(self) -> None:
        """Say that the feed may have something again; from any thread."""
        self.engine.wake()

    def _answer(self, request: Request, reply: Reply) -> NewAttempt | NewFurther:
        question, sample = question_and_sample(request.key)
        cost = None if self._price is None else self._price.cost(reply.usage)
        self.cost += cost or 0.0
        pk, now = self._setting.pk, time.time()
        if self._further is not None and request.further:
            self.second += 1
            kind, reply = self._further.read(request, reply)
            return NewFurther(
                setting=pk,
                question=question,
                sample=sample,
                kind=kind,
                max_tokens=request.sampling.max_tokens,
                reply=reply,
                cost=cost,
                made_at=now,
            )
        self.first += 1
        return NewAttempt(setting=pk, question=question, sample=sample, reply=reply, cost=cost, made_at=now)

    def _fault(self, request: Request, fault: Fault) -> NewFault:
        question, sample = question_and_sample(request.key)
        self.faults[fault.reason] = self.faults.get(fault.reason, 0) + 1
        if self._further is not None:
            self._further.failed(request)
        return NewFault(stage=self._stage, fault=fault, question=question, setting=self._setting.pk, sample=sample)


class _Guarded:
    """A feed that ends when the journal fails: a feed that waits for commits would wait for ever."""

    def __init__(self, feed: Feed, journal: Journal[Stored]) -> None:
        self._feed = feed
        self._journal = journal

    def take(self) -> Request | None:
        """Give the next request."""
        return self._feed.take()

    def open(self) -> bool:
        """Whether there may be more. Raises what keeps the journal from committing."""
        self._journal.check()
        return self._feed.open()
