"""What a PRM's scores are worth for one model: do they predict how often it solves a question, and where to cut them.

Not in the paper, which leaves its cuts open. A point is one question: the PRM's mean for one attempt, and how often
*other* attempts of the same model were right, so that no attempt predicts itself.

    rank_correlation   Spearman's, ties sharing their mean rank, with an interval
    isotonic           the pass rate as a rising step function of the score: least squares, pool adjacent violators
    isotonic_cuts      the four cuts that part the scores of wrong attempts into the five most different levels
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.method.levels import band
from gradatim.method.stats import normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_SHARE = 0.1
"""The smallest level, as a share of the wrong attempts: a level of three questions says nothing."""
LEAST_POINTS = 50
"""Fewer points than this say nothing that an interval would not swallow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One question."""

    score: float
    """The PRM's mean for the attempt that is graded, in [0, 1]."""
    right: bool
    """Whether that attempt was right."""
    correct: int
    """Of the other decided attempts."""
    decided: int
    """How many others there are; at least one."""

    @property
    def rate(self) -> float:
        """The share of the other attempts that were right."""
        return self.correct / self.decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A rank correlation with its 95 % interval; no value where one side is constant, or there are too few points."""

    value: float | None
    low: float | None
    high: float | None
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stretch of scores in which the fitted pass rate is the same."""

    low: float
    """The lowest score in it."""
    high: float
    points: int
    rate: float
    """The fitted pass rate, in [0, 1]."""


def rank_correlation(points: Sequence[Point], mass: float = 0.95) -> Correlation:
    """Return Spearman's correlation of score and pass rate.

    The interval is Fisher's z with the variance of Bonett and Wright (2000), (1 + r^2 / 2) / (n - 3), which holds for
    ranks where Fisher's own is too small.
    """
    count = len(points)
    scores, rates = [one.score for one in points], [one.rate for one in points]
    if count < 4 or len(set(scores)) == 1 or len(set(rates)) == 1:
        return Correlation(value=None, low=None, high=None, points=count)
    value = _pearson(_ranks(scores), _ranks(rates))
    if abs(value) >= 1 - 1e-12:
        return Correlation(value=value, low=value, high=value, points=count)
    half = normal_quantile(mass) * math.sqrt((1 + value * value / 2) / (count - 3))
    middle = math.atanh(value)
    return Correlation(value=value, low=math.tanh(middle - half), high=math.tanh(middle + half), points=count)


