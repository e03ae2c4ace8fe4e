"""Record: attempts that another tool wrote, from a file with one row per answer.

A row finds its question by our id, by the id that it has in its source, or by the question's own text: see
`work.naming`. A file read twice adds nothing; a file that grew adds what is new. Where rows carry no sample index,
answers are told apart by their text: the same text k times in the file is k attempts, however often the file is read.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats.read import rows
from gradatim.formats.recorded import AttemptFields, attempt_columns, attempt_fields
from gradatim.formats.row import BadRow, Row
from gradatim.library import attempts
from gradatim.library.attempts import NewAttempt
from gradatim.library.text import unpack
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Reply, Role, Usage
from gradatim.work.naming import AMBIGUOUS, Finder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gradatim.formats.recorded import AttemptColumns
    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library

_BATCH = 500
_SAMPLE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult:
    """What became of the rows of a file of answers."""

    model: str
    added: int
    already: int
    dropped: dict[str, int]
    """Rows per reason; `unknown_question` is one whose question is not in the library, `ambiguous_question` one whose
    id of the source several questions have, `sample_taken` one whose index another text has: what is there is never
    replaced."""
    dropped_places: tuple[str, ...]
    """The first twenty of them."""
    source_column: str = ""
    """The column of the questions' source in which the answers' ids were found, where they came with `source_id`."""


def record(
    library: Library,
    source: str,
    fields: Mapping[str, str],
    *,
    model: str,
    role: Role = Role.BASE,
    format: str | None = None,  # noqa: A002 - the word that users type
    progress: Progress = silent,
) -> RecordResult:
    """Keep the recorded answers as attempts of `model`.

    Raises `UsageError` where the file or a column is not there; nothing is written then.
    """
    if not model.strip():
        raise UsageError("Recorded answers need the name of the model that gave them: --model NAME")
    source_rows = iter(rows(source, format=format))
    head = list(itertools.islice(source_rows, _SAMPLE))
    columns = attempt_columns(fields, [row for row in head if isinstance(row, Row)])
    ids = [row.text(columns.source_id) for row in head if isinstance(row, Row)] if columns.source_id else []
    finder = Finder(library, columns.source_id, filter(None, ids))
    keeper = _Keeper(library, role, model, columns, finder)
    done = 0
    for batch in _batches(itertools.chain(head, source_rows)):
        keeper.keep(batch)
        done += len(batch)
        progress("attempt", Tick(done=done, total=None, faults=sum(keeper.dropped.values())))
    return RecordResult(
        model=model,
        added=keeper.added,
        already=keeper.already,
        dropped=dict(keeper.dropped.most_common()),
        dropped_places=tuple(keeper.places),
        source_column=finder.column,
    )


def _batches(source: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    while batch := list(itertools.islice(source, _BATCH)):
        yield batch


class _Keeper:
    """Rows on their way into the library.

    An answer that is there is claimed by one row of the file, so the same text k times is k attempts. What is claimed
    is one byte per attempt: a file of millions of answers needs no more.
    """

    def __init__(self, library: Library, role: Role, model: str, columns: AttemptColumns, finder: Finder) -> None:
        self._library = library
        self._ensure = partial(attempts.ensure_setting, library, role, model, attempts.RECORDED)
        self._columns = columns
        self._newest = int(library.value("SELECT coalesce(max(pk), 0) FROM attempt"))
        """The last attempt of before: what comes after it was added by this run, and belongs to its row."""
        self._claimed = bytearray(self._newest + 1)
        self._there: dict[int, _Answers] = {}
        """Per question of the batch at hand."""
        self._finder = finder
        self.added = self.already = 0
        self.dropped: Counter[str] = Counter()
        self.places: list[str] = []

    def keep(self, batch: list[Row | BadRow]) -> None:
        """Add the batch in one transaction."""
        found: list[tuple[str, int, AttemptFields]] = []
        for row in batch:
            fields = attempt_fields(row, self._columns) if isinstance(row, Row) else row
            question = None if isinstance(fields, BadRow) else self._finder.find(fields)
            if isinstance(fields, BadRow):
                self._drop(fields.place, fields.reason)
            elif question is None:
                self._drop(row.place, "unknown_question")
            elif question == AMBIGUOUS:
                self._drop(row.place, "ambiguous_question")
            else:
                found.append((row.place, question, fields))
        if not found:
            return
        self._there = self._answers({question for _, question, _ in found})
        new: list[NewAttempt] = []
        for place, question, fields in found:
            sample = self._sample(place, question, fields)
            if sample is not None:
                new.append(self._attempt(question, sample, fields))
        with self._library.transaction() as connection:
            attempts.write(connection, new)
        self.added += len(new)

    @cached_property
    def _setting(self) -> Setting:
        """The setting of the answers, made with the first that is kept: a model without any would be graded too."""
        return self._ensure()

    def _drop(self, place: str, reason: str) -> None:
        self.dropped[reason] += 1
        if len(self.places) < 20:
            self.places.append(f"{place}: {reason}")

    def _answers(self, questions: set[int]) -> dict[int, _Answers]:
        """Return what the library has of these questions, texts as hashes."""
        there = {question: _Answers() for question in questions}
        marks = ",".join("?" * len(questions))
        sql = (
            "SELECT a.question, a.sample, a.pk, t.content, t.reasoning FROM attempt a JOIN attempt_text t "
            f"ON t.attempt = a.pk WHERE a.setting = ? AND a.question IN ({marks}) ORDER BY a.question, a.sample"
        )
        for question, sample, pk, content, reasoning in self._library.rows(sql, (self._setting.pk, *questions)):
            free = pk <= self._newest and not self._claimed[pk]
            there[question].add(sample, hash((unpack(content), unpack(reasoning))), pk if free else None)
        return there

    def _sample(self, place: str, question: int, found: AttemptFields) -> int | None:
        """Return the sample index that the answer gets, or None where the library has it or its index is taken."""
        there, text = self._there[question], hash((found.answer, found.reasoning))
        if found.sample is not None:
            known = there.by_sample.get(found.sample)
            if known is None:
                there.add(found.sample, text, None)
                return found.sample
            if known == text:
                self.already += 1
            else:
                self._drop(place, "sample_taken")
            return None
        free = there.free.get(text)
        if free:
            self._claimed[free.pop(0)] = 1
            self.already += 1
            return None
        sample = max(there.by_sample, default=-1) + 1
        there.add(sample, text, None)
        return sample

    def _attempt(self, question: int, sample: int, found: AttemptFields) -> NewAttempt:
        usage = Usage(prompt=found.prompt_tokens, completion=found.completion_tokens)
        reply = Reply(content=found.answer, reasoning=found.reasoning, finish_reason=found.finish_reason, usage=usage)
        if found.model:
            reply = replace(reply, server_model=found.model)
        return NewAttempt(
            setting=self._setting.pk, question=question, sample=sample, reply=reply, cost=None, made_at=time.time()
        )


@dataclass(slots=True)
class _Answers:
    """What there is of one question."""

    by_sample: dict[int, int] = field(default_factory=dict)
    """The hash of each sample's text."""
    free: dict[int, list[int]] = field(default_factory=dict)
    """By the hash of their text: attempts that no row of the file has claimed yet."""

    def add(self, sample: int, text: int, free: int | None) -> None:
        """Take note of an answer, and of its key where a row may claim it."""
        self.by_sample[sample] = text
        if free is not None:
            self.free.setdefault(text, []).append(free)
