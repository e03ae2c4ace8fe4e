"""Grades in the library: the evidence they are made from, and what they say in sum."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.library.scores import score_of
from gradatim.types import Domain, Outcome, content_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library, Row
    from gradatim.method.aggregation import Aggregation

QUESTIONS = 5000
"""Question keys whose attempts are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradingRow:
    """One rule applied to the attempts of one setting."""

    pk: int
    id: str
    model: str
    setting: int
    prm: int | None
    rule: str
    rule_settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEvidence:
    """What is known of one attempt: the newest verdict's outcome, None where there is none, and the PRM's score."""

    sample: int
    outcome: str | None
    score: float | None
    code: bool = False
    """Whether it answers a code question."""
    passed: int | None = None
    total: int | None = None
    """Tests, of the newest verdict."""

    @property
    def share(self) -> float | None:
        """The share of tests that a wrong program passed: 0 where none could be run, None where it is not known."""
        if not self.code or self.outcome != Outcome.WRONG:
            return None
        if not self.total:
            return 0.0
        return None if self.passed is None else self.passed / self.total


def ensure_grading(library: Library, setting: Setting, prm: int | None, rule: str, rule_settings: str) -> GradingRow:
    """Return the grading, made if it is new; it is the newest from now on."""
    id_ = content_id(setting.id, str(prm), rule, rule_settings)[:10]
    with library.transaction() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO grading (id, model, setting, prm, rule, rule_settings) VALUES (?, ?, ?, ?, ?, ?)",
            (id_, setting.model, setting.pk, prm, rule, rule_settings),
        )
        connection.execute("UPDATE grading SET turn = (SELECT max(turn) + 1 FROM grading) WHERE id = ?", (id_,))
    return next(one for one in gradings(library) if one.id == id_)


def gradings(library: Library) -> list[GradingRow]:
    """All gradings, the one that was made or made again last at the end."""
    return [
        GradingRow(pk=row[0], id=row[1], model=row[2], setting=row[3], prm=row[4], rule=row[5], rule_settings=row[6])
        for row in library.all("SELECT pk, id, model, setting, prm, rule, rule_settings FROM grading ORDER BY turn, pk")
    ]


def chosen_grading(library: Library, model: str | None = None, grading: str | None = None) -> GradingRow:
    """Return the grading of this id, or the newest of this model, or the newest of all.

    Raises `UsageError` where there is none, or where several models have one and none was named.
    """
    there = gradings(library)
    if not there:
        raise UsageError("Nothing is graded yet. Run: gradatim attempt; gradatim verify; gradatim grade")
    if grading is not None:
        found = [one for one in there if one.id == grading]
        if not found:
            raise UsageError(
                f"There is no grading {grading!r}. There are: {', '.join(one.id for one in there)} (gradatim levels)."
            )
        return found[-1]
    models = sorted({one.model for one in there})
    if model is None and len(models) > 1:
        raise UsageError(f"Several models are graded: {', '.join(models)}. Choose one with --model.")
    found = [one for one in there if model is None or one.model == model]
    if not found:
        raise UsageError(f"There are no grades of the model {model!r}. Graded are: {', '.join(models)}.")
    return found[-1]


_WINDOW = "WHERE a.setting = ? AND a.question > ? AND a.question <= ? ORDER BY a.question, a.sample"
_SCORE = "(SELECT {score} FROM score x WHERE x.attempt = a.pk AND x.prm = ?)"
_EVIDENCE = (
    "SELECT a.question, a.sample, "
    "(SELECT v.outcome FROM fresh v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1), "
    f"{_SCORE}, '', NULL, NULL FROM attempt a {_WINDOW}"
)
"""Where there are no code questions: half of the other's time."""
_EVIDENCE_OF_CODE = (
    f"SELECT a.question, a.sample, v.outcome, {_SCORE}, q.domain, v.passed, v.total "
    "FROM attempt a CROSS JOIN question q ON q.pk = a.question LEFT JOIN verdict v ON v.attempt = a.pk "
    f"AND v.checker = (SELECT max(w.checker) FROM fresh w WHERE w.attempt = a.pk) {_WINDOW}"
)


