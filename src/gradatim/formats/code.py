"""From a row of a code data set to a question with its tests: one reader per kind of data set.

Nothing is raised for what one row holds, and nothing of it is run. Reasons of rows that are no question, which a
histogram can count:

    no_tests                    there are none, or none that can be told apart
    tests_not_json              the tests are no JSON, or have not the form of their data set
    tests_not_cases             an item of a list of tests has no `input` and `output`
    tests_not_paired            not as many outputs as inputs
    tests_not_text              an input or output of a program that reads stdin is no text
    arguments_not_a_list        of a function's tests
    not_plain_data              NaN, Infinity
    number_keys                 an object whose keys are all numbers: whether they are meant as text is not known
    nested_too_deeply           an argument or a value, beyond 64 lists in one another
    tests_too_large             beyond 512 MiB
    private_tests_unreadable    no JSON, and no base64 of zlib of a pickled text
    mixed_styles                some tests read stdin and some call a function
    no_function                 what is to be called has no name
    needs_checker               several outputs are right, and a program of the source decides which
    interactive                 the program is to talk to another one
    uses_files                  the input or the output is a file
    not_executable              the source itself says that its tests cannot be run
    bad_setting                 `compare`, `tolerance`, `unordered` of a row is no such thing
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, get_args

import msgspec

from gradatim.formats import suites, tasks
from gradatim.formats.row import as_text
from gradatim.formats.suites import NoSuite
from gradatim.formats.unpacking import Unreadable, unpacked
from gradatim.suite import Compare, Suite

if TYPE_CHECKING:
    from gradatim.formats.fields import Columns
    from gradatim.formats.row import Json, Row

MAX_SOLUTIONS = 5
"""TACO has hundreds of some questions; the first few show whether a question's tests can be passed."""
TOLERANCE = {"livecodebench": 1e-12, "taco": 1e-6, "codeforces": 1e-6, "codecontests": 1e-6}
"""How far a decimal number in an output may be off. These data sets have no column for it: LiveCodeBench's own judge
compares decimal values, so that 1.0 is 1; TACO's and APPS's takes numbers that are close; contests say 1e-6 mostly."""
_PYTHON3 = (3, "3", "PYTHON3", "python3", "python")
"""CodeContests' number for it, and its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeQuestion:
    """A code question as a row holds it."""

    prompt: str
    suite: Suite
    tests: str
    """The suite as it is kept."""
    solutions: tuple[str, ...] = ()


def code_question(row: Row, kind: str, columns: Columns, asked: str) -> CodeQuestion | str:
    """Return the question, or the reason why the row holds none.

    `kind` is the preset's name; `asked` is the question's own text.
    """
    readers = {
        "livecodebench": _livecodebench,
        "taco": _taco,
        "codeforces": _codeforces,
        "codecontests": _codecontests,
        "humaneval": _humaneval,
        "mbpp": _mbpp,
    }
    try:
        prompt, suite, solutions = readers.get(kind, _plain)(row, columns, asked)
        if suite.style == "stdio" and kind in TOLERANCE:
            suite = msgspec.structs.replace(suite, tolerance=TOLERANCE[kind])
        tests = suites.encoded(suite)
    except (NoSuite, Unreadable) as error:
        return str(error)
    kept = tuple(dict.fromkeys(filter(str.strip, solutions)))[:MAX_SOLUTIONS]
    return CodeQuestion(prompt=prompt, suite=suite, tests=tests, solutions=kept)


_Read = tuple[str, Suite, list[str]]
"""The prompt, the suite, and the source's own programs."""


def _livecodebench(row: Row, columns: Columns, asked: str) -> _Read:
    tests = [*_tests_in(row, "public_test_cases"), *_private_tests(row)]
    styles = {as_text(test.get("testtype")) for test in tests}
    if len(styles) > 1:
        raise NoSuite("mixed_styles")
    if styles == {"functional"}:
        function = _text_at(_json(row.value("metadata")), "func_name")
        calls: list[Json] = [{"input": _arguments(test), "output": _answer(test)} for test in tests]
        suite = suites.from_cases(calls, function)
        if not function:
            raise NoSuite("no_function")
        return tasks.is_called(asked, function, code_text(row, "starter_code")), suite, _solutions(row, columns)
    if not styles <= {"stdin"}:
        raise NoSuite("tests_not_cases")
    return tasks.reads_stdin(asked), suites.from_cases(list(tests)), _solutions(row, columns)


def _tests_in(row: Row, column: str) -> list[dict[str, Json]]:
    value = suites.loaded(row.value(column)) or []
    if not isinstance(value, list):
        raise NoSuite("tests_not_json")
    tests = [test for test in value if isinstance(test, dict)]
    if len(tests) != len(value):
        raise NoSuite("tests_not_cases")
    return tests


