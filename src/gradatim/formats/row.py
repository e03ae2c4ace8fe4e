"""One row of a file, before anyone knows what it means: column names and JSON values.

This is the edge where untyped data comes in. A column is named as it stands in the file, or by a path of names
joined by dots (`6b_finetuning.solution`, `choices.0`) into the objects and lists that a column holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gradatim.formats.jsontext import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""What JSON can hold."""

SHOWN = 200
"""How many characters of a bad row are kept to be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: where it was read, and its columns in the order of the file."""

    place: str
    """`pool.jsonl:12`: the file's name and the line, or for files without lines the row, counted from 1."""
    data: Mapping[str, Json]

    def has(self, column: str) -> bool:
        """Return whether the column, or the dotted path, is there (its value may be null)."""
        return self._find(column)[0]

    def value(self, column: str) -> Json:
        """Return what the column or dotted path holds; None where it is null or not there."""
        return self._find(column)[1]

    def text(self, column: str) -> str:
        """Return the value as text, blanks at the ends removed; empty where it is null, NaN or not there."""
        return as_text(self.value(column))

    def _find(self, column: str) -> tuple[bool, Json]:
        """Look the column up. A column whose own name has dots wins over the path that the dots could mean."""
        if column in self.data:
            return True, self.data[column]
        return _descend(self.data, column) if "." in column else (False, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that could not be read. It stops none of the others."""

    place: str
    reason: str
    """A word that a histogram can count: `torn_line`, `bad_json`, `not_an_object`, `bad_encoding`, `line_too_long`."""
    text: str
    """The beginning of what stands there, for the user to recognise."""


def _descend(value: Mapping[str, Json], path: str) -> tuple[bool, Json]:
    """Follow a dotted path; at each step the longest name that exists wins, so inner names may have dots too."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name not in value:
            continue
        inner, rest = value[name], ".".join(parts[end:])
        if not rest:
            return True, inner
        if isinstance(inner, list):
            inner = {str(index): item for index, item in enumerate(inner)}
        if isinstance(inner, dict):
            found = _descend(inner, rest)
            if found[0]:
                return found
    return False, None


def as_text(value: Json) -> str:
    """Return a JSON value as the text a person would write.

    Whole floats lose their point (`42.0` is how data-frame tools write an integer column with gaps), NaN counts as
    missing, lists and objects become JSON.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if not isinstance(value, float):
        return encode(value).decode()
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if math.isnan(value) else repr(value)


def bad_row(place: str, reason: str, raw: bytes | str) -> BadRow:
    """Return the bad row with the beginning of its text; bytes that are no UTF-8 are escaped."""
    if isinstance(raw, bytes):
        raw = raw[: SHOWN * 4].decode("utf-8", "backslashreplace")
    return BadRow(place=place, reason=reason, text=raw.strip()[:SHOWN])
