"""What a family of questions is: how its numbers are chosen, asked about, found again in a prompt, and worked out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

Core = tuple[int, ...]
"""The numbers of a question, without its words: two questions with the same family and core are the same question."""

NAMES = ("Ann", "Ben", "Eva", "Tom")
"""For `{name}` in a wording. Whoever it is, it is the same question."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of question."""

    name: str
    wordings: tuple[str, ...]
    """Prompts with places for the fields; each of them names every field."""
    sample: Callable[[Random, int], Core]
    """Chooses the numbers of a question of a size."""
    fields: Callable[[Core], dict[str, str]]
    """The core as the texts that a wording has places for."""
    core: Callable[[Mapping[str, str]], Core]
    """The way back: raises `ValueError` or `KeyError` for texts that are no core."""
    steps: Callable[[Core], list[str]]
    """The solution, a line for each step."""
    answer: Callable[[Core], str]

    def prompt(self, core: Core, rng: Random) -> str:
        """Return the question in one of its wordings."""
        return rng.choice(self.wordings).format(name=rng.choice(NAMES), **self.fields(core))

    def read(self, prompt: str) -> Core | None:
        """Return the core of a prompt of this family; None where it is of another."""
        for pattern in self._patterns:
            if found := pattern.fullmatch(prompt):
                try:
                    return self.core(found.groupdict())
                except (ValueError, KeyError):
                    return None
        return None

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(map(_pattern, self.wordings))


def _pattern(wording: str) -> re.Pattern[str]:
    """Return what matches the prompts of a wording; a field that comes twice says the same each time."""
    parts, seen = [], set()
    for text, field, _, _ in Formatter().parse(wording):
        parts.append(re.escape(text))
        if field is not None:
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>.+?)")
            seen.add(field)
    return re.compile("".join(parts))


def digits(rng: Random, count: int, lowest: int = 0) -> Core:
    """Choose digits from `lowest` to 9."""
    return tuple(rng.randint(lowest, 9) for _ in range(count))


def number(rng: Random, length: int) -> int:
    """Choose a whole number with so many digits."""
    return rng.randrange(10 ** (length - 1), 10**length)