def _private_tests(row: Row) -> list[dict[str, Json]]:
    """Return the tests of `private_test_cases`: JSON, or packed."""
    value = row.value("private_test_cases")
    if isinstance(value, str) and value.strip() and not value.lstrip().startswith("["):
        inner = type(row)(place=row.place, data={"private_test_cases": unpacked(value)})
        return _tests_in(inner, "private_test_cases")
    return _tests_in(row, "private_test_cases")


def _arguments(test: dict[str, Json]) -> list[Json]:
    """Return a call's arguments: one JSON value a line."""
    text = test.get("input")
    if not isinstance(text, str):
        raise NoSuite("tests_not_text")
    return [suites.loaded(line) for line in text.split("\n") if line.strip()]


def _answer(test: dict[str, Json]) -> Json:
    text = test.get("output")
    if not isinstance(text, str):
        raise NoSuite("tests_not_text")
    return suites.loaded(text)


def _taco(row: Row, columns: Columns, asked: str) -> _Read:
    starter = code_text(row, "starter_code")
    suite = suites.from_input_output(suites.loaded(row.value("input_output")), starter)
    suite = _limited(suite, row, "time_limit", "memory_limit")
    prompt = tasks.is_called(asked, suite.function, starter) if suite.style == "call" else tasks.reads_stdin(asked)
    return prompt, suite, _solutions(row, columns)


def _codeforces(row: Row, columns: Columns, asked: str) -> _Read:
    """Read a row of open-r1's set. Its examples are in the question's text, and among the official tests."""
    if row.text("generated_checker"):
        raise NoSuite("needs_checker")
    if row.text("interaction_format"):
        raise NoSuite("interactive")
    if row.text("input_mode") not in ("", "stdio"):
        raise NoSuite("uses_files")
    if row.text("executable").lower() == "false":
        raise NoSuite("not_executable")
    tests = [*_tests_in(row, "official_tests")]
    suite = _limited(suites.from_cases(list(tests)), row, "time_limit", "memory_limit")
    parts = [(row.text("title"), "# {}"), (asked, "{}")]
    parts += [(row.text("input_format"), "## Input\n\n{}"), (row.text("output_format"), "## Output\n\n{}")]
    examples = [_example(test) for test in _tests_in(row, "examples")]
    parts += [("\n\n".join(examples), "## Examples\n\n{}"), (row.text("note"), "## Note\n\n{}")]
    text = "\n\n".join(form.replace("{}", part) for part, form in parts if part)
    return tasks.reads_stdin(text), suite, _solutions(row, columns)


def _example(test: dict[str, Json]) -> str:
    given, wanted = as_text(test.get("input")), as_text(test.get("output"))
    return f"Input:\n\n```\n{given}\n```\n\nOutput:\n\n```\n{wanted}\n```"


def _codecontests(row: Row, columns: Columns, asked: str) -> _Read:
    if row.text("input_file") or row.text("output_file"):
        raise NoSuite("uses_files")
    cases = []
    for column in ("public_tests", "private_tests", "generated_tests"):
        tests = suites.loaded(row.value(column))
        if isinstance(tests, list):
            cases += list(suites.from_cases(tests).cases) if tests else []
        elif isinstance(tests, dict) and (tests.get("input") or tests.get("output")):
            cases += [suites.text_case(*pair) for pair in suites.paired(tests.get("input"), tests.get("output"))]
    suite = suites.finished(Suite(style="stdio", cases=tuple(cases)))
    suite = _limited(suite, row, "time_limit", "")
    memory = suites.megabytes(_float(row.value("memory_limit_bytes")) / 2**20)
    suite = msgspec.structs.replace(suite, memory_mb=memory)
    return tasks.reads_stdin(asked), suite, _python_solutions(_json(row.value(columns.solution)))


def _python_solutions(value: Json) -> list[str]:
    """Return the Python 3 programs among CodeContests' solutions: two lists side by side, or a list of pairs."""
    if isinstance(value, dict):
        languages, programs = value.get("language"), value.get("solution")
        both = (
            zip(languages, programs, strict=False) if isinstance(languages, list) and isinstance(programs, list) else ()
        )
        pairs = list(both)
    elif isinstance(value, list):
        pairs = [(one.get("language"), one.get("solution")) for one in value if isinstance(one, dict)]
    else:
        pairs = []
    return [program for language, program in pairs if language in _PYTHON3 and isinstance(program, str)]


def _humaneval(row: Row, columns: Columns, asked: str) -> _Read:  # noqa: ARG001 - all readers are called alike
    stub, entry = code_text(row, columns.prompt), row.text("entry_point")
    code = f"{code_text(row, 'test')}\ncheck({entry})\n" if row.text("test") else ""
    suite = suites.finished(
        Suite(style="assert", code=code, entries=tuple(filter(str.isidentifier, [entry])), setup=stub)
    )
    body = code_text(row, "canonical_solution")
    return tasks.completes(stub), suite, [stub + body] if body else []


