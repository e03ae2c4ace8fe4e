"""Style `assert`, the tests' side: the process that holds the test code and what is wanted.

It is confined as a program is. The names that the program is to define are proxies here, which call over; what comes
back is plain data, or a handle. The record of the assertions goes to a descriptor that the program's process never had.
"""

from __future__ import annotations

import builtins
import json
import reprlib
import sys
from typing import Any

from gradatim.checkers.sandbox.inside import plain, wire
from gradatim.checkers.sandbox.inside.asserts import RECORDER, Statement, rewritten
from gradatim.checkers.sandbox.inside.program import Ground, described, fresh

REQUESTS, REPLIES, RECORD = 3, 4, 5
GONE = 3
"""The exit status that says that the program's process ended first."""
_SIDE = 180
_EXCEPTIONS = {
    name: value for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)
}
# As in a generator: in `all(map(check, cases))` it would end the cases, and with them pass the test.
_EXCEPTIONS |= {"StopIteration": RuntimeError, "StopAsyncIteration": RuntimeError}


class ProgramError(Exception):
    """The program raised what is no ordinary exception (`SystemExit`, say)."""


class Gone(BaseException):
    """The program's process has ended. Not for test code to catch."""


class Stop(BaseException):
    """An assertion failed, and the first failure is to be the last."""


class Recorder:
    """Writes down what becomes of each assertion, at once: this process may be killed at any time."""

    def __init__(self, statements: list[Statement], *, stop: bool) -> None:
        self.stop = stop
        self.state: list[bool | None] = [None] * len(statements)
        self.sides: list[str] = []
        self.current = -1
        self._line({"statements": [[one.line, one.text] for one in statements]})

    def _line(self, record: object) -> None:
        wire.send(RECORD, json.dumps(record).encode() + b"\n")

    def begin(self, number: int) -> bool:
        """An assertion is looked at now."""
        self.sides = []
        if self.current != number:
            self.current = number
            if self.state[number] is None:
                self._line({"begin": number})
        return True

    def left(self, value: object) -> object:
        """Remember the left side of a comparison."""
        self.sides = [shown(value)]
        return value

    def right(self, value: object) -> object:
        """Remember the right side."""
        self.sides.append(shown(value))
        return value

    def passed(self, number: int) -> None:
        """It held."""
        if self.state[number] is None:
            self.state[number] = True
            self._line({"passed": number})

    def failed(self, number: int) -> None:
        """It did not hold."""
        message = f"left: {self.sides[0]}, right: {self.sides[1]}" if len(self.sides) == 2 else ""
        self._fail(number, message)

    def raised(self, number: int) -> None:
        """Looking at it raised an exception."""
        error = sys.exc_info()[1]
        if isinstance(error, Stop):
            raise error
        self._fail(number, described(error) if error is not None else "")
        if not isinstance(error, Exception):
            raise error  # type: ignore[misc]  # an exception is being handled, so there is one

    def _fail(self, number: int, message: str) -> None:
        if self.state[number] is not False:
            self.state[number] = False
            self._line({"failed": number, "message": message})
        if self.stop:
            raise Stop

    def end(self, how: str, error: str = "") -> None:
        """Test code has ended."""
        self._line({"end": how, "error": error[:1000]})


