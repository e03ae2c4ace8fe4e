"""What the library knows about each question of the pool, as the arms take it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.library import draws, grades
from gradatim.library.text import unpack
from gradatim.method.arms import Known
from gradatim.types import Outcome, content_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where what is known comes from. None: no arm needs it."""

    grading: GradingRow
    """The base model's."""
    other: GradingRow | None = None
    """The other model's."""
    sampled: Setting | None = None
    """Answers of the base model by which pass rates are counted; else those that were graded."""
    static: str | None = None
    """The column of the questions' source that holds the static number."""


def known(library: Library, sources: Sources) -> list[Known]:
    """Return the drawable questions that have a level, and where an arm needs it, one by the other grading too.

    All arms choose from the same questions. Raises `UsageError` where `static` names no column with numbers.
    """
    grading, other, static = sources.grading, sources.other, sources.static
    never = draws.undrawable(library)
    rates = {} if sources.sampled is None else _rates(library, sources.sampled)
    levels = {} if other is None else _levels(library, other)
    numbers = {} if static is None else _numbers(library, static)
    lengths = _lengths(library, grading)
    sql = (
        "SELECT q.pk, q.id, g.level, g.difficulty, g.correct, g.wrong FROM grade g "
        "JOIN question q ON q.pk = g.question WHERE g.grading = ? AND g.level IS NOT NULL ORDER BY q.id"
    )
    found = [
        Known(
            id=id_,
            level=level,
            difficulty=difficulty or 0.0,
            rate=rates.get(pk, correct / (correct + wrong)),
            length=lengths.get(pk, 0.0),
            static=numbers.get(pk),
            other=levels.get(pk),
        )
        for pk, id_, level, difficulty, correct, wrong in library.all(sql, (grading.pk,))
        if pk not in never and (other is None or pk in levels)
    ]
    if static is not None and not any(one.static is not None for one in found):
        raise UsageError(
            f"The arm static needs a column of numbers, and the pool has none that is named {static!r}. Name one as "
            "static in [compare], or leave the arm out."
        )
    return found


def fingerprint(library: Library, grading: GradingRow) -> str:
    """Return a hash of the drawable questions with their levels."""
    never = draws.undrawable(library)
    sql = (
        "SELECT g.question, q.id, g.level FROM grade g JOIN question q ON q.pk = g.question "
        "WHERE g.grading = ? AND g.level IS NOT NULL ORDER BY q.id"
    )
    rows = library.rows(sql, (grading.pk,))
    return content_id(*(f"{id_} {level}" for pk, id_, level in rows if pk not in never))


def observed(library: Library, grading: GradingRow, set_pk: int) -> dict[int, int]:
    """Count the questions of each level of an evaluation set."""
    counts = grades.histogram(library, grading, set_pk)
    return {level: count for level, count in counts.items() if level is not None}


def keys(library: Library, ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of these questions."""
    wanted = set(ids)
    return {id_: pk for pk, id_ in library.rows("SELECT pk, id FROM question") if id_ in wanted}


def _levels(library: Library, grading: GradingRow) -> dict[int, int]:
    sql = "SELECT question, level FROM grade WHERE grading = ? AND level IS NOT NULL"
    return dict(library.all(sql, (grading.pk,)))


def _rates(library: Library, setting: Setting) -> dict[int, float]:
    """Return the share of correct answers among the decided ones of a setting."""
    found: dict[int, float] = {}
    for pk, tried in grades.evidence(library, setting, None):
        decided = [one.outcome for one in tried if one.outcome in (Outcome.CORRECT, Outcome.WRONG)]
        if decided:
            found[pk] = decided.count(Outcome.CORRECT) / len(decided)
    return found


def _lengths(library: Library, grading: GradingRow) -> dict[int, float]:
    """Mean length of the attempts that were graded: tokens as counted, or a quarter of the characters."""
    sql = (
        "SELECT a.question, avg(coalesce(a.completion_tokens, (length(unpack(t.content)) + "
        "length(unpack(t.reasoning))) / 4.0)) FROM answer a JOIN answer_text t ON t.attempt = a.pk "
        "WHERE a.setting = ? GROUP BY a.question"
    )
    return dict(library.all(sql, (grading.setting,)))


def _numbers(library: Library, column: str) -> dict[int, float]:
    """Return what stands in a column of the questions' source, where it is a number."""
    found: dict[int, float] = {}
    for pk, packed in library.rows("SELECT question, extra FROM question_text"):
        value = json.loads(unpack(packed)).get(column)
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found[pk] = number
    return found
