"""Which kind of data set is this? Recognised by the shape of its first rows, and named.

    gsm8k        question, answer that ends in `#### 42`
    numinamath   problem, solution, source (NuminaMath-CoT: reference from the last box; 1.5: answer, and its marks)
    aime         Problem/Answer, problem/answer or question/answer: whole numbers from 0 to 999, and AIME in name or id
    math500      problem, solution, answer, unique_id
    math         problem, solution, answer if there is one, else the last box of the solution
    choice       question, options, and which of them is right (MMLU, ARC, GPQA and their kind)
    plain        a column that is called like a prompt and one that is called like a reference

Data sets of code questions are tried first: see `formats.code_presets`.

A shape counts as recognised when nine of ten rows have it. Columns that the user names come before all of this.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats import code_presets
from gradatim.formats.boxed import last_boxed
from gradatim.formats.fields import (
    Columns,
    Preset,
    Reading,
    after_hash,
    check_columns,
    columns_from,
)
from gradatim.formats.sample import PROMPTS, column_names, find, have, most
from gradatim.types import Domain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradatim.formats.row import Row

SAMPLE = 100
"""How many first rows are enough to recognise a shape."""
REFERENCES = (
    "answer",
    "reference",
    "reference_answer",
    "final_answer",
    "ground_truth",
    "expected_answer",
    "target",
    "gold",
    "label",
    "reward_model.ground_truth",
)
"""Names in the order they are tried in; case does not count."""

_AIME_PROMPTS = ("problem", "question")
_AIME_MARK = re.compile(r"aime|(?:19|20)\d\d-(?:I|II)-\d+", re.IGNORECASE)
_SMALL_NUMBER = re.compile(r"\d{1,3}")


def recognise(sample: Sequence[Row], named: Mapping[str, str] | None = None) -> Preset:
    """Return the preset that fits the first rows, or for columns that the user named, those.

    Args:
        sample: the first rows, `SAMPLE` of them are enough.
        named: the user's columns by field (`prompt`, `reference`, `solution`, `choices`, `tests`, `function`,
            `setup`); a field that is left out is taken from the preset that fits.

    Raises:
        UsageError: no shape fits, or a named column does not exist; says what to type.
    """
    if not sample:
        raise UsageError("There are no rows to recognise a data set by: none of the first ones could be read.")
    columns = columns_from(named or {})
    check_columns(columns.named(), sample)
    if columns.tests:
        return _with_tests(columns, sample)
    code = None if columns.reference or columns.choices else code_presets.recognise(sample)
    if code:
        return replace(code, columns=_merged(code.columns, columns))
    if columns.prompt and (columns.reference or columns.solution):
        return _custom(columns, sample)
    for shape in (_choice, _option_columns, _gsm8k, _numinamath, _aime, _math, _plain):
        preset = shape(sample)
        if preset and columns.named():
            return _custom(_merged(preset.columns, columns), sample)
        if preset:
            return preset
    raise UsageError(
        f"The columns {', '.join(column_names(sample))} fit no known kind of data set; say which hold the question and "
        "its answer: --field prompt=COLUMN --field reference=COLUMN (or solution=COLUMN for answers in a \\boxed{}, "
        "or tests=COLUMN for code)."
    )


def _merged(found: Columns, columns: Columns) -> Columns:
    return Columns(
        prompt=columns.prompt or found.prompt,
        reference=columns.reference or found.reference,
        solution=columns.solution or found.solution,
        choices=columns.choices or found.choices,
        wrong=found.wrong,
        tests=columns.tests or found.tests,
        function=columns.function or found.function,
        setup=columns.setup or found.setup,
    )


def _with_tests(columns: Columns, sample: Sequence[Row]) -> Preset:
    """Read code questions whose tests stand in a column that the user named, in our own form of them."""
    found = replace(code_presets.OWN, prompt=find(sample, PROMPTS))
    if not columns.prompt and not found.prompt:
        raise UsageError(
            f"Which of the columns {', '.join(column_names(sample))} holds the question? Say --field prompt=COLUMN."
        )
    return Preset(name="custom", columns=_merged(found, columns), domain=Domain.CODE)


def _custom(columns: Columns, sample: Sequence[Row]) -> Preset:
    """Read the named columns; whether the reference is a whole solution shows in the rows."""
    if columns.choices or columns.wrong:
        return Preset(name="custom", columns=columns, domain=Domain.CHOICE)
    reading = Reading.WHOLE
    if columns.reference and most(sample, lambda row: bool(after_hash(row.text(columns.reference)))):
        reading = Reading.HASH
    elif columns.reference and most(sample, lambda row: bool(last_boxed(row.text(columns.reference)))):
        reading = Reading.BOXED
    return Preset(name="custom", columns=columns, reading=reading)


def _gsm8k(sample: Sequence[Row]) -> Preset | None:
    if not have(sample, "question", "answer") or not most(sample, lambda row: bool(after_hash(row.text("answer")))):
        return None
    columns = Columns(prompt="question", reference="answer", solution="answer")
    return Preset(name="gsm8k", columns=columns, reading=Reading.HASH)


def _numinamath(sample: Sequence[Row]) -> Preset | None:
    if not have(sample, "problem", "solution", "source"):
        return None
    answer = "answer" if have(sample, "answer") else ""
    if not answer and not have(sample, "messages") and not _boxed_solutions(sample):
        return None
    columns = Columns(prompt="problem", reference=answer, solution="solution")
    return Preset(name="numinamath", columns=columns, ignored=frozenset({"messages"}))


def _boxed_solutions(sample: Sequence[Row]) -> bool:
    return most(sample, lambda row: bool(last_boxed(row.text("solution"))))


def _aime(sample: Sequence[Row]) -> Preset | None:
    prompt, answer = find(sample, _AIME_PROMPTS), find(sample, ("answer",))
    if not prompt or not answer or not most(sample, lambda row: bool(_SMALL_NUMBER.fullmatch(row.text(answer)))):
        return None
    marks = [column for column in column_names(sample) if column.lower() in ("id", "url", "source", "competition")]
    if not most(sample, lambda row: any(map(_AIME_MARK.search, (row.place, *map(row.text, marks))))):
        return None
    columns = Columns(prompt=prompt, reference=answer, solution=find(sample, ("solution",)))
    return Preset(name="aime", columns=columns)


def _math(sample: Sequence[Row]) -> Preset | None:
    if not have(sample, "problem", "solution"):
        return None
    answer = "answer" if have(sample, "answer") else ""
    if not answer and not _boxed_solutions(sample):
        return None
    name = "math500" if answer and have(sample, "unique_id") else "math"
    return Preset(name=name, columns=Columns(prompt="problem", reference=answer, solution="solution"))


def _choice(sample: Sequence[Row]) -> Preset | None:
    prompt = find(sample, ("question", "question_stem", "problem", "prompt", "input"))
    options = find(sample, ("choices", "options"))
    answer = find(sample, ("answer", "answerkey", "answer_index", "correct", "label"))
    if not prompt or not options or not answer or not most(sample, lambda row: _is_options(row, options)):
        return None
    solution = find(sample, ("rationale", "cot_content"))
    columns = Columns(prompt=prompt, reference=answer, choices=options, solution=solution)
    return Preset(name="choice", columns=columns, domain=Domain.CHOICE)


def _is_options(row: Row, column: str) -> bool:
    return isinstance(row.value(column), (list, dict))


def _option_columns(sample: Sequence[Row]) -> Preset | None:
    gpqa = (
        "Question",
        "Correct Answer",
        "Explanation",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
    )
    sciq = ("question", "correct_answer", "support", "distractor1", "distractor2", "distractor3")
    for prompt, right, solution, *wrong in (gpqa, sciq):
        if have(sample, prompt, right, *wrong):
            worked = solution if have(sample, solution) else ""
            columns = Columns(prompt=prompt, reference=right, solution=worked, wrong=tuple(wrong))
            return Preset(name="choice", columns=columns, domain=Domain.CHOICE)
    return None


def _plain(sample: Sequence[Row]) -> Preset | None:
    prompt = find(sample, PROMPTS)
    reference = find(sample, [name for name in REFERENCES if name != prompt])
    if not prompt or not reference:
        return None
    custom = _custom(
        Columns(prompt=prompt, reference=reference, solution=find(sample, ("solution", "rationale"))), sample
    )
    return replace(custom, name="plain")
