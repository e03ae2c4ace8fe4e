"""A small process between Gradatim and a server that it runs: when Gradatim is gone, the server and its kin go too.

It is started as a program of its own, in a session of its own, with the standard library and nothing else. A line of
JSON on its standard input says what to run; when that input ends, by an order or because Gradatim died of whatever, it
ends the whole tree: SIGTERM, some seconds, SIGKILL until nothing is left. Engines start children in sessions of their
own, so groups are not enough: on Linux this process is the reaper of all that is orphaned below it, and finds it by
its parents. Elsewhere it remembers what it has seen below itself. It also writes the server's log, and bounds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

LINUX = sys.platform == "linux"
STARTED, ENDED = "# gradatim: started", "# gradatim: ended"
"""What the lines of the log begin with that are ours."""
LOG_LIMIT = 8 << 20
"""Bytes of a log, after which it is kept as `NAME.log.1` and begun anew: a server may print for days."""
MARK = "GRADATIM_SERVER"
"""The environment variable that marks all processes of one server."""

_SUBREAPER, _PDEATHSIG = 36, 1
_AFTERLIFE_SECONDS = 2.0
"""What the children of a server that has ended get to end by themselves, and to print why."""
_KILLING_SECONDS = 20.0
"""How long SIGKILL is sent again: a process that waits for a device dies when that answers."""
_ORPHANED_SECONDS = 3.0
"""The grace where Gradatim is gone: the same command may be started again at once, and wants the memory."""
_LOOK_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 2.0


class Log:
    """The server's log: what it printed, oldest lines given up."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        self._line_ended = True

    def write(self, data: bytes) -> None:
        """Append. A full disk costs the log, not the server."""
        with contextlib.suppress(OSError):
            if self._file.tell() > LOG_LIMIT:
                self._file.close()
                self._path.replace(f"{self._path}.1")
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)
            self._line_ended = data.endswith(b"\n")

    def note(self, text: str) -> None:
        """Append a line of ours, with the time."""
        begin = "" if self._line_ended else "\n"
        self.write(f"{begin}{text} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())


class Seen(NamedTuple):
    """A process as the process table shows it."""

    parent: int
    started: str
    """When; tells it from a later process of the same number."""


def processes() -> dict[int, Seen]:
    """Return all processes that live; one that has ended and waits for its parent does not."""
    found = {}
    if LINUX:
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    # After the name, which is in brackets and may hold anything: state, parent, ..., start time.
                    words = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].decode().split()
                    if words[0] != "Z":
                        found[int(entry.name)] = Seen(int(words[1]), words[19])
        return found
    columns = "pid=,ppid=,stat=,lstart="
    with subprocess.Popen(["ps", "-A", "-o", columns], stdout=subprocess.PIPE, text=True) as listed:  # noqa: S603, S607 - the system's
        assert listed.stdout is not None
        for line in listed.stdout:
            pid, parent, state, started = line.split(None, 3)
            if not state.startswith("Z"):
                found[int(pid)] = Seen(int(parent), started.strip())
    found.pop(listed.pid, None)
    return found


