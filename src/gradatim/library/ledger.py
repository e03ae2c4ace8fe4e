"""The ledger: what requests under way may cost, what each that has ended did cost, and why it was paid.

A reservation is in the file, synced, before its request is sent. The transaction that stores the answer puts a payment
in its place, so that neither is ever there without the other. A reservation whose process died becomes a payment of the
worst case, `lost`, when the library is next opened for writing: there is one writer, so what is open then is nobody's.
A reservation with an owner (a batch that a server works on) outlives its process, and is its owner's to close.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from gradatim.library.store import Library
    from gradatim.types import Role, Spent

ANSWER = "answer"
FAILED = "failed"
"""A try without an answer, which the server may have billed."""
LOST = "lost"
"""A request that was under way when its process died."""
PROBE = "probe"
"""A question about what a server can do."""
_ROWS = 200
"""Rows of one statement: far below the 32,766 values that one may have."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request's line in the books."""

    account: int
    question: int | None = None
    level: int | None = None
    """Of the question for the graded model, where it is known."""
    prompt: int
    """The worst case, in tokens."""
    completion: int
    pico: int | None
    """The worst case in 1e-12 of the currency; None where no price is known."""
    owner: str = ""
    """Who closes it if this process does not; empty: it is lost with the process."""
    pk: int | None = None
    """The reservation's key, once it is written."""
    at: float = field(default_factory=time.time)


def ensure_account(library: Library, stage: str, role: Role, model: str, setting: int | None = None) -> int:
    """Return the key of what one stage spends on one model under one setting, made if it is new."""
    sql = "SELECT pk FROM account WHERE stage = ? AND role = ? AND model = ? AND setting IS ?"
    values = (stage, role, model, setting)
    with library.transaction() as connection:
        found = connection.execute(sql, values).fetchone()
        if found is not None:
            return int(found[0])
        made = connection.execute("INSERT INTO account (stage, role, model, setting) VALUES (?, ?, ?, ?)", values)
    assert made.lastrowid is not None
    return made.lastrowid


def reserve(connection: sqlite3.Connection, *entries: Entry) -> None:
    """Put reservations into the open transaction, and their keys into the entries."""
    before = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'reservation'")
    for pk, entry in enumerate(entries, start=before.fetchone()[0] + 1):
        entry.pk = pk
    rows = [
        (one.pk, one.account, one.owner, one.question, one.level, one.prompt, one.completion, one.pico, one.at)
        for one in entries
    ]
    _insert(connection, "reservation (pk, account, owner, question, level, prompt, completion, pico, at)", rows)


def release(connection: sqlite3.Connection, *entries: Entry) -> bool:
    """Take reservations back: their requests cost nothing. False where one is not open, and so was closed before."""
    found = 0
    for at in range(0, len(entries), _ROWS):
        part = entries[at : at + _ROWS]
        marks = ", ".join("?" * len(part))
        sql = f"DELETE FROM reservation WHERE pk IN ({marks})"
        found += connection.execute(sql, [one.pk for one in part]).rowcount
    return found == len(entries)


def pay(connection: sqlite3.Connection, entry: Entry, why: str, spent: Spent) -> int | None:
    """Put a payment in the place of a reservation. Returns its key; None where the reservation is not open any more."""
    return pay_all(connection, [(entry, why, spent)])[0]


def pay_all(connection: sqlite3.Connection, closed: Sequence[tuple[Entry, str, Spent]]) -> list[int | None]:
    """Put payments in the place of reservations, as `pay` does; the keys are in the order of what was paid for."""
    parts = (closed[at : at + _ROWS] for at in range(0, len(closed), _ROWS))
    return [key for part in parts for key in _pay(connection, part)]


def _pay(connection: sqlite3.Connection, closed: Sequence[tuple[Entry, str, Spent]]) -> list[int | None]:
    """Pay for as many as one statement takes."""
    marks = ", ".join("?" * len(closed))
    open_ = f"SELECT count(*) FROM reservation WHERE pk IN ({marks})"
    if connection.execute(open_, [entry.pk for entry, _, _ in closed]).fetchone()[0] < len(closed):
        if len(closed) == 1:
            return [None]
        return [key for one in closed for key in _pay(connection, [one])]
    release(connection, *(entry for entry, _, _ in closed))
    first = connection.execute("SELECT coalesce(max(pk), 0) FROM payment").fetchone()[0] + 1
    now = time.time()
    rows = [
        (
            pk,
            entry.account,
            why,
            entry.question,
            entry.level,
            entry.prompt + entry.completion,
            entry.pico,
            spent.prompt,
            spent.cached,
            spent.completion,
            spent.assumed,
            spent.pico,
            now,
        )
        for pk, (entry, why, spent) in enumerate(closed, start=first)
    ]
    columns = (
        "payment (pk, account, why, question, level, reserved_tokens, reserved_pico, prompt, cached, completion, "
        "assumed, pico, at)"
    )
    _insert(connection, columns, rows)
    return [row[0] for row in rows]


def _insert(connection: sqlite3.Connection, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows by a statement for many at a time.

    Each statement lets go of Python's lock, and gets it back only when the busy thread that asks the model has had its
    turn: with a statement for each row, requests would wait for their reservations through as many turns.
    """
    for at in range(0, len(rows), _ROWS):
        part = rows[at : at + _ROWS]
        marks = ", ".join([f"({', '.join('?' * len(part[0]))})"] * len(part))
        connection.execute(f"INSERT INTO {columns} VALUES {marks}", [value for row in part for value in row])


def open_entries(library: Library, owner: str) -> list[Entry]:
    """Return the reservations of an owner that are open, in the order they were made."""
    sql = (
        "SELECT account, question, level, prompt, completion, pico, owner, pk, at FROM reservation "
        "WHERE owner = ? ORDER BY pk"
    )
    names = ("account", "question", "level", "prompt", "completion", "pico", "owner", "pk", "at")
    return [Entry(**dict(zip(names, row, strict=True))) for row in library.all(sql, (owner,))]


def declare_lost(connection: sqlite3.Connection) -> None:
    """Count the reservations of processes that have died as spent. Only for who has just become the one writer."""
    there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'reservation'").fetchone()
    if not there or not connection.execute("SELECT 1 FROM reservation WHERE owner = '' LIMIT 1").fetchone():
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "INSERT INTO payment (account, why, question, level, reserved_tokens, reserved_pico, prompt, cached, "
            "completion, assumed, pico, at) SELECT account, ?, question, level, prompt + completion, pico, prompt, 0, "
            "completion, prompt + completion, pico, at FROM reservation WHERE owner = '' ORDER BY pk",
            (LOST,),
        )
        connection.execute("DELETE FROM reservation WHERE owner = ''")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
