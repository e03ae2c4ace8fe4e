"""From the step scores that the library keeps to an attempt's one score: derived, so another way calls no model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gradatim.method.aggregation import aggregated

if TYPE_CHECKING:
    from gradatim.method.aggregation import Aggregation


def score_of(how: Aggregation) -> str:
    """Return in SQL the score of a row `x` of `score`, NULL where there are no step scores.

    The mean stands in a column of its own: it is what the paper takes, and so what a million rows are read for.
    """
    return "x.mean" if how == "mean" else f"aggregated(x.steps, '{how}')"


def aggregated_steps(steps: str, how: Aggregation) -> float | None:
    """Return the one score of `[[characters, score], ...]`, or None where there are none; SQL's `aggregated`."""
    found = [score for _, score in json.loads(steps)]
    return aggregated(found, how) if found else None
