"""What decides a code question: its suite of tests, as formats read it, the library keeps it and the checker runs it.

Three styles, as data sets have them:

    stdio    the program reads stdin and writes stdout; each case is one input and the output that is wanted
    call     a function (or a method of a class `Solution`) is called; each case is its arguments and the value wanted
    assert   test code with assertions, as in HumanEval's `check(candidate)` or MBPP's `test_list`

Values of `call` cases are plain data as JSON has it. What is wanted never reaches the process that runs a program.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from gradatim.types import content_id

Style = Literal["stdio", "call", "assert"]
Compare = Literal["tokens", "lines", "exact"]


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input and what is wanted for it."""

    input: object = ""
    """`stdio`: a text. `call`: the list of positional arguments."""
    output: object = ""
    """`stdio`: a text. `call`: a value."""


class Suite(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All that decides one code question."""

    style: Style
    cases: tuple[Case, ...] = ()
    """Of `stdio` and `call`."""
    function: str = ""
    """`call`: the function's name; it is looked for at the top and in a class `Solution`."""
    code: str = ""
    """`assert`: the test code. It ends having run its assertions; calls of `entries` reach the program."""
    entries: tuple[str, ...] = ()
    """`assert`: the functions and classes that the program is to define."""
    setup: str = ""
    """Code that comes before the program and before test code: what the question gives (imports, helpers)."""
    compare: Compare = "tokens"
    """`stdio`: split at white space; or line by line, white space at their ends aside; or byte for byte."""
    tolerance: float = 0.0
    """How far a decimal number may be off, absolutely or relatively; 0: as text (`stdio`) or equal (`call`)."""
    unordered: bool = False
    """The lines of the output, or the items of the value, may come in any order."""
    seconds: float | None = None
    """The question's own time limit per case; None: the setting's."""
    memory_mb: int | None = None
    """The question's own memory limit; None: the setting's."""

    def encoded(self) -> str:
        """Return the JSON that the library keeps: the same text for the same tests, however they were written.

        Raises `ValueError` for NaN and Infinity, which JSON does not have: they would come back as None.
        """
        values = (self.tolerance, self.seconds, *(value for case in self.cases for value in (case.input, case.output)))
        if not all(map(_finite, values)):
            raise ValueError("tests with NaN or Infinity cannot be kept: JSON has neither")
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        said = {name: value for name, value in named.items() if value != getattr(_NOTHING, name) or name == "style"}
        return msgspec.json.encode(said, order="deterministic").decode()

    def reference(self) -> str:
        """Return the word that stands for these tests where math has a reference answer: `stdio:12:2f7k...`."""
        count = len(self.cases) or 1
        return f"{self.style}:{count}:{content_id(self.encoded())}"


_NOTHING = Suite(style="stdio")


def _finite(value: object) -> bool:
    """Return whether a value holds no NaN and no Infinity. Raises `ValueError` where it is nested too deeply."""
    if isinstance(value, float):
        return math.isfinite(value)
    try:
        if isinstance(value, dict):
            return all(map(_finite, value.values()))
        return not isinstance(value, (list, tuple, set, frozenset)) or all(map(_finite, value))
    except RecursionError as error:
        raise ValueError("tests are nested too deeply") from error


def decoded(text: str) -> Suite:
    """Return the suite that `encoded` wrote. Raises `ValueError` for anything else."""
    try:
        return msgspec.json.decode(text, type=Suite)
    except msgspec.DecodeError as error:
        raise ValueError(f"no suite of tests: {error}") from error
