"""Ingest: read a pool or an evaluation set, and keep every question that can be decided.

A row is dropped, with a reason and its text, where it cannot be read, is a duplicate or near duplicate, or its
reference does not pass its own checker: of a code question, its own program its own tests. A question that shares a
passage with an evaluation set is kept and excluded, with the passage, whichever of the two came first. Streams: a pool
larger than memory ingests; a rerun adds only what is new. Near duplicates are looked for among the pool questions that
were themselves read with `near` on.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import CodeSettings
from gradatim.errors import UsageError
from gradatim.formats import presets
from gradatim.formats.fields import question_fields
from gradatim.formats.jsontext import encode
from gradatim.formats.read import rows
from gradatim.formats.row import BadRow, Row
from gradatim.formats.tasks import own_text
from gradatim.library import attempts, questions
from gradatim.library.attempts import NewFault
from gradatim.library.questions import Dropped
from gradatim.library.text import unpack
from gradatim.method.contamination import NgramIndex
from gradatim.method.near import bands, near_duplicate, scheme
from gradatim.progress import Progress, Tick, silent
from gradatim.tiny import places
from gradatim.types import Domain, Fault, Question, content_id
from gradatim.work.references import Candidate, checker_fault, references

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from gradatim.config import IngestSettings
    from gradatim.formats.fields import Preset, QuestionFields
    from gradatim.library.store import Library

_BATCH = 500
"""Rows per transaction: what a killed ingest reads again."""
_BATCH_CHARACTERS = 16_000_000
"""Of tests and programs in a batch: rows of code questions can be megabytes each."""
_BODY = 200_000
"""Characters that are kept of a row that was dropped."""
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
    faults: dict[str, int] = field(default_factory=dict)
    """Rows whose reference the checker could not look at, per reason; they are no questions yet, and tried again."""


def ingest(
    library: Library,
    settings: IngestSettings,
    *,
    code: CodeSettings | None = None,
    again: bool = True,
    progress: Progress = silent,
) -> IngestResult:
    """Read the source into the library's set; with `again=False` not where the same file was read the same way before.

    `code` says how the programs of code questions are run against their own tests.

    Raises `UsageError` where the source is missing, empty or of no known shape, or a setting cannot be, and
    `SetupError` where there is no sandbox for programs; nothing is written then. A source that turns out to be torn
    while it is read raises it too, and the rows before that are kept.
    """
    _check(settings)
    fingerprint = _fingerprint(settings)
    done_before = _read_before(library, settings.set, fingerprint)
    if not again and done_before:
        return IngestResult(set=settings.set, preset="", added=0, already=0, dropped={}, excluded=0, unchanged=True)
    source = iter(_rows(settings))
    head = list(itertools.islice(source, _SAMPLE))
    try:
        preset = presets.recognise([row for row in head if isinstance(row, Row)], settings.fields)
    except UsageError as error:
        raise UsageError(f"{settings.path}: {error}") from error
    intake = _Intake(library, settings, preset, code or CodeSettings())
    try:
        done = 0
        for batch in intake.batches(itertools.chain(head, source)):
            intake.prepare(library, batch)
            with library.transaction() as connection:
                for one in batch:
                    intake.take(connection, one)
            done += len(batch)
            progress("ingest", Tick(done=done, total=None, faults=intake.dropped.total() + intake.faults.total()))
    finally:
        intake.close()
    # Also where nothing was added but an earlier run was killed before it came to this.
    if settings.purpose == "eval" and (intake.added or not done_before):
        intake.excluded += _screen_pools(library, settings)
    if not intake.faults:
        with library.transaction() as connection:
            values = (intake.set_pk, fingerprint, settings.path, preset.describe())
            connection.execute("INSERT OR REPLACE INTO ingested VALUES (?, ?, ?, ?)", values)
    return IngestResult(
        set=settings.set,
        preset=preset.describe(),
        added=intake.added,
        already=intake.already,
        dropped=dict(intake.dropped.most_common()),
        excluded=intake.excluded,
        faults=dict(intake.faults.most_common()),
    )


def _rows(settings: IngestSettings) -> Iterator[Row | BadRow]:
    """Open the source."""
    if places.is_tiny(settings.path):
        return places.rows(settings.path)
    return rows(settings.path, format=settings.format, split=settings.split, config_name=settings.config_name)


def _check(settings: IngestSettings) -> None:
    """Raise `UsageError` for a setting that cannot be, before a row is read."""
    if not settings.set.strip():
        raise UsageError("A set needs a name: --set NAME")
    if settings.near is not None and not 0 <= settings.near <= 1:
        raise UsageError(f"near is a similarity from 0 (off) to 1, not {settings.near:g}.")
    if settings.ngram:
        NgramIndex(words=settings.ngram)


def _fingerprint(settings: IngestSettings) -> str:
    """Name a source as it is now: its settings and, of files, their sizes and times of change."""
    path = Path(os.path.expanduser(settings.path))  # noqa: PTH111 - Path's raises where there is no such home
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    states = [f"{one} {one.stat().st_size} {one.stat().st_mtime_ns}" for one in files if one.is_file()]
    return content_id(msgspec.json.encode(settings, order="sorted").decode(), *states)


def _read_before(library: Library, set_name: str, fingerprint: str) -> bool:
    sql = "SELECT 1 FROM ingested i JOIN question_set s ON s.pk = i.question_set WHERE s.name = ? AND i.fingerprint = ?"
    return library.value(sql, (set_name, fingerprint)) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A row, and what was read out of it."""

    row: Row | BadRow
    found: Candidate | BadRow


