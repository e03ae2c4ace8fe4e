"""The calling process's side of a box: starts it, gives it jobs, and takes nothing that it says on trust.

Whatever comes back is bounded in size and time and decoded without building objects; a box that breaks the rules is
killed, and the next job finds a new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gradatim.checkers.sandbox import Ending, Job, Limits, Run, SandboxError
from gradatim.checkers.sandbox.command import command, environment
from gradatim.checkers.sandbox.inside import plain, wire
from gradatim.checkers.sandbox.inside.watch import OVERLOAD

if TYPE_CHECKING:
    from gradatim.checkers.sandbox.command import Plan

_START_SECONDS = 60.0
_GRACE_SECONDS = 20.0
"""Beyond the absolute limit, which the fork server keeps itself."""
_TEXT = 400
_XCPU, _XFSZ = 24, 25
_MEMORY_SIGNALS = (6, 7, 9, 11)
"""How a process ends that got no memory where it could not do without; only beside much memory in use."""


class ForkServer:
    """A `Box`: one process tree, started at the first job and again after each loss."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.layers = plan.layers
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = -1

    def run(self, job: Job, limits: Limits) -> Run:
        """Run the job. Raises `SandboxError`."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        head, blobs = _request(job, limits)
        until = time.monotonic() + OVERLOAD * limits.seconds + _GRACE_SECONDS
        most = 3 * limits.output_kb * 1024 + (1 << 20)
        try:
            self._send(wire.packed(head, *blobs), until)
            reply, parts = wire.receive(self._out, most, until)
            return _run(job, limits, reply, parts)
        except SandboxError:
            raise
        except TimeoutError as error:
            raise self._lost("did not answer in time") from error
        except (EOFError, OSError) as error:
            raise self._lost(f"ended by itself {self._said()}".rstrip()) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._lost(f"gave an answer that cannot be read: {error}") from error
        except BaseException:
            # Interrupted between question and answer: the next answer would be another job's.
            self.close()
            raise

    def close(self) -> None:
        """End the box; nothing of it is left."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            with suppress(OSError):
                os.killpg(process.pid, 9)
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
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                command(self._plan),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment(self._plan),
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
            until = time.monotonic() + _START_SECONDS
            reply, _ = wire.receive(self._out, 1 << 16, until)
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
            if "ready" not in reply:
                raise ValueError(reply)
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
    else:
        blobs.append(job.stdin)
    return head, blobs


def printable(text: str, most: int = _TEXT) -> str:
    """Return a text that is safe to show: shortened, control characters and half characters escaped."""
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text[: most + 1]
    )
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def _run(job: Job, limits: Limits, head: dict[str, Any], parts: list[bytes]) -> Run:
    """Make a record of what the box says. Raises `ValueError` where it makes no sense."""
    if head["oom"] or head["cause"] == "overloaded":
        why = (
            "the kernel ended the program for lack of memory" if head["oom"] else "the program got too little of a core"
        )
        raise SandboxError("overloaded", f"the machine is overloaded: {why}; run fewer programs at a time")
    out, value, said = parts
    status, memory = int(head["status"]), float(head["resident_kb"]) / 1024
    report = _report(said) if status == 1 else {}
    ending, error = _ending(head, report, memory, limits)
    if len(out) > limits.output_kb * 1024:
        ending, error, out = Ending.OUTPUT, "more output than may be", out[: limits.output_kb * 1024]
    found: object = None
    if job.style == "call" and ending is Ending.FINISHED:
        try:
            if not value:
                ending, error = Ending.NO_VALUE, "the process ended before there was a value"
            else:
                found = plain.read(value.decode("ascii"))
        except ValueError:
            ending, error = Ending.EXCEPTION, "the value cannot be read"
    return Run(
        ending=ending,
        stdout=out,
        value=found,
        error=printable(error),
        signal=-status if ending is Ending.SIGNAL else 0,
        seconds=float(head["cpu"]),
        wall=float(head["wall"]),
        memory_mb=memory,
    )


def _report(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said)
        return {"ending": Ending(found["ending"]), "error": str(found["error"])}
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}


_OWN_FAILURES = frozenset(
    (Ending.EXCEPTION, Ending.SYNTAX, Ending.IMPORT, Ending.MEMORY, Ending.OUTPUT, Ending.FUNCTION)
)


def _ending(head: dict[str, Any], report: dict[str, Any], memory: float, limits: Limits) -> tuple[Ending, str]:
    """Return how it ended and what there is to say; what the report says is believed of failures alone."""
    status = int(head["status"])
    if head["cause"] == "time" or status == -_XCPU:
        return Ending.TIME, f"not done after {limits.seconds:g} s"
    if head["cause"] == "threads":
        return Ending.EXCEPTION, "more threads than may be"
    if status == -_XFSZ:
        return Ending.OUTPUT, "more output than may be"
    if status < 0:
        if -status in _MEMORY_SIGNALS and memory > 0.9 * limits.memory_mb:
            return Ending.MEMORY, f"signal {-status} with {memory:.0f} MiB in use"
        return Ending.SIGNAL, f"signal {-status}"
    if status == 0:
        return Ending.FINISHED, ""
    if report and report["ending"] in _OWN_FAILURES:
        return report["ending"], report["error"]
    return Ending.EXCEPTION, f"exit status {status}"
