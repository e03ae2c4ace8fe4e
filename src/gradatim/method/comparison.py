"""Arms held against a baseline over several seeds: means, standard errors, and paired differences with an interval.

The unit is the seed: it decides what was drawn and in what order it was trained on. Arm and baseline are paired by it,
since they share base model, pool, teacher and test questions. Intervals are Student's t over the seeds, so they say how
the same experiment would come out with other seeds, and nothing about another model, pool or test set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.method.stats import student_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

MASS = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One trained model on the test set."""

    arm: str
    replay: float
    seed: int
    accuracy: float
    """Correct answers of all; an undecided one is not correct."""
    kept: float | None
    """Of the questions that the base model answered correctly, the share that this one does; None where it had none."""
    gained: float | None
    """Of the questions that the base model did not answer correctly, the share that this one does."""
    chains: int
    replayed: int
    steps: int
    tokens: int
    """Answer tokens trained on, all epochs together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over seeds."""

    value: float
    error: float | None
    """Standard error; None for a single seed."""
    low: float | None
    high: float | None
    """The 95 % interval; None for a single seed."""
    seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One arm with one share of replay."""

    arm: str
    replay: float
    accuracy: Mean
    difference: Mean | None
    """To the baseline with the same replay, paired by seed; None for the baseline itself, or without common seeds."""
    kept: float | None
    gained: float | None
    chains: float
    replayed: float
    steps: float
    tokens: float
    notes: tuple[str, ...] = ()


def mean_over_seeds(values: Sequence[float]) -> Mean:
    """Return the mean with its t-interval. Raises `ValueError` where there is no value."""
    if not values:
        raise ValueError("there is no seed to take a mean over")
    count = len(values)
    value = math.fsum(values) / count
    if count == 1:
        return Mean(value=value, error=None, low=None, high=None, seeds=1)
    error = math.sqrt(math.fsum((one - value) ** 2 for one in values) / (count - 1) / count)
    half = student_quantile(MASS, count - 1) * error
    return Mean(value=value, error=error, low=value - half, high=value + half, seeds=count)


def table(scores: Sequence[Score], baseline: str, notes: dict[str, tuple[str, ...]] | None = None) -> list[Line]:
    """Return one line for each arm and share of replay, in the order in which they come first."""
    cells: dict[tuple[float, str], dict[int, Score]] = {}
    for one in scores:
        cells.setdefault((one.replay, one.arm), {})[one.seed] = one
    lines = []
    for (replay, arm), own in cells.items():
        against = cells.get((replay, baseline), {}) if arm != baseline else {}
        differences = [own[seed].accuracy - against[seed].accuracy for seed in own if seed in against]
        rows = list(own.values())
        lines.append(
            Line(
                arm=arm,
                replay=replay,
                accuracy=mean_over_seeds([one.accuracy for one in rows]),
                difference=mean_over_seeds(differences) if differences else None,
                kept=_mean_of([one.kept for one in rows]),
                gained=_mean_of([one.gained for one in rows]),
                chains=_mean([one.chains for one in rows]),
                replayed=_mean([one.replayed for one in rows]),
                steps=_mean([one.steps for one in rows]),
                tokens=_mean([one.tokens for one in rows]),
                notes=(notes or {}).get(arm, ()),
            )
        )
    return lines


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_of(values: Sequence[float | None]) -> float | None:
    there = [one for one in values if one is not None]
    return _mean(there) if there else None
