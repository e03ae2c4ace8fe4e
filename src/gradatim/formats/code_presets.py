"""Which kind of code data set is this? Recognised by its columns.

livecodebench  question_content, public_test_cases, private_test_cases
taco           question, input_output (TACO, APPS)
codeforces     description, official_tests (open-r1/codeforces)
codecontests   description, public_tests, private_tests (DeepMind's)
humaneval      prompt, test, entry_point (HumanEval, HumanEval+)
mbpp           text or prompt, test_list (MBPP, its sanitized part, MBPP+)
tests          a column that is called like a prompt, and `tests`: our own form (docs/formats.md)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.formats.fields import Columns, Preset
from gradatim.formats.sample import PROMPTS, find, have
from gradatim.types import Domain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.formats.row import Row

OWN = Columns(tests="tests", function="function", setup="setup", solution="solution")
"""The columns of our own form, its prompt aside; rows may lack all but the tests."""
_SOLUTIONS = ("solutions", "solution", "canonical_solution")
_KNOWN = (
    (
        "livecodebench",
        ("question_content", "public_test_cases", "private_test_cases"),
        Columns(prompt="question_content", tests="private_test_cases"),
        ("public_test_cases", "starter_code"),
    ),
    (
        "taco",
        ("question", "input_output"),
        Columns(prompt="question", tests="input_output", solution="solutions"),
        ("starter_code",),
    ),
    (
        "codeforces",
        ("description", "official_tests"),
        Columns(prompt="description", tests="official_tests", solution="solutions"),
        ("examples", "generated_checker", "input_format", "output_format", "note", "editorial"),
    ),
    (
        "codecontests",
        ("description", "public_tests", "private_tests"),
        Columns(prompt="description", tests="private_tests", solution="solutions"),
        ("public_tests", "generated_tests", "incorrect_solutions"),
    ),
    (
        "humaneval",
        ("prompt", "test", "entry_point"),
        Columns(prompt="prompt", tests="test", solution="canonical_solution"),
        (),
    ),
    (
        "mbpp",
        ("text", "test_list"),
        Columns(prompt="text", tests="test_list", solution="code"),
        ("test", "test_setup_code", "test_imports"),
    ),
    (
        "mbpp",
        ("prompt", "test_list"),
        Columns(prompt="prompt", tests="test_list", solution="code"),
        ("test", "test_setup_code", "test_imports"),
    ),
)
"""Name, the columns that tell it, those that hold a question's fields, and those that are not kept besides."""


def recognise(sample: Sequence[Row]) -> Preset | None:
    """Return the preset of code questions that fits the first rows, or None."""
    for name, needed, columns, ignored in _KNOWN:
        if have(sample, *needed):
            return Preset(name=name, columns=columns, domain=Domain.CODE, ignored=frozenset(ignored))
    prompt = find(sample, PROMPTS)
    if not prompt or not have(sample, OWN.tests):
        return None
    solution = next((name for name in _SOLUTIONS if any(row.has(name) for row in sample)), OWN.solution)
    columns = Columns(prompt=prompt, tests=OWN.tests, function=OWN.function, setup=OWN.setup, solution=solution)
    return Preset(name="tests", columns=columns, domain=Domain.CODE)
