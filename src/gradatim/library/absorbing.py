"""Taking a trained model's rows over from a copy of the library in which another process made them.

A library has one writer. Processes that train and evaluate beside each other each write to a copy, made when all that
they read was there; afterwards the one writer of the original takes over what is theirs: a training with its loss curve
and a model's `eval` attempts with their verdicts. Question and draw keys are the same in a copy, since rows are never
edited or removed; all other keys are looked up anew.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from gradatim.library import attempts, verdicts
from gradatim.types import Role, content_id

if TYPE_CHECKING:
    from pathlib import Path

    from gradatim.library.store import Library

_TRAINING = "id, model, base, draw, settings, chains, replayed, steps, folder, made_at"
_STEP = "step, epoch, loss, learning_rate, tokens, at"
_ATTEMPT = (
    "question, sample, finish_reason, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cost, "
    "latency, server_model, made_at"
)
_FURTHER = (
    "max_tokens, finish_reason, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cost, latency, "
    "server_model, made_at"
)

_JUDGED = {"verdict": "outcome, reason, answer, found_by, passed, total", "verdict_text": "answer, detail"}
"""The tables of verdicts, in the order in which they are filled, with what they hold beside their keys."""


def copy(library: Library, target: Path) -> None:
    """Write a copy of the library as it is now; it appears whole."""
    unfinished = target.with_name(target.name + ".new")
    unfinished.unlink(missing_ok=True)
    uri = f"{library.path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(unfinished)) as written:
        source.backup(written)
    unfinished.replace(target)


def absorb(library: Library, other: Library, model: str) -> None:
    """Take over the trainings of a model and its `eval` attempts with their verdicts. All or nothing."""
    checkers = _checkers(library, other)
    settings = {
        one.pk: attempts.ensure_setting(library, Role.EVAL, model, one.sampling).pk
        for one in attempts.settings(other, Role.EVAL)
        if one.model == model
    }
    with library.transaction() as connection:
        for pk, id_, *rest in other.all(f"SELECT pk, {_TRAINING} FROM training WHERE model = ?", (model,)):
            namesake = connection.execute("SELECT 1 FROM training WHERE id = ? AND model <> ?", (id_, model)).fetchone()
            # Two draws can hold the same chains: then two models were made alike, and each has its name and row.
            training = [content_id(id_, model) if namesake else id_, *rest]
            connection.execute(
                f"INSERT OR IGNORE INTO training ({_TRAINING}) VALUES ({', '.join('?' * len(training))})", training
            )
            own = connection.execute("SELECT pk FROM training WHERE id = ?", (training[0],)).fetchone()[0]
            steps = other.rows(f"SELECT {_STEP} FROM training_step WHERE training = ?", (pk,))
            connection.executemany(
                f"INSERT OR REPLACE INTO training_step (training, {_STEP}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((own, *step) for step in steps),
            )
        for pk, own in settings.items():
            _attempts(connection, other, (pk, own), checkers)


def _checkers(library: Library, other: Library) -> dict[int, int]:
    """Return the library's key for each of the other's checkers; no round begins where it has the version."""
    found = {}
    # A round beside another one is for what was judged too early, which nothing that comes home was.
    known = "SELECT max(pk) FROM checker WHERE name = ? AND version = ? AND further_of IS NULL"
    for pk, name, version in other.all("SELECT pk, name, version FROM checker ORDER BY round"):
        key = library.value(known, (name, version))
        found[pk] = verdicts.ensure_checker(library, name, version) if key is None else int(key)
    return found


def _attempts(
    connection: sqlite3.Connection, other: Library, setting: tuple[int, int], checkers: dict[int, int]
) -> None:
    """Take over the attempts of a setting: its key there, and here."""
    sql = f"SELECT pk, {_ATTEMPT} FROM attempt WHERE setting = ? ORDER BY pk"
    for pk, *row in other.rows(sql, (setting[0],)):
        marks = ", ".join("?" * (len(row) + 1))
        values = (setting[1], *row)
        cursor = connection.execute(f"INSERT OR IGNORE INTO attempt (setting, {_ATTEMPT}) VALUES ({marks})", values)
        if not cursor.rowcount:
            continue
        texts = other.all("SELECT content, reasoning FROM attempt_text WHERE attempt = ?", (pk,))
        connection.execute("INSERT INTO attempt_text VALUES (?, ?, ?)", (cursor.lastrowid, *texts[0]))
        stale = _further(connection, other, (pk, cursor.lastrowid))
        for table, columns in _JUDGED.items():
            sql = f"SELECT checker, {columns} FROM {table} WHERE attempt = ? AND checker > ?"
            found = other.all(sql, (pk, stale))
            marks = ", ".join("?" * (len(columns.split(",")) + 2))
            connection.executemany(
                f"INSERT OR IGNORE INTO {table} (attempt, checker, {columns}) VALUES ({marks})",
                [(cursor.lastrowid, checkers[one[0]], *one[1:]) for one in found],
            )


def _further(connection: sqlite3.Connection, other: Library, attempt: tuple[int, int | None]) -> int:
    """Take over an attempt's further answer, if it has one: the attempt's key there, and here.

    Returns the checker up to which its verdicts are on the first answer: those are left behind.
    """
    rows = other.all(f"SELECT stale, kind, {_FURTHER} FROM further WHERE attempt = ?", (attempt[0],))
    if not rows:
        return 0
    stale, kind, *row = rows[0]
    marks = ", ".join("?" * len(row))
    sql = f"INSERT INTO further (attempt, stale, kind, {_FURTHER}) VALUES (?, 0, ?, {marks})"
    connection.execute(sql, (attempt[1], kind, *row))
    texts = other.all("SELECT content, reasoning FROM further_text WHERE attempt = ?", (attempt[0],))
    connection.execute("INSERT INTO further_text VALUES (?, ?, ?)", (attempt[1], *texts[0]))
    return int(stale)