class _Intake:
    """One source on its way in."""

    def __init__(self, library: Library, settings: IngestSettings, preset: Preset, code: CodeSettings) -> None:
        self._settings = settings
        self._preset = preset
        # The user's word counts where the rows' shape says nothing: options may stand in the prompt already.
        self._domain = Domain(settings.domain) if preset.domain is Domain.MATH else preset.domain
        self._references = references(self._domain, code)
        self._index = _evaluation_index(library, settings.ngram) if settings.purpose == "pool" else None
        self._near_on = bool(settings.near) and settings.purpose == "pool"
        self.set_pk = 0
        """The set's key, once there is something to write."""
        if any(one.name == settings.set for one in questions.sets(library)):
            self._enter(library)
        self._seen = bytearray()
        """One byte per question key: whether a row of this run was it."""
        self._bodies: Counter[str] = Counter()
        self.added = self.already = self.excluded = 0
        self.dropped: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def _enter(self, library: Library) -> None:
        """Have a set to put questions into."""
        with library.transaction() as connection:
            self.set_pk = questions.ensure_set(connection, self._settings.set, self._settings.purpose)
        if self._near_on:
            _band_anew(library)

    def close(self) -> None:
        """End the checker's workers."""
        self._references.close()

    def batches(self, source: Iterable[Row | BadRow]) -> Iterator[list[_Read]]:
        """Give what the rows hold, some hundred rows at a time, fewer where they are large."""
        batch: list[_Read] = []
        size = 0
        for row in source:
            fields = row if isinstance(row, BadRow) else question_fields(row, self._preset)
            found = fields if isinstance(fields, BadRow) else self._candidate(fields, row.place)
            batch.append(_Read(row=row, found=found))
            if isinstance(found, Candidate):
                size += len(found.question.tests) + sum(map(len, found.solutions))
            if len(batch) >= _BATCH or size >= _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _candidate(self, fields: QuestionFields, place: str) -> Candidate:
        question = Question(
            id=Question.make_id(self._domain, fields.prompt),
            domain=self._domain,
            prompt=fields.prompt,
            reference=fields.reference,
            solution=fields.solution,
            source=place,
            extra=fields.extra,
            tests=fields.tests if self._domain is Domain.CODE else "",
        )
        return Candidate(question=question, solutions=fields.solutions)

    def prepare(self, library: Library, batch: Sequence[_Read]) -> None:
        """Look at the references of what the library does not have; then there is a set to put it into."""
        candidates = [one.found for one in batch if isinstance(one.found, Candidate)]
        sql = "SELECT q.id FROM json_each(?) j JOIN question q ON q.id = j.value"
        ids = json.dumps([one.question.id for one in candidates])
        there = {row[0] for row in library.all(sql, (ids,))}
        self._references.prepare([one for one in candidates if one.question.id not in there])
        if not self.set_pk:
            self._enter(library)

    def take(self, connection: sqlite3.Connection, one: _Read) -> None:
        """Make the row a question of the set, or drop it with a reason."""
        if isinstance(one.found, BadRow):
            self._drop(connection, one.row, one.found.reason, one.found.text)
            return
        try:
            self._consider(connection, one.row, one.found)
        except RuntimeError as error:
            # The item boundary: the checker failed, not the row. It is kept as a fault, and the next run looks again.
            self._fault(connection, one.row, checker_fault(error))

    def _consider(self, connection: sqlite3.Connection, row: Row | BadRow, one: Candidate) -> None:
        question = one.question
        there = connection.execute("SELECT pk, reference FROM question WHERE id = ?", (question.id,)).fetchone()
        if there is not None:
            self._meet_again(connection, row, question, *there)
            return
        settled = self._references.settle(one)
        if isinstance(settled, Fault):
            self._fault(connection, row, settled)
            return
        if settled.reason:
            self._drop(connection, row, settled.reason, settled.detail)
            return
        keys = bands(own_text(question.prompt)) if self._near_on else ()
        twin = self._near(connection, question, keys)
        if twin:
            self._drop(connection, row, "near_duplicate", twin)
            return
        if settled.solution:
            question = replace(question, solution=settled.solution)
        pk = questions.add(connection, self.set_pk, question)
        connection.executemany("INSERT OR IGNORE INTO near_band VALUES (?, ?)", [(key, pk) for key in keys])
        self._mark(pk)
        self.added += 1
        self._decontaminate(connection, pk, question.prompt)

    def _decontaminate(self, connection: sqlite3.Connection, pk: int, prompt: str) -> None:
        match = self._index.match(own_text(prompt)) if self._index else None
        if match is not None:
            self.excluded += _exclude(connection, pk, f"{match.name}: {match.text}")

    def _meet_again(
        self, connection: sqlite3.Connection, row: Row | BadRow, question: Question, pk: int, reference: str
    ) -> None:
        """The question is in the library: in this set already, in another set, or twice in this source."""
        if reference != question.reference and not self._references.same(reference, question.reference):
            detail = f"{question.id} has the reference {reference!r}, this row {question.reference!r}"
            self._drop(connection, row, "conflicting_reference", detail)
            return
        if self._marked(pk):
            self._drop(connection, row, "duplicate", f"same prompt as {question.id}")
            return
        self._mark(pk)
        if questions.join(connection, self.set_pk, pk):
            self.added += 1
            self._decontaminate(connection, pk, question.prompt)
        else:
            self.already += 1

    def _near(self, connection: sqlite3.Connection, question: Question, keys: tuple[int, ...]) -> str:
        """Return a word about the first question in the library that this one nearly repeats, or nothing."""
        if not keys:
            return ""
        marks = ",".join("?" * len(keys))
        found = connection.execute(
            "SELECT DISTINCT q.pk, q.id, t.prompt FROM near_band n JOIN question q ON q.pk = n.question "
            f"JOIN question_text t ON t.question = q.pk WHERE n.band IN ({marks}) ORDER BY q.pk LIMIT 50",
            keys,
        )
        for _, id_, prompt in found:
            similarity = near_duplicate(own_text(question.prompt), own_text(unpack(prompt)), self._settings.near or 1.0)
            if similarity is not None:
                return f"{id_} (similarity {similarity:.2f})"
        return ""

    def _drop(self, connection: sqlite3.Connection, row: Row | BadRow, reason: str, detail: str) -> None:
        """List the row. Its id is its file, reason and content, counted where the same comes again: no position."""
        body = row.text if isinstance(row, BadRow) else encode(dict(row.data)).decode()
        key = content_id(row.place.rpartition(":")[0], reason, body)
        self._bodies[key] += 1
        row_id = content_id(key, str(self._bodies[key]))
        detail = detail[:500].encode("utf-8", "backslashreplace").decode()
        if len(body) > _BODY:
            body = f"{body[:_BODY]}... ({len(body):,} characters)"
        dropped = Dropped(row_id=row_id, place=row.place, reason=reason, detail=detail, body=body)
        questions.drop(connection, self.set_pk, dropped)
        self.dropped[reason] += 1

    def _fault(self, connection: sqlite3.Connection, row: Row | BadRow, fault: Fault) -> None:
        fault = replace(fault, message=f"{row.place}: {fault.message}")
        attempts.write_fault(connection, NewFault(stage="ingest", fault=fault))
        self.faults[fault.reason] += 1

    def _marked(self, pk: int) -> bool:
        return pk < len(self._seen) and bool(self._seen[pk])

    def _mark(self, pk: int) -> None:
        if pk >= len(self._seen):
            self._seen.extend(bytes(pk + 1024 - len(self._seen)))
        self._seen[pk] = 1


