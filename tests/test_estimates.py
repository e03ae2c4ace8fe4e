"""Estimates with an interval: totals of what is left, from the answers that there are."""

import random
from statistics import fmean

import pytest

from gradatim.method.estimates import LEAST, Yield, total_of, total_to_reach

SEEDS = 400
COVERED = 0.90
"""Of a true 95 % this share of 400 seeds would be missed once in some hundred thousand times."""


def lengths(random_, count):
    """Token counts as reasoning models have them: skewed, the longest many times the median."""
    return [random_.lognormvariate(7, 0.7) for _ in range(count)]


@pytest.mark.parametrize(("pilot", "left"), [(30, 20), (50, 1000), (200, 5000)])
def test_the_interval_covers_what_the_rest_really_takes(pilot, left):
    """In nine of ten runs and more the total of the rest lies within the interval of the pilot, skewed as it is."""
    covered = 0
    for seed in range(SEEDS):
        random_ = random.Random(seed)
        found = total_of(lengths(random_, pilot), left)
        covered += found.low <= sum(lengths(random_, left)) <= found.high
    assert covered >= COVERED * SEEDS


def test_the_interval_is_no_wider_than_it_has_to_be():
    """The interval is no blanket: it narrows with the pilot, and misses sometimes."""
    random_ = random.Random(0)
    widths = [(found := total_of(lengths(random_, pilot), 10000)).high - found.low for pilot in (20, 200, 2000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2] > 0
    missed = 0
    for seed in range(SEEDS):
        random_ = random.Random(seed)
        found = total_of(lengths(random_, 50), 1000)
        missed += not found.low <= sum(lengths(random_, 1000)) <= found.high
    assert missed > 0


def taught(random_, rates, missing):
    """Ask until each level has its chains; return the tokens it took."""
    total = 0.0
    for rate, count in zip(rates, missing, strict=True):
        chains = 0
        while chains < count:
            total += random_.lognormvariate(7, 0.7)
            chains += random_.random() < rate
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rates", "pilot", "missing"),
    [
        ((0.9, 0.8, 0.7, 0.5, 0.3), 10, (40, 32, 24, 16, 8)),
        ((0.6, 0.6, 0.6, 0.6, 0.6), 4, (20, 20, 20, 20, 20)),
        ((0.95, 0.2), 12, (10, 60)),
    ],
)
def test_the_interval_covers_what_teaching_really_takes(rates, pilot, missing):
    """Yields that differ by level and tries that fail are in the interval, in nine of ten runs and more."""
    covered = 0
    for seed in range(SEEDS // 2):
        random_ = random.Random(seed)
        levels = [
            Yield(missing=count, answers=pilot, chains=sum(random_.random() < rate for _ in range(pilot)))
            for rate, count in zip(rates, missing, strict=True)
        ]
        found = total_to_reach(levels, lengths(random_, pilot * len(rates)), seed=seed)
        covered += found.low <= taught(random_, rates, missing) <= found.high
    assert covered >= COVERED * SEEDS // 2


def test_too_few_answers_give_no_interval():
    """With fewer than ten answers nothing is said."""
    assert total_of([1.0] * (LEAST - 1), 100) is None
    assert total_to_reach([Yield(missing=5, answers=9, chains=9)], [1.0] * 50) is None
    assert total_to_reach([Yield(missing=5, answers=50, chains=9)], [1.0] * 9) is None


def test_certain_things_are_certain():
    """Equal lengths and nothing left to ask give an interval without width; all chains right, one answer each."""
    found = total_of([5.0] * 20, 100)
    assert (found.about, found.low, found.high) == (500, 500, 500)
    found = total_of([1.0, 2.0] * 10, 0)
    assert (found.low, found.high) == (0, 0)
    found = total_to_reach([Yield(missing=0, answers=20, chains=20)], [5.0, 6.0] * 20)
    assert (found.low, found.high) == (0, 0)
    sure = total_to_reach([Yield(missing=100, answers=5000, chains=5000)], [5.0] * 20)
    assert 500 <= sure.low <= sure.about <= sure.high <= 510


def test_a_plan_says_the_same_twice():
    """The simulation is seeded: the same library gives the same interval."""
    levels = [Yield(missing=9, answers=15, chains=6)]
    values = lengths(random.Random(1), 40)
    assert total_to_reach(levels, values) == total_to_reach(levels, values)
    assert total_to_reach(levels, values).about == pytest.approx(9 / 0.4 * fmean(values), rel=0.2)
