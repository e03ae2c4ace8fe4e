r"""Decides whether two normalised answers are the same: shapes element by element, leaves by a given comparison.

The calling process runs it with the leaf of `exact`, which may answer "unknown"; a worker runs the same code
with a leaf that asks `symbolic` besides. So both see lists, sets and intervals by the same rules:

* a list (`1, 2`) and a set have no order, a tuple has; a list and a tuple of the same things in the same order agree;
* an interval's ends are part of it; `(1, 2)` is a tuple or an open interval, whichever the other side is;
* a name is no part of a value (`x = 5` and `5` agree), but two different names are two answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradatim.checkers.math import algebra
from gradatim.checkers.math.exact import NOTHING, UNKNOWN, Found, Same, exact_leaf, is_value, tight
from gradatim.checkers.math.expressions import parse
from gradatim.checkers.math.numbers import comma_as_point, read_number, same_integer, same_number
from gradatim.checkers.math.relations import same_relation, value
from gradatim.checkers.math.shapes import Items, Matrix, Relation, Union, expand_signs, is_name, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.checkers.math.shapes import Shape

_DEEPEST = 6
_MOST_ITEMS = 64
_CHOICE = re.compile(r"\(?\s*(?:\\text\s*\{)?\s*\(?\s*([A-Z])\s*\)?\s*\}?\s*[).:]?")
_CHOICE_LEAD = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])(?:\s+(?=[A-Za-z0-9$\\])|\}|$)")
_TEXT_COMMAND = re.compile(r"\\text\s*\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to compare."""

    leaf: Callable[[str, str], Found]
    """Decides two texts that have no shape."""
    textual: bool = True
    """Whether the same text is the same answer; without it, a reference compared with itself shows if it is read."""
    depth: int = 0

    def deeper(self) -> How:
        """Return the same for the parts of what is compared."""
        return replace(self, depth=self.depth + 1)


def compare(reference: str, answer: str, how: How | None = None) -> Found:  # noqa: PLR0911 - one return per shape
    """Compare two normalised texts, by exact arithmetic alone unless `how` says otherwise."""
    how = how or How(leaf=exact_leaf)
    if how.textual and tight(reference) == tight(answer):
        return Found(Same.YES, "equal_text")
    whole = same_integer(reference, answer)
    if whole is not None:
        return Found(Same.YES, "equal_number") if whole else Found(Same.NO, "different_number")
    if how.depth > _DEEPEST:
        return UNKNOWN
    choice = _choice(reference, answer)
    if choice:
        return choice
    left, right = read(reference), read(answer)
    if isinstance(left, str) and isinstance(right, str):
        return _texts(left, right, how)
    if isinstance(left, Relation) or isinstance(right, Relation):
        return _relations(left, right, (reference, answer), how)
    if isinstance(left, Matrix) or isinstance(right, Matrix):
        return _matrices(left, right, how)
    if isinstance(left, Union) or isinstance(right, Union):
        if isinstance(left, Union) and isinstance(right, Union):
            return _unordered(left.parts, right.parts, how, sure=False)
        return UNKNOWN
    return _lists(left, right, (reference, answer), how)


def _choice(reference: str, answer: str) -> Found | None:
    r"""Compare letters of options: `C`, `(C)`, `\text{(C)}`, `C.`, and an answer that begins `(C) ...`."""
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


def _texts(left: str, right: str, how: How) -> Found:
    r"""Compare two texts without shape: first what `\pm` stands for, then the leaves."""
    lefts, rights = expand_signs(left), expand_signs(right)
    if len(lefts) + len(rights) > 2:
        return _unordered(lefts, rights, how)
    return how.leaf(left, right)


def _unordered(left: Sequence[str], right: Sequence[str], how: How, *, sure: bool = True) -> Found:
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
        findings = [compare(one, other, how.deeper()).same for other in rights]
        if Same.YES in findings:
            open_rights -= {index for index, same in enumerate(findings) if same is Same.YES}
        elif Same.UNKNOWN in findings:
            unknown = True
        else:
            return Found(Same.NO, "different_item") if sure else UNKNOWN
    if unknown or (open_rights and not sure):
        return UNKNOWN
    if open_rights:
        return _extra(lefts, rights, open_rights, how)
    return Found(Same.YES, "equal_items")


def _extra(lefts: list[str], rights: list[str], extra: set[int], how: How) -> Found:
    """Decide what the answer's items that matched nothing are: wrong ones, or ones that we could not compare."""
    for index in extra:
        findings = [compare(one, rights[index], how.deeper()).same for one in lefts]
        if Same.UNKNOWN in findings:
            return UNKNOWN
    return Found(Same.NO, "different_item")


def _in_order(left: Sequence[str], right: Sequence[str], how: How) -> Found:
    if len(left) != len(right):
        return Found(Same.NO, "different_length")
    unknown = False
    for one, other in zip(left, right, strict=True):
        found = compare(one, other, how.deeper())
        if found.same is Same.NO:
            return Found(Same.NO, "different_item")
        unknown = unknown or found.same is Same.UNKNOWN
    return UNKNOWN if unknown else Found(Same.YES, "equal_items")


