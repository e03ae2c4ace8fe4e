"""The rules that split what is scored into steps, by the words that `[prm] steps` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.prm.steps import SPLIT_RULE, split_steps
from gradatim.prm.thoughts import REASONING_RULE, split_thoughts

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitter:
    """A rule."""

    rule: str
    """Names it in a PRM's version: scores of other steps are other scores."""
    split: Callable[[str], tuple[str, ...]]
    """From a text to its steps, which join to it."""


BLANK_LINES = Splitter(rule=SPLIT_RULE, split=split_steps)
SPLITTERS = {"blank-lines": BLANK_LINES, "reasoning": Splitter(rule=REASONING_RULE, split=split_thoughts)}


def splitter_of(name: str) -> Splitter:
    """Return the rule of that name. Raises `UsageError` where there is none."""
    if name not in SPLITTERS:
        raise UsageError(f"steps of the PRM is {name!r}; one of {', '.join(SPLITTERS)} was expected")
    return SPLITTERS[name]
