r"""Reads the outer shape of an answer: lists, tuples, sets, intervals, unions, matrices, relations.

What is inside a shape stays text. All splitting is one pass over the text that counts brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPEN = frozenset(("(", "[", "{", r"\{", r"\langle"))
_CLOSE = frozenset((")", "]", "}", r"\}", r"\rangle"))
_PIECE = re.compile(r"\\begin\s*\{[A-Za-z*]+\}|\\end\s*\{[A-Za-z*]+\}|\\\\|\\[A-Za-z]+|\\.|.", re.DOTALL)
_MATRIX = re.compile(
    r"\(?\s*\[?\s*\\begin\s*\{(?P<name>[pbvBV]?matrix|smallmatrix|array|cases|aligned)\}"
    r"\s*(?:\{[lcr|]*\})?(?P<body>.*?)\\end\s*\{(?P=name)\}\s*\]?\s*\)?",
    re.DOTALL,
)
_RELATIONS = frozenset(("=", "<", ">", r"\le", r"\ge", r"\ne", r"\in", r"\approx", r"\equiv"))
_NAME = re.compile(r"(?:[A-Za-z'|:,(){}\s/]|\\[A-Za-z]+|_\s*(?:[0-9]|\{[^{}]*\}))+")
_NO_NAME = re.compile(r"\\(?:sqrt|infty|pi|cup|cdot|pm|sin|cos|tan|log|ln|emptyset|begin|text)(?![A-Za-z])")
_FEWEST_IN_GROUPING = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Things between commas, and what encloses them: `()`, `[]`, `(]`, `[)`, `{}`, or nothing."""

    parts: tuple[str, ...]
    fence: str = ""

    @property
    def ordered(self) -> bool:
        """Whether the order is part of the answer."""
        return self.fence not in {"", "{}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Union:
    r"""Sets joined by `\cup`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Rows of cells; a vector is a matrix of one column."""

    rows: tuple[tuple[str, ...], ...]
    name: str = "pmatrix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    r"""A chain such as `1 < x \le 3`: one more side than signs."""

    sides: tuple[str, ...]
    signs: tuple[str, ...]


Shape = Items | Union | Matrix | Relation | str


def split(text: str, separators: frozenset[str]) -> tuple[list[str], list[str]]:
    """Split `text` at the separators outside all brackets; return the parts and the separators between them."""
    if not any(separator in text for separator in separators):
        return [text.strip()], []
    parts, found, depth, start, bars = [], [], 0, 0, False
    for piece in _PIECE.finditer(text):
        mark = piece[0]
        if mark in _OPEN or mark.startswith(r"\begin"):
            depth += 1
        elif mark in _CLOSE or mark.startswith(r"\end"):
            depth -= 1
        elif mark == "|":
            bars = not bars
        elif mark in separators and depth == 0 and not bars:
            parts.append(text[start : piece.start()].strip())
            found.append(mark)
            start = piece.end()
    parts.append(text[start:].strip())
    return parts, found


COMMA = frozenset((",",))
SEMICOLON = frozenset((";",))
CUP = frozenset((r"\cup",))


def read(text: str) -> Shape:
    """Return the outermost shape of a normalised text; plain text where it has none."""
    text = _bare(text.strip())
    if _FEWEST_IN_GROUPING.fullmatch(text):
        return text
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        return _matrix(matrix)
    for separators in (SEMICOLON, COMMA):
        parts, _ = split(text, separators)
        if len(parts) > 1:
            return Items(parts=_share_name(tuple(part for part in parts if part)))
    sides, signs = split(text, _RELATIONS)
    if signs:
        return Relation(sides=tuple(sides), signs=tuple(signs))
    parts, _ = split(text, CUP)
    if len(parts) > 1:
        return Union(parts=tuple(parts))
    return _enclosed(text)


def _bare(text: str) -> str:
    r"""Take off braces that only group: `{1,2}` is what is left of `\{1,2\}` or of a TeX group.

    Takes time linear in the text: where each bracket closes is found once for all of them.
    """
    if not text.startswith("{"):
        return text
    ends: dict[int, int] = {}
    opened: list[int] = []
    for piece in _PIECE.finditer(text):
        mark = piece[0]
        if mark in _OPEN or mark.startswith(r"\begin"):
            opened.append(piece.start())
        elif opened and (mark in _CLOSE or mark.startswith(r"\end")):
            # What closes with more than one character is no brace.
            ends[opened.pop()] = piece.end() if len(mark) == 1 else -1
    start, end = 0, len(text)
    while text.startswith("{", start) and ends.get(start) == end:
        start, end = start + 1, end - 1
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
    return text[start:end]


def _encloses(text: str, opening: int, closing: int) -> bool:
    """Say whether the bracket at the start closes at the very end, and nowhere before."""
    depth = 0
    for piece in _PIECE.finditer(text):
        mark = piece[0]
        depth += (mark in _OPEN or mark.startswith(r"\begin")) - (mark in _CLOSE or mark.startswith(r"\end"))
        if depth == 0:
            return piece.end() == len(text) and len(text) >= opening + closing
    return False


def _enclosed(text: str) -> Shape:
    for opening, closing in (("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"), (r"\{", r"\}"), (r"\langle", r"\rangle")):
        if text.startswith(opening) and text.endswith(closing) and _encloses(text, len(opening), len(closing)):
            inside = text[len(opening) : -len(closing)].strip()
            parts = split(inside, SEMICOLON)[0]
            if len(parts) == 1:
                parts = split(inside, COMMA)[0]
            fence = {"\\{\\}": "{}", "\\langle\\rangle": "()"}.get(opening + closing, opening + closing)
            if len(parts) > 1 or fence in {"{}", "[]"}:
                return Items(parts=tuple(part for part in parts if part), fence=fence)
    return text


def _matrix(found: re.Match[str]) -> Matrix:
    rows = []
    for row in split(found["body"].replace(r"\hline", ""), frozenset((r"\\",)))[0]:
        cells = split(row, frozenset(("&",)))[0]
        if any(cells):
            rows.append(tuple(cells))
    return Matrix(rows=tuple(rows), name=found["name"])


def _share_name(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Read `x = 1, 2, 3` as three values of x."""
    sides, signs = split(parts[0], _RELATIONS) if parts else ([], [])
    if signs == ["="] and is_name(sides[0]) and not any(split(part, _RELATIONS)[1] for part in parts[1:]):
        return (sides[1], *parts[1:])
    return parts


def is_name(text: str) -> bool:
    r"""Say whether `text` can be the name of a value: `x`, `f(x)`, `a_{n}`, `(p, q)`, `\angle ABC`, `A : B`."""
    return bool(text) and bool(_NAME.fullmatch(text)) and not _NO_NAME.search(text)


def expand_signs(text: str) -> tuple[str, ...]:
    r"""Return the two values that `\pm` stands for, or the text alone."""
    if r"\pm" not in text and r"\mp" not in text:
        return (text,)
    return (
        text.replace(r"\pm", "+").replace(r"\mp", "-").lstrip("+ "),
        text.replace(r"\pm", "-").replace(r"\mp", "+").lstrip("+ "),
    )
