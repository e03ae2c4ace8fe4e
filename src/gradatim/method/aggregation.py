"""From the scores of an answer's steps to the answer's one score.

The paper (arXiv 2504.11919) takes the mean. The others are what makers of PRMs take: the minimum and the product for
labels that say whether a step is right, since one wrong step is enough; the last for labels that say how likely the
answer is to come out right from there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Aggregation = Literal["mean", "min", "last", "product"]


def aggregated(scores: Sequence[float], how: Aggregation) -> float:
    """Return one number in [0, 1] for the scores of the steps, of which there is at least one."""
    if how == "mean":
        return sum(scores) / len(scores)
    if how == "min":
        return min(scores)
    return scores[-1] if how == "last" else math.prod(scores)