def _lists(left: Shape, right: Shape, texts: tuple[str, str], how: How) -> Found:
    """Compare two things of which at least one is a list, tuple, set or interval."""
    if isinstance(left, str) or isinstance(right, str):
        return _list_and_text(left, right, texts, how)
    assert isinstance(left, Items)
    assert isinstance(right, Items)
    fences = {left.fence, right.fence}
    if len(left.parts) == 2 and fences & {"(]", "[)"} and len(fences) > 1:
        return Found(Same.NO, "different_ends")
    if fences == {"()", "[]"}:
        # Two ends: an open and a closed interval. More: a list in Python's brackets.
        return Found(Same.NO, "different_ends") if len(left.parts) == 2 else _in_order(left.parts, right.parts, how)
    if left.ordered and right.ordered:
        return _in_order(left.parts, right.parts, how)
    if left.ordered or right.ordered or _names_differ(left.parts) != _names_differ(right.parts):
        return _in_order(left.parts, right.parts, how)
    return _unordered(left.parts, right.parts, how)


def _names_differ(parts: Sequence[str]) -> bool:
    """Say whether a list assigns to different names, as `x = 1, y = 2` does: then its order is that of the names."""
    names = set()
    for part in parts:
        shape = read(part)
        if not isinstance(shape, Relation) or shape.signs[0] != "=" or not is_name(shape.sides[0]):
            return False
        names.add(tight(shape.sides[0]))
    return len(names) > 1 and len(names) == len(parts)


def _list_and_text(left: Shape, right: Shape, texts: tuple[str, str], how: How) -> Found:
    r"""Compare a list with something that is none: a list of one, two values behind `\pm`, or a comma that misled."""
    items, text, swapped = (left, right, False) if isinstance(left, Items) else (right, left, True)
    assert isinstance(items, Items)
    assert isinstance(text, str)
    values = expand_signs(text)
    if len(values) > 1 or (len(items.parts) == 1 and items.fence in {"{}", ""} and items.parts[0] != text):
        return _unordered(values, items.parts, how) if swapped else _unordered(items.parts, values, how)
    if swapped and items.fence == "":
        # The reference is one number: an answer with a decimal comma can be it.
        number, other = read_number(text), comma_as_point(texts[1])
        if number and other and number.step and same_number(number, other):
            return Found(Same.YES, "equal_number")
    if "," in text and items.fence == "" and len(items.parts) > 1:
        parts = tuple(part.strip() for part in text.split(","))
        if all(part.strip().isdigit() for part in items.parts) and " " in texts[1 if swapped else 0]:
            return _unordered(items.parts, parts, how)
    if not items.parts and tight(text).lower() in NOTHING:
        return Found(Same.YES, "equal_text")
    if not items.parts or is_value(text):
        return Found(Same.NO, "different_shape")
    return UNKNOWN if how.leaf is exact_leaf or not items.ordered else Found(Same.NO, "different_shape")


def _matrices(left: Shape, right: Shape, how: How) -> Found:
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        if [len(row) for row in left.rows] != [len(row) for row in right.rows]:
            return Found(Same.NO, "different_length")
        flat = [[cell for row in matrix.rows for cell in row] for matrix in (left, right)]
        return _in_order(flat[0], flat[1], how)
    matrix, other = (left, right) if isinstance(left, Matrix) else (right, left)
    assert isinstance(matrix, Matrix)
    cells = [cell for row in matrix.rows for cell in row]
    if isinstance(other, Items) and other.ordered and (len(matrix.rows) == 1 or len(cells) == len(matrix.rows)):
        parts = (cells, other.parts) if matrix is left else (other.parts, cells)
        return _in_order(parts[0], parts[1], how)
    return UNKNOWN


def _relations(  # noqa: PLR0911 - one return per pair of shapes
    left: Shape, right: Shape, texts: tuple[str, str], how: How
) -> Found:
    """Compare where at least one side is an equation, an inequality or a membership."""
    first, second = (value(shape) if isinstance(shape, Relation) else None for shape in (left, right))
    if isinstance(left, Relation) and isinstance(right, Relation):
        if first and second and (tight(first[0]) == tight(second[0]) or _both_function(first[0], second[0])):
            return compare(first[1], second[1], how.deeper())
        found = same_relation(left, right)
        return how.leaf(*texts) if found.same is Same.UNKNOWN else found
    if first:
        return compare(first[1], texts[1], how.deeper())
    if second:
        return compare(texts[0], second[1], how.deeper())
    chain = right if isinstance(right, Relation) else left
    assert isinstance(chain, Relation)
    if set(chain.signs) <= {"=", r"\approx"}:
        if chain is right and not is_name(chain.sides[0]):
            # `\sqrt{4} = 2` ends in its value; an equation in unknowns has none.
            found = compare(texts[0], chain.sides[-1], how.deeper())
            if found.same is not Same.YES or _all_constant(chain.sides[:-1]):
                return found
        return Found(Same.NO, "different_shape")
    return how.leaf(*texts)


def _all_constant(sides: Sequence[str]) -> bool:
    try:
        return all(algebra.constant(parse(side)) for side in sides)
    except algebra.Unsure:
        return True


def _both_function(left: str, right: str) -> bool:
    """Say whether one side is called `y` and the other `f(x)`, which are two names for one thing."""
    names = {tight(left), tight(right)}
    return "y" in names and any(re.fullmatch(r"[A-Za-z]\([a-z]\)", name) for name in names)
