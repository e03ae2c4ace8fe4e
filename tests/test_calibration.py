"""What a PRM's scores are worth: correlation, isotonic steps, cuts."""

from __future__ import annotations

import math
import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.method.calibration import Point, binned, by_level, isotonic, isotonic_cuts, rank_correlation
from gradatim.method.levels import PaperRule


def _point(score: float, correct: int, decided: int = 15, *, right: bool = False) -> Point:
    return Point(score=score, right=right, correct=correct, decided=decided)


def _synthetic(seed: int, quality: float, count: int = 400, attempts: int = 15) -> list[Point]:
    """Questions with a pass rate, and a PRM that mixes it with noise: the larger `quality`, the less noise."""
    rng = random.Random(seed)
    points = []
    for _ in range(count):
        rate = rng.random()
        score = 1 / (1 + math.exp(-4 * (quality * (rate - 0.5) + (1 - quality) * rng.gauss(0, 0.3))))
        points.append(_point(score, sum(rng.random() < rate for _ in range(attempts)), attempts))
    return points


points_ = st.lists(
    st.builds(_point, st.integers(1, 99).map(lambda n: n / 100), st.integers(0, 15)), min_size=1, max_size=60
)


def test_rank_correlation_by_hand():
    """Five points whose ranks were worked out by hand; ties share their mean rank."""
    points = [_point(score, correct) for score, correct in ((0.1, 0), (0.2, 2), (0.3, 1), (0.4, 3), (0.5, 4))]
    found = rank_correlation(points)
    assert found.value == pytest.approx(1 - 6 * 2 / (5 * 24))
    tied = [_point(score, correct) for score, correct in ((0.1, 0), (0.2, 1), (0.2, 1), (0.3, 2))]
    assert rank_correlation(tied).value == pytest.approx(1)


@pytest.mark.parametrize("points", [[], [_point(0.5, 3)] * 10, [_point(score / 10, 3) for score in range(10)]])
def test_no_correlation_where_there_is_none(points):
    """Too few points, or a side that is constant, have no correlation; nothing is divided by zero."""
    found = rank_correlation(points)
    assert (found.value, found.low, found.high, found.points) == (None, None, None, len(points))


@pytest.mark.parametrize("quality", [0.0, 0.3, 0.8])
def test_interval_holds_the_known_correlation(quality):
    """For a PRM of known quality the interval holds the known rank correlation in at least 93 of 100 seeds."""
    known = rank_correlation(_synthetic(10_000, quality, count=60_000)).value
    assert known is not None
    held = 0
    for seed in range(100):
        found = rank_correlation(_synthetic(seed, quality))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= known <= found.high
    assert held >= 93


@given(points_)
def test_isotonic_steps(points):
    """Steps rise strictly in score and rate, hold all points, and keep the mean pass rate."""
    steps = isotonic(points)
    assert all(a.rate < b.rate and a.high < b.low for a, b in pairwise(steps))
    assert sum(step.points for step in steps) == len(points)
    mean = sum(step.points * step.rate for step in steps) / len(points)
    assert mean == pytest.approx(sum(one.rate for one in points) / len(points))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=7))
def test_isotonic_is_the_nearest_rising_function(pairs):
    """No rising function of the score on a grid of values is nearer to the pass rates."""
    points = [_point(score / 10, correct, 3) for score, correct in pairs]
    fitted = {one.score: step.rate for one in points for step in isotonic(points) if step.low <= one.score <= step.high}
    error = sum((one.rate - fitted[one.score]) ** 2 for one in points)
    scores = sorted({one.score for one in points})
    grid = [value / 12 for value in range(13)]

    def least(at: int, floor: float) -> float:
        if at == len(scores):
            return 0.0
        own = [one.rate for one in points if one.score == scores[at]]
        return min(
            sum((rate - value) ** 2 for rate in own) + rest
            for value in grid
            if value >= floor and (rest := least_memo(at + 1, value)) is not None
        )

    memo: dict[tuple[int, float], float] = {}

    def least_memo(at: int, floor: float) -> float:
        if (at, floor) not in memo:
            memo[at, floor] = least(at, floor)
        return memo[at, floor]

    assert error <= least_memo(0, 0.0) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_cuts_part_the_levels(seed):
    """Five levels, each at least a tenth of the points, whose pass rates fall strictly; the rule takes the cuts."""
    points = _synthetic(seed, 0.6)
    cuts = isotonic_cuts(points)
    levels = by_level(points, PaperRule(cuts=cuts).cuts)
    assert all(level is not None and level.points >= 40 for level in levels)
    assert all(a.rate > b.rate for a, b in pairwise(level for level in levels if level is not None))


def test_cuts_are_the_best():
    """No other five groups of isotonic steps have smaller squares within them."""
    points = _synthetic(3, 0.6, count=120)
    steps = isotonic(points)
    least = math.ceil(0.1 * len(points))

    def squares(groups):
        total = 0.0
        for group in groups:
            count = sum(step.points for step in group)
            if count < least:
                return math.inf
            mean = sum(step.points * step.rate for step in group) / count
            total += sum(step.points * (step.rate - mean) ** 2 for step in group)
        return total

    def groups(ends):
        edges = (0, *ends, len(steps))
        return [steps[a:b] for a, b in pairwise(edges)]

    best = min(squares(groups(ends)) for ends in combinations(range(1, len(steps)), 4))
    cuts = isotonic_cuts(points)
    chosen = [next(index for index, step in enumerate(steps) if step.low == cut) for cut in reversed(cuts)]
    assert squares(groups(chosen)) == pytest.approx(best)


def test_a_prm_that_tells_nothing_gets_no_cuts():
    """Scores that say nothing do not make five levels, and the error says what to do instead."""
    points = [_point(score / 100, 15 - score // 7) for score in range(1, 100)]
    with pytest.raises(UsageError, match="rule rate"):
        isotonic_cuts(points)


@given(points_, st.integers(1, 12))
def test_bins(points, bins):
    """Bins hold all points in order of score, and never part equal scores."""
    found = binned(points, bins)
    assert sum(one.points for one in found) == len(points)
    assert all(a.high < b.low for a, b in pairwise(found))
    assert all(0 <= one.rate <= 1 and one.low <= one.score + 1e-12 and one.score <= one.high + 1e-12 for one in found)
