"""Which question does a recorded answer belong to?

By our id; by the id that the question has in its source; or by the question's own text, which for a code question may
be the source's, without what ingest put around it. A text or an id that several questions have belongs to none.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gradatim.formats.jsontext import decode
from gradatim.formats.row import as_text
from gradatim.formats.tasks import bare_text
from gradatim.library.text import unpack
from gradatim.types import Domain, Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.formats.recorded import AttemptFields
    from gradatim.formats.row import Json
    from gradatim.library.store import Library

AMBIGUOUS = 0
"""Stands for several questions where a key of one is asked for."""


class Finder:
    """Finds the keys of questions."""

    def __init__(self, library: Library, source_id: str = "", ids: Iterable[str] = ()) -> None:
        """Take the column of `source_id`, or its dotted path, and some of the ids that stand in it.

        Where no question has one of these ids in a column of that name, the column that holds the most of them is
        taken: `self.column`.
        """
        self._library = library
        self.column = _column(library, source_id.rpartition(".")[2], set(ids)) if source_id else ""
        self._by_source_id = _source_ids(library, self.column) if self.column else {}
        self._by_text: dict[str, int] | None = None
        """Made when the first text is not a whole prompt: most files never need it."""

    def find(self, answer: AttemptFields) -> int | None:
        """Return the question's key; None where it is unknown, `AMBIGUOUS` where several could be meant."""
        if answer.question_id:
            return self._with_id([answer.question_id])
        if answer.source_id:
            return self._by_source_id.get(answer.source_id)
        found = self._with_id([Question.make_id(domain, answer.prompt) for domain in Domain])
        return self._with_text(answer.prompt) if found is None else found

    def _with_id(self, ids: list[str]) -> int | None:
        marks = ",".join("?" * len(ids))
        pk = self._library.value(f"SELECT pk FROM question WHERE id IN ({marks}) ORDER BY pk", ids)
        return None if pk is None else int(pk)

    def _with_text(self, text: str) -> int | None:
        if self._by_text is None:
            self._by_text = _texts(self._library)
        return self._by_text.get(Question.make_id(Domain.CODE, text))


def _texts(library: Library) -> dict[str, int]:
    """Return the code questions by the hash of their source's own text."""
    found: dict[str, int] = {}
    sql = "SELECT q.pk, t.prompt FROM question q JOIN question_text t ON t.question = q.pk WHERE q.domain = ?"
    for pk, prompt in library.rows(sql, (Domain.CODE,)):
        key = Question.make_id(Domain.CODE, bare_text(unpack(prompt)))
        found[key] = AMBIGUOUS if key in found else pk
    return found


def _column(library: Library, name: str, ids: set[str]) -> str:
    """Return the column of the sources in which these ids are found: the named one, or the one with the most of them.

    An id that several questions have is not found in that column.
    """
    found: dict[str, dict[str, int]] = {}
    for question, values in _extras(library):
        for column, value in values.items():
            key = "" if isinstance(value, (list, dict)) else as_text(value)
            if key in ids:
                there = found.setdefault(column, {})
                there[key] = AMBIGUOUS if key in there else question
    hits = Counter({column: sum(map(bool, there.values())) for column, there in found.items()})
    best, count = max(hits.items(), key=lambda one: (one[1], one[0] == name), default=(name, 0))
    return best if count and not hits[name] else name


def _source_ids(library: Library, name: str) -> dict[str, int]:
    """Return the questions by what the column holds."""
    found: dict[str, int] = {}
    for question, values in _extras(library):
        key = as_text(values.get(name))
        if key:
            found[key] = AMBIGUOUS if key in found else question
    return found


def _extras(library: Library) -> Iterator[tuple[int, dict[str, Json]]]:
    for question, extra in library.rows("SELECT question, extra FROM question_text"):
        values = decode(unpack(extra).encode())
        if isinstance(values, dict):
            yield question, values
