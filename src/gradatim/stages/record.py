"""Record: attempts that another tool wrote, from a file with one row per answer.

A row finds its question by our id or by the question's own text. A file read twice adds nothing; a file that grew adds
what is new. Where rows carry no sample index, answers are told apart by their text: the same text k times in the file
is k attempts, however often the file is read.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats.read import rows
from gradatim.formats.recorded import AttemptFields, attempt_columns, attempt_fields
from gradatim.formats.row import BadRow, Row
from gradatim.library import attempts
from gradatim.library.attempts import NewAttempt
from gradatim.library.text import unpack
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Domain, Question, Reply, Role, Usage

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
    """Rows per reason; `unknown_question` is one whose question is not in the library."""
    dropped_places: tuple[str, ...]
    """The first twenty of them."""


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
    setting = attempts.ensure_setting(library, role, model, attempts.RECORDED)
    keeper = _Keeper(library, setting, columns)
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
    )


def _batches(source: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    while batch := list(itertools.islice(source, _BATCH)):
        yield batch


class _Keeper:
    """Rows on their way into the library."""

    def __init__(self, library: Library, setting: Setting, columns: AttemptColumns) -> None:
        self._library = library
        self._setting = setting
        self._columns = columns
        self._there: dict[int, list[tuple[int, int]]] = {}
        """Per question met in this run: (sample, hash of the text) of what the library had before it."""
        self._given: Counter[tuple[int, int]] = Counter()
        self._next: dict[int, int] = {}
        self.added = self.already = 0
        self.dropped: Counter[str] = Counter()
        self.places: list[str] = []

    def keep(self, batch: list[Row | BadRow]) -> None:
        """Add the batch in one transaction."""
        new: list[NewAttempt] = []
        for row in batch:
            found = attempt_fields(row, self._columns) if isinstance(row, Row) else row
            if isinstance(found, BadRow):
                self._drop(found.place, found.reason)
                continue
            question = self._question(found)
            if question is None:
                self._drop(row.place, "unknown_question")
                continue
            sample = self._sample(question, found)
            if sample is None:
                self.already += 1
                continue
            new.append(self._attempt(question, sample, found))
        with self._library.transaction() as connection:
            attempts.write(connection, new)
        self.added += len(new)

    def _drop(self, place: str, reason: str) -> None:
        self.dropped[reason] += 1
        if len(self.places) < 20:
            self.places.append(f"{place}: {reason}")

    def _question(self, found: AttemptFields) -> int | None:
        ids = (
            [found.question_id] if found.question_id else [Question.make_id(domain, found.prompt) for domain in Domain]
        )
        marks = ",".join("?" * len(ids))
        pk = self._library.value(f"SELECT pk FROM question WHERE id IN ({marks})", ids)
        return None if pk is None else int(pk)

    def _sample(self, question: int, found: AttemptFields) -> int | None:
        """Return the sample index that the answer gets, or None where the library has it."""
        if question not in self._there:
            sql = (
                "SELECT a.sample, t.content, t.reasoning FROM attempt a JOIN attempt_text t ON t.attempt = a.pk "
                "WHERE a.setting = ? AND a.question = ?"
            )
            rows_ = self._library.all(sql, (self._setting.pk, question))
            self._there[question] = [
                (sample, hash((unpack(content), unpack(reasoning)))) for sample, content, reasoning in rows_
            ]
            self._next[question] = max((row[0] for row in rows_), default=-1) + 1
        if found.sample is not None:
            taken = {sample for sample, _ in self._there[question]}
            if found.sample in taken:
                return None
            self._there[question].append((found.sample, 0))
            return found.sample
        text = hash((found.answer, found.reasoning))
        self._given[question, text] += 1
        if sum(known == text for _, known in self._there[question]) >= self._given[question, text]:
            return None
        sample = self._next[question]
        self._next[question] += 1
        return sample

    def _attempt(self, question: int, sample: int, found: AttemptFields) -> NewAttempt:
        usage = Usage(prompt=found.prompt_tokens, completion=found.completion_tokens)
        reply = Reply(content=found.answer, reasoning=found.reasoning, finish_reason=found.finish_reason, usage=usage)
        if found.model:
            reply = replace(reply, server_model=found.model)
        return NewAttempt(
            setting=self._setting.pk, question=question, sample=sample, reply=reply, cost=None, made_at=time.time()
        )