def evidence(
    library: Library, setting: Setting, prm: int | None, how: Aggregation = "mean"
) -> Iterator[tuple[int, list[AttemptEvidence]]]:
    """Give each question's attempts of the setting in the order of their samples; a page at a time.

    `how` says how a PRM's step scores become the attempt's score.
    """
    sql = _EVIDENCE if library.value("SELECT min(question) FROM suite") is None else _EVIDENCE_OF_CODE
    sql = sql.format(score=score_of(how))
    last = library.value("SELECT max(question) FROM attempt WHERE setting = ?", (setting.pk,)) or 0
    # By windows of questions, so that no page ends inside one.
    for after in range(0, last, QUESTIONS):
        page = library.all(sql, (prm, setting.pk, after, after + QUESTIONS))
        for pk, rows in itertools.groupby(page, key=lambda row: row[0]):
            yield pk, [_evidence(row) for row in rows]


def _evidence(row: Row) -> AttemptEvidence:
    _, sample, outcome, score, domain, passed, total = row
    return AttemptEvidence(
        sample=sample, outcome=outcome, score=score, code=domain == Domain.CODE, passed=passed, total=total
    )


def suite_sizes(library: Library, setting: Setting) -> list[int]:
    """Return the numbers of tests that wrong programs of the setting were given, each once, falling."""
    sql = (
        "SELECT DISTINCT v.total FROM attempt a JOIN verdict v ON v.attempt = a.pk "
        "WHERE a.setting = ? AND v.outcome = 'wrong' AND v.total > 0 ORDER BY 1 DESC"
    )
    return [row[0] for row in library.all(sql, (setting.pk,))]


def attempted(library: Library, setting: Setting) -> tuple[bool, bool]:
    """Say whether the setting attempted code questions, and whether it attempted others."""
    if library.value("SELECT min(question) FROM suite") is None:
        return False, True
    code = "SELECT 1 FROM suite u CROSS JOIN attempt a ON a.setting = ? AND a.question = u.question LIMIT 1"
    other = "SELECT 1 FROM attempt a WHERE a.setting = ? AND a.question NOT IN (SELECT question FROM suite) LIMIT 1"
    return library.value(code, (setting.pk,)) is not None, library.value(other, (setting.pk,)) is not None


def count_stopped(library: Library, setting: Setting) -> int:
    """Count the wrong programs of the setting that were not given all their tests: of them the share is not known."""
    sql = (
        "SELECT count(*) FROM suite u CROSS JOIN attempt a ON a.setting = ? AND a.question = u.question "
        "JOIN verdict v ON v.attempt = a.pk "
        "AND v.checker = (SELECT max(w.checker) FROM fresh w WHERE w.attempt = a.pk) "
        "WHERE v.outcome = 'wrong' AND v.total > 0 AND v.passed IS NULL"
    )
    return int(library.value(sql, (setting.pk,)))


def write(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Put grades (columns as in the table) in place of older ones of the same grading and question."""
    connection.executemany("INSERT OR REPLACE INTO grade VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def histogram(library: Library, grading: GradingRow, set_pk: int | None = None) -> dict[int | None, int]:
    """Count the questions of each level, of one set or of all pools; None counts those without a level."""
    if set_pk is not None:
        # From the set: a small one costs little in a large library.
        sql = (
            "SELECT g.level, count(*) FROM member m CROSS JOIN grade g ON g.grading = ? AND g.question = m.question "
            "WHERE m.question_set = ? GROUP BY g.level"
        )
        return dict(library.all(sql, (grading.pk, set_pk)))
    sql = (
        "SELECT g.level, count(*) FROM grade g WHERE g.grading = ? AND EXISTS (SELECT 1 FROM member m WHERE "
        "m.question_set IN (SELECT pk FROM question_set WHERE purpose = 'pool') AND m.question = g.question) "
        "GROUP BY g.level"
    )
    return dict(library.all(sql, (grading.pk,)))


def by_level(library: Library, grading: GradingRow) -> list[Row]:
    """Per level: questions, mean PRM score, decided attempts, correct among them, mean difficulty, mean share of tests.

    The share is that of wrong programs, of code questions alone.
    """
    sql = (
        "SELECT level, count(*), avg(score), sum(correct + wrong), sum(correct), avg(difficulty), avg(tests) "
        "FROM grade WHERE grading = ? GROUP BY level ORDER BY level IS NULL, level"
    )
    return library.all(sql, (grading.pk,))


def moves(library: Library, first: GradingRow, second: GradingRow) -> list[Row]:
    """Count questions by (level in the first grading, level in the second), of those that both have graded."""
    sql = (
        "SELECT a.level, b.level, count(*) FROM grade a JOIN grade b ON b.question = a.question AND b.grading = ? "
        "WHERE a.grading = ? AND a.level IS NOT NULL AND b.level IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return library.all(sql, (second.pk, first.pk))
