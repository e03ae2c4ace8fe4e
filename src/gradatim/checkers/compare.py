r"""Decides whether two normalised answers are the same: shapes element by element, leaves by a given comparison.

The calling process runs it with the exact leaf of this module, which may answer "unknown"; a worker runs the same code
with a leaf that asks `symbolic` besides. So both see lists, sets and intervals by the same rules:

* a list (`1, 2`) and a set have no order, a tuple has; a list and a tuple of the same things in the same order agree;
* an interval's ends are part of it; `(1, 2)` is a tuple or an open interval, whichever the other side is;
* a name is no part of a value (`x = 5` and `5` agree), but two different names are two answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING

from gradatim.checkers import algebra
from gradatim.checkers.numbers import Number, close, comma_as_point, read_number, same_integer, same_number, strip_unit
from gradatim.checkers.shapes import Items, Matrix, Relation, Union, expand_signs, is_name, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.checkers.shapes import Shape

_DEEPEST = 6
_MOST_ITEMS = 64
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", "=": "=", r"\ne": r"\ne"}
_CHOICE = re.compile(r"\(?\s*(?:\\text\s*\{)?\s*\(?\s*([A-Z])\s*\)?\s*\}?\s*[).:]?")
_CHOICE_LEAD = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])(?:\s|\}|$)")
_WORD = re.compile(r"[A-Za-z][A-Za-z' -]*[A-Za-z]")
_TEXT_COMMAND = re.compile(r"\\text\s*\{([^{}]*)\}")
_NOTHING = frozenset((r"\emptyset", "nosolution", "nosolutions", "none", "norealsolution", "norealsolutions", r"\{\}", "nosuchsolution"))
_SPACE = re.compile(r"\s+")
_SHORT_GROUP = re.compile(r"([_^])\{([A-Za-z0-9])\}(?![A-Za-z0-9])")
_INFINITY = re.compile(r"([+-]?)\\infty")


class Same(Enum):
    """What a comparison found."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """A finding and its reason, a word that a histogram can count."""

    same: Same
    reason: str


UNKNOWN = Found(Same.UNKNOWN, "")


def compare(reference: str, answer: str, leaf: Callable[[str, str], Found] | None = None, depth: int = 0) -> Found:
    """Compare two normalised texts; `leaf` decides what has no shape, and by default is exact and quick."""
    leaf = leaf or exact_leaf
    if tight(reference) == tight(answer):
        return Found(Same.YES, "equal_text")
    if depth > _DEEPEST:
        return UNKNOWN
    choice = _choice(reference, answer)
    if choice:
        return choice
    left, right = read(reference), read(answer)
    if isinstance(left, str) and isinstance(right, str):
        return _texts(left, right, leaf, depth)
    if isinstance(left, Relation) or isinstance(right, Relation):
        return _relations(left, right, (reference, answer), leaf, depth)
    if isinstance(left, Matrix) or isinstance(right, Matrix):
        return _matrices(left, right, leaf, depth)
    if isinstance(left, Union) or isinstance(right, Union):
        if isinstance(left, Union) and isinstance(right, Union):
            return _unordered(left.parts, right.parts, leaf, depth, sure=False)
        return UNKNOWN
    return _lists(left, right, (reference, answer), leaf, depth)


def tight(text: str) -> str:
    """Return a normalised text without what makes no difference: blanks, and braces around one letter."""
    return _SHORT_GROUP.sub(r"\1\2", _SPACE.sub("", text)) if " " in text or "{" in text else text


def _choice(reference: str, answer: str) -> Found | None:
    """Compare letters of options: `C`, `(C)`, `\\text{(C)}`, `C.`, and an answer that begins `(C) ...`."""
    wanted = _CHOICE.fullmatch(reference)
    if not wanted:
        return None
    given = _CHOICE.fullmatch(answer) or _CHOICE.fullmatch(answer.upper())
    letter = given[1] if given else ""
    if not letter:
        lead = _CHOICE_LEAD.match(_TEXT_COMMAND.sub(r"\1 ", answer).strip())
        letter = (lead[1] or lead[2]) if lead else ""
    if not letter:
        return None
    return Found(Same.YES, "equal_choice") if letter == wanted[1] else Found(Same.NO, "different_choice")


def _texts(left: str, right: str, leaf: Callable[[str, str], Found], depth: int) -> Found:
    """Compare two texts without shape: first what `\\pm` stands for, then the leaves."""
    lefts, rights = expand_signs(left), expand_signs(right)
    if len(lefts) + len(rights) > 2:
        return _unordered(lefts, rights, leaf, depth)
    return leaf(left, right)


def _unordered(left: Sequence[str], right: Sequence[str], leaf: Callable[[str, str], Found], depth: int, *, sure: bool = True) -> Found:
    """Match two collections whatever their order; equality is transitive, so greedy matching is exact.

    A repeated value counts once on both sides. `sure=False` says that different parts prove nothing.
    """
    lefts = [value for part in left for value in expand_signs(part)]
    rights = [value for part in right for value in expand_signs(part)]
    if len(lefts) > _MOST_ITEMS or len(rights) > _MOST_ITEMS:
        return UNKNOWN
    open_rights = set(range(len(rights)))
    unknown = False
    for one in lefts:
        findings = [compare(one, other, leaf, depth + 1).same for other in rights]
        if Same.YES in findings:
            open_rights -= {index for index, same in enumerate(findings) if same is Same.YES}
        elif Same.UNKNOWN in findings:
            unknown = True
        else:
            return Found(Same.NO, "different_item") if sure else UNKNOWN
    if unknown or (open_rights and not sure):
        return UNKNOWN
    if open_rights:
        return _extra(lefts, rights, open_rights, leaf, depth)
    return Found(Same.YES, "equal_items")


def _extra(lefts: list[str], rights: list[str], extra: set[int], leaf: Callable[[str, str], Found], depth: int) -> Found:
    """Decide what the answer's items that matched nothing are: wrong ones, or ones that we could not compare."""
    for index in extra:
        findings = [compare(one, rights[index], leaf, depth + 1).same for one in lefts]
        if Same.UNKNOWN in findings:
            return UNKNOWN
    return Found(Same.NO, "different_item")


