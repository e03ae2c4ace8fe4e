"""Near duplicates: two prints of one question, found by MinHash and confirmed by the exact Jaccard similarity.

Not in the paper. The similarity is the Jaccard index of word 5-grams (Lee et al. 2022, arXiv 2107.06499), the search
MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4). For
mathematics that alone is wrong: "Janet has 16 eggs" and "Janet has 18 eggs" are two questions, and families of such
questions fill every pool. Two prompts are therefore near duplicates only if their exact words (numbers, signs,
brackets, variables, functions, and a list of deciding words: `gradatim.method.words`) are the same in the same order.
These go into the bands as well, so that a family of one text with other numbers shares no band.

With 6 bands of 4 rows, two such texts of Jaccard index s share a band with probability 1 - (1 - s**4)**6:

    s      0.1     0.2    0.3    0.5    0.7    0.8    0.85   0.9    0.95
           0.0006  0.010  0.048  0.321  0.807  0.957  0.988  0.998  1.000

What it leaves out: prose may differ by what the threshold allows, so a long story that ends in another question
("How many girls" for "How many boys") can pass as the same one. A question dropped so is listed with its twin.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import pack
from typing import TYPE_CHECKING

from gradatim.method.words import Kind, Reading, read

if TYPE_CHECKING:
    from collections.abc import Sequence

THRESHOLD = 0.85
"""Ours; arXiv 2107.06499 takes 0.8 for web pages."""

BANDS = 6
ROWS = 4
_SEED = 2504_11919
_GRAM = 5
_SHORT = 10
"""Texts of fewer words are compared by 5-grams of characters: a single word would change most of their word 5-grams."""


def scheme() -> str:
    """Return a name that changes whenever a text's bands might: keep it beside them, and band anew where it differs."""
    import rensa  # noqa: PLC0415 - a native library, loaded only where near duplicates are looked for

    return f"1/{BANDS}x{ROWS}/rensa-rminhash-{rensa.RMinHash.ALGORITHM_VERSION}"


def bands(text: str) -> tuple[int, ...]:
    """Return one number in [0, 2**63) per band; two texts that share one at the same place are candidates.

    The same text gives the same numbers in every process and on every machine, as long as `scheme()` is the same.
    """
    reading = read(text)
    rows = signature(reading, text)
    guard = blake2b(" ".join(_exact(reading)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = []
    for band in range(BANDS):
        packed = pack(f"<B{ROWS}I", band, *rows[band * ROWS : (band + 1) * ROWS])
        found.append(int.from_bytes(blake2b(packed + guard, digest_size=8).digest(), "little") >> 1)
    return tuple(found)


def signature(reading: Reading, text: str) -> list[int]:
    """Return the MinHash of a text's shingles: `BANDS * ROWS` numbers of 32 bits."""
    import rensa  # noqa: PLC0415 - see `scheme`

    minhash = rensa.RMinHash(BANDS * ROWS, _SEED)
    minhash.update(_shingles(reading, text, characters=len(reading.texts) < _SHORT))
    digest: list[int] = minhash.digest()
    return digest


def _shingles(reading: Reading, text: str, *, characters: bool) -> list[str]:
    """Return the 5-grams of a text, of words or of characters; a text too short for one is a shingle itself."""
    pieces: Sequence[str] = reading.texts
    if not pieces:
        return [text.strip()]
    if characters:
        line = " ".join(pieces)
        return [line[start : start + _GRAM] for start in range(max(1, len(line) - _GRAM + 1))]
    return [" ".join(pieces[start : start + _GRAM]) for start in range(max(1, len(pieces) - _GRAM + 1))]


def _exact(reading: Reading) -> list[str]:
    """Return the words that may not differ, in order."""
    return [word for word, kind in zip(reading.texts, reading.kinds, strict=True) if kind is not Kind.PROSE]


def jaccard(text: str, other: str) -> float:
    """Return the Jaccard index of two texts' shingles, 0 to 1: shared ones of all; by characters if either is short."""
    return _jaccard((text, read(text)), (other, read(other)))


def _jaccard(one: tuple[str, Reading], two: tuple[str, Reading]) -> float:
    characters = min(len(one[1].texts), len(two[1].texts)) < _SHORT
    first = set(_shingles(one[1], one[0], characters=characters))
    second = set(_shingles(two[1], two[0], characters=characters))
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def near_duplicate(text: str, other: str, threshold: float = THRESHOLD) -> float | None:
    """Return the Jaccard index of two near duplicates, or None where they are two questions.

    Two questions are two where an exact word differs, whatever the index, or where the index is below `threshold`.
    """
    one, two = read(text), read(other)
    if _exact(one) != _exact(two):
        return None
    found = _jaccard((text, one), (other, two))
    return found if found >= threshold else None


def candidate_probability(index: float) -> float:
    """Return how likely two texts with the same exact words and this Jaccard index share a band."""
    return float(1 - (1 - index**ROWS) ** BANDS)
