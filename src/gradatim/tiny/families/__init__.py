"""The kinds of questions of the tiny world, twelve families of five sizes each.

A family's steps are look-ups in a table that a tiny model knows by heart (sums of digits, remainders below 7), so that
what a question needs is the procedure: which look-up comes next, and how often. A size more is one more step.
"""

from __future__ import annotations

from gradatim.tiny.families.columns import ADD, MULTIPLY, REMAINDER, SUBTRACT
from gradatim.tiny.families.family import Core, Family
from gradatim.tiny.families.programs import MACHINE, NESTED, PURSE, WALK
from gradatim.tiny.families.rows import COUNT, LARGEST, REVERSE, TOTAL

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (ADD, SUBTRACT, MULTIPLY, REMAINDER, TOTAL, LARGEST, COUNT, REVERSE, WALK, MACHINE, NESTED, PURSE)
}
SIZES = (1, 2, 3, 4, 5)

__all__ = ["FAMILIES", "SIZES", "Core", "Family"]
