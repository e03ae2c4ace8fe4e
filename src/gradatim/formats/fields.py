"""From a row's columns to a question's fields: which column holds what, and how a reference is read out of it.

Nothing is raised for what one row holds: a row without a usable prompt or reference becomes a `BadRow` with a reason
that a histogram can count: `no_prompt`, `empty_prompt`, `many_turns`, `no_reference`, `many_references`,
`reference_not_text`, `no_hash_reference`, `no_boxed_reference`, `proof_question`, `invalid_problem`, and for choice
questions `no_choices`, `too_many_choices`, `bad_choice`; for code questions those that `formats.code` lists.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats import choices
from gradatim.formats.boxed import last_boxed
from gradatim.formats.code import code_question
from gradatim.formats.jsontext import encode
from gradatim.formats.row import BadRow, Row, as_text, bad_row
from gradatim.formats.sample import column_names
from gradatim.types import Domain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gradatim.formats.row import Json


_THOUSANDS = re.compile(r"[^\d,]*\d{1,3}(,\d{3})+(\.\d+)?\D*")


class Reading(StrEnum):
    """How a reference is read out of its column."""

    WHOLE = "whole"
    HASH = "hash"
    """What stands after the last `####`, thousands commas removed (GSM8K)."""
    BOXED = "boxed"
    """What the last box holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns, or dotted paths into them, that hold a question's fields; empty where there is none."""

    prompt: str = ""
    reference: str = ""
    solution: str = ""
    """Where a row has no reference, the last box of its solution is taken. For code questions: programs that pass."""
    choices: str = ""
    """For choice questions: a list of options, or an object with `text` and `label`."""
    wrong: tuple[str, ...] = ()
    """For choice questions whose options are columns: the wrong ones; `reference` holds the right one's text."""
    tests: str = ""
    """For code questions: what decides them."""
    function: str = ""
    """For code questions: the name of the function that tests call."""
    setup: str = ""
    """For code questions: code that comes before every program."""

    def named(self) -> tuple[str, ...]:
        """Return the columns that are named here."""
        code = (self.tests, self.function, self.setup)
        return tuple(filter(None, (self.prompt, self.reference, self.solution, self.choices, *self.wrong, *code)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How the rows of one kind of data set become questions."""

    name: str
    """One of those that `formats.presets` and `formats.code_presets` list, or `custom` for columns the user named."""
    columns: Columns
    reading: Reading = Reading.WHOLE
    domain: Domain = Domain.MATH
    ignored: frozenset[str] = field(default_factory=frozenset)
    """Columns that say nothing new and are not kept as extra."""

    def describe(self) -> str:
        """Return one line for the user: the preset's name and what it takes from where."""
        reading = {Reading.WHOLE: "", Reading.HASH: " after ####", Reading.BOXED: ", last box"}[self.reading]
        parts = [f"prompt={self.columns.prompt}"]
        if self.columns.reference:
            parts.append(f"reference={self.columns.reference}{reading}")
        if self.columns.solution:
            parts.append(f"solution={self.columns.solution}")
        if self.columns.choices or self.columns.wrong:
            parts.append(f"choices={self.columns.choices or ' | '.join(self.columns.wrong)}")
        if self.columns.tests:
            parts.append(f"tests={self.columns.tests}")
        return f"{self.name} ({'; '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFields:
    """A question as a row holds it."""

    prompt: str
    """For choice questions with the options below it, `A) ...` on lines of their own; for code questions with what the
    program is to do to be judged."""
    reference: str
    """For choice questions the letter of the right option; for code questions a word that names the tests."""
    solution: str = ""
    """For code questions the first of `solutions`."""
    tests: str = ""
    """For code questions: the tests, as `suite.Suite.encoded` writes them."""
    solutions: tuple[str, ...] = ()
    """For code questions: programs of the source that are to pass the tests; nothing here where it has none."""
    extra: str = "{}"
    """The row's other columns, as a JSON object."""


def question_fields(row: Row, preset: Preset) -> QuestionFields | BadRow:
    """Return the question that the row holds, or the reason why it holds none that can be used."""
    reason = _set_aside(row) if preset.name == "numinamath" else ""
    prompt = "" if reason else _prompt(row, preset.columns.prompt)
    if isinstance(prompt, _Missing):
        reason, prompt = prompt.reason, ""
    if reason:
        return bad_row(row.place, reason, prompt or row.text(preset.columns.prompt))
    if preset.domain is Domain.CODE:
        return _code(row, prompt, preset)
    if preset.domain is Domain.CHOICE:
        asked = _choice(row, prompt, preset.columns)
    else:
        reference = _reference(row, preset)
        asked = reference if isinstance(reference, _Missing) else (prompt, reference)
    if isinstance(asked, _Missing):
        return bad_row(row.place, asked.reason, prompt)
    solution = row.text(preset.columns.solution) if preset.columns.solution else ""
    return QuestionFields(prompt=asked[0], reference=asked[1], solution=solution, extra=_extra(row, preset))


@dataclass(frozen=True, slots=True)
class _Missing:
    """Why a field cannot be had."""

    reason: str


def _set_aside(row: Row) -> str:
    """Return why NuminaMath-1.5 itself marks the row as no question with an answer; nothing where it does not."""
    marks = {name: row.text(name).lower() for name in ("question_type", "answer", "problem_is_valid")}
    if "proof" in (marks["question_type"], marks["answer"]):
        return "proof_question"
    if marks["problem_is_valid"] not in ("", "yes", "true"):
        return "invalid_problem"
    return "no_reference" if marks["answer"] == "notfound" else ""


def _prompt(row: Row, column: str) -> str | _Missing:
    """Return the prompt; of a chat with one turn of the user, that turn."""
    value = row.value(column)
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict) and turn.get("role") == "user"]
        if len(turns) != 1:
            return _Missing("many_turns")
        value = turns[0].get("content")
    text = as_text(value)
    if text:
        return text
    return _Missing("empty_prompt" if isinstance(value, str) else "no_prompt")


