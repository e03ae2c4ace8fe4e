"""The order in which questions are drawn: a fixed shuffle that a seed names.

A question's place is the rank of a hash of the seed and its own id, so a question that joins the library moves no
other, and two machines, Python versions or years give one order. The first `quota` of a level are the draw and the
rest are its reserve. The paper (arXiv 2504.11919) samples within levels; the order is ours.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _keyed(ids: Iterable[str], seed: int) -> Iterator[tuple[bytes, str]]:
    """Give each id behind the 8 bytes that order it: BLAKE2b of the seed in decimal, a colon, and the id."""
    start = blake2b(f"{seed}:".encode(), digest_size=8)
    for question_id in ids:
        # Copying the started hash: 0.29 s for a million ids, against 0.43 s for a new hash and 0.64 s for a keyed one.
        state = start.copy()
        state.update(question_id.encode())
        yield state.digest(), question_id


def ordered(ids: Iterable[str], seed: int, first: int | None = None) -> list[str]:
    """Return the ids in the seed's order, or only the `first` so many of it; equal keys go by id.

    With `first` it reads `ids` once and keeps no more than that many. An id that comes twice is given twice.
    """
    keyed = _keyed(ids, seed)
    ranked = sorted(keyed) if first is None else heapq.nsmallest(first, keyed)
    return [question_id for _, question_id in ranked]
