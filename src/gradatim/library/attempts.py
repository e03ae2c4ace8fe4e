"""Attempts in the library: settings, raw answers, faults, and which samples are still missing."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.library.paging import paged
from gradatim.library.questions import active, bounds
from gradatim.library.text import pack
from gradatim.types import Role, content_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library
    from gradatim.types import Fault, Reply, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One model asked in one way for one purpose."""

    pk: int
    id: str
    role: Role
    model: str
    sampling: str
    """The sampling settings as canonical JSON; for recorded attempts `{"recorded": true}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An answer that is to be made durable."""

    setting: int
    question: int
    sample: int
    reply: Reply
    cost: float | None
    made_at: float
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFault:
    """An item that has no result yet."""

    stage: str
    fault: Fault
    question: int | None = None
    setting: int | None = None
    sample: int | None = None
    attempt: int | None = None
    made_at: float = field(default_factory=time.time)


RECORDED = '{"recorded": true}'


def sampling_text(sampling: Sampling) -> str:
    """Return the settings as canonical JSON, by which attempts are told apart."""
    return json.dumps(asdict(sampling), sort_keys=True, ensure_ascii=False)


def ensure_setting(library: Library, role: Role, model: str, sampling: str) -> Setting:
    """Return the setting, made if it is new."""
    id_ = content_id(role, model, sampling)[:10]
    found = find_setting(library, id_)
    if found is None:
        with library.transaction() as connection:
            connection.execute(
                "INSERT INTO setting (id, role, model, sampling) VALUES (?, ?, ?, ?)", (id_, role, model, sampling)
            )
        found = find_setting(library, id_)
    assert found is not None
    return found


def find_setting(library: Library, id_: str) -> Setting | None:
    """Return the setting of this id, if the library has it."""
    rows = library.all("SELECT pk, id, role, model, sampling FROM setting WHERE id = ?", (id_,))
    return _setting(*rows[0]) if rows else None


def find(library: Library, role: Role, model: str, sampling: str) -> Setting | None:
    """Return the setting of a model that was asked in this way, if the library has it."""
    return find_setting(library, content_id(role, model, sampling)[:10])


def check_weights(library: Library, model: str, fingerprint: str) -> None:
    """Raise `UsageError` where the newest answers under a model's name are of other weights in this process.

    A server does not say which weights it runs, so what it answered is not looked at.
    """
    for (setting,) in library.all("SELECT pk FROM setting WHERE model = ?", (model,)):
        newest = "SELECT server_model FROM attempt WHERE pk = (SELECT max(pk) FROM attempt WHERE setting = ?)"
        before = str(library.value(newest, (setting,)) or "").rpartition(f"{model}@")
        if before[1] and not before[0] and before[2] != fingerprint:
            raise UsageError(
                f"The library holds answers under the name {model!r} that other weights gave ({before[2]}; the folder "
                f"now holds {fingerprint}), and they would be mixed. Put the old folder back, or give this model a "
                'name of its own: model = "NAME" in its [models] table.'
            )


def settings(library: Library, role: Role | None = None) -> list[Setting]:
    """All settings, in the order they were made."""
    rows = library.all(
        "SELECT pk, id, role, model, sampling FROM setting WHERE ? IS NULL OR role = ? ORDER BY pk", (role, role)
    )
    return [_setting(*row) for row in rows]


def _setting(pk: int, id_: str, role: str, model: str, sampling: str) -> Setting:
    return Setting(pk=pk, id=id_, role=Role(role), model=model, sampling=sampling)


def write(
    connection: sqlite3.Connection, batch: Sequence[NewAttempt | NewFault], *, payment: int | None = None
) -> None:
    """Put attempts and faults into the open transaction. An attempt that is there already is left as it is.

    `payment` is the key in the ledger of what was paid for them.
    """
    for item in batch:
        if isinstance(item, NewFault):
            write_fault(connection, item)
            continue
        reply, usage = item.reply, item.reply.usage
        cursor = connection.execute(
            "INSERT OR IGNORE INTO attempt (setting, question, sample, finish_reason, "
            "prompt_tokens, completion_tokens, reasoning_tokens, "
            "cached_tokens, cost, latency, server_model, made_at, payment) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                item.setting,
                item.question,
                item.sample,
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
            connection.execute(
                "INSERT INTO attempt_text VALUES (?, ?, ?)",
                (cursor.lastrowid, pack(reply.content), pack(reply.reasoning)),
            )
            if reply.ids:
                values = (cursor.lastrowid, pack(" ".join(map(str, reply.ids))))
                connection.execute("INSERT INTO cut_tokens VALUES (?, ?)", values)


def write_fault(connection: sqlite3.Connection, item: NewFault) -> None:
    """Put one fault into the open transaction."""
    fault = item.fault
    message = fault.message[:2000].encode("utf-8", "replace").decode()
    connection.execute(
        "INSERT INTO fault (stage, boundary, reason, message, question, setting, sample, "
        "attempt, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            item.stage,
            fault.boundary,
            fault.reason,
            message,
            item.question,
            item.setting,
            item.sample,
            item.attempt,
            item.made_at,
        ),
    )


def missing(
    library: Library, setting: Setting, sets: Sequence[QuestionSet], samples: int
) -> Iterator[tuple[int, list[int]]]:
    """Give each active question with the sample indices that it lacks; a page of questions at a time."""
    for set_pk, condition in active(sets).items():
        # The count comes first: where all is done, nothing else is looked at.
        sql = (
            "SELECT m.question FROM member m WHERE (SELECT count(*) FROM attempt a WHERE a.setting = ? "
            f"AND a.question = m.question AND a.sample < ?) < ? AND {condition} "
            "AND m.question > ? AND m.question <= ? ORDER BY m.question"
        )
        values = (setting.pk, samples, samples)
        for (question,) in paged(library, sql, values, bounds(library, set_pk)):
            there = {
                row[0]
                for row in library.all(
                    "SELECT sample FROM attempt WHERE setting = ? AND question = ? AND sample < ?",
                    (setting.pk, question, samples),
                )
            }
            # Answered since the page was read: not asked again.
            if lacking := [sample for sample in range(samples) if sample not in there]:
                yield question, lacking


def count_done(library: Library, setting: Setting, sets: Sequence[QuestionSet], samples: int) -> int:
    """How many of the wanted samples of the sets' active questions are there."""
    counts = (
        library.value(
            "SELECT sum((SELECT count(*) FROM attempt a WHERE a.setting = ? AND a.question = m.question "
            f"AND a.sample < ?)) FROM member m WHERE {condition}",
            (setting.pk, samples),
        )
        for condition in active(sets).values()
    )
    return sum(count or 0 for count in counts)


def key_bounds(library: Library, settings_: Sequence[int]) -> tuple[int | None, int | None]:
    """Return the first and the last key of these settings' attempts."""
    marks = ",".join("?" * len(settings_))
    first, last = library.all(f"SELECT min(pk), max(pk) FROM attempt WHERE setting IN ({marks})", settings_)[0]
    return first, last


def next_sample(library: Library, setting: Setting, question: int) -> int:
    """Return the first sample index that is free for this question."""
    sql = "SELECT max(sample) FROM attempt WHERE setting = ? AND question = ?"
    highest = library.value(sql, (setting.pk, question))
    return 0 if highest is None else int(highest) + 1
