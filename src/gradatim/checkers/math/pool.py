"""The calling process's side of the symbolic workers: starts them, gives them work, outlives their deaths.

Single-threaded: everything happens inside `submit` and `pump`, by `select` on the workers' pipes. Only text crosses.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_START_SECONDS = 60.0
_GRACE_SECONDS = 0.5
"""After the deadline: the kernel's timer has had its chance, and the whole worker goes."""
_TRIES = 2


@dataclass(slots=True, eq=False)
class Job:
    """One pair on its way. `done` says that `found` and `reason` hold the outcome."""

    reference: str
    answer: str
    textual: bool = True
    """Whether the same text is the same answer: see `compare.How`."""
    done: bool = False
    found: str = ""
    """`yes`, `no`, `unknown`, `unparsable`, `limit` (of ours: time, memory, depth), or `fault`."""
    reason: str = ""
    message: str = ""
    tries: int = 0


@dataclass(slots=True, eq=False)
class _Slot:
    """One worker process and what it is doing."""

    process: subprocess.Popen[bytes]
    started: float
    ready: bool = False
    child: int = 0
    job: Job | None = None
    key: int = 0
    sent: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)
    outbox: memoryview = field(default_factory=lambda: memoryview(b""))


def _fail(job: Job, reason: str, message: str) -> None:
    job.found, job.reason, job.message, job.done = "fault", reason, message, True