def below(root: int, known: dict[int, Seen]) -> set[int]:
    """Return the processes that descend from `root`."""
    children: dict[int, list[int]] = {}
    for pid, one in known.items():
        children.setdefault(one.parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def boot() -> str:
    """Return what names this boot of the machine; numbers of processes and pipes begin anew with each. Linux only."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() if LINUX else ""


def kill(pids: set[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    """Ask the kernel for what other systems do not have; without it, the rest still holds."""
    if LINUX:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Supervisor:
    """One life of one server."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._log = Log(order["log"])
        self._record = Path(f"{order['log']}.{os.getpid()}.run")
        self._main = 0
        self._status: int | None = None
        self._ended_at = 0.0
        self._seen: dict[int, str] = {}
        self._looked_at = 0.0
        self._told = False
        self._output = -1
        self._wakened = -1

    def run(self) -> dict[str, Any]:
        """Run the server until it ends or is to end; return how it ended once nothing of it is left."""
        self._handle_signals()
        try:
            self._start()
        except OSError as error:
            self._log.note(f"{ENDED}: {error}")
            return {"error": str(error)}
        while self._status is None and not self._told:
            self._turn(_LOOK_SECONDS)
            self._told = self._told or os.getppid() != self._order["parent"]
        asked = self._status is None
        left = self._end()
        if not left:
            self._record.unlink(missing_ok=True)
        self._log.note(f"{ENDED}: {'as asked' if asked else self._status}")
        return {"status": self._status, "asked": asked, "left": sorted(left)}

    def _handle_signals(self) -> None:
        """Leave Ctrl-C to Gradatim, take SIGTERM as an order to end, and wake up when a child ends."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._wakened = reading
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._tell)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _tell(self, *_: object) -> None:
        self._told = True

    def _start(self) -> None:
        _prctl(_SUBREAPER, 1)
        self._log.note(f"{STARTED}: {' '.join(self._order['command'])}")
        self._output, writing = os.pipe()
        os.set_blocking(self._output, False)
        try:
            child = subprocess.Popen(  # noqa: S603 - what the user's settings name, no shell
                self._order["command"],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                # Should this process be killed, its server goes at once: nobody else would see to it.
                preexec_fn=lambda: _prctl(_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - there is one thread here
            )
        finally:
            os.close(writing)
        self._main = child.pid
        child.returncode = 0  # it is reaped below, with all others
        me = processes().get(os.getpid())
        record = {
            "guard": os.getpid(),
            "guard_started": me.started if me else "",
            "boot": boot(),
            "pipe": os.fstat(self._output).st_ino,
            "mark": os.environ.get(MARK, ""),
        }
        with contextlib.suppress(OSError):
            # Under its name it is complete: another run may be looking for what is left.
            new = self._record.with_suffix(".new")
            new.write_text(json.dumps(record), encoding="ascii")
            new.replace(self._record)

    def _turn(self, seconds: float) -> None:
        """Wait so long at most for output, an order or an end, and see to it."""
        inputs = [self._wakened, *([] if self._told else [0]), *([] if self._output < 0 else [self._output])]
        ready, _, _ = select.select(inputs, (), (), seconds)
        if 0 in ready and not os.read(0, 1 << 16):
            self._told = True
        if self._output in ready:
            self._copy()
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakened, 1 << 16)
        self._reap()
        if not LINUX and time.monotonic() > self._looked_at + _LOOK_AGAIN_SECONDS:
            self._look()

    def _copy(self) -> None:
        """Copy what was printed to the log."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(16):
                data = os.read(self._output, 1 << 16)
                if not data:
                    os.close(self._output)
                    self._output = -1
                    return
                self._log.write(data)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._main:
                    self._status = os.waitstatus_to_exitcode(found[1])
                    self._ended_at = time.monotonic()

    def _look(self) -> set[int]:
        """Return what is left of the tree."""
        self._looked_at = time.monotonic()
        known = processes()
        found = below(os.getpid(), known)
        if LINUX:
            return found
        for root in [pid for pid, started in self._seen.items() if pid in known and known[pid].started == started]:
            found |= {root} | below(root, known)
        self._seen |= {pid: known[pid].started for pid in found}
        return found

    def _end(self) -> set[int]:
        """End the tree. Returns what SIGKILL could not end."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._main, signal.SIGTERM)
        began = time.monotonic()
        until = began + self._order["grace"]
        while (left := self._look()) and time.monotonic() < until:
            self._turn(0.05)
            if self._status is not None:
                until = min(until, self._ended_at + _AFTERLIFE_SECONDS)
            if os.getppid() != self._order["parent"]:
                until = min(until, began + _ORPHANED_SECONDS)
        until = time.monotonic() + _KILLING_SECONDS
        while left and time.monotonic() < until:
            kill(left)
            self._turn(0.02)
            left = self._look()
        self._reap()
        if self._output >= 0:
            self._copy()
        return left


def main() -> None:
    """Read the order, carry it out, and say how it ended on standard output."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1 << 16)
        if not data:
            return
        line += data
    ended = Supervisor(json.loads(line)).run()
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(ended).encode())


if __name__ == "__main__":
    main()
