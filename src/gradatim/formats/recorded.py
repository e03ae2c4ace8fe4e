"""Answers that another tool recorded: one row per answer, its fields found by the columns that the user names.

Nothing is raised for what one row holds; the reasons are `no_question`, `no_answer`, `bad_sample`, `bad_tokens`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats.fields import check_columns, check_names
from gradatim.formats.row import BadRow, Row, as_text, bad_row
from gradatim.formats.sample import column_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEYS = ("prompt", "question_id", "source_id")
"""Fields that say which question an answer belongs to; one of them is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptColumns:
    """Names of the columns, or dotted paths into them, that hold an attempt's fields; empty where there is none."""

    question_id: str = ""
    """Our id of the question, or"""
    prompt: str = ""
    """the question's own text, which the id is made from, or"""
    source_id: str = ""
    """the id that the question has in its source, in a column of this name: `task_id`."""
    answer: str = ""
    reasoning: str = ""
    model: str = ""
    sample: str = ""
    finish_reason: str = ""
    prompt_tokens: str = ""
    completion_tokens: str = ""

    def named(self) -> tuple[str, ...]:
        """Return the columns that are named here."""
        return tuple(filter(None, (getattr(self, item.name) for item in fields(self))))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFields:
    """An attempt as a row holds it."""

    question_id: str = ""
    """Empty where the row names its question by the prompt or the source's id."""
    prompt: str = ""
    source_id: str = ""
    answer: str
    """As recorded; may be empty, since a model may say nothing."""
    reasoning: str = ""
    model: str = ""
    sample: int | None = None
    """The sample's index, from 0; None where the file has none."""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def attempt_columns(named: Mapping[str, str], sample: Sequence[Row]) -> AttemptColumns:
    """Return the columns of recorded attempts, held against the file's first rows.

    Raises:
        UsageError: a field or column that does not exist, or no answer or no way to know its question.
    """
    known = [item.name for item in fields(AttemptColumns)]
    check_names(named, known)
    if not named.get("answer") or not any(map(named.get, _KEYS)):
        raise UsageError(
            f"Recorded answers need to know which columns to read, of {', '.join(column_names(sample)) or 'none'}: "
            "--field answer=COLUMN, and --field prompt=COLUMN, --field question_id=COLUMN or --field source_id=COLUMN."
        )
    check_columns(tuple(named.values()), sample)
    return AttemptColumns(**named)


def attempt_fields(row: Row, columns: AttemptColumns) -> AttemptFields | BadRow:
    """Return the attempt that the row holds, or the reason why it holds none that can be used."""
    question_id = row.text(columns.question_id) if columns.question_id else ""
    prompt = row.text(columns.prompt) if columns.prompt else ""
    source_id = row.text(columns.source_id) if columns.source_id else ""
    if not question_id and not prompt and not source_id:
        return bad_row(row.place, "no_question", str(dict(row.data)))
    answer = row.value(columns.answer)
    if answer is None:
        return bad_row(row.place, "no_answer", question_id or source_id or prompt)
    sample = _count(row, columns.sample)
    if sample is not None and sample < 0:
        return bad_row(row.place, "bad_sample", row.text(columns.sample))
    tokens = [_count(row, column) for column in (columns.prompt_tokens, columns.completion_tokens)]
    if -1 in tokens:
        return bad_row(row.place, "bad_tokens", question_id or source_id or prompt)
    return AttemptFields(
        question_id=question_id,
        prompt=prompt,
        source_id=source_id,
        answer=answer if isinstance(answer, str) else as_text(answer),
        reasoning=_verbatim(row, columns.reasoning),
        model=row.text(columns.model) if columns.model else "",
        sample=sample,
        finish_reason=row.text(columns.finish_reason) if columns.finish_reason else "",
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
    )


def _verbatim(row: Row, column: str) -> str:
    value = row.value(column) if column else None
    return value if isinstance(value, str) else as_text(value)


def _count(row: Row, column: str) -> int | None:
    """Return a number that counts something: None where there is none, -1 where what stands there counts nothing."""
    text = row.text(column) if column else ""
    if not text:
        return None
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else -1