class Pool:
    """Up to `workers` processes, started when work first waits for them. Not for several threads at once."""

    def __init__(self, *, workers: int, deadline: float, memory_mb: int) -> None:
        self._workers = workers
        self._deadline = deadline
        self._memory_mb = memory_mb
        self._waiting: deque[Job] = deque()
        self._slots: list[_Slot] = []
        self._selector: selectors.BaseSelector | None = None
        self._keys = 0
        self._failed_starts = 0

    @property
    def waiting(self) -> int:
        """How many jobs no worker has taken yet."""
        return len(self._waiting)

    def submit(self, reference: str, answer: str, *, textual: bool = True) -> Job:
        """Queue a pair; `pump` moves it on."""
        job = Job(reference=reference, answer=answer, textual=textual)
        self._waiting.append(job)
        return job

    def cancel(self, job: Job) -> None:
        """Forget a job that no worker has begun."""
        with suppress(ValueError):
            self._waiting.remove(job)
            _fail(job, "cancelled", "the caller stopped reading")

    def pids(self) -> list[int]:
        """Return the process ids of the children that answer now."""
        return [slot.child for slot in self._slots if slot.child]

    def pump(self, timeout: float) -> None:
        """Give waiting jobs to idle workers and take in replies; wait at most `timeout` seconds for one."""
        self._feed()
        if not self._slots:
            return
        assert self._selector is not None
        for key, _ in self._selector.select(min(timeout, self._patience())):
            slot: _Slot = key.data
            if slot in self._slots:
                self._take_in(slot)
        self._enforce()
        self._feed()

    def close(self) -> None:
        """End all worker processes, and wait until they are gone."""
        for slot in list(self._slots):
            with suppress(OSError):
                assert slot.process.stdin is not None
                slot.process.stdin.close()
        for slot in list(self._slots):
            if slot.job is None:
                with suppress(subprocess.TimeoutExpired):
                    slot.process.wait(_GRACE_SECONDS)
            self._drop(slot)
            if slot.job is not None:
                _fail(slot.job, "closed", "the checker was closed")
        for job in self._waiting:
            _fail(job, "closed", "the checker was closed")
        self._waiting.clear()
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def _feed(self) -> None:
        while self._waiting and len(self._slots) < self._workers and all(slot.job for slot in self._slots):
            # A second worker is started when the first is busy and something still waits, not before.
            try:
                self._start()
            except OSError:
                # No more processes or descriptors now; the next pump tries again, three times.
                self._failed_start()
                break
            if not all(slot.ready for slot in self._slots):
                break
        for slot in self._slots:
            if slot.ready and slot.job is None and self._waiting:
                self._send(slot, self._waiting.popleft())
            elif len(slot.outbox):
                self._flush(slot)

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            # -P: what lies in the current folder (a `math.py`, say) is not imported.
            [sys.executable, "-P", "-m", "gradatim.checkers.math.worker", str(self._deadline), str(self._memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # No keys of the user's, and sympy's own integers: gmpy2 cannot be interrupted.
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", "")))),
                "SYMPY_GROUND_TYPES": "python",
                "PYTHONHASHSEED": "0",
                "LC_ALL": "C.UTF-8",
            },
        )
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        slot = _Slot(process=process, started=time.monotonic())
        self._slots.append(slot)
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ, slot)

    def _send(self, slot: _Slot, job: Job) -> None:
        self._keys += 1
        job.tries += 1
        record = {"id": self._keys, "reference": job.reference, "answer": job.answer, "textual": job.textual}
        slot.job, slot.key, slot.sent = job, self._keys, time.monotonic()
        slot.outbox = memoryview(f"\n{json.dumps(record)}\n".encode())
        self._flush(slot)

    def _flush(self, slot: _Slot) -> None:
        assert slot.process.stdin is not None
        with suppress(BlockingIOError, BrokenPipeError):
            while len(slot.outbox):
                slot.outbox = slot.outbox[os.write(slot.process.stdin.fileno(), slot.outbox) :]

    def _take_in(self, slot: _Slot) -> None:
        assert slot.process.stdout is not None
        try:
            block = os.read(slot.process.stdout.fileno(), 65536)
        except BlockingIOError:
            return
        if not block:
            self._lost(slot)
            return
        slot.buffer += block
        while b"\n" in slot.buffer:
            line, _, rest = bytes(slot.buffer).partition(b"\n")
            slot.buffer = bytearray(rest)
            self._message(slot, json.loads(line))

    def _message(self, slot: _Slot, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._failed_starts = 0
            slot.ready, slot.child = True, message["ready"]
            if slot.job is not None:
                # The child before died over this job: at its deadline, or killed by someone.
                self._give_up(slot, timed_out=message["lost"] == signal.SIGALRM)
            return
        if slot.job is None or message["id"] != slot.key:
            return
        job, slot.job = slot.job, None
        job.found, job.reason, job.message = message["found"], message["reason"], message.get("message", "")
        job.done = True
        slot.ready = not message["last"]
        slot.started = time.monotonic()

    def _give_up(self, slot: _Slot, *, timed_out: bool) -> None:
        """Free a slot of the job that its child died over: undecided at the deadline, else tried once more."""
        job, slot.job, slot.outbox = slot.job, None, memoryview(b"")
        if job is None:
            return
        if timed_out:
            job.found, job.reason, job.done = "limit", "timeout", True
        elif job.tries < _TRIES:
            self._waiting.appendleft(job)
        else:
            size = f"{len(job.reference)} and {len(job.answer)} characters"
            _fail(job, "worker_crash", f"two workers died over one pair of {size}")

    def _lost(self, slot: _Slot) -> None:
        """A whole worker is gone: its job is tried again elsewhere; several failed starts end the waiting jobs."""
        self._drop(slot)
        self._give_up(slot, timed_out=False)
        if not slot.child:
            self._failed_start()

    def _failed_start(self) -> None:
        self._failed_starts += 1
        if self._failed_starts >= 3:
            command = f"{sys.executable} -m gradatim.checkers.math.worker {self._deadline} {self._memory_mb}"
            for job in self._waiting:
                _fail(job, "worker_start", f"the process for symbolic work does not start; see what `{command}` says")
            self._waiting.clear()
            self._failed_starts = 0

    def _enforce(self) -> None:
        now = time.monotonic()
        for slot in list(self._slots):
            if slot.job is not None and now > slot.sent + self._deadline + _GRACE_SECONDS:
                self._drop(slot)
                self._give_up(slot, timed_out=True)
            elif not slot.ready and slot.job is None and now > slot.started + _START_SECONDS:
                self._lost(slot)

    def _patience(self) -> float:
        now = time.monotonic()
        ends = [
            slot.sent + self._deadline + _GRACE_SECONDS + 0.01 - now for slot in self._slots if slot.job is not None
        ]
        return max(0.0, min(ends, default=1.0))

    def _drop(self, slot: _Slot) -> None:
        """Kill a worker with its children, and forget it."""
        self._slots.remove(slot)
        if self._selector is not None and slot.process.stdout is not None:
            self._selector.unregister(slot.process.stdout)
        with suppress(ProcessLookupError, PermissionError):
            # The group holds the child too; it exists as long as any of them does.
            os.killpg(slot.process.pid, signal.SIGKILL)
        slot.process.wait()
        for pipe in (slot.process.stdin, slot.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
