"""Questions in the library: sets, membership, what was dropped, what is still to be attempted."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.library.paging import PAGE, paged
from gradatim.library.text import pack, unpack
from gradatim.types import Domain, Question

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradatim.library.store import Library

_NOT_EXCLUDED = (
    "(NOT EXISTS (SELECT 1 FROM exclusion e WHERE e.question = m.question) "
    "OR EXISTS (SELECT 1 FROM question_set s CROSS JOIN member o ON o.question_set = s.pk "
    "AND o.question = m.question WHERE s.purpose = 'eval'))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A row that did not become a question, and why."""

    row_id: str
    place: str
    reason: str
    detail: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """A named set of questions: a pool to draw from, or an evaluation set that is never drawn."""

    pk: int
    name: str
    purpose: str


def sets(library: Library) -> list[QuestionSet]:
    """All sets, in the order they were made."""
    return [
        QuestionSet(pk=pk, name=name, purpose=purpose)
        for pk, name, purpose in library.all("SELECT pk, name, purpose FROM question_set ORDER BY pk")
    ]


def chosen_sets(library: Library, names: Sequence[str] | None) -> list[QuestionSet]:
    """The sets of these names, or all. Raises `UsageError` for a name that is not there, or an empty library."""
    there = sets(library)
    if not there:
        raise UsageError("The library holds no questions yet. Start with: gradatim ingest POOL")
    if names is None:
        return there
    by_name = {one.name: one for one in there}
    for name in names:
        if name not in by_name:
            raise UsageError(f"There is no set named {name!r} in {library.path}. There are: {', '.join(by_name)}.")
    return [by_name[name] for name in names]


def ensure_set(connection: sqlite3.Connection, name: str, purpose: str) -> int:
    """Return the key of the set, made if it is new. Raises `UsageError` where its purpose is another."""
    row = connection.execute("SELECT pk, purpose FROM question_set WHERE name = ?", (name,)).fetchone()
    if row is None:
        return int(
            connection.execute("INSERT INTO question_set (name, purpose) VALUES (?, ?)", (name, purpose)).lastrowid or 0
        )
    if row[1] != purpose:
        raise UsageError(
            f"The set {name!r} is there already as {row[1]!r}, not {purpose!r}. Choose another name with --set."
        )
    return int(row[0])


def add(connection: sqlite3.Connection, set_pk: int, question: Question) -> int:
    """Add a question that is not there yet to the library and to a set; return its key."""
    pk = int(
        connection.execute(
            "INSERT INTO question (id, domain, reference, source) VALUES (?, ?, ?, ?)",
            (question.id, question.domain, question.reference, question.source),
        ).lastrowid
        or 0
    )
    connection.execute(
        "INSERT INTO question_text VALUES (?, ?, ?, ?)",
        (pk, pack(question.prompt), pack(question.solution), pack(question.extra)),
    )
    if question.tests:
        connection.execute("INSERT INTO suite VALUES (?, ?)", (pk, pack(question.tests)))
    join(connection, set_pk, pk)
    return pk


def join(connection: sqlite3.Connection, set_pk: int, question_pk: int) -> bool:
    """Put a question into a set; False where it was in it."""
    return connection.execute("INSERT OR IGNORE INTO member VALUES (?, ?)", (set_pk, question_pk)).rowcount > 0


def drop(connection: sqlite3.Connection, set_pk: int, dropped: Dropped) -> bool:
    """Keep a row that did not become a question; False where the same row was dropped before."""
    values = (set_pk, dropped.row_id, dropped.place, dropped.reason, dropped.detail, pack(dropped.body))
    sql = "INSERT OR IGNORE INTO dropped (question_set, row_id, place, reason, detail, body) VALUES (?, ?, ?, ?, ?, ?)"
    return connection.execute(sql, values).rowcount > 0


def exclude(connection: sqlite3.Connection, question_pk: int, reason: str, detail: str) -> None:
    """Say that a question is not to be used; it stays listed."""
    connection.execute("INSERT OR IGNORE INTO exclusion VALUES (?, ?, ?)", (question_pk, reason, detail))


def tests(connection: sqlite3.Connection | Library, pk: int) -> str:
    """Return a code question's tests, as `suite.decoded` reads them; nothing where it has none. They can be megabytes.

    A thread that has no turn at the library's reader gives the connection of a transaction.
    """
    sql = "SELECT body FROM suite WHERE question = ?"
    rows = connection.execute(sql, (pk,)) if isinstance(connection, sqlite3.Connection) else connection.all(sql, (pk,))
    return next((unpack(row[0]) for row in rows), "")


def get(library: Library, pk: int) -> Question:
    """Return one question with its texts; its tests are read by `tests` alone."""
    return next(iter(many(library, [pk]).values()))


def many(library: Library, pks: Sequence[int]) -> dict[int, Question]:
    """Return these questions by key; at most a page of them at a time."""
    marks = ",".join("?" * len(pks))
    found = library.all(
        "SELECT q.pk, q.id, q.domain, q.reference, q.source, t.prompt, t.solution, t.extra "
        f"FROM question q JOIN question_text t ON t.question = q.pk WHERE q.pk IN ({marks})",
        pks,
    )
    return {row[0]: _question(*row[1:]) for row in found}


def _question(
    id_: str, domain: str, reference: str, source: str, prompt: str | bytes, solution: str | bytes, extra: str | bytes
) -> Question:
    return Question(
        id=id_,
        domain=Domain(domain),
        reference=reference,
        source=source,
        prompt=unpack(prompt),
        solution=unpack(solution),
        extra=unpack(extra),
    )


def active(sets_: Sequence[QuestionSet]) -> dict[int, str]:
    """Say in SQL, for each set's key, which rows of `member m` are questions to be worked on.

    An excluded question is one only where it is in an evaluation set. A question of several sets meets the first one's
    condition alone, so that counts of the sets add up. Each starts from the set, so a small one costs little in a large
    library.
    """
    conditions: dict[int, str] = {}
    for one in sets_:
        if one.pk in conditions:
            continue
        condition = f"m.question_set = {one.pk}"
        if conditions:
            before = ",".join(map(str, conditions))
            condition += (
                f" AND NOT EXISTS (SELECT 1 FROM member n WHERE n.question_set IN ({before}) "
                "AND n.question = m.question)"
            )
        conditions[one.pk] = condition if one.purpose == "eval" else f"{condition} AND {_NOT_EXCLUDED}"
    return conditions


def bounds(library: Library, set_pk: int) -> tuple[int | None, int | None]:
    """Return the first and the last question key of a set."""
    first, last = (
        library.value(f"SELECT {which}(question) FROM member WHERE question_set = ?", (set_pk,))
        for which in ("min", "max")
    )
    return first, last


def pages(library: Library, sets_: Sequence[QuestionSet]) -> Iterator[dict[int, Question]]:
    """All active questions of the sets, a page at a time, set after set in the order they came."""
    for set_pk, condition in active(sets_).items():
        sql = (
            f"SELECT m.question FROM member m WHERE {condition} AND m.question > ? AND m.question <= ? "
            "ORDER BY m.question"
        )
        keys = (row[0] for row in paged(library, sql, (), bounds(library, set_pk)))
        while page := list(itertools.islice(keys, PAGE)):
            yield many(library, page)


def count_active(library: Library, sets_: Sequence[QuestionSet]) -> int:
    """How many questions of the sets are to be worked on."""
    return sum(
        int(library.value(f"SELECT count(*) FROM member m WHERE {condition}")) for condition in active(sets_).values()
    )
