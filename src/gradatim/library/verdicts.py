"""Verdicts and step scores in the library: who gave them, what still lacks one."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library.attempts import key_bounds, settings
from gradatim.library.paging import PAGE, paged
from gradatim.library.text import pack, unpack
from gradatim.reasoning import split_reasoning

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.types import Domain, Role, StepScores, Verdict

ANSWER = 20_000
"""Characters of the compared text that a verdict keeps."""
_SHORT = 1000
"""Characters that stand beside the outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """An attempt that lacks a verdict, with its raw answer and its question's reference."""

    pk: int
    question: int
    setting: int
    finish_reason: str
    content: str
    reasoning: str
    reference: str
    """Of a code question a word that names its tests, which are not here: see `questions.tests`."""

    def answer(self) -> str:
        """The answer without its reasoning."""
        return split_reasoning(self.content, self.reasoning)[1]


def ensure_checker(library: Library, name: str, version: str, *, again: bool = False) -> int:
    """Return the key of the checker's newest round, or of a new round where the work is to be done again.

    Also where another version has judged since: the newest verdict counts, and it is to be one of this version.
    """
    regular = "SELECT pk, version FROM checker WHERE name = ? AND further_of IS NULL ORDER BY pk DESC LIMIT 1"
    newest = library.all(regular, (name,))
    if newest and newest[0][1] == version and not again:
        return int(newest[0][0])
    before = library.value("SELECT max(round) FROM checker WHERE name = ? AND version = ?", (name, version))
    with library.transaction() as connection:
        cursor = connection.execute(
            "INSERT INTO checker (name, version, round) VALUES (?, ?, ?)",
            (name, version, 0 if before is None else before + 1),
        )
    return int(cursor.lastrowid or 0)


_ROUNDS = "(?, (SELECT pk FROM checker WHERE further_of = ?))"
"""A checker's round, and the one beside it in which it judged anew what had been continued."""


def unjudged(library: Library, domain: Domain, checker: int, *, role: Role | None = None) -> Iterator[Unjudged]:
    """Attempts of the domain without a verdict of this checker, a page at a time."""
    pks = [one.pk for one in settings(library, role)]
    sql = (
        "SELECT a.pk, a.question, a.setting, a.finish_reason, t.content, t.reasoning, q.reference "
        "FROM answer a CROSS JOIN question q ON q.pk = a.question CROSS JOIN answer_text t ON t.attempt = a.pk "
        f"WHERE +a.setting IN ({','.join(map(str, pks))}) "
        f"AND NOT EXISTS (SELECT 1 FROM fresh v WHERE v.attempt = a.pk AND v.checker IN {_ROUNDS}) "
        "AND q.domain = ? AND a.pk > ? AND a.pk <= ? ORDER BY a.pk"
    )
    for row in paged(library, sql, (checker, checker, domain), key_bounds(library, pks)):
        yield _unjudged(*row)


def count_unjudged(library: Library, domain: Domain, checker: int, *, role: Role | None = None) -> int:
    """Count the attempts of the domain without a verdict of this checker."""
    if role is None:
        # Counts, and no look-up for each attempt.
        sql = (
            "SELECT (SELECT count(*) FROM attempt a JOIN question q ON q.pk = a.question WHERE q.domain = ?) - "
            f"(SELECT count(*) FROM verdict WHERE checker IN {_ROUNDS}) + "
            "(SELECT count(*) FROM further WHERE stale = ?)"
        )
        return int(library.value(sql, (domain, checker, checker, checker)))
    pks = ",".join(str(one.pk) for one in settings(library, role))
    sql = (
        "SELECT count(*) FROM attempt a JOIN question q ON q.pk = a.question WHERE q.domain = ? "
        f"AND a.setting IN ({pks}) AND NOT EXISTS "
        f"(SELECT 1 FROM fresh v WHERE v.attempt = a.pk AND v.checker IN {_ROUNDS})"
    )
    return int(library.value(sql, (domain, checker, checker)))


def by_attempt(library: Library, pks: Sequence[int]) -> list[Unjudged]:
    """These attempts, whether judged or not."""
    marks = ",".join("?" * len(pks))
    rows = library.all(
        "SELECT a.pk, a.question, a.setting, a.finish_reason, t.content, t.reasoning, q.reference FROM answer a "
        f"JOIN question q ON q.pk = a.question JOIN answer_text t ON t.attempt = a.pk WHERE a.pk IN ({marks})",
        pks,
    )
    return [_unjudged(*row) for row in rows]


def _unjudged(
    pk: int,
    question: int,
    setting: int,
    finish_reason: str,
    content: str | bytes,
    reasoning: str | bytes,
    reference: str,
) -> Unjudged:
    return Unjudged(
        pk=pk,
        question=question,
        setting=setting,
        finish_reason=finish_reason,
        content=unpack(content),
        reasoning=unpack(reasoning),
        reference=reference,
    )


def write_verdict(connection: sqlite3.Connection, attempt: int, checker: int, verdict: Verdict) -> None:
    """Add a verdict; one that is there already is left as it is.

    The answer is cut at 20,000 characters. A longer one than 1,000, or one with a detail, is kept apart. Where this
    round of the checker has judged the answer before it was continued, its verdict goes into a round beside it.
    """
    stale = connection.execute("SELECT stale FROM further WHERE attempt = ?", (attempt,)).fetchone()
    if stale is not None and stale[0] >= checker:
        checker = _further_round(connection, checker)
    answer = verdict.answer[:ANSWER]
    apart = bool(verdict.detail) or len(answer) > _SHORT
    new = connection.execute(
        "INSERT OR IGNORE INTO verdict (attempt, checker, outcome, reason, answer, found_by, passed, total) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            attempt,
            checker,
            verdict.outcome,
            verdict.reason,
            "" if apart else pack(answer),
            verdict.found_by,
            verdict.passed,
            verdict.total,
        ),
    )
    if apart and new.rowcount:
        values = (attempt, checker, pack(answer), pack(verdict.detail))
        connection.execute("INSERT INTO verdict_text VALUES (?, ?, ?, ?)", values)


