"""The finished set of a draw as examples, and the base model's own answers that may be trained on beside it.

Used by `export` and `train`: what one writes, the other trains on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats.shapes import Example
from gradatim.library import draws
from gradatim.library.text import unpack
from gradatim.method.draw import ordered
from gradatim.reasoning import split_reasoning
from gradatim.types import Domain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.library.draws import Draw
    from gradatim.library.store import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An attempt whose text is to be an example."""

    id: str
    """The question's."""
    question: int
    attempt: int
    level: int


def kept(library: Library, draw: Draw) -> list[Kept]:
    """Return a draw's kept chains in its seeded order, levels mixed.

    Raises `UsageError` where there are none, or some answer questions that were excluded since.
    """
    rows = library.all(
        "SELECT q.id, q.pk, c.attempt, c.level FROM chain c JOIN attempt a ON a.pk = c.attempt JOIN "
        "question q ON q.pk = a.question WHERE c.draw = ? AND c.kept",
        (draw.pk,),
    )
    if not rows:
        raise UsageError(f"No chain of {draw.name!r} is kept yet. Run first: gradatim curate {draw.name}")
    never = draws.undrawable(library)
    late = sum(row[1] in never for row in rows)
    if late:
        raise UsageError(
            f"{late} chains of {draw.name!r} answer questions that were excluded since: an evaluation set holds "
            f"them. Leave them out: gradatim curate {draw.name}"
        )
    by_id = {row[0]: Kept(id=row[0], question=row[1], attempt=row[2], level=row[3]) for row in rows}
    return [by_id[id_] for id_ in ordered(by_id, draw.seed)]


def examples(library: Library, chosen: Iterable[Kept], system: str) -> Iterator[Example]:
    """Read the texts of these attempts."""
    for one in chosen:
        row = library.all(
            "SELECT p.prompt, t.content, t.reasoning, q.source, s.model, q.reference, q.domain FROM attempt "
            "a JOIN answer_text t ON t.attempt = a.pk "
            "JOIN question q ON q.pk = a.question JOIN question_text p ON p.question = q.pk JOIN "
            "setting s ON s.pk = a.setting WHERE a.pk = ?",
            (one.attempt,),
        )[0]
        thinking, answer = split_reasoning(unpack(row[1]), unpack(row[2]))
        yield Example(
            prompt=unpack(row[0]),
            answer=answer.strip(),
            thinking=thinking.strip(),
            system=system,
            id=one.id,
            level=one.level,
            source=row[3],
            model=row[4],
            reference=row[5],
            domain=Domain(row[6]),
        )
