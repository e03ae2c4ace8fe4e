"""The process of one program: becomes harmless, runs the program, says how it went.

`Child.enter` gives up everything that the program may not have; nothing of the program is looked at before. What the
program's process says about itself is believed as far as it says how it failed: it could have failed in any way by
itself. What it is to give is never here.
"""

from __future__ import annotations

import atexit
import builtins
import itertools
import os
import resource
import sys
import threading
import types
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from gradatim.checkers.sandbox.inside import kernel, plain

if TYPE_CHECKING:
    import mmap

    from gradatim.checkers.sandbox.inside.syscalls import Filter

globals()["__builtins__"] = dict(vars(builtins))

NOBODY = 65534
ENTERED = b"e"
_BUFFER = 8192
_LAST = "__prelude__"
"""The last of the names that a namespace begins with."""
_ALL_BOXES = 4096
"""Processes and threads of all boxes together, where they share a user and cannot be counted apart."""
_OTHERS = 4
"""Processes of a box besides the program's: bubblewrap's two, the fork server, in style `assert` the other one."""
_STACK = 64 << 20
_TEXT = 1000
FAILED = 1
"""The exit status that comes with a report."""


class Missing(Exception):  # noqa: N818 - it says what there is not
    """The program does not define the function."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is the same for every program of a fork server."""

    names: dict[str, Any]
    """The prelude."""
    modules: dict[str, types.ModuleType]
    limits: dict[int, int]
    """The hard limits of resources as they are."""
    rules: tuple[int, ...]
    """Landlock descriptors, one per place; empty without Landlock."""
    filter: Filter | None
    uid: int
    """To become; -1: stay."""
    keep_reading: bool
    own_bytes: int
    """The interpreter's address space."""
    report: mmap.mmap
    processes: bool
    """Whether the number of processes can be limited for this program alone."""
    namespaces: bool
    """Whether each program gets its own."""
    folders: tuple[str, ...]
    """The private folder of each place."""
    marks: int
    """An unnamed file: `ENTERED` at its place says that a program's process got as far as the program."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the program may use; see `sandbox.Limits`."""

    seconds: float
    memory_mb: int
    output_kb: int
    open_files: int
    threads: int


def enter(ground: Ground, bounds: Bounds, place: int, descriptors: tuple[int, ...], folder: str) -> None:
    """Become the process that may run a program; `descriptors` become 0, 1, 2 and so on, all others are closed."""
    os.setsid()
    count = len(descriptors)
    # First out of the way, then into place: they may overlap.
    high = [os.dup(one) for one in descriptors]
    rules = os.dup(ground.rules[place]) if ground.rules else -1
    marks = os.dup(ground.marks)
    for target, one in enumerate(high):
        os.dup2(one, target, inheritable=True)
    os.dup2(marks, count)
    marks, count = count, count + 1
    if rules >= 0:
        os.dup2(rules, count)
        rules, count = count, count + 1
    os.closerange(count, 1 << 20)
    os.chdir(folder)
    os.umask(0o077)
    _limit(bounds, ground)
    if ground.uid >= 0 and not ground.namespaces:
        kernel.become(ground.uid, keep_reading=ground.keep_reading)
    kernel.no_new_privileges()
    kernel.not_dumpable()
    # Not before: a change of user takes it back.
    kernel.die_with_parent()
    if rules >= 0:
        kernel.confine(rules)
        os.close(rules)
    if ground.filter is not None:
        kernel.filter_calls(ground.filter.of(os.getpid()))
    # The last of ours: what fails before this is our fault, what fails after it is the program's.
    os.pwrite(marks, ENTERED, place)
    os.close(marks)


def _limit(bounds: Bounds, ground: Ground) -> None:
    own = ground.limits
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(bounds.seconds) + 2),
        (resource.RLIMIT_FSIZE, bounds.output_kb * 1024 + 1),
        (resource.RLIMIT_NOFILE, bounds.open_files),
        (resource.RLIMIT_STACK, _STACK),
        (resource.RLIMIT_AS, ground.own_bytes + (bounds.memory_mb << 20)),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NPROC, bounds.threads + _OTHERS if ground.processes else _ALL_BOXES),
    ):
        least = min(value, own[which])
        resource.setrlimit(which, (least, least))


def hard_limits() -> dict[int, int]:
    """Return the limits that this process cannot pass."""
    which = [value for name, value in vars(resource).items() if name.startswith("RLIMIT_")]
    found = {one: resource.getrlimit(one)[1] for one in which}
    return {one: sys.maxsize if value == resource.RLIM_INFINITY else value for one, value in found.items()}


def tell(ground: Ground, ending: str, error: str) -> None:
    """Write into the report how the program ended."""
    shown = error if len(error) <= _TEXT else error[:_TEXT] + "..."
    data = f'{{"ending":"{ending}","error":{quoted(shown)}}}'.encode()
    ground.report[: len(data) + 1] = data + b"\0"


def described(error: BaseException) -> str:
    """Return the last line of a traceback, and the program's line."""
    name = type.__dict__["__name__"].__get__(type(error))
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the program's own class may do anything
        text = ""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == PROGRAM:
            line = trace.tb_lineno
        trace = trace.tb_next
    place = f" (line {line})" if line else ""
    return f"{name}: {text}{place}" if text else f"{name}{place}"


