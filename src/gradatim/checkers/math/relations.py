"""Reads the value out of `x = 5` or `x > 5`, and compares equations and inequalities up to a factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.checkers.math import algebra
from gradatim.checkers.math.exact import UNKNOWN, Found, Same
from gradatim.checkers.math.expressions import parse
from gradatim.checkers.math.shapes import Relation, is_name

if TYPE_CHECKING:
    from fractions import Fraction

_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", "=": "=", r"\ne": r"\ne"}


def value(relation: Relation) -> tuple[str, str] | None:
    r"""Return the name and the value of `x = 5`, `5 = x`, `x = 2 + 3 = 5`, `x \in S`, `x > 5`; or None."""
    sides, signs = relation.sides, relation.signs
    if r"\approx" in signs:
        cut = signs.index(r"\approx")
        if cut > 0 or not is_name(sides[0]):
            # `x = 1/3 \approx 0.33` states 1/3.
            sides, signs = sides[: cut + 1], signs[:cut]
            if not signs:
                return "", sides[0]
        else:
            return sides[0], sides[1]
    if set(signs) <= {"=", r"\equiv"} and is_name(sides[0]):
        return sides[0], sides[-1]
    if signs == ("=",) and is_name(sides[1]):
        return sides[1], sides[0]
    if signs == (r"\in",) and is_name(sides[0]):
        return sides[0], sides[1]
    return _as_interval(sides, signs)


def _as_interval(sides: tuple[str, ...], signs: tuple[str, ...]) -> tuple[str, str] | None:
    r"""Write `1 < x \le 3` and `x \ge 2` as intervals of their variable."""
    if not set(signs) <= {"<", ">", r"\le", r"\ge"}:
        return None
    if len(signs) == 2 and is_name(sides[1]) and not is_name(sides[0]) and not is_name(sides[2]):
        if {signs[0], signs[1]} <= {">", r"\ge"}:
            sides, signs = sides[::-1], tuple(_FLIPPED[sign] for sign in signs[::-1])
        if {signs[0], signs[1]} <= {"<", r"\le"}:
            return sides[1], ("[" if signs[0] == r"\le" else "(") + f"{sides[0]}, {sides[2]}" + (
                "]" if signs[1] == r"\le" else ")"
            )
        return None
    if len(signs) != 1:
        return None
    name, sign, bound = sides[0], signs[0], sides[1]
    if is_name(bound) and not is_name(name):
        name, sign, bound = bound, _FLIPPED[sign], name
    if not is_name(name) or is_name(bound):
        return None
    interval = {
        "<": rf"(-\infty, {bound})",
        ">": rf"({bound}, \infty)",
        r"\le": rf"(-\infty, {bound}]",
        r"\ge": rf"[{bound}, \infty)",
    }
    return name, interval[sign]


def same_relation(left: Relation, right: Relation) -> Found:
    """Compare two equations or inequalities: the same up to a factor, or, where both are linear, different."""
    if len(left.signs) != 1 or len(right.signs) != 1:
        return UNKNOWN
    try:
        first, second = (_difference(relation) for relation in (left, right))
    except algebra.Unsure:
        return UNKNOWN
    factor = _factor(first, second)
    signs = left.signs[0], right.signs[0]
    if factor is not None and signs[0] in _FLIPPED and (signs[1] if factor > 0 else _FLIPPED.get(signs[1])) == signs[0]:
        return Found(Same.YES, "equal_relation")
    linear = all(sum(power for _, power in term) <= 1 for poly in (first, second) for term in poly)
    return Found(Same.NO, "different_relation") if linear and signs[0] == signs[1] == "=" else UNKNOWN


def _difference(relation: Relation) -> algebra.Poly:
    left, right = (parse(side) for side in relation.sides)
    if any(term != () for ratio in (left, right) for term in ratio.bottom) or left.opaque() or right.opaque():
        raise algebra.Unsure
    scaled = [{term: factor / ratio.bottom[()] for term, factor in ratio.top.items()} for ratio in (left, right)]
    return algebra.add(scaled[0], scaled[1], -1)


def _factor(left: algebra.Poly, right: algebra.Poly) -> Fraction | None:
    """Return the number by which `right` must be multiplied to give `left`, or None."""
    if not left or left.keys() != right.keys():
        return None
    factors = {left[term] / right[term] for term in left}
    return factors.pop() if len(factors) == 1 else None
