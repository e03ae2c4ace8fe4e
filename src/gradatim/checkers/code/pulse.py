"""Feels when the machine stands still: a suspended laptop, a paused virtual machine, a swap storm.

The known program of `bench` says how slow the machine is after a time limit was hit. What stood still while a program
ran and is over by then shows here: a thread that is to wake ten times a second, and was late.
"""

from __future__ import annotations

import threading
import time
from collections import deque

_TICK = 0.1
_LATE = 0.1
"""What a busy machine does to anybody, and is no standstill."""
_KEPT = 1000


class Pulse:
    """A thread that wakes and notes how late it is."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._woke = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where it has not begun."""
        if self._thread is None:
            self._stop.clear()
            self._woke = time.monotonic()
            self._thread = threading.Thread(target=self._beat, name="gradatim-pulse", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def lost(self, seconds: float) -> float:
        """Return how many of the last seconds the machine stood still."""
        now = time.monotonic()
        # After a standstill the caller may wake before the thread that is to note it.
        notes = [*self._late, (now, now - self._woke - _TICK)]
        return sum(late for when, late in notes if when >= now - seconds and late > _LATE)

    def _beat(self) -> None:
        while not self._stop.wait(_TICK):
            now = time.monotonic()
            late = now - self._woke - _TICK
            if late > _LATE:
                self._late.append((now, late))
            self._woke = now
