"""Replay: which of a model's own verified-correct answers are trained on again, so that it forgets less.

Not part of the paper. Pure: it takes what there is and a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.method.draw import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verified-correct answer that could be replayed."""

    id: str
    """Of the attempt: a hash of what it is, not where it stands."""
    question: str
    """The question's id."""
    attempt: int
    length: float
    """Tokens."""


def ranked(answers: Iterable[Answer], *, seed: int, shortest: bool) -> list[Answer]:
    """Return one answer per question in the order in which they are taken.

    By seed: any of a question's answers, questions in any order. With `shortest`: a question's shortest answer, the
    shortest of all first; the seed decides between equal ones.
    """
    by_id = {one.id: one for one in answers}
    shuffled = [by_id[id_] for id_ in ordered(by_id, seed)]
    if shortest:
        shuffled.sort(key=lambda one: one.length)
    first: dict[str, Answer] = {}
    for one in shuffled:
        first.setdefault(one.question, one)
    return list(first.values()) if shortest else [first[id_] for id_ in ordered(first, seed)]
