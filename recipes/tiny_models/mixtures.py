"""What the two tiny base models are brought up on: how often each family comes, and how much more often small sizes.

The mixtures are lopsided on purpose. A model that is good at all of it, or at none, has no levels to be graded into.
"""

from __future__ import annotations

from gradatim.tiny.families import FAMILIES, SIZES

BASE = {
    "add": 1.6,
    "subtract": 0.35,
    "multiply": 0.12,
    "remainder": 1.0,
    "total": 1.6,
    "largest": 1.2,
    "count": 0.5,
    "reverse": 1.2,
    "walk": 0.9,
    "machine": 0.15,
    "nested": 0.25,
    "purse": 0.8,
}
SECOND = {
    "add": 0.25,
    "subtract": 1.2,
    "multiply": 0.9,
    "remainder": 0.15,
    "total": 0.6,
    "largest": 0.4,
    "count": 1.4,
    "reverse": 0.9,
    "walk": 0.25,
    "machine": 1.2,
    "nested": 1.0,
    "purse": 0.12,
}
_SHRINK = 0.5
"""A size comes half as often as the one below."""


def weights(mixture: dict[str, float]) -> dict[tuple[str, int], float]:
    """Return how often each family's size comes."""
    return {(family, size): mixture[family] * _SHRINK ** (size - 1) for family in FAMILIES for size in SIZES}
