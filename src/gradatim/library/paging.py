"""Reading a large table a page at a time.

A reader holds its snapshot for one statement only, so the write-ahead log can be folded back while a stage works; and
no statement looks at more than `WINDOW` keys, also where nothing is found in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradatim.library.store import Library, Row

PAGE = 1000
"""Rows per page at most: texts of so many attempts are in memory at once."""
WINDOW = 20_000
"""Keys that one statement looks at: about 20 ms for attempts, on the machine of `benchmarks/bench_scale.py`."""


def paged(library: Library, sql: str, values: Sequence[object], keys: tuple[int | None, int | None]) -> Iterator[Row]:
    """Give the rows of `sql`, whose last two parameters are `after < key <= up_to`, in the order of the key.

    The key is the rows' first column, rises, and is in no two rows. `keys` are the first and the last one that there
    can be, or None where there is none.
    """
    first, last = keys
    if first is None or last is None:
        return
    after = first - 1
    while after < last:
        # Not beyond the last: rows that came since are another reader's.
        up_to = min(after + WINDOW, last)
        page = library.all(f"{sql} LIMIT {PAGE}", (*values, after, up_to))
        yield from page
        after = page[-1][0] if len(page) == PAGE else up_to
