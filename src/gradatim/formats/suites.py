"""Suites of tests out of the values that data sets keep them in.

A function here returns what it is named for, or raises `NoSuite`. Nothing that a row holds is compiled or run: names
are found in programs by patterns.
"""

from __future__ import annotations

import builtins
import keyword
import math
import re
from typing import TYPE_CHECKING

from gradatim.formats.jsontext import decode
from gradatim.formats.row import as_text
from gradatim.suite import Case, Suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gradatim.formats.row import Json

MAX_SUITE = 512 * 2**20
"""Bytes of one question's tests as they are kept."""
MAX_DEPTH = 64
"""How deep lists and objects may lie in one another in an argument or a value."""
_SECONDS = (0.1, 60.0)
_MEGABYTES = (16.0, 8192.0)
"""Limits beyond these are no limits that anyone meant: the setting's hold."""
_DEFINED = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+([^\W\d]\w*)", re.MULTILINE)
_LIST_RESULT = re.compile(r"\)\s*->\s*((?:(?:typing\.)?(?:List|list)\[)+)")
_CALLED = re.compile(r"(?<![\w.])([^\W\d]\w*)\s*\(")
_ASSERTED = re.compile(r"\bassert\b[^\n]*")
_WORD = re.compile(r"[^\W\d]\w*")
_NUMBER = re.compile(r"-?[0-9]+")
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|milli|mi|[a-z])?", re.IGNORECASE)
_TIMES = {"ms": 1e-3, "milli": 1e-3, "m": 60.0, "mi": 60.0}
_SIZES = {"k": 1 / 1024, "g": 1024.0}


class NoSuite(Exception):  # noqa: N818 - a reason, caught where rows are read; it never reaches a user
    """A row's tests cannot be used; the message is a word that a histogram can count."""


def loaded(value: Json) -> Json:
    """Return a value, and of a text the JSON in it. Raises `NoSuite`."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return decode(value.encode("utf-8"))  # type: ignore[return-value]  # it is JSON
    except (ValueError, RecursionError) as error:
        raise NoSuite("tests_not_json") from error


def finished(suite: Suite) -> Suite:
    """Return the suite where it can be kept and used. Raises `NoSuite`."""
    if suite.style == "assert":
        if not suite.code.strip():
            raise NoSuite("no_tests")
        if not suite.entries:
            raise NoSuite("no_function")
    elif not suite.cases:
        raise NoSuite("no_tests")
    if suite.style == "call" and not _WORD.fullmatch(suite.function):
        raise NoSuite("no_function")
    return suite


def encoded(suite: Suite, limit: int = MAX_SUITE) -> str:
    """Return the suite as it is kept. Raises `NoSuite`."""
    try:
        text = suite.encoded()
        text.encode("utf-8")
    except (ValueError, RecursionError, OverflowError) as error:
        raise NoSuite("tests_not_json") from error
    if len(text) > limit:
        raise NoSuite("tests_too_large")
    return text


def text_case(given: Json, wanted: Json) -> Case:
    """Return a case of a program that reads stdin: texts, or lists of lines. Raises `NoSuite`."""
    return Case(input=_text(given), output=_text(wanted))


def call_case(arguments: Json, wanted: Json) -> Case:
    """Return a case of a function: a list of arguments and a value. Raises `NoSuite`."""
    if not isinstance(arguments, list):
        raise NoSuite("arguments_not_a_list")
    check_plain(arguments)
    check_plain(wanted)
    return Case(input=arguments, output=wanted)


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(line, (list, dict)) for line in value):
        return "\n".join(line if isinstance(line, str) else as_text(line) for line in value)
    if isinstance(value, (list, dict)) or value is None:
        raise NoSuite("tests_not_text")
    return as_text(value)


def check_plain(value: Json) -> None:
    """Raise `NoSuite` for a value that comes out of JSON as another one than the data set means, or too deep."""
    layer: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for one in layer:
            if isinstance(one, float) and not math.isfinite(one):
                raise NoSuite("not_plain_data")
            if isinstance(one, dict):
                if one and all(_NUMBER.fullmatch(key) for key in one):
                    raise NoSuite("number_keys")
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
        if not below:
            return
        layer = below
    raise NoSuite("nested_too_deeply")


def paired(inputs: Json, outputs: Json) -> list[tuple[Json, Json]]:
    """Return inputs with their outputs, of two lists of one length. Raises `NoSuite`."""
    if not inputs and not outputs:
        raise NoSuite("no_tests")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise NoSuite("tests_not_paired")
    return list(zip(inputs, outputs, strict=True))


def from_input_output(value: Json, starter: str = "") -> Suite:
    """Return the suite of TACO's and APPS' `{"inputs": [...], "outputs": [...], "fn_name": ...}`. Raises `NoSuite`.

    Those who judge these sets take a function's value for right where it equals the output or the only item of it. One
    value is wanted here: the only item, where all outputs are lists of one and no annotation of the starter code says
    that they are what is returned.
    """
    if not value:
        raise NoSuite("no_tests")
    if not isinstance(value, dict):
        raise NoSuite("tests_not_json")
    pairs = paired(value.get("inputs"), value.get("outputs"))
    function = value.get("fn_name")
    if not function:
        return finished(Suite(style="stdio", cases=tuple(text_case(*pair) for pair in pairs)))
    if not isinstance(function, str):
        raise NoSuite("no_function")
    for _, wanted in pairs:
        check_plain(wanted)
    if _wrapped([wanted for _, wanted in pairs], starter):
        pairs = [(given, wanted[0]) for given, wanted in pairs if isinstance(wanted, list)]
    return finished(Suite(style="call", function=function, cases=tuple(call_case(*pair) for pair in pairs)))


def _wrapped(outputs: Sequence[Json], starter: str) -> bool:
    """Return whether each output stands in a list of its own."""
    if not all(isinstance(one, list) and len(one) == 1 for one in outputs):
        return False
    returned = _LIST_RESULT.search(starter)
    return returned is None or all(_depth(one) > returned.group(1).count("[") for one in outputs)


def _depth(value: Json) -> int:
    """Return how many lists lie in one another, the value's own included; it is no deeper than `check_plain` allows."""
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def from_cases(value: Sequence[Json], function: str = "") -> Suite:
    """Return the suite of a list of `{"input": ..., "output": ...}`: calls, where there is a function.

    Raises `NoSuite`.
    """
    cases = []
    for one in value:
        if not isinstance(one, dict) or "input" not in one or "output" not in one:
            raise NoSuite("tests_not_cases")
        given, wanted = one["input"], one["output"]
        if not function and isinstance(given, (list, dict)) and _holds_data(given):
            raise NoSuite("no_function")
        cases.append(call_case(given, wanted) if function else text_case(given, wanted))
    return finished(Suite(style="call" if function else "stdio", function=function, cases=tuple(cases)))


