"""The calling process's side of a box: starts it, gives it jobs, and takes nothing that it says on trust.

Whatever comes back is bounded in size and time and decoded without building objects; a box that breaks the rules is
killed, and the next job finds a new one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gradatim.checkers.sandbox import Job, Limits, Run, SandboxError
from gradatim.checkers.sandbox.command import command, environment
from gradatim.checkers.sandbox.inside import plain, wire
from gradatim.checkers.sandbox.inside.watch import OVERLOAD
from gradatim.checkers.sandbox.replies import printable, run_of

if TYPE_CHECKING:
    from gradatim.checkers.sandbox.command import Plan

_START_SECONDS = 60.0
_GRACE_SECONDS = 20.0
"""Beyond the absolute limit, which the fork server keeps itself."""


class ForkServer:
    """A `Box`: one process tree, started at the first job and again after each loss."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.layers = plan.layers
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = -1
        self._busy = threading.RLock()

    def run(self, job: Job, limits: Limits) -> Run:
        """Run the job. Raises `SandboxError`."""
        with self._busy:
            return self._run(job, limits)

    def _run(self, job: Job, limits: Limits) -> Run:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        head, blobs = _request(job, limits)
        until = time.monotonic() + OVERLOAD * limits.seconds + _GRACE_SECONDS
        most = 3 * limits.output_kb * 1024 + (1 << 20)
        try:
            self._send(wire.packed(head, *blobs), until)
            reply, parts = wire.receive(self._out, most, until)
            if reply["last"]:
                # A program left more behind than is quickly cleared away.
                self.close()
            return run_of(job, limits, reply, parts)
        except SandboxError:
            raise
        except TimeoutError as error:
            raise self._lost("did not answer in time") from error
        except (EOFError, OSError) as error:
            raise self._lost(f"ended by itself {self._said()}".rstrip()) from error
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise self._lost(f"gave an answer that cannot be read: {error}") from error
        except BaseException:
            # Interrupted between question and answer: the next answer would be another job's.
            self.close()
            raise

    def close(self) -> None:
        """End the box; nothing of it is left. Another thread that waits for a job of it gets a `SandboxError` first."""
        _kill(self._process)
        with self._busy:
            self._clear()

    def _clear(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            process.wait()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1

    @property
    def _out(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _start(self) -> None:
        self._errors = os.memfd_create("errors", os.MFD_CLOEXEC)
        try:
            self._process = _starter().submit(_popen, self._plan, self._errors).result()
            until = time.monotonic() + _START_SECONDS
            reply, _ = wire.receive(self._out, 1 << 16, until)
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
            if "ready" not in reply:
                raise ValueError(reply)  # noqa: TRY301 - handled as the others are, just below
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            said = self._said()
            self.close()
            raise SandboxError("sandbox_start", f"the sandbox does not start {said}".rstrip()) from error
        except BaseException:
            self.close()
            raise

    def _said(self) -> str:
        """Return the last line that the box wrote to stderr, in brackets."""
        with suppress(OSError):
            text = os.pread(self._errors, 1 << 16, 0).decode(errors="replace").strip()
            if text:
                return f"({printable(text.splitlines()[-1])})"
        return ""

    def _lost(self, what: str) -> SandboxError:
        self.close()
        return SandboxError("sandbox_lost", f"the sandbox {what}")

    def _send(self, message: bytes, until: float) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        fd = self._process.stdin.fileno()
        wire.send(fd, message, until)


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """Kill a box; what is below it dies with it. Not one that was waited for: its number may be another's by now."""
    if process is not None and process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


_starters: dict[int, ThreadPoolExecutor] = {}


def _starter() -> ThreadPoolExecutor:
    """Return the thread that starts all boxes of this process.

    The kernel kills a box when the thread that started it ends: so it is none of the caller's, which may end early.
    """
    return _starters.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="boxes"))


def _popen(plan: Plan, errors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command line
        command(plan),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment(plan),
        cwd="/",
        start_new_session=True,
        bufsize=0,
    )


def _request(job: Job, limits: Limits) -> tuple[dict[str, Any], list[bytes]]:
    if not (limits.seconds > 0 and limits.memory_mb > 0 and limits.output_kb > 0):
        raise ValueError("limits are above 0")
    head: dict[str, Any] = {
        "style": job.style,
        "limits": {
            "seconds": limits.seconds,
            "memory_mb": limits.memory_mb,
            "output_kb": limits.output_kb,
            "open_files": limits.open_files,
            "threads": limits.threads,
        },
    }
    blobs = [text.encode("utf-8", "surrogatepass") for text in (job.setup, job.program)]
    if job.style == "call":
        head["function"] = job.function
        blobs.append(plain.written(list(job.arguments), 1 << 28).encode())
    elif job.style == "assert":
        head |= {"entries": list(job.entries), "stop_at_first": job.stop_at_first}
        blobs.append(job.code.encode("utf-8", "surrogatepass"))
    else:
        blobs.append(job.stdin)
    return head, blobs
