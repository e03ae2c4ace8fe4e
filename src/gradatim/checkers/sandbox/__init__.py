"""Runs programs that nobody trusts, one at a time, and says what they did.

A `Box` is one sandboxed fork server. It is given a `Job` (a program, and one input for it) and gives back a `Run`: what
came out, how it ended, and what it used. What is wanted of the program is never part of a job of style `stdio` or
`call`, so it cannot be found by one; in style `assert` it is in another process than the program's.

Covered, in the tiers `default` and `strict`: the caller's environment; files other than the interpreter's; the network
and sockets of every kind; other processes, the judge and the fork server among them; processes left behind; memory,
threads, disk, output and time; state from one program to the next, in files or in memory; early exits and forged
results. Not covered: bugs of the kernel; what the processor gives away; without bubblewrap, which files, processes and
machine these are (names, sizes, owners: nothing of their contents); test code that hands what is wanted to an object of
the program's and believes its answer. The tier `limits` holds back accidents alone. What an honest program misses:
other processes (`multiprocessing`), sockets (and so `asyncio`), packages that are not of the standard library, and
changing the mode or times of a file. The why: docs/design/0015-sandbox.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

Style = Literal["stdio", "call", "assert"]


class Tier(StrEnum):
    """How much stands between a program and the machine."""

    DEFAULT = "default"
    STRICT = "strict"
    LIMITS = "limits"


class Ending(StrEnum):
    """How a program ended."""

    FINISHED = "finished"
    """By itself, exit status 0; of `call` with a value that is plain data; of `assert` with all its test code run."""
    EXCEPTION = "exception"
    """An exception, an exit status other than 0, or a value that is no plain data."""
    FUNCTION = "function"
    """`call` and `assert`: the program does not define the function."""
    NO_VALUE = "no_value"
    """`call` and `assert`: the process ended before there was a result."""
    SYNTAX = "syntax"
    """It does not compile."""
    IMPORT = "import"
    """It imports a module that is not there."""
    SUITE = "suite"
    """`assert`: the test code, or the code before it, cannot be used; nothing is known of the program."""
    SIGNAL = "signal"
    """Killed by a signal that it brought on itself: `signal` says which."""
    TIME = "time"
    MEMORY = "memory"
    OUTPUT = "output"
    """It wrote more than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use."""

    seconds: float = 6.0
    """Of CPU, and of the clock without the time in which the machine let the process wait for a core."""
    memory_mb: int = 1024
    """Address space beyond the interpreter's own, in MiB."""
    output_kb: int = 16384
    """Of stdout, of a result, and of each file, in KiB."""
    open_files: int = 64
    threads: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One program with one input."""

    style: Style
    program: str
    setup: str = ""
    """Run before the program in its process, and before test code in that one's."""
    stdin: bytes = b""
    """`stdio` only."""
    function: str = ""
    """`call`: the function's name, at the top or in a class `Solution`."""
    arguments: tuple[object, ...] = ()
    """`call`: plain data."""
    code: str = ""
    """`assert`: the test code, which runs in a process of its own."""
    entries: tuple[str, ...] = ()
    """`assert`: the names that reach over to the program's process."""
    stop_at_first: bool = False
    """`assert`: end at the first assertion that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What became of one assert statement of test code; in a loop, of all its turns."""

    line: int
    text: str
    """Its source, shortened."""
    passed: bool
    message: str = ""
    """The exception, or both sides of a comparison, shortened; empty where it passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a program did with one input."""

    ending: Ending
    stdout: bytes = b""
    """Cut at the limit."""
    value: object = None
    """`call`: plain data (None, bool, int, float, str, list, tuple, dict, set, frozenset, bytes, complex)."""
    assertions: tuple[Assertion, ...] = ()
    """`assert`: those of the test code in the order they stand, without constant ones; those not reached failed."""
    error: str = ""
    """The last line of the traceback, or what else there is to say; shortened, printable."""
    signal: int = 0
    seconds: float = 0.0
    """CPU time."""
    wall: float = 0.0
    waited: float = 0.0
    """Of the clock's seconds, those in which it was ready and the machine had no core for it."""
    memory_mb: float = 0.0
    """The most memory that it had resident."""


class SandboxError(Exception):
    """A fault of ours: the box could not run the job, and nothing is known of the program."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        """A word that a histogram can count: `sandbox_start`, `sandbox_lost`, `overloaded`."""
        self.message = message


class Box(Protocol):
    """One sandboxed fork server. Not for several threads at once; several boxes may run side by side."""

    layers: tuple[str, ...]
    """What stands between: of `bubblewrap`, `namespaces`, `landlock`, `seccomp`, `uid`, `rlimits`."""

    def run(self, job: Job, limits: Limits) -> Run:
        """Run the job. Raises `SandboxError`; the box starts itself anew for the next job."""
        ...

    def close(self) -> None:
        """End it; nothing of it is left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """Whether this machine can give a tier."""

    tier: Tier
    available: bool
    layers: tuple[str, ...]
    why: str = ""
    """One sentence: what is missing, and what to do about it; empty where nothing is."""


def open_box(tier: Tier) -> Box:
    """Return a box of this tier, which has shown that it holds.

    Raises `SetupError` where the machine cannot give it, with the next step to take.
    """
    from gradatim.checkers.sandbox.tiers import opened  # noqa: PLC0415 - the parts know the contract, not the reverse

    return opened(tier)


def probe() -> tuple[TierReport, ...]:
    """Try every tier on this machine; takes about a second."""
    from gradatim.checkers.sandbox.tiers import reports  # noqa: PLC0415 - as above

    return reports()