def _further_round(connection: sqlite3.Connection, checker: int) -> int:
    """Return the key of the round in which a checker judges anew what it judged too early, made if it is new."""
    found = connection.execute("SELECT pk FROM checker WHERE further_of = ?", (checker,)).fetchone()
    if found is not None:
        return int(found[0])
    cursor = connection.execute(
        "INSERT INTO checker (name, version, round, further_of) SELECT name, version, "
        "(SELECT max(round) + 1 FROM checker o WHERE o.name = c.name AND o.version = c.version), pk "
        "FROM checker c WHERE pk = ?",
        (checker,),
    )
    return int(cursor.lastrowid or 0)


def find_prm(library: Library, name: str, version: str) -> int | None:
    """Return the key of the PRM, or None where it has scored nothing."""
    found = library.value("SELECT pk FROM prm WHERE name = ? AND version = ?", (name, version))
    return None if found is None else int(found)


def ensure_prm(library: Library, name: str, version: str) -> int:
    """Return the key of the PRM, made if it is new."""
    found = find_prm(library, name, version)
    if found is not None:
        return found
    with library.transaction() as connection:
        cursor = connection.execute("INSERT INTO prm (name, version) VALUES (?, ?)", (name, version))
    return int(cursor.lastrowid or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """A wrong attempt that lacks step scores."""

    pk: int
    question: int
    prompt: str
    thinking: str
    """The reasoning without the answer; empty where there is none."""
    answer: str


_NEWEST = "(SELECT outcome FROM fresh v WHERE v.attempt = {}.pk ORDER BY v.checker DESC LIMIT 1)"


def _lacks_scores(*, first: bool, code: bool) -> str:
    """Say in SQL which attempts of a setting a PRM is to score."""
    conditions = [
        f"{_NEWEST.format('a')} = 'wrong'",
        "NOT EXISTS (SELECT 1 FROM score x WHERE x.attempt = a.pk AND x.prm = ?)",
    ]
    if first:
        conditions.append(
            "NOT EXISTS (SELECT 1 FROM attempt b WHERE b.setting = a.setting AND b.question = a.question "
            f"AND b.sample < a.sample AND {_NEWEST.format('b')} IN ('correct', 'wrong'))"
        )
    if not code:
        conditions.append("(SELECT domain FROM question WHERE pk = a.question) <> 'code'")
    return " AND ".join(conditions)


def count_unscored(library: Library, setting: Setting, prm: int, *, first: bool = False, code: bool = True) -> int:
    """Count what `unscored` gives."""
    sql = f"SELECT count(*) FROM attempt a WHERE a.setting = ? AND {_lacks_scores(first=first, code=code)}"
    return int(library.value(sql, (setting.pk, prm)))


def unscored(
    library: Library, setting: Setting, prm: int, *, first: bool = False, code: bool = True
) -> Iterator[Unscored]:
    """Attempts of the setting whose newest verdict is `wrong` and that this PRM has not scored, a page at a time.

    With `first`, only where it is the question's first decided attempt. `code=False` leaves code questions out.
    """
    sql = (
        "SELECT a.pk, a.question, p.prompt, t.content, t.reasoning FROM attempt a CROSS JOIN question_text p "
        "ON p.question = a.question CROSS JOIN answer_text t ON t.attempt = a.pk "
        f"WHERE +a.setting = ? AND {_lacks_scores(first=first, code=code)} "
        "AND a.pk > ? AND a.pk <= ? ORDER BY a.pk"
    )
    for row in paged(library, sql, (setting.pk, prm), key_bounds(library, [setting.pk])):
        yield _unscored(*row)


def to_score(library: Library, pks: Iterable[int]) -> Iterator[Unscored]:
    """Give these attempts, right or wrong, as they are to be scored; a page at a time."""
    sql = (
        "SELECT a.pk, a.question, p.prompt, t.content, t.reasoning FROM attempt a JOIN question_text p "
        "ON p.question = a.question JOIN answer_text t ON t.attempt = a.pk WHERE a.pk IN ({marks})"
    )
    waiting = iter(pks)
    while page := list(itertools.islice(waiting, PAGE)):
        for row in library.all(sql.format(marks=",".join("?" * len(page))), page):
            yield _unscored(*row)


def _unscored(pk: int, question: int, prompt: str | bytes, content: str | bytes, reasoning: str | bytes) -> Unscored:
    thinking, answer = split_reasoning(unpack(content), unpack(reasoning))
    return Unscored(pk=pk, question=question, prompt=unpack(prompt), thinking=thinking, answer=answer)


def write_scores(connection: sqlite3.Connection, attempt: int, prm: int, scores: StepScores) -> None:
    """Add an attempt's step scores, as `[[characters, score], ...]`, or the reason there are none."""
    mean = sum(scores.scores) / len(scores.scores) if scores.scores else None
    steps = json.dumps([[len(step), round(score, 6)] for step, score in zip(scores.steps, scores.scores, strict=False)])
    connection.execute("INSERT OR IGNORE INTO score VALUES (?, ?, ?, ?, ?)", (attempt, prm, mean, scores.reason, steps))