def failure(error: BaseException) -> tuple[str, str]:
    """Return which ending an exception of the program is, and its text."""
    if isinstance(error, MemoryError):
        return "memory", described(error)
    if isinstance(error, ModuleNotFoundError):
        return "import", described(error)
    return "exception", described(error)


PROGRAM = "program.py"


def compiled(text: str, name: str) -> types.CodeType:
    """Compile a text. Raises `SyntaxError` for whatever the compiler cannot take."""
    try:
        return compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f" (line {error.lineno})" if error.lineno else ""
        raise SyntaxError(f"{error.msg}{place}") from None
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise SyntaxError(str(error) or "too large or nested too deeply for the compiler") from None


def standard_streams() -> None:
    """Make `sys.stdin` and the others for what descriptors 0 to 2 will be: unnamed files, and nothing."""
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w", "backslashreplace")
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)


def _stream(fd: int, mode: str, errors: str = "strict") -> Any:
    return open(fd, mode, _BUFFER, "utf-8", errors, closefd=False)


def modules(names: dict[str, Any]) -> dict[str, types.ModuleType]:
    """Return the modules that programs and test code become, with the prelude in them.

    Made once: filling them in each process would touch, and so copy, the memory of all that they name.
    """
    found = {name: types.ModuleType(name) for name in ("__main__", "program", "tests")}
    streams = {"stdin": sys.stdin, "stdout": sys.stdout, "stderr": sys.stderr}
    for module in found.values():
        vars(module).update({**names, "__builtins__": builtins, _LAST: None})
        vars(module).update(streams)
    return found


def fresh(ground: Ground, name: str) -> dict[str, Any]:
    """Return the namespace of the module of this name, with the prelude in it."""
    module = ground.modules[name]
    sys.modules["__main__"] = sys.modules[name] = module
    return module.__dict__


def load(ground: Ground, texts: tuple[str, str], name: str) -> dict[str, Any]:
    """Run setup and program; return their names. Raises whatever they raise, `SyntaxError` before they run."""
    try:
        code = [compiled(texts[0], "setup.py")] if texts[0] else []
        code.append(compiled(texts[1], PROGRAM))
    except SyntaxError as error:
        tell(ground, "syntax", f"SyntaxError: {error.msg}")
        os._exit(FAILED)
    space = fresh(ground, name)
    for one in code:
        exec(one, space)  # noqa: S102 - this is what the whole sandbox is for
    return space


def run_stdio(ground: Ground, setup: str, program: str) -> int:
    """Run a program that reads stdin and writes stdout; return its exit status."""
    status, space = 0, None
    try:
        space = load(ground, (setup, program), "__main__")
    except SystemExit as error:
        status = _exit_status(ground, error)
    except BaseException as error:  # noqa: BLE001 - the boundary to the program
        tell(ground, *failure(error))
        status = FAILED
    return _ended(status, space)


def _exit_status(ground: Ground, error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        if code & 0xFF:
            tell(ground, "exception", f"SystemExit: {code}")
        return code & 0xFF
    tell(ground, "exception", f"SystemExit: {code}")
    return FAILED


def _ended(status: int, space: dict[str, Any] | None) -> int:
    """Do what the interpreter does at its end: wait for threads, run exit functions, flush."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - no other name
        atexit._run_exitfuncs()  # noqa: SLF001 - there is no other name for it
    except BaseException:  # noqa: BLE001 - the interpreter prints and goes on
        status = status or FAILED
    try:
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - closed or full: the interpreter ends with status 120
        status = status or (0 if sys.stdout is None or getattr(sys.stdout, "closed", False) else 120)
    if space is not None:
        # A file that the program opened on descriptor 1 is flushed when it goes. What was there before stays.
        for name in list(itertools.takewhile(lambda one: one != _LAST, reversed(space))):
            del space[name]
    return status


def run_call(ground: Ground, texts: tuple[str, str], function: str, arguments: str, limit: int) -> int:
    """Define the program, call its function, write the value to descriptor 3; return the exit status."""
    write = os.write
    try:
        space = load(ground, texts, "program")
        found = entry(ground, space, function)
        values: Any = plain.read(arguments)
        value = found(*values)
        text = plain.written(value, limit)
    except plain.NotPlain as error:
        tell(ground, "exception", f"returned {error}, which is no plain data")
        return FAILED
    except Missing as error:
        tell(ground, "function", str(error))
        return FAILED
    except plain.TooLarge:
        tell(ground, "output", "the value is larger than the limit of output")
        return FAILED
    except BaseException as error:  # noqa: BLE001 - the boundary to the program
        tell(ground, *failure(error))
        return FAILED
    data = memoryview(text.encode())
    while data:
        data = data[write(3, data) :]
    return 0


def entry(ground: Ground, space: dict[str, Any], function: str) -> Any:
    """Return the program's function of this name, at the top or in its class `Solution`."""
    found = space.get(function)
    if found is not None and found is not ground.names.get(function):
        return found
    solution = space.get("Solution")
    if solution is not None and hasattr(solution, function):
        return getattr(solution(), function)
    raise Missing(f"the program defines no function {function!r}")
