"""Worker threads, each with a box of its own, and which program is next.

The unit of work is one case. The program that has had the least time so far goes next, so one that is slow in each of
a hundred cases holds nobody else. How many are in flight is the caller's: nothing is read here, and what was given in
comes out through the queue that it was given in with.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gradatim.checkers.code.bench import Bench, Gauge
from gradatim.checkers.code.pulse import Pulse
from gradatim.checkers.sandbox import SandboxError
from gradatim.errors import GradatimError
from gradatim.types import Boundary, Fault, Verdict

if TYPE_CHECKING:
    from queue import SimpleQueue

    from gradatim.checkers.code.bench import Opener

_GRACE_SECONDS = 0.5
_CLOSING_SECONDS = 60.0


class Work(Protocol):
    """Something that is done a case at a time."""

    @property
    def spent(self) -> float:
        """Seconds that it has had a worker for."""
        ...

    def advance(self, bench: Bench) -> Verdict | None:
        """Do the next case; return the verdict after the last. Raises `SandboxError`."""
        ...


@dataclass(slots=True, eq=False)
class Ticket:
    """A piece of work on its way."""

    work: Work
    done: SimpleQueue[Ticket]
    result: Verdict | Fault | GradatimError | None = None
    """A `GradatimError` is not about this work: no program can be run."""
    cancelled: bool = field(default=False)


class Schedule:
    """Up to `threads` workers, started when work first waits for them."""

    def __init__(self, open_box: Opener, threads: int) -> None:
        self._open_box = open_box
        self._most = threads
        self._gauge = Gauge()
        self._pulse = Pulse()
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Ticket]] = []
        self._order = itertools.count()
        self._threads: dict[threading.Thread, Bench] = {}
        self._idle = 0
        self._closing = False

    def submit(self, ticket: Ticket) -> None:
        """Take work in."""
        with self._changed:
            self._push(ticket)
            if self._idle >= len(self._waiting) or len(self._threads) >= self._most:
                return
            # A daemon: a caller that died without closing is not kept from ending.
            bench = Bench(self._open_box, self._gauge, self._pulse)
            thread = threading.Thread(target=self._serve, args=(bench,), name="gradatim-code", daemon=True)
            self._pulse.start()
            thread.start()
            self._threads[thread] = bench

    def cancel(self, tickets: set[Ticket]) -> None:
        """Forget work; a case that is being run ends by itself, and nobody hears of it."""
        with self._changed:
            for ticket in tickets:
                ticket.cancelled = True
            self._waiting = [entry for entry in self._waiting if not entry[2].cancelled]
            heapq.heapify(self._waiting)

    def close(self) -> None:
        """End the workers and their boxes; what was not finished is lost, and a case that is being run is ended."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        until = time.monotonic() + _GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for thread, bench in self._threads.items():
            if thread.is_alive():
                bench.stop()
        for thread in self._threads:
            thread.join(_CLOSING_SECONDS)
        self._threads.clear()
        self._pulse.stop()
        self._closing = False

    def _push(self, ticket: Ticket) -> None:
        heapq.heappush(self._waiting, (ticket.work.spent, next(self._order), ticket))
        self._changed.notify()

    def _next(self) -> Ticket | None:
        """Wait for work; None: there will be none."""
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closing:
                self._changed.wait()
            self._idle -= 1
            return None if self._closing else heapq.heappop(self._waiting)[2]

    def _serve(self, bench: Bench) -> None:
        try:
            while (ticket := self._next()) is not None:
                ticket.result = _advanced(ticket.work, bench)
                with self._changed:
                    if ticket.result is None and not ticket.cancelled and not self._closing:
                        self._push(ticket)
                        continue
                ticket.done.put(ticket)
        finally:
            bench.close()


def _advanced(work: Work, bench: Bench) -> Verdict | Fault | GradatimError | None:
    try:
        return work.advance(bench)
    except SandboxError as error:
        return Fault(boundary=Boundary.SANDBOX, reason=error.reason, message=error.message)
    except GradatimError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the item boundary: our failure over one item is that item's fault
        # The box may be in an unknown state: the next job gets another.
        with suppress(Exception):
            bench.close()
        return Fault(
            boundary=Boundary.CHECKER, reason="checker_error", message=f"{type(error).__name__}: {error}"[:500]
        )
