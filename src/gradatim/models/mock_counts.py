"""What the mock server counts: the numbers that a proof of "nothing lost, nothing bought twice" needs."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradatim.models.mock_answers import Speaker
    from gradatim.models.mock_batches import MockBatches
    from gradatim.models.mock_faults import Injection
    from gradatim.models.mock_http import Connection
    from gradatim.models.mock_server import MockSettings

_TIMES_KEPT = 8192


@dataclass(slots=True, kw_only=True)
class Billed:
    """What one model's chat requests cost, in tokens; times a price it is money.

    Billed is what the model was made to write, whatever became of it: an answer that a fault kept from the client, and
    one whose client went away, cost as much as one that arrived.
    """

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    """The part of `prompt` that is billed as cached."""
    completion: int = 0

    def add(self, prompt: int, cached: int, completion: int) -> None:
        """Bill a request."""
        self.requests += 1
        self.prompt += prompt
        self.cached += cached
        self.completion += completion


@dataclass(frozen=True, slots=True, kw_only=True)
class MockStats:
    """What the server has seen since it started, or since `POST /reset`."""

    requests: int
    """Chat requests."""
    unique: int
    """How many different bodies they had."""
    repeated: int
    """Requests whose body had come before: retries after a fault, and what was asked twice."""
    bought_again: int
    """Requests whose body had been *answered* the last time: not retries after a fault."""
    answered: int
    bodies_answered: int
    """How many different bodies were answered the last time they came."""
    in_flight: int
    most_in_flight: int
    pooling: int
    """Requests to `/pooling`."""
    faults: dict[str, int]
    """How many requests each kind of fault met."""
    billed: dict[str, Billed]
    """What each model's requests cost, by the name that was asked for."""
    last_answered: list[float]
    """When the last answers were sent, in seconds since 1970, oldest first; 8,192 at most."""
    aborted: list[float]
    """When clients went away from requests under way."""
    batches: int = 0
    """Batches made."""
    batch_requests: int = 0
    """Their requests."""
    batch_again: int = 0
    """Requests, in batches or online, that a batch had answered before, or was to answer at the time."""
    batch_answered: int = 0
    """Different requests whose answers stand in an output file."""
    batch_faults: dict[str, int] = field(default_factory=dict)
    """How often each kind of fault of the batch API was met."""
    probes: int = 0
    """Chat requests that asked what the server can do; they are in no other count."""


@dataclass(slots=True)
class State:
    """What all connections share."""

    settings: MockSettings
    answers: Speaker
    batches: MockBatches
    injection: Injection
    seen: Counter[bytes] = field(default_factory=Counter)
    answered: set[bytes] = field(default_factory=set)
    """Bodies that were answered the last time they came."""
    faults: Counter[str] = field(default_factory=Counter)
    billed: defaultdict[str, Billed] = field(default_factory=lambda: defaultdict(Billed))
    last_answered: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))
    aborted: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))
    open: set[Connection] = field(default_factory=set)
    requests: int = 0
    bought_again: int = 0
    answers_sent: int = 0
    pooling: int = 0
    probes: int = 0
    seeds: int = 0
    """Seeds of its own that a server which ignores those of requests has taken."""
    in_flight: int = 0
    most_in_flight: int = 0

    def reset(self) -> None:
        """Forget everything but the requests that are under way."""
        for counts in (self.seen, self.answered, self.faults, self.billed, self.last_answered, self.aborted):
            counts.clear()
        self.batches.reset()
        self.requests = self.bought_again = self.answers_sent = self.pooling = self.probes = 0
        self.most_in_flight = self.in_flight

    def stats(self) -> MockStats:
        """Return the counts."""
        return MockStats(
            requests=self.requests,
            unique=len(self.seen),
            repeated=self.requests - len(self.seen),
            bought_again=self.bought_again,
            answered=self.answers_sent,
            bodies_answered=len(self.answered),
            in_flight=self.in_flight,
            most_in_flight=self.most_in_flight,
            pooling=self.pooling,
            faults=dict(self.faults),
            billed=dict(self.billed),
            last_answered=list(self.last_answered),
            aborted=list(self.aborted),
            batches=len(self.batches),
            batch_requests=self.batches.submitted,
            batch_again=self.batches.again,
            batch_answered=len(self.batches.done),
            batch_faults=dict(+self.batches.faults),
            probes=self.probes,
        )

    def probed(self, body: bytes) -> bytes:
        """Count a chat request that asks what the server can do. Returns what names its body."""
        self.probes += 1
        return hashlib.blake2b(body, digest_size=8).digest()

    def arrived(self, body: bytes) -> tuple[bytes, str]:
        """Count a chat request. Returns what names its body, and the fault that it meets."""
        digest = hashlib.blake2b(body, digest_size=8).digest()
        self.requests += 1
        nth = self.seen[digest] = self.seen[digest] + 1
        if digest in self.answered:
            self.bought_again += 1
            self.answered.remove(digest)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        kind = self.injection.kind(digest, nth)
        if kind:
            self.faults[kind] += 1
        return digest, kind

    def sent(self, digest: bytes) -> None:
        """Count an answer whose last byte was written."""
        self.answered.add(digest)
        self.answers_sent += 1
        self.last_answered.append(time.time())