def _mbpp(row: Row, columns: Columns, asked: str) -> _Read:
    """Read a row of MBPP, of its sanitized part, or of MBPP+, whose column `test` has further tests, not shown."""
    shown = "\n".join(_lines(row, "test_list"))
    code = code_text(row, "test") or shown
    solutions = _solutions(row, columns)
    setup = "\n".join([code_text(row, "test_setup_code"), *_lines(row, "test_imports")]).strip()
    entries = suites.entries_of(shown, solutions)
    suite = suites.finished(Suite(style="assert", code=code, entries=entries, setup=setup))
    return tasks.passes(asked, shown), suite, solutions


def _lines(row: Row, column: str) -> list[str]:
    value = row.value(column)
    if isinstance(value, str):
        value = suites.loaded(value) if value.lstrip().startswith("[") else [value]
    if value is not None and not isinstance(value, list):
        raise NoSuite("tests_not_json")
    lines = [line for line in value or [] if isinstance(line, str)]
    if len(lines) != len(value or []):
        raise NoSuite("tests_not_json")
    return [line.replace("\r\n", "\n") for line in lines]


def _plain(row: Row, columns: Columns, asked: str) -> _Read:
    """Read a row of our own form: see docs/formats.md."""
    value = row.value(columns.tests)
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        value = suites.loaded(value)
    function = row.text(columns.function) if columns.function else ""
    setup = code_text(row, columns.setup) if columns.setup else ""
    starter = code_text(row, "starter_code")
    solutions = _solutions(row, columns)
    if isinstance(value, dict):
        if function:
            value = {**value, "fn_name": function}
        suite = suites.from_input_output(value, starter)
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        suite = suites.from_cases(value, function)
    else:
        suite = _asserted(row, columns, value, solutions)
    suite = _limited(msgspec.structs.replace(suite, setup=setup, **_judged(row)), row, "seconds", "memory_mb")
    return _plain_prompt(asked, suite, starter), suite, solutions


def _plain_prompt(asked: str, suite: Suite, starter: str) -> str:
    if suite.style == "stdio":
        return tasks.reads_stdin(asked)
    if suite.style == "call":
        return tasks.is_called(asked, suite.function, starter)
    return tasks.defines(asked, suite.entries)


def _asserted(row: Row, columns: Columns, value: Json, solutions: list[str]) -> Suite:
    """Return the suite of assertions: a list of them, or test code, which may leave the call of its `check` to us."""
    if value is not None and not isinstance(value, (str, list)):
        raise NoSuite("tests_not_json")
    code = value if isinstance(value, str) else "\n".join(_lines(row, columns.tests))
    named = row.value("entry_point") or (row.text(columns.function) if columns.function else "")
    given = [as_text(one) for one in named] if isinstance(named, list) else [as_text(named)]
    entries = tuple(filter(str.isidentifier, given)) or suites.entries_of(code, solutions)
    if "check" in suites.defined(code) and "\ncheck(" not in code and entries:
        code = f"{code}\ncheck({entries[0]})\n"
    return suites.finished(Suite(style="assert", code=code.replace("\r\n", "\n"), entries=entries))


def _judged(row: Row) -> dict[str, object]:
    """Return what a row says of how outputs are compared. Raises `NoSuite`."""
    compare, tolerance = row.text("compare") or "tokens", row.value("tolerance")
    unordered = row.value("unordered")
    amount = 0.0 if tolerance in (None, "") else _float(tolerance)
    if compare not in get_args(Compare) or not 0 <= amount < math.inf:
        raise NoSuite("bad_setting")
    word = as_text(unordered).lower()
    if word not in ("", "true", "false", "0", "1"):
        raise NoSuite("bad_setting")
    return {"compare": compare, "tolerance": amount, "unordered": word in ("true", "1")}


def _float(value: Json) -> float:
    try:
        return float(cast("str", value))
    except (TypeError, ValueError, OverflowError):
        return -1.0


def _limited(suite: Suite, row: Row, time: str, memory: str) -> Suite:
    """Return the suite with the row's own limits, where it has any."""
    seconds = suites.seconds(_json(row.value(time)))
    return msgspec.structs.replace(
        suite, seconds=seconds, memory_mb=suites.megabytes(row.value(memory)) if memory else None
    )


def _solutions(row: Row, columns: Columns) -> list[str]:
    """Return the programs of the solution's column: one, a list of them, or a list as JSON text."""
    value = row.value(columns.solution) if columns.solution else None
    if isinstance(value, str) and value.lstrip().startswith("["):
        inner = _json(value)
        # A program may start with a bracket too, and is then no list of texts.
        value = inner if isinstance(inner, list) and all(isinstance(one, str) for one in inner) else value
    programs = value if isinstance(value, list) else [value]
    return [one.replace("\r\n", "\n") for one in programs if isinstance(one, str)]


def code_text(row: Row, column: str) -> str:
    """Return a column's text as it stands, its indentation included, with line ends as on Unix."""
    value = row.value(column)
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


def _json(value: Json) -> Json:
    """Return the JSON that a text holds; a text that holds none as it stands."""
    try:
        return suites.loaded(value)
    except NoSuite:
        return value


def _text_at(value: Json, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
