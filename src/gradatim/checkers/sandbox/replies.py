"""Makes a `Run` of what a box says. Nothing in it is taken on trust: a reply that makes no sense is a `ValueError`.

What the program's own process reports is believed only where it says how the program failed.
"""

from __future__ import annotations

import json
from typing import Any

from gradatim.checkers.sandbox import Assertion, Ending, Job, Limits, Run, SandboxError
from gradatim.checkers.sandbox.inside import plain

_TEXT = 400
_XCPU, _XFSZ = 24, 25
_MEMORY_SIGNALS = (6, 7, 9, 11)
"""How a process ends that got no memory where it could not do without; only beside much memory in use."""
_OWN_FAILURES = frozenset(
    (Ending.EXCEPTION, Ending.SYNTAX, Ending.IMPORT, Ending.MEMORY, Ending.OUTPUT, Ending.FUNCTION)
)


def printable(text: str, most: int = _TEXT) -> str:
    """Return a text that is safe to show: shortened, control characters and half characters escaped."""
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text[: most + 1]
    )
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def run_of(job: Job, limits: Limits, head: dict[str, Any], parts: list[bytes]) -> Run:
    """Return what a program did. Raises `SandboxError` where that is not known."""
    out, value, said = parts
    if not head["entered"]:
        raise SandboxError("sandbox_start", "a process of the sandbox ended before the program was begun")
    memory = float(head["resident_kb"]) / 1024
    found: object = None
    assertions: tuple[Assertion, ...] = ()
    if job.style == "assert":
        ending, error, assertions = _tests(head, value, said, memory, limits)
    else:
        ending, error = _ending(int(head["status"]), head["cause"], said, memory, limits)
    if head["oom"] or head["cause"] == "overloaded":
        why = "the kernel ended a program for lack of memory" if head["oom"] else "a program got too little of a core"
        raise SandboxError("overloaded", f"the machine is overloaded: {why}; run fewer programs at a time")
    most = limits.output_kb * 1024
    if max(len(out), len(value)) > most:
        ending, error, out = Ending.OUTPUT, "more output than may be", out[:most]
    if job.style == "call" and ending is Ending.FINISHED:
        ending, error, found = _value(value)
    return Run(
        ending=ending,
        stdout=out,
        value=found,
        assertions=assertions,
        error=printable(error),
        signal=_signal(error) if ending is Ending.SIGNAL else 0,
        seconds=float(head["cpu"]),
        wall=float(head["wall"]),
        waited=float(head["waited"]),
        memory_mb=memory,
    )


def _signal(error: str) -> int:
    return int(error.split()[1])


def _value(text: bytes) -> tuple[Ending, str, object]:
    if not text:
        return Ending.NO_VALUE, "the process ended before there was a value", None
    try:
        return Ending.FINISHED, "", plain.read(text.decode("ascii"))
    except ValueError:
        return Ending.EXCEPTION, "the value cannot be read", None


def _report(said: bytes) -> tuple[Ending, str] | None:
    try:
        found = json.loads(said)
        ending, error = Ending(found["ending"]), str(found["error"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return (ending, error) if ending in _OWN_FAILURES else None


def _ending(status: int, cause: str, said: bytes, memory: float, limits: Limits) -> tuple[Ending, str]:
    """Return how a process ended, and what there is to say."""
    if cause == "time" or status == -_XCPU:
        return Ending.TIME, f"not done after {limits.seconds:g} s"
    if cause in ("threads", "files"):
        return Ending.EXCEPTION, f"more {cause} than may be"
    if status < 0:
        return _killed(-status, memory, limits)
    if status == 0:
        return Ending.FINISHED, ""
    return _report(said) or (Ending.EXCEPTION, f"exit status {status}")


def _killed(number: int, memory: float, limits: Limits) -> tuple[Ending, str]:
    if number == _XFSZ:
        return Ending.OUTPUT, "more output than may be"
    if number in _MEMORY_SIGNALS and memory > 0.9 * limits.memory_mb:
        return Ending.MEMORY, f"signal {number} with {memory:.0f} MiB in use"
    return Ending.SIGNAL, f"signal {number}"


class _Record:
    """What the tests' process wrote down, line by line; the last line may be cut."""

    def __init__(self, data: bytes) -> None:
        self.statements: list[tuple[int, str]] = []
        self.states: dict[int, tuple[bool, str]] = {}
        self.begun: int | None = None
        self.end, self.error = "", ""
        for line in data.split(b"\n")[:-1]:
            try:
                self._take_in(json.loads(line))
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise ValueError(f"no record of assertions: {error}") from error

    def _take_in(self, record: dict[str, Any]) -> None:
        if "statements" in record:
            self.statements = [(int(line), str(text)) for line, text in record["statements"]]
        elif "begin" in record:
            self.begun = int(record["begin"])
        elif "passed" in record:
            self.states.setdefault(int(record["passed"]), (True, ""))
        elif "failed" in record:
            self.states[int(record["failed"])] = (False, str(record["message"]))
        else:
            self.end, self.error = str(record["end"]), str(record["error"])

    def assertions(self) -> tuple[Assertion, ...]:
        """Return what became of each; after a normal end, those never reached are left out."""
        found = []
        for number, (line, text) in enumerate(self.statements):
            if number not in self.states and self.end == "finished":
                continue
            passed, message = self.states.get(number, (False, "not reached"))
            found.append(Assertion(line=line, text=printable(text), passed=passed, message=printable(message)))
        return tuple(found)


def _tests(
    head: dict[str, Any], value: bytes, said: bytes, memory: float, limits: Limits
) -> tuple[Ending, str, tuple[Assertion, ...]]:
    """Return how test code and program ended together."""
    record = _Record(value)
    if record.end == "suite":
        return Ending.SUITE, record.error, ()
    status, cause = int(head["status"]), head["cause"]
    assertions = record.assertions()
    if cause or status < 0:
        ending, error = _ending(status, cause, b"", memory, limits)
        return ending, error, assertions
    if record.end == "gone":
        of_program = -9 if head["killed"] else int(head["program"])
        ending, error = _ending(of_program, "", said, memory, limits)
        if ending is Ending.FINISHED or head["killed"]:
            ending, error = Ending.NO_VALUE, "the program's process ended before its tests did"
        return ending, error, assertions
    if record.end == "finished" and assertions:
        return Ending.FINISHED, "", assertions
    if record.end == "stopped":
        return Ending.FINISHED, "", assertions
    return Ending.EXCEPTION, record.error or "no assertion was reached", assertions
