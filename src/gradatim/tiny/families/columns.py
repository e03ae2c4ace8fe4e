"""Arithmetic in columns, from the last digit to the first: what each column gives, and what it hands to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.tiny.families.family import Core, Family, number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

_DIVISORS = (3, 4, 6, 7)
_FACTORS = (2, 3, 4, 5)


def _pair(core: Core) -> dict[str, str]:
    return {"a": str(core[0]), "b": str(core[1])}


def _pair_of(fields: Mapping[str, str]) -> Core:
    return int(fields["a"]), int(fields["b"])


def _positive_difference(fields: Mapping[str, str]) -> Core:
    a, b = _pair_of(fields)
    if a < b:
        raise ValueError(f"{a} is less than {b}")
    return a, b


def _divisible(fields: Mapping[str, str]) -> Core:
    a, b = _pair_of(fields)
    if b == 0:
        raise ValueError("nothing divides by 0")
    return a, b


def _two_numbers(rng: Random, size: int) -> Core:
    return number(rng, size + 1), number(rng, size + 1)


def _larger_first(rng: Random, size: int) -> Core:
    a, b = sorted((number(rng, size + 1), number(rng, size + 1)))
    return b + (a == b), a


def _add_steps(core: Core) -> list[str]:
    width = max(len(str(one)) for one in core)
    lines, carry = [], 0
    for a, b in zip(reversed(str(core[0]).zfill(width)), reversed(str(core[1]).zfill(width)), strict=True):
        total = int(a) + int(b) + carry
        lines.append(f"{a}+{b}{'+1' if carry else ''}={total}")
        carry = total // 10
    return lines


def _subtract_steps(core: Core) -> list[str]:
    lines, borrow = [], 0
    for a, b in zip(reversed(str(core[0])), reversed(str(core[1]).zfill(len(str(core[0])))), strict=True):
        short = int(a) - borrow < int(b)
        lines.append(f"{'1' if short else ''}{a}{'-1' if borrow else ''}-{b}={int(a) + 10 * short - borrow - int(b)}")
        borrow = int(short)
    return lines


def _multiply_steps(core: Core) -> list[str]:
    lines, carry = [], 0
    for a in reversed(str(core[0])):
        product = int(a) * core[1] + carry
        lines.append(f"{a}*{core[1]}{f'+{carry}' if carry else ''}={product}")
        carry = product // 10
    return lines


def _remainder_steps(core: Core) -> list[str]:
    lines, rest = [], 0
    for digit in str(core[0]):
        value = 10 * rest + int(digit)
        rest = value % core[1]
        lines.append(f"{value} mod {core[1]}={rest}")
    return lines


ADD = Family(
    name="add",
    wordings=("What is {a} + {b}?", "Add {a} and {b}."),
    sample=_two_numbers,
    fields=_pair,
    core=_pair_of,
    steps=_add_steps,
    answer=lambda core: str(core[0] + core[1]),
)
SUBTRACT = Family(
    name="subtract",
    wordings=("What is {a} - {b}?", "Take {b} away from {a}."),
    sample=_larger_first,
    fields=_pair,
    core=_positive_difference,
    steps=_subtract_steps,
    answer=lambda core: str(core[0] - core[1]),
)
MULTIPLY = Family(
    name="multiply",
    wordings=("What is {a} * {b}?", "Multiply {a} by {b}."),
    sample=lambda rng, size: (number(rng, size + 2), rng.choice(_FACTORS)),
    fields=_pair,
    core=_pair_of,
    steps=_multiply_steps,
    answer=lambda core: str(core[0] * core[1]),
)
REMAINDER = Family(
    name="remainder",
    wordings=("What is {a} mod {b}?", "Divide {a} by {b}. What is the remainder?"),
    sample=lambda rng, size: (number(rng, size + 2), rng.choice(_DIVISORS)),
    fields=_pair,
    core=_divisible,
    steps=_remainder_steps,
    answer=lambda core: str(core[0] % core[1]),
)
