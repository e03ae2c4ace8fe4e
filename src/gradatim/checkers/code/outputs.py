"""Compares what a program wrote with what is wanted (style `stdio`). Pure; linear, whatever either holds.

Both are walked piece by piece, so three million lines cost no more memory than the texts themselves. No number is made
of a token longer than `_LONGEST`: such a one is right as the same text or not at all.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.suite import Suite

_PIECE = 1 << 16
_LONGEST = 400
_SHOWN = 400
_SPACE = re.compile(r"\s")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where a program's result is not what is wanted."""

    expected: str
    got: str
    where: str


def difference(suite: Suite, expected: str, stdout: bytes) -> Difference | None:
    """Return the first difference, or None where the output is right. Bytes that are no UTF-8 become U+FFFD.

    `exact` compares bytes, and knows neither tolerance nor order. Of `unordered` outputs empty lines do not count.
    """
    if suite.compare == "exact":
        same = expected.encode("utf-8", "surrogatepass") == stdout
        return None if same else _exact(expected, stdout.decode("utf-8", "replace"))
    got = stdout.decode("utf-8", "replace")
    if expected == got:
        return None
    if suite.unordered:
        return _unordered(suite, expected, got)
    split, unit = (tokens, "token") if suite.compare == "tokens" else (lines, "line")
    return _first(split(expected), split(got), suite.tolerance, unit)


def tokens(text: str) -> Iterator[str]:
    """Give what stands between white space."""
    for piece in _pieces(text, _SPACE):
        yield from piece.split()


def lines(text: str) -> Iterator[str]:
    """Give the lines without the white space at their ends, up to the last that is not empty. Only LF ends a line."""
    empty = 0
    for piece in _pieces(text, re.compile(r"\n")):
        for line in piece.split("\n"):
            bare = line.rstrip()
            if not bare:
                empty += 1
                continue
            yield from itertools.repeat("", empty)
            empty = 0
            yield bare


def close(expected: str, got: str, tolerance: float) -> bool:
    """Say whether two tokens are the same text, or decimal numbers within the tolerance, absolutely or relatively.

    Two integers are never merely close. `nan` and `inf` are no decimal numbers: only the same text is the same.
    """
    if expected == got:
        return True
    if tolerance <= 0 or max(len(expected), len(got)) > _LONGEST:
        return False
    if not (_DECIMAL.fullmatch(expected) and _DECIMAL.fullmatch(got)):
        return False
    if _INTEGER.fullmatch(expected) and _INTEGER.fullmatch(got):
        return False
    return near(float(expected), float(got), tolerance)


def near(expected: float, got: float, tolerance: float) -> bool:
    """Say whether two finite numbers differ by no more than the tolerance, absolutely or relative to what is wanted."""
    if not (math.isfinite(expected) and math.isfinite(got)):
        return False
    return abs(expected - got) <= tolerance * max(1.0, abs(expected))


def _pieces(text: str, end: re.Pattern[str]) -> Iterator[str]:
    """Cut a text into pieces that end before a match of `end`; the matched character is left out."""
    start = 0
    while start <= len(text):
        match = end.search(text, start + _PIECE) if start + _PIECE < len(text) else None
        stop = match.start() if match else len(text)
        yield text[start:stop]
        start = stop + 1


def _first(expected: Iterator[str], got: Iterator[str], tolerance: float, unit: str) -> Difference | None:
    for number, (one, other) in enumerate(itertools.zip_longest(expected, got), 1):
        if one == other or (one is not None and other is not None and _alike(one, other, tolerance)):
            continue
        where = f"at {unit} {number}"
        if other is None:
            where = f"the output ends before {unit} {number}"
        elif one is None:
            where = f"the output goes on with {unit} {number}"
        joint = " " if unit == "token" else "\n"
        return Difference(expected=_rest(one, expected, joint), got=_rest(other, got, joint), where=where)
    return None


def _alike(expected: str, got: str, tolerance: float) -> bool:
    """Say whether two lines or tokens are the same, token by token where there is a tolerance."""
    if tolerance <= 0:
        return False
    pairs = itertools.zip_longest(tokens(expected), tokens(got))
    return all(one is not None and other is not None and close(one, other, tolerance) for one, other in pairs)


def _rest(first: str | None, more: Iterator[str], joint: str) -> str:
    """Return the text from a difference on, as far as is shown."""
    taken: list[str] = []
    size = 0
    for text in itertools.chain([first] if first is not None else [], more):
        taken.append(text[: _SHOWN + 1])
        size += len(taken[-1]) + 1
        if size > _SHOWN:
            break
    return joint.join(taken)


def _exact(expected: str, got: str) -> Difference:
    start = 0
    while start + _PIECE < min(len(expected), len(got)) and expected.startswith(got[start : start + _PIECE], start):
        start += _PIECE
    pairs = zip(expected[start : start + _PIECE], got[start : start + _PIECE], strict=False)
    start += sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    begin = expected.rfind("\n", 0, start) + 1
    begin = max(begin, start - _SHOWN // 2)
    shown = slice(begin, begin + _SHOWN + 1)
    return Difference(expected=expected[shown], got=got[shown], where=f"at character {start + 1}")


def _bags(suite: Suite, text: str) -> Iterator[str]:
    """Give the lines that are not empty, as they are compared."""
    for line in lines(text):
        if line:
            yield line if suite.compare == "lines" else " ".join(tokens(line) if len(line) > _PIECE else line.split())


def _unordered(suite: Suite, expected: str, got: str) -> Difference | None:
    """Compare the lines as multisets; with a tolerance, those left over pair off in the order of their numbers."""
    wanted = Counter(_bags(suite, expected))
    most = wanted.total() if suite.tolerance > 0 else 0
    foreign: list[str] = []
    for line in _bags(suite, got):
        if wanted[line] > 0:
            wanted[line] -= 1
        elif len(foreign) < most:
            foreign.append(line)
        else:
            left = _rest(None, wanted.elements(), "\n")
            return Difference(expected=left, got=line[: _SHOWN + 1], where="a line that is not wanted")
    missing = sorted(wanted.elements(), key=_order)
    foreign.sort(key=_order)
    for one, other in itertools.zip_longest(missing, foreign):
        if one is None or other is None or not _alike(one, other, suite.tolerance):
            where = "a line that is wanted is not there"
            return Difference(expected=(one or "")[: _SHOWN + 1], got=(other or "")[: _SHOWN + 1], where=where)
    return None


def _order(line: str) -> list[tuple[int, float, str]]:
    return [
        (0, float(token), "") if len(token) <= _LONGEST and _DECIMAL.fullmatch(token) else (1, 0.0, token)
        for token in tokens(line)
    ]
