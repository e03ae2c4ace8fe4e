"""Watches one program from outside: when it has used its time, and that nothing of it is left.

Two clocks: CPU, and wall time without what the process waited for a core, so a busy machine takes no time from an
honest program while one that sleeps is ended on time. A third, absolute one says that the machine is overloaded.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from gradatim.checkers.sandbox.inside import kernel

OVERLOAD = 10.0
"""The absolute limit, as a multiple of the time limit."""
_TICK = 0.1


@dataclass(slots=True)
class Seen:
    """What was seen of one process."""

    status: int = 0
    """Its exit status, or minus the signal that ended it."""
    cause: str = ""
    """Why it was killed: `time`, `threads`, `overloaded`; empty where it ended by itself."""
    cpu: float = 0.0
    wall: float = 0.0
    resident_kb: int = 0


def waited(pid: int) -> float:
    """Return the seconds for which the most unlucky thread was ready and had no core."""
    most = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as file:  # noqa: PTH123 - some microseconds count here
                most = max(most, int(file.read().split()[1]))
    except (OSError, ValueError, IndexError):
        pass
    return most / 1e9


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


class Watch:
    """One process under its limits."""

    def __init__(self, pid: int, seconds: float, threads: int, *, peers: tuple[int, ...] = ()) -> None:
        self.pid = pid
        self.seconds = seconds
        self.threads = threads
        self.peers = peers
        """Processes whose CPU time counts besides."""
        self.started = time.monotonic()
        self.handle = os.pidfd_open(pid)
        self.seen = Seen()

    def verdict(self) -> tuple[str, float]:
        """Return why it has to end now, or an empty text and when to look again."""
        wall = time.monotonic() - self.started
        if wall > OVERLOAD * self.seconds:
            return "overloaded", 0.0
        cpu = 0.0
        for pid in (self.pid, *self.peers):
            with suppress(OSError):
                cpu += kernel.process_cpu(pid)
        left = self.seconds - cpu
        if wall > self.seconds:
            left = min(left, self.seconds - (wall - waited(self.pid)))
        else:
            left = min(left, self.seconds - wall)
        if left <= 0:
            return "time", 0.0
        if wall > _TICK and _threads(self.pid) > self.threads + 1:
            return "threads", 0.0
        return "", max(0.002, min(_TICK, left))

    def until_end(self, parent: int) -> Seen:
        """Wait until it has ended or has to, and reap it. Ends this whole process when the parent is gone."""
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        poll.register(parent, 0)
        pause = min(_TICK, self.seconds)
        while True:
            events = poll.poll(pause * 1000)
            if any(fd == parent for fd, _ in events):
                kill(self.pid)
                sys.exit(0)
            if events:
                break
            cause, pause = self.verdict()
            if cause:
                self.seen.cause = cause
                break
        return self.reap()

    def reap(self) -> Seen:
        """Kill what is left of it, and take in how it ended."""
        kill(self.pid)
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.handle)
        self.seen.wall = time.monotonic() - self.started
        self.seen.status = os.waitstatus_to_exitcode(status)
        self.seen.cpu = usage.ru_utime + usage.ru_stime
        self.seen.resident_kb = usage.ru_maxrss
        if not self.seen.cause and self.seen.cpu > self.seconds:
            self.seen.cause = "time"
        return self.seen


def kill(pid: int) -> None:
    """Kill a process and its group."""
    for victim in (-pid, pid):
        with suppress(OSError):
            os.kill(victim, signal.SIGKILL)


def sweep() -> None:
    """Kill and reap whatever was left to this process, until nothing is."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            _kill_children()


def _kill_children() -> None:
    own = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                if int(file.read().rpartition(b")")[2].split()[1]) == own:
                    kill(int(name))
    time.sleep(0.001)