def _band_anew(library: Library) -> None:
    """Make all bands again where they were made in another way (`near.scheme`); all or nothing.

    Which way they were made is kept among them: a band that names the scheme, of a question 0 that there is not.
    """
    mark = int.from_bytes(blake2b(scheme().encode(), digest_size=8).digest(), "big") >> 1
    if library.value("SELECT 1 FROM near_band WHERE band = ? AND question = 0", (mark,)) is not None:
        return
    with library.transaction() as connection:
        pks = [row[0] for row in connection.execute("SELECT DISTINCT question FROM near_band WHERE question > 0")]
        connection.execute("DELETE FROM near_band")
        for pk in sorted(pks):
            prompt = connection.execute("SELECT prompt FROM question_text WHERE question = ?", (pk,)).fetchone()[0]
            keys = bands(own_text(unpack(prompt)))
            connection.executemany("INSERT OR IGNORE INTO near_band VALUES (?, ?)", [(key, pk) for key in keys])
        connection.execute("INSERT INTO near_band VALUES (?, 0)", (mark,))


def _exclude(connection: sqlite3.Connection, pk: int, detail: str) -> int:
    """Exclude a question as contaminated; return 1, or 0 where it was before."""
    before = connection.total_changes
    questions.exclude(connection, pk, "contaminated", detail.encode("utf-8", "backslashreplace").decode())
    return connection.total_changes - before


def _evaluation_index(library: Library, ngram: int) -> NgramIndex | None:
    """Index the prompts of all evaluation sets, or nothing where there are none or it is turned off."""
    sets = [one for one in questions.sets(library) if one.purpose == "eval"]
    if not sets or not ngram:
        return None
    index = NgramIndex(words=ngram)
    for one in sets:
        for page in questions.pages(library, [one]):
            for question in page.values():
                index.add(f"{one.name}/{question.id}", own_text(question.prompt))
    return index


def _screen_pools(library: Library, settings: IngestSettings) -> int:
    """Exclude what the pools already hold of a new evaluation set."""
    index = _evaluation_index(library, settings.ngram)
    pools = [one for one in questions.sets(library) if one.purpose == "pool"]
    if index is None or not pools:
        return 0
    excluded = 0
    for page in questions.pages(library, pools):
        hits = [(pk, match) for pk, question in page.items() if (match := index.match(own_text(question.prompt)))]
        with library.transaction() as connection:
            excluded += sum(_exclude(connection, pk, f"{match.name}: {match.text}") for pk, match in hits)
    return excluded
