"""Ingest: read a pool or an evaluation set, and keep every question that can be decided.

A row is dropped, with a reason and its text, where it cannot be read, is a duplicate or near duplicate, or its
reference does not pass its own checker. A question that shares a passage with an evaluation set is kept and excluded,
with the passage, whichever of the two came first. Streams: a pool larger than memory ingests; a rerun adds only what
is new.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gradatim.checkers.choice import ChoiceChecker
from gradatim.checkers.math import MathChecker
from gradatim.errors import UsageError
from gradatim.formats import presets
from gradatim.formats.fields import question_fields
from gradatim.formats.jsontext import encode
from gradatim.formats.read import rows
from gradatim.formats.row import BadRow, Row
from gradatim.library import questions
from gradatim.library.questions import Dropped
from gradatim.library.text import unpack
from gradatim.method.contamination import NgramIndex
from gradatim.method.near import bands, near_duplicate
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Domain, Outcome, Question, content_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from gradatim.config import IngestSettings
    from gradatim.formats.fields import Preset
    from gradatim.library.store import Library

_BATCH = 500
"""Rows per transaction: what a killed ingest reads again."""
_SAMPLE = 50
"""Rows that a preset is recognised by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What became of the rows of one source."""

    set: str
    preset: str
    """The preset that was recognised or named, with the columns it read."""
    added: int
    already: int
    """Rows whose question was in the set before."""
    dropped: dict[str, int]
    """Rows per reason; `gradatim show --dropped` lists them."""
    excluded: int
    """Questions of pools that were found to share a passage with an evaluation set in this run."""
    unchanged: bool = False
    """The same file was read before with the same settings, and was not read again."""


def ingest(
    library: Library, settings: IngestSettings, *, again: bool = True, progress: Progress = silent
) -> IngestResult:
    """Read the source into the library's set; with `again=False` not where the same file was read the same way before.

    Raises `UsageError` where the source is missing, empty, unreadable or of no known shape; nothing is written then.
    """
    fingerprint = _fingerprint(settings)
    if not again and _read_before(library, settings.set, fingerprint):
        return IngestResult(set=settings.set, preset="", added=0, already=0, dropped={}, excluded=0, unchanged=True)
    source = iter(rows(settings.path, format=settings.format, split=settings.split, config_name=settings.config_name))
    head = list(itertools.islice(source, _SAMPLE))
    try:
        preset = presets.recognise([row for row in head if isinstance(row, Row)], settings.fields)
    except UsageError as error:
        raise UsageError(f"{settings.path}: {error}") from error
    intake = _Intake(library, settings, preset)
    try:
        done = 0
        for batch in _batches(itertools.chain(head, source)):
            with library.transaction() as connection:
                for row in batch:
                    intake.take(connection, row)
            done += len(batch)
            progress("ingest", Tick(done=done, total=None, faults=sum(intake.dropped.values())))
    finally:
        intake.close()
    with library.transaction() as connection:
        values = (intake.set_pk, fingerprint, settings.path, preset.describe())
        connection.execute("INSERT OR REPLACE INTO ingested VALUES (?, ?, ?, ?)", values)
    excluded = intake.excluded + (
        _screen_pools(library, settings) if settings.purpose == "eval" and intake.added else 0
    )
    return IngestResult(
        set=settings.set,
        preset=preset.describe(),
        added=intake.added,
        already=intake.already,
        dropped=dict(intake.dropped.most_common()),
        excluded=excluded,
    )


def _fingerprint(settings: IngestSettings) -> str:
    """Name a source as it is now: its settings and, of a file, its size and time of change."""
    path = Path(settings.path)
    state = "" if not path.is_file() else f"{path.stat().st_size} {path.stat().st_mtime_ns}"
    return content_id(msgspec.json.encode(settings, order="sorted").decode(), state)


def _read_before(library: Library, set_name: str, fingerprint: str) -> bool:
    sql = "SELECT 1 FROM ingested i JOIN question_set s ON s.pk = i.question_set WHERE s.name = ? AND i.fingerprint = ?"
    return library.value(sql, (set_name, fingerprint)) is not None


def _batches(source: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    source = iter(source)
    while batch := list(itertools.islice(source, _BATCH)):
        yield batch


class _Intake:
    """One source on its way in."""

    def __init__(self, library: Library, settings: IngestSettings, preset: Preset) -> None:
        self._settings = settings
        self._preset = preset
        self._domain = preset.domain if preset.name != "custom" else Domain(settings.domain)
        self._checker: MathChecker | ChoiceChecker = MathChecker() if self._domain is Domain.MATH else ChoiceChecker()
        self._index = _evaluation_index(library, settings.ngram) if settings.purpose == "pool" else None
        with library.transaction() as connection:
            self.set_pk = questions.ensure_set(connection, settings.set, settings.purpose)
        self._seen = bytearray()
        """One byte per question key: whether a row of this run was it."""
        self._bodies: Counter[str] = Counter()
        self.added = self.already = self.excluded = 0
        self.dropped: Counter[str] = Counter()

    def close(self) -> None:
        """End the checker's workers."""
        self._checker.close()

    def take(self, connection: sqlite3.Connection, row: Row | BadRow) -> None:
        """Make the row a question of the set, or drop it with a reason."""
        fields = row if isinstance(row, BadRow) else question_fields(row, self._preset)
        if isinstance(fields, BadRow):
            self._drop(connection, row, fields.reason, fields.text)
            return
        question = Question(
            id=Question.make_id(self._domain, fields.prompt),
            domain=self._domain,
            prompt=fields.prompt,
            reference=fields.reference,
            solution=fields.solution,
            source=row.place,
            extra=fields.extra,
        )
        there = connection.execute("SELECT pk, reference FROM question WHERE id = ?", (question.id,)).fetchone()
        if there is not None:
            self._meet_again(connection, row, question, *there)
            return
        verdict = self._checker.check_reference(question.reference)
        if verdict.outcome is not Outcome.CORRECT:
            self._drop(
                connection, row, verdict.reason, f"reference {question.reference[:200]!r} does not pass its own checker"
            )
            return
        keys = bands(question.prompt) if self._settings.near and self._settings.purpose == "pool" else ()
        twin = self._near(connection, question, keys)
        if twin:
            self._drop(connection, row, "near_duplicate", twin)
            return
        self._add(connection, question, keys)

    def _add(self, connection: sqlite3.Connection, question: Question, keys: tuple[int, ...]) -> None:
        pk = questions.add(connection, self.set_pk, question)
        connection.executemany("INSERT OR IGNORE INTO near_band VALUES (?, ?)", [(key, pk) for key in keys])
        self._mark(pk)
        self.added += 1
        match = self._index.match(question.prompt) if self._index else None
        if match is not None:
            questions.exclude(connection, pk, "contaminated", f"{match.name}: {match.text}")
            self.excluded += 1

    def _meet_again(
        self, connection: sqlite3.Connection, row: Row | BadRow, question: Question, pk: int, reference: str
    ) -> None:
        """The question is in the library: in this set already, in another set, or twice in this source."""
        if reference != question.reference and not self._same(reference, question.reference):
            self._drop(
                connection,
                row,
                "conflicting_reference",
                f"{question.id} has the reference {reference!r}, this row {question.reference!r}",
            )
        elif self._marked(pk):
            self._drop(connection, row, "duplicate", f"same prompt as {question.id}")
        elif questions.join(connection, self.set_pk, pk):
            self.added += 1
        else:
            self.already += 1
        self._mark(pk)

    def _same(self, one: str, other: str) -> bool:
        return isinstance(self._checker, MathChecker) and self._checker.compare(one, other).outcome is Outcome.CORRECT

    def _near(self, connection: sqlite3.Connection, question: Question, keys: tuple[int, ...]) -> str:
        """Return a word about the first question in the library that this one nearly repeats, or nothing."""
        if not keys:
            return ""
        marks = ",".join("?" * len(keys))
        found = connection.execute(
            "SELECT DISTINCT q.id, t.prompt FROM near_band n JOIN question q ON q.pk = n.question "
            f"JOIN question_text t ON t.question = q.pk WHERE n.band IN ({marks}) LIMIT 50",
            keys,
        )
        for id_, prompt in found:
            similarity = near_duplicate(question.prompt, unpack(prompt), self._settings.near or 1.0)
            if similarity is not None:
                return f"{id_} (similarity {similarity:.2f})"
        return ""

    def _drop(self, connection: sqlite3.Connection, row: Row | BadRow, reason: str, detail: str) -> None:
        body = row.text if isinstance(row, BadRow) else encode(dict(row.data)).decode()
        key = content_id(reason, body)
        self._bodies[key] += 1
        row_id = content_id(key, str(self._bodies[key]))
        questions.drop(
            connection,
            self.set_pk,
            Dropped(row_id=row_id, place=row.place, reason=reason, detail=detail[:500], body=body),
        )
        self.dropped[reason] += 1

    def _marked(self, pk: int) -> bool:
        return pk < len(self._seen) and bool(self._seen[pk])

    def _mark(self, pk: int) -> None:
        if pk >= len(self._seen):
            self._seen.extend(bytes(pk + 1024 - len(self._seen)))
        self._seen[pk] = 1


def _evaluation_index(library: Library, ngram: int) -> NgramIndex | None:
    """Index the prompts of all evaluation sets, or nothing where there are none or it is turned off."""
    sets = [one for one in questions.sets(library) if one.purpose == "eval"]
    if not sets or not ngram:
        return None
    index = NgramIndex(words=ngram)
    for one in sets:
        for page in questions.pages(library, [one]):
            for question in page.values():
                index.add(f"{one.name}/{question.id}", question.prompt)
    return index


def _screen_pools(library: Library, settings: IngestSettings) -> int:
    """Exclude what the pools already hold of a new evaluation set."""
    index = _evaluation_index(library, settings.ngram)
    pools = [one for one in questions.sets(library) if one.purpose == "pool"]
    if index is None or not pools:
        return 0
    excluded = 0
    for page in questions.pages(library, pools):
        hits = [(pk, match) for pk, question in page.items() if (match := index.match(question.prompt))]
        with library.transaction() as connection:
            for pk, match in hits:
                questions.exclude(connection, pk, "contaminated", f"{match.name}: {match.text}")
        excluded += len(hits)
    return excluded
