"""What is left will cost about so much, and with 95 % between this and that: from the answers that there are.

Not in the paper. Answers so far are taken for a fair sample of those to come: questions that come later and are much
longer, or a teacher that is replaced, are not foreseen. Both functions give a prediction of the total itself, not only
of its mean, and None where there are too few answers to say anything.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from gradatim.method.stats import student_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST = 10
"""Questions with an answer from which on an interval is given; with fewer, lengths as skewed as these mislead it."""
MASS = 0.95
_RUNS = 1000
"""Simulated runs: the ends of the interval are then known to some per cent of its width."""
_POOLED = 2.0
"""How many answers a level's yield borrows from all levels together, so that one without answers is not any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A total: about how much, and the ends that hold it with `MASS`."""

    about: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """One level's chains: how many are missing, and how many of the answers so far became one."""

    missing: int
    answers: int
    chains: int


def total_of(values: Sequence[float], count: int) -> Interval | None:
    """Return the total of `count` further values like these, by Student's t; a total is never negative."""
    if len(values) < LEAST:
        return None
    mean = fmean(values)
    t = student_quantile(MASS, len(values) - 1)
    half = t * stdev(values) * math.sqrt(count * count / len(values) + count)
    return Interval(about=count * mean, low=max(0.0, count * mean - half), high=count * mean + half)


def total_to_reach(levels: Sequence[Yield], values: Sequence[float], *, seed: int = 0) -> Interval | None:
    """Return what it takes until each level has its missing chains, where an answer takes a value like these.

    Of each level the yield has a Beta posterior around that of all levels, the answers that it needs are negative
    binomial, and what they take has the mean and spread of `values`; the ends are quantiles of simulated runs.
    """
    if len(values) < LEAST or sum(level.answers for level in levels) < LEAST:
        return None
    random_ = random.Random(seed)  # noqa: S311 - a simulation, seeded so that a plan says the same twice
    pooled = (sum(one.chains for one in levels) + 0.5) / (sum(one.answers for one in levels) + 1)
    mean, spread, freedom = fmean(values), stdev(values), len(values) - 1
    totals = []
    for _ in range(_RUNS):
        needed = sum(_needed(one, pooled, random_) for one in levels if one.missing)
        off = random_.gauss(0, 1) / math.sqrt(random_.gammavariate(freedom / 2, 2) / freedom)
        true = mean + off * spread / math.sqrt(len(values))
        totals.append(max(0.0, needed * true + random_.gauss(0, 1) * spread * math.sqrt(needed)))
    totals.sort()
    tail = round((1 - MASS) / 2 * _RUNS)
    return Interval(about=totals[_RUNS // 2], low=totals[tail], high=totals[-tail - 1])


def _needed(level: Yield, pooled: float, random_: random.Random) -> float:
    """Return a number of answers after which the level may have its missing chains."""
    a = _POOLED * pooled + level.chains
    b = _POOLED * (1 - pooled) + level.answers - level.chains
    rate = max(random_.betavariate(a, b), 1e-6)
    # Failures before the r-th success are Poisson with a Gamma(r) mean.
    mean = random_.gammavariate(level.missing, (1 - rate) / rate) if rate < 1 else 0.0
    return level.missing + _poisson(mean, random_)


def _poisson(mean: float, random_: random.Random) -> float:
    if mean > 8:
        return max(0.0, round(random_.gauss(mean, math.sqrt(mean))))
    count, left = 0, random_.expovariate(1.0)
    while left < mean:
        count += 1
        left += random_.expovariate(1.0)
    return count
