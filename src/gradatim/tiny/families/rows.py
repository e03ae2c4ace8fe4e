"""Questions about a row of digits, read from its first to its last; or, to be written backwards, from its last."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from gradatim.tiny.families.family import Core, Family, digits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random


def _joined(core: Core) -> dict[str, str]:
    return {"row": "".join(map(str, core))}


def _row_of(fields: Mapping[str, str]) -> Core:
    return tuple(map(int, fields["row"]))


def _total_steps(core: Core) -> list[str]:
    return [f"{before}+{digit}={before + digit}" for before, digit in zip(accumulate(core), core[1:], strict=False)]


def _largest_steps(core: Core) -> list[str]:
    return [f"{before},{digit}:{after}" for (before, after), digit in zip(_maxima(core), core[1:], strict=True)]


def _maxima(core: Core) -> list[tuple[int, int]]:
    return list(pairwise(accumulate(core, max)))


def _target_and_row(rng: Random, size: int) -> Core:
    """Choose from three digits, the one in question among them: else most counts would be 0."""
    kinds = rng.sample(range(10), 3)
    return (kinds[0], *rng.choices(kinds, k=size + 3))


def _count_steps(core: Core) -> list[str]:
    target, row = core[0], core[1:]
    counts = accumulate(digit == target for digit in row)
    return [f"{digit}:{int(count)}" for digit, count in zip(row, counts, strict=True)]


TOTAL = Family(
    name="total",
    wordings=("What is the digit sum of {row}?", "Sum up the digits of {row}."),
    sample=lambda rng, size: digits(rng, size + 2, 1),
    fields=_joined,
    core=_row_of,
    steps=_total_steps,
    answer=lambda core: str(sum(core)),
)
LARGEST = Family(
    name="largest",
    wordings=("What is the largest digit of {row}?", "Which digit of {row} is largest?"),
    sample=lambda rng, size: digits(rng, size + 2),
    fields=_joined,
    core=_row_of,
    steps=_largest_steps,
    answer=lambda core: str(max(core)),
)
COUNT = Family(
    name="count",
    wordings=("How often is {digit} in {row}?", "Count the digit {digit} in {row}."),
    sample=_target_and_row,
    fields=lambda core: {"digit": str(core[0]), **_joined(core[1:])},
    core=lambda fields: (int(fields["digit"]), *_row_of(fields)),
    steps=_count_steps,
    answer=lambda core: str(core[1:].count(core[0])),
)
REVERSE = Family(
    name="reverse",
    wordings=("Write {row} backwards.", "What is {row} from back to front?"),
    sample=lambda rng, size: digits(rng, size + 2, 1),
    fields=_joined,
    core=_row_of,
    steps=lambda core: [str(digit) for digit in reversed(core)],
    answer=lambda core: "".join(str(digit) for digit in reversed(core)),
)
