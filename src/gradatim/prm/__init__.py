"""Process reward models: things that score the steps of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.method.aggregation import Aggregation
    from gradatim.types import Fault, StepScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One answer whose steps are to be scored."""

    key: int
    """The caller's handle, given back with the result."""
    prompt: str
    """The question."""
    answer: str
    """The text whose steps are scored: the model's answer without its reasoning, or its reasoning."""


class PRM(Protocol):
    """Scores the steps of solutions."""

    name: str
    version: str
    """Changes whenever a score might: weights' name, format, how steps are split, backend."""
    aggregation: Aggregation
    """How its makers turn an answer's step scores into one number: what holds unless a stage is told otherwise."""

    def score(self, solutions: Iterable[Solution]) -> Iterator[tuple[int, StepScores | Fault]]:
        """Give each solution's key with its step scores, or with the fault that kept us from having them.

        Streams, in any order. Raises `SetupError` where the model or server cannot be used at all.
        """
        ...

    def close(self) -> None:
        """Free the model, or end the connections."""
        ...
