"""A worker's place: its box, and what it knows of how fast the machine is now.

A program that is stopped for its time is judged by it only where the machine gave it the time that it would have had at
its best. So a known program runs when a box is opened, and again whenever a time limit is hit: what it takes now,
beside the least that it ever took, says how slow the machine is.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.checkers.sandbox import Ending, Job, Limits, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.checkers.code.pulse import Pulse
    from gradatim.checkers.sandbox import Box, Run

    Opener = Callable[[], Box]

_KNOWN = Job(style="stdio", program="n = 0\nfor i in range(150_000):\n    n = (n * 31 + i) % 1000003\nprint(n)\n")
_KNOWN_OUTPUT = b"986502"
_KNOWN_LIMITS = Limits(seconds=20.0)
_AT_OPENING, _IN_DOUBT = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowness:
    """How many times longer the known program takes now than at its best: 1 is a machine at rest."""

    cpu: float = math.inf
    wall: float = math.inf


class Gauge:
    """The least that the known program ever took; shared by all workers of a checker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cpu = self._wall = math.inf

    def slowness(self, box: Box, times: int) -> Slowness:
        """Run the known program some times and compare the best of them with the best ever. Raises `SandboxError`."""
        cpu = wall = math.inf
        for _ in range(times):
            run = box.run(_KNOWN, _KNOWN_LIMITS)
            if run.ending is not Ending.FINISHED or run.stdout.strip() != _KNOWN_OUTPUT:
                continue
            cpu, wall = min(cpu, run.seconds), min(wall, run.wall)
        with self._lock:
            self._cpu, self._wall = min(self._cpu, cpu), min(self._wall, wall)
            if math.isinf(cpu):
                return Slowness()
            return Slowness(cpu=cpu / max(self._cpu, 1e-6), wall=wall / max(self._wall, 1e-6))


class Bench:
    """One box, opened when it is first needed, and a new one after each loss. Of one thread."""

    def __init__(self, open_box: Opener, gauge: Gauge, pulse: Pulse) -> None:
        self._open = open_box
        self._gauge = gauge
        self.lost = pulse.lost
        self._box: Box | None = None
        self._stopped = False

    @property
    def layers(self) -> tuple[str, ...]:
        """What stands between the programs and the machine."""
        return self._box.layers if self._box else ()

    def run(self, job: Job, limits: Limits) -> Run:
        """Run the job; where the box is lost, once more in a fresh one. Raises `SandboxError`, and `SetupError`."""
        try:
            return self._ready().run(job, limits)
        except SandboxError as error:
            if error.reason == "overloaded":
                raise
            self.close()
        return self._ready().run(job, limits)

    def slowness(self) -> Slowness:
        """Say how slow the machine is now; a box that does not even run the known program is infinitely slow."""
        try:
            return self._gauge.slowness(self._ready(), _IN_DOUBT)
        except SandboxError:
            self.close()
            return Slowness()

    def stop(self) -> None:
        """End the box under the thread that uses it, whose job fails then; it opens no other."""
        self._stopped = True
        self.close()

    def close(self) -> None:
        """End the box; the next job opens another."""
        box, self._box = self._box, None
        if box is not None:
            box.close()

    def _ready(self) -> Box:
        self._refuse_stopped()
        if self._box is None:
            self._box = self._open()
            # Whoever stopped it meanwhile found no box to end.
            self._refuse_stopped()
            # What it takes now is remembered: it is what later doubts are measured by.
            self._gauge.slowness(self._box, _AT_OPENING)
        return self._box

    def _refuse_stopped(self) -> None:
        if self._stopped:
            self.close()
            raise SandboxError("sandbox_lost", "the checker was closed")
