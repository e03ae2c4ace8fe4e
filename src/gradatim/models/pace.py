"""How patient the engine is: its settings, its counts, and how long one request waits for its next try."""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradatim.errors import ItemFault, UsageError
from gradatim.models.faults import Overloaded, Refused, Retry

if TYPE_CHECKING:
    from gradatim.types import Usage

_JITTER = random.Random()  # noqa: S311 - spreads retries over time; unseeded, so that two processes do not meet again


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How many requests run at once, and when to give up."""

    concurrency: int = 64
    """The most requests under way at once; fewer while the server is overloaded."""
    tries: int = 5
    """How often a request is sent before a fault that may pass is final. Being turned away (429, 503) is no try."""
    patience: float = 600.0
    """Seconds for which one request may be turned away."""
    backoff: float = 1.0
    """Seconds that a first retry waits at most; each further one at most twice as long, with full jitter."""
    longest_backoff: float = 60.0
    grace: float = 10.0
    """Seconds that answers under way get when a run is stopped."""
    max_consecutive_faults: int = 50
    """How many requests in a row may be given up before the run ends."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for word in ("concurrency", "tries", "max_consecutive_faults"):
            if getattr(self, word) < 1:
                raise UsageError(f"{word} is {getattr(self, word)}: write 1 or more")
        for word in ("patience", "backoff", "longest_backoff", "grace"):
            if not getattr(self, word) >= 0:
                raise UsageError(f"{word} is {getattr(self, word)}: write seconds, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What a run has done so far."""

    sent: int
    """Requests sent, retries included."""
    replies: int
    faults: int
    """Requests given up."""
    retries: int
    overloads: int
    """Times that the server turned a request away; part of `retries`."""
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    cost: float
    """In the currency of the budget's price; worst cases where the server did not count. 0 without a price."""
    in_flight: int
    limit: int
    """How many requests may be under way now."""
    paused: float
    """Seconds until requests are sent again, because the server asked for a pause; 0 when they are."""
    started: float
    """When the run began, in seconds since 1970; 0 before."""
    seconds: float
    """How long it has run."""


@dataclass(slots=True)
class Counts:
    """The engine's counters, which it alone changes."""

    sent: int = 0
    replies: int = 0
    faults: int = 0
    retries: int = 0
    overloads: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost_before: float = 0.0
    started: float = 0.0
    _began: float = 0.0
    _ended: float | None = field(default=None)

    def start(self, cost_before: float) -> None:
        """Start the clock."""
        self.cost_before = cost_before
        self.started, self._began = time.time(), time.monotonic()

    def stop(self) -> None:
        """Stop the clock."""
        self._ended = time.monotonic()

    def add(self, usage: Usage) -> None:
        """Count an answer's tokens; what the server did not say counts as none."""
        self.prompt_tokens += usage.prompt or 0
        self.completion_tokens += usage.completion or 0
        self.reasoning_tokens += usage.reasoning or 0
        self.cached_tokens += usage.cached or 0

    def snapshot(self, *, in_flight: int, limit: int, paused: float, cost: float) -> EngineStats:
        """Return the counts as they are now."""
        until = time.monotonic() if self._ended is None else self._ended
        return EngineStats(
            sent=self.sent,
            replies=self.replies,
            faults=self.faults,
            retries=self.retries,
            overloads=self.overloads,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cached_tokens=self.cached_tokens,
            cost=cost,
            in_flight=in_flight,
            limit=limit,
            paused=paused,
            started=self.started,
            seconds=until - self._began if self.started else 0.0,
        )


@dataclass(slots=True, kw_only=True)
class Tries:
    """What has happened to one request so far."""

    settings: EngineSettings
    failed: int = 0
    turned_away: int = 0
    turned_away_since: float | None = None

    def pause_for_all(self, fault: Overloaded) -> float | None:
        """Return how long nobody should send anything; None where the server did not say, or asks too much."""
        wait = fault.retry_after
        return wait if wait is not None and wait <= self.settings.patience else None

    def wait_after(self, fault: ItemFault, *, sent_at: float) -> float | None:
        """Return the seconds until the next try, or None: give the request up."""
        if isinstance(fault, Overloaded):
            self.turned_away += 1
            if self.turned_away_since is None:
                self.turned_away_since = sent_at
            wait = max(self._jitter(self.turned_away), fault.retry_after or 0.0)
            over = time.monotonic() + wait - self.turned_away_since > self.settings.patience
            return None if over else wait
        if isinstance(fault, Refused) or not isinstance(fault, Retry):
            return None
        self.failed += 1
        wait = max(self._jitter(self.failed), fault.retry_after or 0.0)
        return None if self.failed >= self.settings.tries or wait > self.settings.patience else wait

    def _jitter(self, times: int) -> float:
        """Full jitter, anything up to the exponential backoff: requests turned away together come back apart."""
        longest = min(self.settings.longest_backoff, self.settings.backoff * 2.0 ** min(times - 1, 30))
        return _JITTER.uniform(0.0, longest)


def bug(error: BaseException) -> Refused:
    """Return the fault that an exception nobody foresaw is, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown place"
    fault = Refused(f"bug:{type(error).__name__}", f"{error} (at {place})", billed=True)
    fault.__cause__ = error
    return fault
