"""Draws and chains in the library: which questions were drawn in what order, what the teacher has answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.grades import GradingRow
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library, Row


_UNDRAWABLE = (
    "SELECT question FROM exclusion UNION SELECT m.question FROM question_set s "
    "CROSS JOIN member m ON m.question_set = s.pk WHERE s.purpose = 'eval'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A named, seeded draw: quotas per level, and an order of questions per level that goes past the quota."""

    pk: int
    name: str
    grading: int
    size: int
    seed: int
    mix: str
    settings: str
    quotas: Mapping[int, int]


def draws(library: Library) -> list[Draw]:
    """All draws, in the order they were made."""
    rows = library.all("SELECT pk, name, grading, size, seed, mix, settings, quotas FROM draw ORDER BY pk")
    return [
        Draw(
            pk=row[0],
            name=row[1],
            grading=row[2],
            size=row[3],
            seed=row[4],
            mix=row[5],
            settings=row[6],
            quotas={int(level): quota for level, quota in json.loads(row[7]).items()},
        )
        for row in rows
    ]


def chosen_draw(library: Library, name: str | None) -> Draw:
    """Return the draw of this name, or the only one. Raises `UsageError` naming those there are."""
    there = draws(library)
    if not there:
        raise UsageError(
            "There is no draw yet. Make one with: gradatim sample --size 2000 --mix curriculum:5,4,3,2,1 --name NAME"
        )
    found = [one for one in there if name is None or one.name == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in there)
    raise UsageError(f"There is no draw named {name!r}. There are: {names}." if name else f"Say which draw: {names}.")


def undrawable(library: Library) -> set[int]:
    """Questions that no draw may hold: excluded ones, and those of any evaluation set."""
    return {row[0] for row in library.rows(_UNDRAWABLE)}


def available(library: Library, grading: GradingRow, sets: Sequence[QuestionSet] | None) -> dict[int, int]:
    """Count the drawable questions of each level, of these sets or of all."""
    inside = _inside(sets)
    sql = f"SELECT g.level, count(*) FROM grade g WHERE g.grading = ? AND g.level IS NOT NULL{inside} GROUP BY g.level"
    counts = dict.fromkeys(range(6), 0) | dict(library.all(sql, (grading.pk,)))
    # What cannot be drawn is little beside a pool, so it is taken off instead of being looked up for each question.
    sql = (
        f"SELECT g.level, count(*) FROM ({_UNDRAWABLE}) u CROSS JOIN grade g ON g.grading = ? "
        f"AND g.question = u.question WHERE g.level IS NOT NULL{inside} GROUP BY g.level"
    )
    for level, count in library.all(sql, (grading.pk,)):
        counts[level] -= count
    return counts


def graded(
    library: Library, grading: GradingRow, level: int, sets: Sequence[QuestionSet] | None
) -> Iterable[tuple[int, str]]:
    """Keys and ids of the questions of a level, of these sets or of all, as they come."""
    sql = (
        "SELECT q.pk, q.id FROM grade g CROSS JOIN question q ON q.pk = g.question WHERE g.grading "
        f"= ? AND g.level = ?{_inside(sets)}"
    )
    return library.rows(sql, (grading.pk, level))


def keys(library: Library, ids: Sequence[str]) -> list[int]:
    """Return the keys of the questions of these ids, in their order."""
    return [int(library.value("SELECT pk FROM question WHERE id = ?", (id_,))) for id_ in ids]


def _inside(sets: Sequence[QuestionSet] | None) -> str:
    """Say in SQL that the question of `grade g` is in one of the sets."""
    if sets is None:
        return ""
    pks = ",".join(str(one.pk) for one in sets)
    return f" AND EXISTS (SELECT 1 FROM member m WHERE m.question_set IN ({pks}) AND m.question = g.question)"


def write(library: Library, draw: Draw, items: Mapping[int, Sequence[int]]) -> Draw:
    """Keep a draw: for each level, question keys in their order. All or nothing."""
    quotas = json.dumps({str(level): quota for level, quota in sorted(draw.quotas.items())})
    with library.transaction() as connection:
        cursor = connection.execute(
            "INSERT INTO draw (name, grading, size, seed, mix, settings, quotas) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (draw.name, draw.grading, draw.size, draw.seed, draw.mix, draw.settings, quotas),
        )
        rows = [
            (cursor.lastrowid, level, rank, pk) for level, pks in sorted(items.items()) for rank, pk in enumerate(pks)
        ]
        connection.executemany("INSERT INTO draw_item VALUES (?, ?, ?, ?)", rows)
    return chosen_draw(library, draw.name)


def items(library: Library, draw: Draw) -> dict[int, list[int]]:
    """Question keys per level, in the draw's order."""
    orders: dict[int, list[int]] = {}
    for level, question in library.all(
        "SELECT level, question FROM draw_item WHERE draw = ? ORDER BY level, rank", (draw.pk,)
    ):
        orders.setdefault(level, []).append(question)
    return orders


def teacher_attempts(library: Library, draw: Draw, setting: Setting | None = None) -> list[Row]:
    """Each teacher's attempt at the draw's questions, in the draw's order.

    Columns: level, rank, question, attempt, sample, newest outcome or None, finish reason, tokens of the answer, cost,
    setting, tokens written in all, kind of the further answer or None.
    """
    sql = (
        "SELECT i.level, i.rank, i.question, a.pk, a.sample, "
        "(SELECT v.outcome FROM fresh v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1), "
        "a.finish_reason, a.completion_tokens, a.cost, a.setting, a.written_tokens, a.further "
        "FROM draw_item i JOIN setting s ON s.role = 'teacher' AND (? IS NULL OR s.pk = ?) "
        "JOIN answer a ON a.setting = s.pk AND a.question = i.question "
        "WHERE i.draw = ? ORDER BY i.level, i.rank, s.pk, a.sample"
    )
    pk = None if setting is None else setting.pk
    return library.all(sql, (pk, pk, draw.pk))


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """What curation decided about one teacher's attempt."""

    attempt: int
    level: int
    kept: bool
    reason: str


def write_chains(library: Library, draw: Draw, settings: str, decisions: Sequence[Curated]) -> None:
    """Put the draw's curation in place of an older one. All or nothing."""
    with library.transaction() as connection:
        connection.execute("DELETE FROM chain WHERE draw = ?", (draw.pk,))
        connection.execute("INSERT OR REPLACE INTO curation VALUES (?, ?)", (draw.pk, settings))
        connection.executemany(
            "INSERT INTO chain VALUES (?, ?, ?, ?, ?)",
            [(draw.pk, one.attempt, one.level, one.kept, one.reason) for one in decisions],
        )


def chain_counts(library: Library, draw: Draw) -> list[Row]:
    """Level, reason, kept, and how many."""
    sql = "SELECT level, reason, kept, count(*) FROM chain WHERE draw = ? GROUP BY 1, 2, 3 ORDER BY 1, 3 DESC, 2"
    return library.all(sql, (draw.pk,))
