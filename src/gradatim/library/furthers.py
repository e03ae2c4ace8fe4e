"""Further answers in the library: the one more request that an answer gets that was cut off, and what lacks one.

The first answer stays as it was. Readers of attempts read the views `answer`, `answer_text` and `fresh`, which hold an
attempt's answer as it is now; this file writes what they are made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library.attempts import key_bounds
from gradatim.library.paging import paged
from gradatim.library.questions import active
from gradatim.library.text import pack, unpack
from gradatim.types import CUT_OFF, Reply, Usage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library

CONTINUED, RETRIED, ANEW = "continued", "retried", "anew"
_CUT = f"finish_reason IN ({', '.join(map(repr, CUT_OFF))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFurther:
    """A further answer that is to be made durable."""

    setting: int
    question: int
    sample: int
    kind: str
    """`continued`: it goes on where the first answer stopped. `retried`: it stands in its place. `anew`: it was to go
    on and began again, so it is kept and not read."""
    max_tokens: int
    """The limit of this request."""
    reply: Reply
    cost: float | None
    made_at: float
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """How many answers were cut off, and what has become of them."""

    first: int = 0
    """Answers that `max_tokens` cut off when they were asked for first."""
    continued: int = 0
    retried: int = 0
    anew: int = 0
    """Those that a server was asked to continue and began again; they count as cut off."""
    still: int = 0
    """Answers that are cut off now."""

    @property
    def waiting(self) -> int:
        """Those that no further request was made for."""
        return self.first - self.continued - self.retried - self.anew


NONE = CutOff()


def write(connection: sqlite3.Connection, item: NewFurther, payment: int | None = None) -> None:
    """Put a further answer into the open transaction; where the attempt has one, that is left as it is.

    `payment` is the key of what the ledger says of it.
    """
    of_sample = "SELECT pk FROM attempt WHERE setting = ? AND question = ? AND sample = ?"
    attempt = connection.execute(of_sample, (item.setting, item.question, item.sample)).fetchone()[0]
    newest = connection.execute("SELECT max(checker) FROM verdict WHERE attempt = ?", (attempt,)).fetchone()[0]
    reply, usage = item.reply, item.reply.usage
    cursor = connection.execute(
        "INSERT OR IGNORE INTO further VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            attempt,
            item.kind,
            item.max_tokens,
            # What was read of the attempt does not change by what is read by nobody: its verdict holds.
            0 if item.kind == ANEW else newest or 0,
            reply.finish_reason,
            usage.prompt,
            usage.completion,
            usage.reasoning,
            usage.cached,
            item.cost,
            reply.latency,
            reply.server_model,
            item.made_at,
            payment,
        ),
    )
    if cursor.rowcount:
        values = (attempt, pack(reply.content), pack(reply.reasoning))
        connection.execute("INSERT INTO further_text VALUES (?, ?, ?)", values)


def first_answer(library: Library, setting: int, question: int, sample: int) -> Reply:
    """Return an attempt's first answer, as it was served."""
    content, reasoning, finish, prompt, completion, ids = library.all(
        "SELECT t.content, t.reasoning, a.finish_reason, a.prompt_tokens, a.completion_tokens, "
        "(SELECT c.ids FROM cut_tokens c WHERE c.attempt = a.pk) FROM attempt a "
        "JOIN attempt_text t ON t.attempt = a.pk WHERE a.setting = ? AND a.question = ? AND a.sample = ?",
        (setting, question, sample),
    )[0]
    return Reply(
        content=unpack(content),
        reasoning=unpack(reasoning),
        finish_reason=finish,
        usage=Usage(prompt=prompt, completion=completion),
        ids=tuple(map(int, unpack(ids).split())),
    )


def answer_now(connection: sqlite3.Connection, attempt: int) -> Reply:
    """Return an attempt's answer as it is now, its further one included. Read by the connection that wrote it."""
    content, reasoning, finish, completion = connection.execute(
        "SELECT t.content, t.reasoning, a.finish_reason, a.completion_tokens FROM answer a "
        "JOIN answer_text t ON t.attempt = a.pk WHERE a.pk = ?",
        (attempt,),
    ).fetchone()
    return Reply(
        content=unpack(content), reasoning=unpack(reasoning), finish_reason=finish, usage=Usage(completion=completion)
    )


def _inside(sets: Sequence[QuestionSet]) -> str:
    """Say in SQL that the question of `attempt a` is to be worked on."""
    conditions = (f"(m.question = a.question AND {one})" for one in active(sets).values())
    return f"EXISTS (SELECT 1 FROM member m WHERE {' OR '.join(conditions)})"


def waiting(library: Library, setting: Setting, sets: Sequence[QuestionSet], samples: int) -> Iterator[tuple[int, int]]:
    """Return question and sample of each attempt that is there now, was cut off and has no further answer.

    They are read a page at a time.
    """
    sql = (
        f"SELECT a.pk, a.question, a.sample FROM attempt a WHERE +a.setting = ? AND a.sample < ? AND a.{_CUT} "
        f"AND {_inside(sets)} AND NOT EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk) "
        "AND a.pk > ? AND a.pk <= ? ORDER BY a.pk"
    )
    rows = paged(library, sql, (setting.pk, samples), key_bounds(library, [setting.pk]))
    return ((question, sample) for _, question, sample in rows)


def count(library: Library, setting: Setting | None, sets: Sequence[QuestionSet], samples: int | None) -> CutOff:
    """Count the first answers of a setting that were cut off, and what has become of them; None: of all samples."""
    if setting is None:
        return CutOff()
    sql = (
        "SELECT f.kind, count(*), coalesce(sum(CASE WHEN f.kind IS NULL OR f.kind = 'anew' THEN 1 "
        f"ELSE f.{_CUT} END), 0) FROM attempt a LEFT JOIN further f ON f.attempt = a.pk "
        f"WHERE a.setting = ? AND (? IS NULL OR a.sample < ?) AND a.{_CUT} AND {_inside(sets)} GROUP BY f.kind"
    )
    rows = library.all(sql, (setting.pk, samples, samples))
    kinds = {kind: number for kind, number, _ in rows}
    return CutOff(
        first=sum(kinds.values()),
        continued=kinds.get(CONTINUED, 0),
        retried=kinds.get(RETRIED, 0),
        anew=kinds.get(ANEW, 0),
        still=sum(row[2] for row in rows),
    )