def _ranks(values: Sequence[float]) -> list[float]:
    """Return each value's rank from 0, ties sharing their mean rank."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    at = 0
    for _, tied in groupby(order, key=values.__getitem__):
        group = list(tied)
        for index in group:
            ranks[index] = at + (len(group) - 1) / 2
        at += len(group)
    return ranks


def _pearson(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    both = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spread = math.sqrt(math.fsum((x - mean_a) ** 2 for x in a) * math.fsum((y - mean_b) ** 2 for y in b))
    return both / spread


def isotonic(points: Sequence[Point]) -> list[Step]:
    """Return the rising step function of the score that is nearest to the pass rates, each point of equal weight.

    Equal scores are one stretch. The rates of the steps rise strictly.
    """
    steps: list[Step] = []
    for score, tied in groupby(sorted(points, key=lambda one: one.score), key=lambda one: one.score):
        rates = [one.rate for one in tied]
        step = Step(low=score, high=score, points=len(rates), rate=math.fsum(rates) / len(rates))
        while steps and steps[-1].rate >= step.rate:
            step = _pooled(steps.pop(), step)
        steps.append(step)
    return steps


def _pooled(below: Step, above: Step) -> Step:
    points = below.points + above.points
    rate = (below.rate * below.points + above.rate * above.points) / points
    return Step(low=below.low, high=above.high, points=points, rate=rate)


def isotonic_cuts(points: Sequence[Point], levels: int = 5, least: float = LEAST_SHARE) -> tuple[float, ...]:
    """Return the falling cuts, `levels - 1` of them, that part these points into the most different levels.

    The steps of `isotonic` are put together to `levels` levels of at least the share `least` each, so that the squares
    within levels are smallest (Fisher 1958, by dynamic programming). A cut is the lowest score of the easier level. As
    the steps rise strictly, so do the levels' pass rates on these points; on others they do as far as the PRM is right.

    Raises `UsageError` where the scores do not tell so many levels apart.
    """
    steps = isotonic(points)
    smallest = max(1, math.ceil(least * len(points)))
    ends = _partition(steps, levels, smallest)
    if ends is None:
        raise UsageError(
            f"The PRM's scores of {len(points)} wrong answers rise with the pass rate in {len(steps)} steps, which do "
            f"not make {levels} levels of at least {smallest} questions each: score more questions, or grade by pass "
            "rate alone (rule rate)."
        )
    cuts = tuple(steps[end].low for end in reversed(ends))
    if not all(0 < cut < 1 for cut in cuts):
        raise UsageError("A cut would lie at 0 or 1: the PRM gives too many answers the lowest or the highest score.")
    return cuts


def _partition(steps: Sequence[Step], levels: int, smallest: int) -> list[int] | None:
    """Return where the second to the last level begin, or None where there is no way."""
    counts, sums, squares = [0], [0.0], [0.0]
    for step in steps:
        counts.append(counts[-1] + step.points)
        sums.append(sums[-1] + step.points * step.rate)
        squares.append(squares[-1] + step.points * step.rate**2)

    def within(start: int, end: int) -> float:
        count = counts[end] - counts[start]
        return squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / count

    size = len(steps)
    best = [0.0 if at == 0 else math.inf for at in range(size + 1)]
    back: list[list[int]] = []
    for _ in range(levels):
        found, origin = [math.inf] * (size + 1), [-1] * (size + 1)
        for end in range(1, size + 1):
            for start in range(end):
                if counts[end] - counts[start] < smallest:
                    break
                cost = best[start] + within(start, end)
                if cost < found[end]:
                    found[end], origin[end] = cost, start
        best = found
        back.append(origin)
    if math.isinf(best[size]):
        return None
    begins, end = [], size
    for origin in reversed(back):
        end = origin[end]
        begins.append(end)
    return begins[::-1][1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A tenth of the points by score, or a level."""

    low: float
    high: float
    points: int
    score: float
    """The mean."""
    rate: float
    """The mean pass rate of the other attempts."""
    error: float | None
    """Its standard error over the questions; None for a single one."""


def binned(points: Sequence[Point], bins: int = 10) -> list[Bin]:
    """Return the points in `bins` groups of equal size by score, lowest first; equal scores stay together."""
    ranked = sorted(points, key=lambda one: one.score)
    edges = {_past_ties(ranked, round(len(ranked) * number / bins)) for number in range(bins + 1)}
    return [_bin(ranked[start:end]) for start, end in pairwise(sorted(edges))]


def _past_ties(ranked: Sequence[Point], edge: int) -> int:
    """Return the first place from `edge` on that parts two different scores."""
    while 0 < edge < len(ranked) and ranked[edge].score == ranked[edge - 1].score:
        edge += 1
    return edge


def by_level(points: Sequence[Point], cuts: Sequence[float]) -> list[Bin | None]:
    """Return the points of each level, 1 first, as the rule `paper` would put them with these cuts."""
    levels: list[list[Point]] = [[] for _ in range(len(cuts) + 1)]
    for one in points:
        levels[band(one.score, cuts)].append(one)
    return [_bin(found) if found else None for found in levels]


def _bin(points: Sequence[Point]) -> Bin:
    scores, rates = [one.score for one in points], [one.rate for one in points]
    mean = math.fsum(rates) / len(rates)
    error = None
    if len(rates) > 1:
        error = math.sqrt(math.fsum((one - mean) ** 2 for one in rates) / (len(rates) - 1) / len(rates))
    return Bin(
        low=min(scores),
        high=max(scores),
        points=len(points),
        score=math.fsum(scores) / len(scores),
        rate=mean,
        error=error,
    )