def shown(value: object) -> str:
    """Return a value as text, shortened whatever it is."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - the class is the test code's own, or the number is too long to show
        return "?"
    return text if len(text) <= _SIDE else text[: _SIDE - 3] + "..."


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxset, _SHORT.maxdict = 4, 30, 30, 30, 30
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _SIDE


class Program:
    """The other process, as it is seen from here."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.handles: dict[int, Handle] = {}
        self.raised: Exception | None = None
        """The last exception that came from the program."""

    def ready(self) -> None:
        """Wait until the program is loaded. Raises `Gone`."""
        self._receive()

    def _receive(self) -> tuple[dict[str, Any], list[bytes]]:
        try:
            return wire.receive(REPLIES, self.limit)
        except (EOFError, OSError, ValueError):
            raise Gone from None

    def ask(self, target: dict[str, Any], what: str, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Have the program call something, or read an attribute; return the value, or raise what it raised."""
        text = plain.written([list(values), named], self.limit, self._number)
        try:
            wire.send(REQUESTS, wire.packed({**target, "what": what}, text.encode()))
        except OSError:
            raise Gone from None
        head, blobs = self._receive()
        try:
            if "raised" in head:
                kind = _EXCEPTIONS.get(head["raised"], ProgramError)
                error = _made(kind, blobs[0].decode("utf-8", "replace"))
            else:
                changed = [plain.read(blob.decode("ascii"), self.handle) for blob in blobs[1:]]
                for at, new in zip(head["changed"], changed, strict=True):
                    _renew(values[at], new)
                return plain.read(blobs[0].decode("ascii"), self.handle)
        except (ValueError, LookupError, TypeError):
            raise Gone from None
        self.raised = error
        raise error

    def _number(self, value: object) -> int:
        if type(value) is Handle:
            return value.gradatim_number_
        raise plain.NotPlain(f"cannot give the program {plain.kind_name(type(value))}: it is no plain data")

    def handle(self, number: int) -> Handle:
        """Return the handle of this number: one for each."""
        if number not in self.handles:
            self.handles[number] = Handle(self, number)
        return self.handles[number]


def _made(kind: type[Exception], text: str) -> Exception:
    try:
        return kind(text)
    except TypeError:
        # Such as UnicodeDecodeError, which takes five arguments.
        return ValueError(text) if issubclass(kind, ValueError) else ProgramError(text)


def _renew(old: Any, new: Any) -> None:
    """Let an argument that the program has changed be changed here too, as if it were the same object."""
    kind = type(old)
    if kind is type(new) and kind in (list, dict, set):
        old.clear()
        if kind is list:
            old.extend(new)
        else:
            old.update(new)


class Handle:
    """Something of the program's that is no plain data. Equal to itself alone; attributes are asked for over there."""

    def __init__(self, program: Program, number: int) -> None:
        self.gradatim_program_ = program
        self.gradatim_number_ = number

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"not available of the program's object: {name}")
        return self.gradatim_program_.ask({"handle": self.gradatim_number_}, "get", (name,), {})

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Have it called over there."""
        return self.gradatim_program_.ask({"handle": self.gradatim_number_}, "call", values, named)

    def __repr__(self) -> str:
        return "an object that is no plain data"


class Entry:
    """A name that the program defines."""

    def __init__(self, program: Program, name: str) -> None:
        self.gradatim_program_ = program
        self.__name__ = name

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Have it called over there."""
        return self.gradatim_program_.ask({"name": self.__name__}, "call", values, named)


def run_tests(ground: Ground, setup: str, code: str, entries: list[str], limit: int, *, stop: bool) -> int:
    """Run the test code against the program; return the exit status."""
    try:
        tree, statements = rewritten(code)
        compiled = compile(tree, "tests.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        Recorder([], stop=False).end("suite", f"the test code does not compile: {error}")
        return 0
    recorder = Recorder(statements, stop=stop)
    if not statements:
        recorder.end("suite", "the test code has no assertions")
        return 0
    space = fresh(ground, "tests")
    try:
        exec(compile(setup, "setup.py", "exec", dont_inherit=True), space)  # noqa: S102 - in its own sandbox
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the suite's
        recorder.end("suite", f"the code before the tests fails: {described(error)}")
        return 0
    program = Program(limit)
    space |= {name: Entry(program, name) for name in entries}
    space[RECORDER] = recorder
    return _ran(recorder, program, compiled, space)


def _ran(recorder: Recorder, program: Program, code: Any, space: dict[str, Any]) -> int:
    try:
        program.ready()
        exec(code, space)  # noqa: S102 - in its own sandbox
    except Stop:
        recorder.end("stopped")
    except Gone:
        recorder.end("gone")
        return GONE
    except ModuleNotFoundError as error:
        # The program's own lack is no fault of the suite, whatever it says that it lacks.
        of_program = error is program.raised
        why = described(error) if of_program else f"the test code needs a module that is not there: {error}"
        recorder.end("exception" if of_program else "suite", why)
    except BaseException as error:  # noqa: BLE001 - the boundary to the test code
        recorder.end("exception", described(error))
    else:
        recorder.end("finished")
    return 0
