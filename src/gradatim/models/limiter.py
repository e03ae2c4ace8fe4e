"""How many requests may run at once: more while the server keeps up, half when it says it is overloaded.

Additive increase, multiplicative decrease, as TCP does it: one more per full round of answers, and half at most once
per round trip, since requests that were sent before the last cut say nothing about it. `Retry-After` pauses everyone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Limiter:
    """Slots for requests under way. For one event loop; `limit` and `in_flight` may be read from any thread."""

    def __init__(self, *, most: int) -> None:
        """Start at `most`, the number that the user set; the limit stays between 1 and `most`."""
        self._most = float(most)
        self._limit = float(most)
        self.in_flight = 0
        self._cut_at = float("-inf")
        self._resume_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many requests may run now."""
        return int(self._limit)

    @property
    def paused_for(self) -> float:
        """Seconds until requests are sent again; 0 when they are."""
        return max(0.0, self._resume_at - time.monotonic())

    def _free(self) -> bool:
        return self.in_flight < int(self._limit) and (self._timer is None)

    async def acquire(self) -> None:
        """Wait for a slot and take it."""
        while not self._free():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
        self.in_flight += 1

    def release(self) -> None:
        """Give a slot back."""
        self.in_flight -= 1
        if self._waiting:
            self._wake()

    def succeeded(self) -> None:
        """Count an answer: a full round of them raises the limit by one."""
        if self._limit < self._most:
            self._limit = min(self._most, self._limit + 1 / self._limit)
            self._wake()

    def overloaded(self, *, sent_at: float, pause: float | None = None) -> None:
        """Count a "too much": halve the limit, and send nothing for `pause` seconds.

        `sent_at` is when the request was sent, on the monotonic clock: one that was sent before the last cut does not
        cut again.
        """
        now = time.monotonic()
        if sent_at > self._cut_at:
            self._cut_at = now
            self._limit = max(1.0, self._limit / 2)
        if pause and now + pause > self._resume_at:
            self._resume_at = now + pause
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(pause, self._resume)

    def close(self) -> None:
        """End a pause's timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resume(self) -> None:
        self._timer = None
        self._wake()

    def _wake(self) -> None:
        """Wake as many as there are slots; each looks again before it takes one."""
        free = int(self._limit) - self.in_flight
        while free > 0 and self._waiting and self._timer is None:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1