def _in_order(left: Sequence[str], right: Sequence[str], leaf: Callable[[str, str], Found], depth: int) -> Found:
    if len(left) != len(right):
        return Found(Same.NO, "different_length")
    unknown = False
    for one, other in zip(left, right, strict=True):
        found = compare(one, other, leaf, depth + 1)
        if found.same is Same.NO:
            return Found(Same.NO, "different_item")
        unknown = unknown or found.same is Same.UNKNOWN
    return UNKNOWN if unknown else Found(Same.YES, "equal_items")


def _lists(left: Shape, right: Shape, texts: tuple[str, str], leaf: Callable[[str, str], Found], depth: int) -> Found:
    """Compare two things of which at least one is a list, tuple, set or interval."""
    if isinstance(left, str) or isinstance(right, str):
        return _list_and_text(left, right, texts, leaf, depth)
    assert isinstance(left, Items)
    assert isinstance(right, Items)
    fences = {left.fence, right.fence}
    if len(left.parts) == 2 and fences & {"(]", "[)"} and len(fences) > 1:
        return Found(Same.NO, "different_ends")
    if fences == {"()", "[]"}:
        # Two ends: an open and a closed interval. More: a list in Python's brackets.
        return Found(Same.NO, "different_ends") if len(left.parts) == 2 else _in_order(left.parts, right.parts, leaf, depth)
    if left.ordered and right.ordered:
        return _in_order(left.parts, right.parts, leaf, depth)
    if left.ordered or right.ordered or _names_differ(left.parts) != _names_differ(right.parts):
        return _in_order(left.parts, right.parts, leaf, depth)
    return _unordered(left.parts, right.parts, leaf, depth)


def _names_differ(parts: Sequence[str]) -> bool:
    """Say whether a list assigns to different names, as `x = 1, y = 2` does: then its order is that of the names."""
    names = set()
    for part in parts:
        shape = read(part)
        if not isinstance(shape, Relation) or shape.signs[0] != "=" or not is_name(shape.sides[0]):
            return False
        names.add(tight(shape.sides[0]))
    return len(names) > 1 and len(names) == len(parts)


