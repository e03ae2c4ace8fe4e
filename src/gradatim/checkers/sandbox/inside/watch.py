"""Watches the processes of one job from outside: when they have used their time, and that nothing of them is left.

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
from pathlib import Path

from gradatim.checkers.sandbox.inside import kernel

OVERLOAD = 10.0
"""The absolute limit, as a multiple of the time limit."""
_TICK = 0.1
_FILES = 10_000
"""Even empty files take memory of the kernel's, and time to remove."""
_FIRST_SECONDS = 0.05
"""How long the second process may take to end after the first has: which of them ended first is known so exactly."""


@dataclass(slots=True)
class Seen:
    """What was seen of one process."""

    status: int = 0
    """Its exit status, or minus the signal that ended it."""
    cause: str = ""
    """Why it was killed: `time`, `threads`, `files`, `overloaded`; empty where it ended by itself."""
    killed: bool = False
    """Whether it was running when it was to end."""
    cpu: float = 0.0
    wall: float = 0.0
    waited: float = 0.0
    """See `Process.waited`."""
    resident_kb: int = 0


class Process:
    """One program's process, or the init of its namespace with the program's process below."""

    def __init__(self, pid: int, status: int = -1) -> None:
        self.pid = pid
        self.handle = os.pidfd_open(pid)
        self.started = time.monotonic()
        self._status = status
        """Where init writes how the program ended; -1: there is no init."""
        self._inner = 0
        self._waited = 0.0

    @property
    def program(self) -> int:
        """The id of the program's own process; 0 where it is not known yet."""
        if self._status < 0:
            return self.pid
        if self._inner == 0:
            self._inner = next(iter(children(self.pid)), 0)
        return self._inner

    def cpu(self) -> float:
        """Return the CPU seconds so far."""
        with suppress(OSError):
            return kernel.process_cpu(self.program) if self.program else 0.0
        return 0.0

    def tasks(self) -> list[str]:
        """Return its threads."""
        try:
            return [one.name for one in Path(f"/proc/{self.program}/task").iterdir()] if self.program else []
        except OSError:
            return []

    def waited(self) -> float:
        """Return the seconds for which its most unlucky thread was ready and had no core, as far as was seen."""
        most = 0
        for task in self.tasks():
            with suppress(OSError, ValueError, IndexError):
                most = max(most, int(Path(f"/proc/{self.program}/task/{task}/schedstat").read_text().split()[1]))
        # With an init of its own, nothing is there to be seen of a program that has ended.
        self._waited = max(self._waited, most / 1e9)
        return self._waited

    def reap(self, cause: str, *, killed: bool) -> Seen:
        """Kill what is left of it, and return how it ended."""
        # Of a program that is killed with its init, the kernel does not tell init's parent what it used.
        spent = self.cpu() if self._status >= 0 and killed else 0.0
        waited = self.waited()
        kill(self.pid)
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.handle)
        if self._status >= 0:
            written = os.read(self._status, 4)
            os.close(self._status)
            status = int.from_bytes(written, "little") if len(written) == 4 else signal.SIGKILL
        return Seen(
            status=os.waitstatus_to_exitcode(status),
            cause=cause,
            killed=killed,
            cpu=max(spent, usage.ru_utime + usage.ru_stime),
            wall=time.monotonic() - self.started,
            waited=waited,
            resident_kb=usage.ru_maxrss,
        )


class Watch:
    """Processes under one limit of time; when the first of them ends, all do."""

    def __init__(self, processes: list[Process], seconds: float, threads: int, work: str = "") -> None:
        self.processes = processes
        self.seconds = seconds
        self.threads = threads
        self.work = work
        """The file system of the private folders; its size is limited by itself, the number of its files is here."""
        self.started = processes[0].started

    def verdict(self) -> tuple[str, float]:
        """Return why they have to end now, or an empty text and when to look again."""
        wall = time.monotonic() - self.started
        if wall > OVERLOAD * self.seconds:
            return "overloaded", 0.0
        left = self.seconds - sum(one.cpu() for one in self.processes)
        wall -= sum(one.waited() for one in self.processes)
        left = min(left, self.seconds - wall)
        if left <= 0:
            return "time", 0.0
        if any(len(one.tasks()) > self.threads + 1 for one in self.processes):
            return "threads", 0.0
        if self.work and _files(self.work) > _FILES:
            return "files", 0.0
        return "", max(0.002, min(_TICK, left))

    def until_end(self, parent: int) -> list[Seen]:
        """Wait until the first has ended or has to, and reap all. Ends this process when the parent is gone."""
        poll = select.poll()
        first = self.processes[0].handle
        poll.register(first, select.POLLIN)
        poll.register(parent, 0)
        cause, pause = "", min(_TICK, self.seconds)
        while not cause:
            events = dict(poll.poll(pause * 1000))
            if parent in events:
                for one in self.processes:
                    kill(one.pid)
                sys.exit(0)
            if first in events:
                break
            cause, pause = self.verdict()
        seen = [self.processes[0].reap(cause, killed=bool(cause))]
        patience = 0.0 if cause else _FIRST_SECONDS
        seen += [one.reap(cause, killed=not ended(one, patience)) for one in self.processes[1:]]
        if not cause and sum(one.cpu for one in seen) > self.seconds:
            seen[0].cause = "time"
        return seen


def _files(place: str) -> int:
    found = os.statvfs(place)
    return found.f_files - found.f_ffree


def ended(process: Process, patience: float) -> bool:
    """Whether a process ends by itself within so many seconds."""
    poll = select.poll()
    poll.register(process.handle, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def kill(pid: int) -> None:
    """Kill a process and its group."""
    for victim in (-pid, pid):
        with suppress(OSError):
            os.kill(victim, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Return the processes whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def sweep() -> None:
    """Kill and reap whatever was left to this process, until nothing is."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            for child in children(os.getpid()):
                kill(child)
            time.sleep(0.001)
