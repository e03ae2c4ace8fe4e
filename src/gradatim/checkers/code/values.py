"""Compares the value that a function gave with the one that is wanted (style `call`). Pure.

What is wanted is JSON; what came is plain data. By value, as Python's `==` has it, with these rules:

* A tuple is a list. A set is a list only where the order does not count: a program that is to give a list and gives a
  set has left open what was asked.
* `True` is not 1: a bool equals a bool. An int equals a float of the same value.
* The tolerance is for floats: two ints are equal or not. NaN equals nothing, not itself either.
* Keys of a dict are compared as JSON writes them: `{1: 2}` is `{"1": 2}`.
* `unordered` is for the items of the value itself, not for lists within them.
"""

from __future__ import annotations

import itertools
import reprlib
from collections import Counter
from typing import TYPE_CHECKING

from gradatim.checkers.code.outputs import Difference, near

if TYPE_CHECKING:
    from gradatim.suite import Suite

_DEEPEST = 200
_ITEMS, _SHORT, _VALUES = 60, 400, 500
"""What is shown of a value: so many items of each list, characters of each text, and values in all."""
_LONG_BITS = 4000
"""Python writes no larger numbers in decimal without being asked twice."""


def difference(suite: Suite, expected: object, got: object) -> Difference | None:
    """Return the first difference, or None where the value is the one that is wanted."""
    if suite.unordered and isinstance(expected, list):
        same = isinstance(got, list | tuple | set | frozenset) and _same_items(expected, list(got), suite.tolerance)
        return None if same else _told(expected, got, "the items, in whatever order")
    if isinstance(expected, list) and isinstance(got, list | tuple):
        for index, (one, other) in enumerate(zip(expected, got, strict=False)):
            if not equal(one, other, suite.tolerance):
                whole = max(len(expected), len(got)) <= _ITEMS and max(len(shown(expected)), len(shown(got))) < _SHORT
                return (
                    _told(expected, got, f"at item {index + 1}") if whole else _told(one, other, f"at item {index + 1}")
                )
        if len(expected) != len(got):
            return _told(expected, got, f"{len(got)} items instead of {len(expected)}")
        return None
    return None if equal(expected, got, suite.tolerance) else _told(expected, got, "")


def equal(expected: object, got: object, tolerance: float = 0.0) -> bool:
    """Say whether a value is the one that is wanted, order and all. Takes values of any depth."""
    pairs = [(expected, got)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, list):
            if not isinstance(other, list | tuple) or len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif isinstance(one, dict):
            if not isinstance(other, dict) or len(one) != len(other):
                return False
            named = {_key(key): value for key, value in other.items()}
            if named.keys() != one.keys():
                return False
            pairs.extend((value, named[key]) for key, value in one.items())
        elif not _same(one, other, tolerance):
            return False
    return True


def shown(value: object) -> str:
    """Return a short text that stands for a value, however large it is."""
    return _Showing().repr(value)


def _same(one: object, other: object, tolerance: float) -> bool:
    """Compare two values that hold no others."""
    numbers = _is_number(one) and _is_number(other)
    if not numbers or one == other:
        return one == other and (numbers or type(one) is type(other))
    if tolerance <= 0 or (isinstance(one, int) and isinstance(other, int)):
        return False
    try:
        return near(float(one), float(other), tolerance)  # type: ignore[arg-type]  # they are numbers
    except OverflowError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(key: object) -> str | None:
    """Return the text that JSON has for a key, or None where it has none."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None:
        return "null"
    if isinstance(key, float) or (isinstance(key, int) and key.bit_length() < _LONG_BITS):
        return repr(key)
    return None


def _same_items(expected: list[object], got: list[object], tolerance: float) -> bool:
    """Compare two lists as multisets; with a tolerance, what is left pairs off in the order of its numbers."""
    if len(expected) != len(got) or _size(expected) != _size(got, _size(expected)):
        # Before forms are made of it, which take ten times the memory of what a program gave.
        return False
    try:
        wanted = Counter(_canonical(item) for item in expected)
        foreign = []
        for item in map(_canonical, got):
            if wanted[item] > 0:
                wanted[item] -= 1
            elif tolerance > 0:
                foreign.append(item)
            else:
                return False
    except _TooDeep:
        return all(itertools.starmap(equal, zip(expected, got, strict=True)))
    missing = sorted(wanted.elements())
    return all(_alike(one, other, tolerance) for one, other in zip(missing, sorted(foreign), strict=True))


def _size(value: object, most: int | None = None) -> int:
    """Return how many values there are in a value, itself among them; counted no further than beyond `most`."""
    count, waiting = 1, [value]
    while waiting and (most is None or count <= most):
        one = waiting.pop()
        if isinstance(one, list | tuple | set | frozenset | dict):
            count += len(one)
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return count


class _TooDeep(Exception):  # noqa: N818 - no error: such values are compared in order
    """A value is nested too deeply for a canonical form."""


_Form = tuple[str, object]
"""A kind and what can be compared with others of the kind; equal forms are equal values."""


def _canonical(value: object, depth: int = 0) -> _Form:
    if depth > _DEEPEST:
        raise _TooDeep
    if value is None or isinstance(value, bool):
        return "constant", str(value)
    if isinstance(value, int | float):
        # Each NaN is an object of its own: it equals nothing, and sorts somewhere.
        return "number", value if value == value else float("nan")  # noqa: PLR0124 - how NaN is told
    if isinstance(value, list | tuple):
        return "list", tuple(_canonical(item, depth + 1) for item in value)
    if isinstance(value, dict):
        pairs = ((str(_key(key)), _canonical(item, depth + 1)) for key, item in value.items())
        return "dict", tuple(sorted(pairs))
    if isinstance(value, set | frozenset):
        return "set", tuple(sorted(_canonical(item, depth + 1) for item in value))
    return type(value).__name__, value if isinstance(value, str | bytes) else repr(value)


def _alike(one: object, other: object, tolerance: float) -> bool:
    """Compare two canonical forms, numbers within the tolerance."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, tuple) and isinstance(right, tuple):
            if len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif not _same(left, right, tolerance):
            return False
    return True


class _Showing(reprlib.Repr):
    """Shortens what is long; numbers that Python will not write are told by their size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = _ITEMS
        self.maxstring = self.maxother = self.maxlong = _SHORT
        self._left = _VALUES

    def repr1(self, x: object, level: int) -> str:
        """Write a value, while there are not too many of them."""
        self._left -= 1
        return super().repr1(x, level) if self._left >= 0 else "..."

    def repr_int(self, x: int, level: int) -> str:
        """Write an int."""
        return f"<an integer of {x.bit_length()} bits>" if x.bit_length() > _LONG_BITS else super().repr_int(x, level)


def _told(expected: object, got: object, where: str) -> Difference:
    return Difference(expected=shown(expected), got=shown(got), where=where)