def _reference(row: Row, preset: Preset) -> str | _Missing:
    columns = preset.columns
    text = _scalar(row.value(columns.reference)) if columns.reference else ""
    if isinstance(text, _Missing):
        return text
    if text:
        match preset.reading:
            case Reading.HASH:
                return after_hash(text) or _Missing("no_hash_reference")
            case Reading.BOXED:
                return last_boxed(text) or _Missing("no_boxed_reference")
            case Reading.WHOLE:
                return text
    if columns.solution and row.text(columns.solution):
        return last_boxed(row.text(columns.solution)) or _Missing("no_boxed_reference")
    return _Missing("no_reference")


def _scalar(value: Json) -> str | _Missing:
    """Return a value as text; a list of one is that one, a longer list could mean any or all of its values."""
    if isinstance(value, list):
        if len(value) > 1:
            return _Missing("many_references")
        value = value[0] if value else None
    return _Missing("reference_not_text") if isinstance(value, (list, dict)) else as_text(value)


def after_hash(text: str) -> str:
    """Return what stands after the last `####`, thousands commas removed.

    `#### 1,234` gives `1234`, and `#### 1,5` stays as it is. Empty where no line starts the end of the text like
    that: a `####` with more lines below it is a heading.
    """
    _, mark, after = text.rpartition("####")
    answer = after.strip()
    if not mark or "\n" in answer:
        return ""
    return answer.replace(",", "") if _THOUSANDS.fullmatch(answer) else answer


def _choice(row: Row, prompt: str, columns: Columns) -> tuple[str, str] | _Missing:
    if columns.wrong:
        found = choices.from_columns(prompt, row.text(columns.reference), [row.text(name) for name in columns.wrong])
    else:
        found = choices.from_list(row.value(columns.choices), row.value(columns.reference))
    if isinstance(found, str):
        return _Missing(found)
    return choices.ask(prompt, found), found.letter


def _code(row: Row, prompt: str, preset: Preset) -> QuestionFields | BadRow:
    found = code_question(row, preset.name, preset.columns, prompt)
    if isinstance(found, str):
        return bad_row(row.place, found, prompt)
    return QuestionFields(
        prompt=found.prompt,
        reference=found.suite.reference(),
        solution=found.solutions[0] if found.solutions else "",
        tests=found.tests,
        solutions=found.solutions,
        extra=_extra(row, preset),
    )


def _extra(row: Row, preset: Preset) -> str:
    used = preset.ignored.union(preset.columns.named())
    return encode({name: value for name, value in row.data.items() if name not in used}).decode()


def columns_from(named: Mapping[str, str]) -> Columns:
    """Return the columns that a user named: `{"prompt": "problem", "reference": "answer"}`.

    Raises:
        UsageError: a field that does not exist, or an empty column name.
    """
    known = [item.name for item in fields(Columns) if item.name != "wrong"]
    check_names(named, known)
    return Columns(
        prompt=named.get("prompt", ""),
        reference=named.get("reference", ""),
        solution=named.get("solution", ""),
        choices=named.get("choices", ""),
        tests=named.get("tests", ""),
        function=named.get("function", ""),
        setup=named.get("setup", ""),
    )


def check_names(named: Mapping[str, str], known: Collection[str]) -> None:
    """Raise `UsageError` for a field that is not one of `known`, or that is given no column."""
    for name, column in named.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
            raise UsageError(f"There is no field {name!r}; {hint}")
        if not column:
            raise UsageError(f"The field {name} needs a column: --field {name}=COLUMN.")


def check_columns(columns: Sequence[str], sample: Sequence[Row]) -> None:
    """Raise `UsageError` for a column that none of the rows has, naming those there are and the nearest."""
    there = column_names(sample)
    for column in columns:
        if not any(row.has(column) for row in sample):
            near = difflib.get_close_matches(column, there, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(f"There is no column {column!r}; the columns are {', '.join(there)}.{hint}")
