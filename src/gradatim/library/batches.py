"""Batches in the library: what was put into each before it was sent, and how far it has come.

    prepared    its requests are written down; nothing was sent, or a file at most
    uploaded    its file is at the server; a batch of it may be, too
    submitted   the server's batch is known
    collected   its answers and faults are in the library
    dropped     it never came to be: no file was found, or the server refused it
    forgotten   the user gave it up

The first three are open: their requests are under way, and nobody else asks them.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library import attempts, ledger
from gradatim.types import Spent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from gradatim.library.attempts import NewFault, Setting
    from gradatim.library.ledger import Entry
    from gradatim.library.store import Library

_OPEN = "state IN ('prepared', 'uploaded', 'submitted')"
_COLUMNS = "pk, marker, setting, base_url, state, status, input_file, server_id, made_at, changed_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch."""

    pk: int
    marker: str
    """Ours, and unique: the server is asked for it after a crash."""
    setting: int
    base_url: str
    state: str
    status: str
    """What the server said last; empty before it said anything."""
    input_file: str
    server_id: str
    made_at: float
    changed_at: float
    """When `state` changed last, in seconds since 1970."""

    @property
    def called(self) -> str:
        """The name that the user knows it by: the server's, or ours where there is none yet."""
        return self.server_id or self.marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request of a batch."""

    question: int
    sample: int
    tries: int
    """How often it was put into a batch, this one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnd:
    """The end of a batch, written as one: what became of its items, the faults that are final, and what they cost."""

    batch: int
    state: str
    status: str
    outcomes: Sequence[tuple[int, int, str]]
    """Question, sample, and `answered` or a reason."""
    faults: Sequence[NewFault] = ()
    payments: Sequence[tuple[Entry, Spent | None]] = ()
    """Reservations of those without an answer, and what they count as; None: nothing."""


def make(
    library: Library, setting: Setting, stage: str, base_url: str, items: Sequence[Item], entries: Sequence[Entry]
) -> Batch:
    """Write down a batch, and what it may cost, before anything of it is sent."""
    marker, now = secrets.token_hex(8), time.time()
    with library.transaction() as connection:
        cursor = connection.execute(
            "INSERT INTO batch (marker, setting, stage, base_url, state, status, input_file, server_id, made_at, "
            "changed_at) VALUES (?, ?, ?, ?, 'prepared', '', '', '', ?, ?)",
            (marker, setting.pk, stage, base_url, now, now),
        )
        connection.executemany(
            "INSERT INTO batch_item VALUES (?, ?, ?, ?, ?, '')",
            (
                (cursor.lastrowid, item.question, item.sample, line, item.tries)
                for line, item in enumerate(items, start=1)
            ),
        )
        for entry in entries:
            entry.owner = marker
            ledger.reserve(connection, entry)
        found = connection.execute(f"SELECT {_COLUMNS} FROM batch WHERE pk = ?", (cursor.lastrowid,)).fetchone()
    return _batch(found)


def move(library: Library, batch: Batch, **changes: str) -> Batch:
    """Change `state`, `status`, `input_file` or `server_id` of a batch; return it as it is then."""
    now = time.time() if "state" in changes else batch.changed_at
    names = ", ".join(f"{name} = ?" for name in changes)
    with library.transaction() as connection:
        connection.execute(f"UPDATE batch SET {names}, changed_at = ? WHERE pk = ?", (*changes.values(), now, batch.pk))
        found = connection.execute(f"SELECT {_COLUMNS} FROM batch WHERE pk = ?", (batch.pk,)).fetchone()
    return _batch(found)


def opened(library: Library, setting: Setting) -> list[Batch]:
    """Return the batches of a setting that are open, the oldest first."""
    sql = f"SELECT {_COLUMNS} FROM batch WHERE setting = ? AND {_OPEN} ORDER BY pk"
    return [_batch(row) for row in library.all(sql, (setting.pk,))]


def named(library: Library, name: str) -> Batch | None:
    """Return the batch of this marker, or of this id at its server."""
    rows = library.all(f"SELECT {_COLUMNS} FROM batch WHERE marker = ? OR server_id = ? ORDER BY pk", (name, name))
    return _batch(rows[-1]) if rows else None


def model_of(library: Library, batch: Batch) -> str:
    """Return the name of the model that a batch asks."""
    return str(library.value("SELECT model FROM setting WHERE pk = ?", (batch.setting,)))


def items(library: Library, batch: Batch) -> list[Item]:
    """Return what a batch asks for, in the order of its file's lines."""
    sql = "SELECT question, sample, tries FROM batch_item WHERE batch = ? ORDER BY line"
    return [Item(question=row[0], sample=row[1], tries=row[2]) for row in library.all(sql, (batch.pk,))]


def answered(library: Library, batch: Batch) -> set[tuple[int, int]]:
    """Return question and sample of those items whose answer the library has already."""
    sql = (
        "SELECT i.question, i.sample FROM batch_item i JOIN attempt a ON a.setting = ? AND a.question = i.question "
        "AND a.sample = i.sample WHERE i.batch = ?"
    )
    return set(library.all(sql, (batch.setting, batch.pk)))


def under_way(library: Library, setting: Setting) -> dict[int, list[int]]:
    """Return the samples of each question that are in an open batch of this setting, and are not answered yet."""
    sql = (
        "SELECT i.question, i.sample FROM batch b JOIN batch_item i ON i.batch = b.pk "
        f"WHERE b.setting = ? AND b.{_OPEN} AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.setting = b.setting "
        "AND a.question = i.question AND a.sample = i.sample)"
    )
    found: dict[int, list[int]] = {}
    for question, sample in library.all(sql, (setting.pk,)):
        found.setdefault(question, []).append(sample)
    return found


def end(connection: sqlite3.Connection, ended: BatchEnd) -> None:
    """Put the end of a batch into the open transaction."""
    attempts.write(connection, ended.faults)
    for entry, spent in ended.payments:
        if spent is None:
            ledger.release(connection, entry)
        else:
            ledger.pay(connection, entry, ledger.FAILED, spent)
    connection.executemany(
        "UPDATE batch_item SET outcome = ? WHERE batch = ? AND question = ? AND sample = ?",
        ((outcome, ended.batch, question, sample) for question, sample, outcome in ended.outcomes),
    )
    connection.execute(
        "UPDATE batch SET state = ?, status = ?, changed_at = ? WHERE pk = ?",
        (ended.state, ended.status, time.time(), ended.batch),
    )


def forget(library: Library, batch: Batch) -> int:
    """Give a batch up: its requests may be asked anew, and what it may have cost counts as spent.

    Returns how many requests had no answer.
    """
    there = answered(library, batch)
    left = [item for item in items(library, batch) if (item.question, item.sample) not in there]
    outcomes = [(question, sample, "answered") for question, sample in there]
    outcomes += [(item.question, item.sample, "forgotten") for item in left]
    with library.transaction() as connection:
        for entry in ledger.open_entries(library, batch.marker):
            ledger.pay(connection, entry, ledger.LOST, _worst(entry))
        end(connection, BatchEnd(batch=batch.pk, state="forgotten", status=batch.status, outcomes=outcomes))
    return len(left)


def _worst(entry: Entry) -> Spent:
    tokens = entry.prompt + entry.completion
    return Spent(prompt=entry.prompt, cached=0, completion=entry.completion, assumed=tokens, pico=entry.pico)


def _batch(row: tuple[object, ...]) -> Batch:
    return Batch(**dict(zip(_COLUMNS.split(", "), row, strict=True)))  # type: ignore[arg-type] # as the table has them