def _list_and_text(left: Shape, right: Shape, texts: tuple[str, str], leaf: Callable[[str, str], Found], depth: int) -> Found:
    """Compare a list with something that is none: a list of one, two values behind `\\pm`, or a comma that misled."""
    items, text, swapped = (left, right, False) if isinstance(left, Items) else (right, left, True)
    assert isinstance(items, Items)
    assert isinstance(text, str)
    values = expand_signs(text)
    if len(values) > 1 or (len(items.parts) == 1 and items.fence in {"{}", ""} and items.parts[0] != text):
        return _unordered(values, items.parts, leaf, depth) if swapped else _unordered(items.parts, values, leaf, depth)
    if swapped and items.fence == "":
        # The reference is one number: an answer with a decimal comma can be it.
        number, other = read_number(text), comma_as_point(texts[1])
        if number and other and number.step and same_number(number, other):
            return Found(Same.YES, "equal_number")
    if "," in text and items.fence == "" and len(items.parts) > 1:
        parts = tuple(part.strip() for part in text.split(","))
        if all(part.strip().isdigit() for part in items.parts) and " " in texts[1 if swapped else 0]:
            return _unordered(items.parts, parts, leaf, depth)
    if not items.parts and tight(text).lower() in _NOTHING:
        return Found(Same.YES, "equal_text")
    if not items.parts or _is_value(text):
        return Found(Same.NO, "different_shape")
    return UNKNOWN if leaf is exact_leaf or not items.ordered else Found(Same.NO, "different_shape")


def _is_value(text: str) -> bool:
    """Say whether `text` is certainly a single value."""
    try:
        return bool(read_number(text)) or bool(algebra.parse(text))
    except algebra.Unsure:
        return False


def _matrices(left: Shape, right: Shape, leaf: Callable[[str, str], Found], depth: int) -> Found:
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        if [len(row) for row in left.rows] != [len(row) for row in right.rows]:
            return Found(Same.NO, "different_length")
        flat = [[cell for row in matrix.rows for cell in row] for matrix in (left, right)]
        return _in_order(flat[0], flat[1], leaf, depth)
    matrix, other = (left, right) if isinstance(left, Matrix) else (right, left)
    assert isinstance(matrix, Matrix)
    cells = [cell for row in matrix.rows for cell in row]
    if isinstance(other, Items) and other.ordered and (len(matrix.rows) == 1 or len(cells) == len(matrix.rows)):
        parts = (cells, other.parts) if matrix is left else (other.parts, cells)
        return _in_order(parts[0], parts[1], leaf, depth)
    return UNKNOWN


def _relations(left: Shape, right: Shape, texts: tuple[str, str], leaf: Callable[[str, str], Found], depth: int) -> Found:
    """Compare where at least one side is an equation, an inequality or a membership."""
    first, second = (_value(shape) if isinstance(shape, Relation) else None for shape in (left, right))
    if isinstance(left, Relation) and isinstance(right, Relation):
        if first and second and (tight(first[0]) == tight(second[0]) or _both_function(first[0], second[0])):
            return compare(first[1], second[1], leaf, depth + 1)
        found = _same_relation(left, right)
        return leaf(*texts) if found.same is Same.UNKNOWN else found
    if first:
        return compare(first[1], texts[1], leaf, depth + 1)
    if second:
        return compare(texts[0], second[1], leaf, depth + 1)
    chain = right if isinstance(right, Relation) else left
    assert isinstance(chain, Relation)
    if set(chain.signs) <= {"=", r"\approx"}:
        if chain is right and not is_name(chain.sides[0]):
            # `\sqrt{4} = 2` ends in its value; an equation in unknowns has none.
            found = compare(texts[0], chain.sides[-1], leaf, depth + 1)
            return found if found.same is not Same.YES or _all_constant(chain.sides[:-1]) else Found(Same.NO, "different_shape")
        return Found(Same.NO, "different_shape")
    return leaf(*texts)


def _all_constant(sides: Sequence[str]) -> bool:
    try:
        return all(algebra.constant(algebra.parse(side)) for side in sides)
    except algebra.Unsure:
        return True


def _both_function(left: str, right: str) -> bool:
    """Say whether one side is called `y` and the other `f(x)`, which are two names for one thing."""
    names = {tight(left), tight(right)}
    return "y" in names and any(re.fullmatch(r"[A-Za-z]\([a-z]\)", name) for name in names)