def _holds_data(value: Json) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(one, str) for one in value))


def defined(program: str) -> tuple[str, ...]:
    """Return the functions and classes that a program defines at its top, in their order."""
    return tuple(dict.fromkeys(_DEFINED.findall(program.replace("\r", "\n"))))


def entries_of(code: str, programs: Iterable[str]) -> tuple[str, ...]:
    """Return which names test code wants of a program: those that a program defines and the code mentions.

    Without a program, those that its assertions call and that are neither built in nor defined by it.
    """
    words = set(_WORD.findall(code))
    for program in programs:
        used = tuple(name for name in defined(program) if name in words)
        if used:
            return used
    own = {*defined(code), *dir(builtins), *keyword.kwlist, "math", "np", "isclose"}
    called = (name for line in _ASSERTED.findall(code) for name in _CALLED.findall(line))
    return tuple(dict.fromkeys(name for name in called if name not in own))


def seconds(value: Json) -> float | None:
    """Return a time limit: a number of seconds, a text like `2.0 seconds`, or CodeContests' `{seconds, nanos}`."""
    if isinstance(value, dict):
        whole, nanos = value.get("seconds"), value.get("nanos")
        amount = _number(whole) + _number(nanos) / 1e9
    else:
        amount = _amount(value, _TIMES)
    return amount if _SECONDS[0] <= amount <= _SECONDS[1] else None


def megabytes(value: Json) -> int | None:
    """Return a memory limit: a number of megabytes, or a text like `256.0 megabytes`."""
    amount = _amount(value, _SIZES)
    return int(amount) if _MEGABYTES[0] <= amount <= _MEGABYTES[1] else None


def _number(value: Json) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0.0


def _amount(value: Json, units: dict[str, float]) -> float:
    if isinstance(value, str):
        found = _AMOUNT.match(value[:100])
        return float(found.group(1)) * units.get((found.group(2) or "").lower(), 1.0) if found else 0.0
    return _number(value)
