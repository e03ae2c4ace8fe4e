"""The tiny world's questions: any number for any seed, no two alike, and splits that share none.

A question belongs to a split by a hash of its family and its numbers, never of its words, so what a model was trained
on, the pool, the evaluation set and the test set are apart whatever the seeds and sizes are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.tiny.families import FAMILIES, SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gradatim.tiny.families import Core

MOST = 1_000_000
"""Questions that are made at a time at most."""
SPLITS = {"pretraining": 48, "prm": 12, "pool": 22, "eval": 6, "test": 12}
"""What the questions of the world are for, in percent."""

_TRIES = 400
"""Questions seen before or of another split, one after the other, until a family's size counts as used up."""

OPENERS = ("", "", "Step by step:", "Let us see:")
CLOSERS = ("The answer is \\boxed{{{}}}.", "So it is \\boxed{{{}}}.", "\\boxed{{{}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyQuestion:
    """One question of the world."""

    family: str
    size: int
    core: Core
    prompt: str

    @property
    def reference(self) -> str:
        """The answer."""
        return FAMILIES[self.family].answer(self.core)

    @property
    def steps(self) -> list[str]:
        """The solution, a line for each step."""
        return FAMILIES[self.family].steps(self.core)

    def row(self) -> dict[str, str | int]:
        """Return the question as a row of a pool file."""
        solution = "\n".join(self.steps) + f"\n\nThe answer is \\boxed{{{self.reference}}}."
        return {
            "prompt": self.prompt,
            "reference": self.reference,
            "solution": solution,
            "family": self.family,
            "size": self.size,
        }


def split_of(family: str, core: Core) -> str:
    """Return the split that a question belongs to."""
    digest = hashlib.blake2b(f"{family}:{core}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") % 100
    return next(split for split, end in zip(SPLITS, accumulate(SPLITS.values()), strict=True) if place < end)


def questions(
    split: str, *, seed: int, weights: Mapping[tuple[str, int], float] | None = None
) -> Iterator[TinyQuestion]:
    """Give questions of a split, no two alike, until there are no more.

    `weights` says how often a family's size comes, of those that are not used up; None is all alike. Raises
    `UsageError` for a split that there is not.
    """
    if split not in SPLITS:
        raise UsageError(f"The tiny world has no split {split!r}. It has: {', '.join(SPLITS)}.")
    rng = Random(f"{split}:{seed}")
    cells = {(name, size): 1.0 for name in FAMILIES for size in SIZES} if weights is None else dict(weights)
    seen: set[tuple[str, Core]] = set()
    while cells:
        (cell,) = rng.choices(list(cells), weights=list(cells.values()))
        core = _new_core(rng, cell, split, seen)
        if core is None:
            del cells[cell]
            continue
        seen.add((cell[0], core))
        yield TinyQuestion(family=cell[0], size=cell[1], core=core, prompt=FAMILIES[cell[0]].prompt(core, rng))


def _new_core(rng: Random, cell: tuple[str, int], split: str, seen: set[tuple[str, Core]]) -> Core | None:
    family, size = cell
    for _ in range(_TRIES):
        core = FAMILIES[family].sample(rng, size)
        if (family, core) not in seen and split_of(family, core) == split:
            return core
    return None


def solve(prompt: str) -> tuple[list[str], str] | None:
    """Read a prompt of the world and work it out: its steps and its answer, or None for any other text."""
    for family in FAMILIES.values():
        core = family.read(prompt.strip())
        if core is not None:
            return family.steps(core), family.answer(core)
    return None


def told(steps: list[str], answer: str, rng: Random) -> tuple[str, str]:
    """Return thinking and answer, in one of the wordings in which the world's solutions are written."""
    opener = rng.choice(OPENERS)
    return "\n".join([opener, *steps] if opener else steps), rng.choice(CLOSERS).format(answer)
