"""What the first rows of a data set have in common: how its kind is recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.formats.row import Row

SHARE = 0.9
"""A real data set has odd rows: fewer than one in ten of them do not hide its shape."""

PROMPTS = ("question", "prompt", "problem", "input", "instruction", "query")
"""Names of columns that hold a question, in the order they are tried in; case does not count."""


def most(sample: Sequence[Row], holds: Callable[[Row], bool]) -> bool:
    """Return whether nine of ten rows are so."""
    return sum(map(holds, sample)) >= SHARE * len(sample)


def have(sample: Sequence[Row], *columns: str) -> bool:
    """Return whether most rows have all the columns."""
    return most(sample, lambda row: all(row.has(column) for column in columns))


def find(sample: Sequence[Row], names: Sequence[str]) -> str:
    """Return the first of the names that most rows have, as the rows write it; nothing where there is none."""
    written = {column.lower(): column for column in reversed(column_names(sample))}
    for name in names:
        column = written.get(name, name)
        if have(sample, column):
            return column
    return ""


def column_names(sample: Sequence[Row]) -> list[str]:
    """Return the columns of these rows, in the order they are first seen in."""
    return list(dict.fromkeys(name for row in sample for name in row.data))
