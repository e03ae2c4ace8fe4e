r"""Decides two texts without shape by exact arithmetic alone: numbers, words, and expressions of the exact ring.

Takes microseconds, and is decisive only where it is sure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from gradatim.checkers.math import algebra
from gradatim.checkers.math.expressions import parse
from gradatim.checkers.math.numbers import read_number, same_based, same_integer, same_number, stands_for, strip_unit

_TEXT_COMMAND = re.compile(r"\\text\s*\{([^{}]*)\}")
_WORD = re.compile(r"[A-Za-z][A-Za-z' -]*[A-Za-z]")
NOTHING = frozenset(
    (r"\emptyset", "nosolution", "nosolutions", "none", "norealsolution", "norealsolutions", r"\{\}", "nosuchsolution")
)
_SPACE = re.compile(r"\s+")
_BLANK = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")
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


def tight(text: str) -> str:
    """Return a text without blanks (but between digits) and without braces around one letter."""
    return _SHORT_GROUP.sub(r"\1\2", _BLANK.sub("", text)) if " " in text or "{" in text else text


def is_value(text: str) -> bool:
    """Say whether `text` is certainly a single value."""
    try:
        return bool(read_number(text)) or bool(parse(text))
    except algebra.Unsure:
        return False


def exact_leaf(reference: str, answer: str) -> Found:
    """Decide two texts without shape by exact arithmetic alone, or say that it cannot."""
    left, left_unit = strip_unit(reference)
    right, right_unit = strip_unit(answer)
    infinite = _infinities(left, right)
    if infinite:
        return infinite
    whole = same_integer(left, right)
    if whole is None:
        whole = same_based(left, right)
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
        return Found(Same.NO, "different_number") if is_value(left if signs[0] is None else right) else None
    return Found(Same.YES, "equal_text") if signs[0] == signs[1] else Found(Same.NO, "different_number")


def _words(reference: str, answer: str) -> Found | None:
    """Compare two answers in words, whatever their case."""
    left, right = (_SPACE.sub(" ", _TEXT_COMMAND.sub(r"\1", text)).strip(" .'\"") for text in (reference, answer))
    if tight(left).lower() in NOTHING and tight(right).lower() in NOTHING:
        return Found(Same.YES, "equal_words")
    if left.casefold() == right.casefold() and len(left) > 1 and _WORD.fullmatch(left):
        return Found(Same.YES, "equal_words")
    if _WORD.fullmatch(left) and _WORD.fullmatch(right) and len(left) > 2 and len(right) > 2:
        return Found(Same.NO, "different_words")
    return None


def _ring(left: str, right: str) -> Found:
    """Compare two expressions in the exact ring; a decimal may stand for a constant that it rounds."""
    try:
        first, second = (parse(text.removesuffix("%")) for text in (left, right))
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
            if abs(value.imag) < 1e-12 * abs(value) and stands_for(number, Fraction(value.real)):
                return Found(Same.YES, "equal_decimal")
    return Found(Same.NO, "different_expression")