def _value(relation: Relation) -> tuple[str, str] | None:
    """Return the name and the value of `x = 5`, `5 = x`, `x = 2 + 3 = 5`, `x \\in S`, `x > 5` (as an interval), or None."""
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
    """Write `1 < x \\le 3` and `x \\ge 2` as intervals of their variable."""
    if not set(signs) <= {"<", ">", r"\le", r"\ge"}:
        return None
    if len(signs) == 2 and is_name(sides[1]) and not is_name(sides[0]) and not is_name(sides[2]):
        if {signs[0], signs[1]} <= {">", r"\ge"}:
            sides, signs = sides[::-1], tuple(_FLIPPED[sign] for sign in signs[::-1])
        if {signs[0], signs[1]} <= {"<", r"\le"}:
            return sides[1], ("[" if signs[0] == r"\le" else "(") + f"{sides[0]}, {sides[2]}" + ("]" if signs[1] == r"\le" else ")")
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


def _same_relation(left: Relation, right: Relation) -> Found:
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
    left, right = (algebra.parse(side) for side in relation.sides)
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


def exact_leaf(reference: str, answer: str) -> Found:
    """Decide two texts without shape by exact arithmetic alone, or say that it cannot."""
    left, left_unit = strip_unit(reference)
    right, right_unit = strip_unit(answer)
    infinite = _infinities(left, right)
    if infinite:
        return infinite
    whole = same_integer(left, right)
    if whole is None:
        first, second = read_number(left), read_number(right)
        whole = same_number(first, second) if first and second else None
    if whole is not None:
        if whole and left_unit != right_unit and not {left_unit, right_unit} & {"", "other", "unit"}:
            return Found(Same.NO, "different_unit")
        return Found(Same.YES, "equal_number") if whole else Found(Same.NO, "different_number")
    return _words(reference, answer) or _ring(left, right)


def _infinities(left: str, right: str) -> Found | None:
    """Compare an end of an interval that lies at infinity."""
    ends = [_INFINITY.fullmatch(tight(text)) for text in (left, right)]
    signs = [end[1] == "-" if end else None for end in ends]
    if signs == [None, None]:
        return None
    if None in signs:
        return Found(Same.NO, "different_number") if _is_value(left if signs[0] is None else right) else None
    return Found(Same.YES, "equal_text") if signs[0] == signs[1] else Found(Same.NO, "different_number")


def _words(reference: str, answer: str) -> Found | None:
    """Compare two answers in words, whatever their case."""
    left, right = (_SPACE.sub(" ", _TEXT_COMMAND.sub(r"\1", text)).strip(" .'\"") for text in (reference, answer))
    if tight(left).lower() in _NOTHING and tight(right).lower() in _NOTHING:
        return Found(Same.YES, "equal_text")
    if left.casefold() == right.casefold() and len(left) > 1 and _WORD.fullmatch(left):
        return Found(Same.YES, "equal_text")
    if _WORD.fullmatch(left) and _WORD.fullmatch(right) and len(left) > 2 and len(right) > 2:
        return Found(Same.NO, "different_text")
    return None


def _ring(left: str, right: str) -> Found:
    """Compare two expressions in the exact ring; a decimal may stand for a constant that it rounds."""
    try:
        first, second = (algebra.parse(text.removesuffix("%")) for text in (left, right))
        same = algebra.equal(first, second) if left.endswith("%") == right.endswith("%") else None
        if same is False:
            return _decimal_for_constant((left, first), (right, second))
    except algebra.Unsure:
        return UNKNOWN
    return Found(Same.YES, "equal_expression") if same else UNKNOWN


def _decimal_for_constant(left: tuple[str, algebra.Ratio], right: tuple[str, algebra.Ratio]) -> Found:
    for (text, _), (_, other) in ((left, right), (right, left)):
        number = read_number(text)
        if number and number.digits >= 6 and algebra.constant(other):
            value = algebra.approximate(other)
            if value is None:
                return UNKNOWN
            if abs(value.imag) < 1e-12 * abs(value) and _rounds(number, value.real):
                return Found(Same.YES, "equal_decimal")
    return Found(Same.NO, "different_expression")


def _rounds(number: Number, value: float) -> bool:
    return close(number.value, Fraction(value), number)
