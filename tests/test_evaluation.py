"""avg@k, pass@k, intervals and paired comparison: held to closed forms, enumerations and simulated coverage."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.method.evaluation import (
    Tally,
    _tail,
    avg_at_k,
    bootstrap_means,
    estimate,
    mcnemar_p,
    paired_bootstrap,
    pass_at,
    pass_at_k,
    randomisation_p,
    standard_error,
)
from gradatim.method.stats import wilson

tallies = st.integers(1, 9).flatmap(lambda n: st.integers(0, n).map(lambda c: Tally(correct=c, samples=n)))


@settings(deadline=None)
@given(tallies, st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_answer(tally, data):
    """Chen's estimator equals counting all ways of taking k of the samples that are there."""
    k = data.draw(st.integers(1, tally.samples))
    answers = [True] * tally.correct + [False] * (tally.samples - tally.correct)
    subsets = list(itertools.combinations(answers, k))
    assert pass_at(tally, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_pass_at_k_is_unbiased(rate, k):
    """Its expectation over all counts of eight samples is 1 - (1 - p)**k, which the plug-in estimate is not."""
    n = 8
    chances = [math.comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)]
    expected = sum(chance * pass_at(Tally(correct=c, samples=n), k) for c, chance in enumerate(chances))
    assert expected == pytest.approx(1 - (1 - rate) ** k)
    plug_in = sum(chance * (1 - (1 - c / n) ** k) for c, chance in enumerate(chances))
    assert (plug_in == pytest.approx(expected)) is (k == 1)


@given(st.lists(tallies, min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_pass_at_one_is_the_mean_pass_rate(found):
    """avg@k and pass@1 are the same number, with the same interval."""
    assert pass_at_k(found, 1).value == pytest.approx(avg_at_k(found).value)
    assert avg_at_k(found).value == pytest.approx(statistics.fmean(one.rate for one in found))


@given(st.lists(tallies, min_size=1, max_size=8), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_pass_at_more_is_never_lower(found, k):
    """A further sample cannot make a question less solved; questions with too few samples are left out."""
    both = [one for one in found if one.samples > k]
    if both:
        assert pass_at_k(both, k + 1).value >= pass_at_k(both, k).value - 1e-12
        assert pass_at_k(found, k + 1).questions == len(both)


def test_what_cannot_be_asked_is_refused():
    """More samples than there are, no question, or impossible counts are errors, not numbers."""
    with pytest.raises(ValueError, match="pass@5 of 4"):
        pass_at(Tally(correct=1, samples=4), 5)
    with pytest.raises(ValueError, match="no question"):
        pass_at_k([Tally(correct=1, samples=4)], 5)
    for correct, samples in ((2, 1), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"{correct} correct of {samples}"):
            Tally(correct=correct, samples=samples)
    with pytest.raises(ValueError, match="argument"):
        paired_bootstrap([1.0], [1.0, 0.0])


def test_the_standard_error_is_that_of_question_means():
    """Two samples of each question that agree give the error of the questions, not one that is smaller by root two."""
    questions = [1, 0, 0, 1, 1, 0, 1, 1]
    once = avg_at_k([Tally(correct=one, samples=1) for one in questions])
    twice = avg_at_k([Tally(correct=2 * one, samples=2) for one in questions])
    assert once.error == twice.error == pytest.approx(statistics.stdev(questions) / math.sqrt(8))
    assert (once.low, once.high) == (twice.low, twice.high)
    assert standard_error([0.5]) is None


@pytest.mark.parametrize("values", [[0.0, 0.25, 1.0], [0.5, 0.5, 0.75, 0.0], [0.1, 0.2, 0.4, 0.8, 0.9]])
def test_the_bootstrap_is_that_of_all_resamples(values):
    """The sampled means have the mean, spread and tails of an enumeration of every possible resample."""
    every = sorted(statistics.fmean(one) for one in itertools.product(values, repeat=len(values)))
    sampled = bootstrap_means(values, seed=3, rounds=20_000)
    assert statistics.fmean(sampled) == pytest.approx(statistics.fmean(every), abs=0.01)
    assert statistics.pstdev(sampled) == pytest.approx(statistics.pstdev(every), abs=0.005)
    for bound in sorted(set(every))[:: max(1, len(set(every)) // 7)]:
        share = sum(one <= bound + 1e-9 for one in every) / len(every)
        assert sum(one <= bound + 1e-9 for one in sampled) / len(sampled) == pytest.approx(share, abs=0.02)


def test_the_tails_are_those_of_student():
    """The expanded tails are the normal's at Student's quantile of a printed table, times the root of n / (n - 1)."""
    normal = statistics.NormalDist()
    for questions, student in ((10, 2.262157), (30, 2.045230), (101, 1.983972)):
        stretched = student * math.sqrt(questions / (questions - 1))
        assert _tail(questions) == pytest.approx(normal.cdf(-stretched), rel=1e-5)
    assert _tail(100_000) == pytest.approx(0.025, abs=1e-5)


def test_the_bootstrap_agrees_with_wilson_where_both_hold():
    """With one yes or no per question, percentile bootstrap and Wilson's interval differ by less than a hundredth."""
    for correct, count in ((60, 200), (450, 500), (100, 400)):
        values = [1.0] * correct + [0.0] * (count - correct)
        found = estimate(values)
        assert (found.low, found.high) == wilson(correct, count)
        means = bootstrap_means(values)
        cut = len(means) // 40
        assert means[cut] == pytest.approx(found.low, abs=0.01)
        assert means[-cut] == pytest.approx(found.high, abs=0.01)


def test_the_interval_does_not_depend_on_order_but_on_the_seed():
    """The same questions in another order give the same interval; another seed moves it by little."""
    random_ = random.Random(1)
    values = [random_.randrange(17) / 16 for _ in range(100)]
    first = estimate(values)
    assert estimate(values) == first
    shuffled = estimate(random_.sample(values, 100))
    assert (shuffled.low, shuffled.high) == (first.low, first.high)
    other = estimate(values, seed=1)
    assert 0 < abs(other.low - first.low) + abs(other.high - first.high) < 0.2 * first.error


@given(st.floats(0, 1), st.integers(1, 50))
def test_questions_that_are_all_alike_still_leave_doubt(value, count):
    """A bootstrap of equal values has no width; the interval is as open as Wilson's for none of so many."""
    found = estimate([value] * count)
    assert found.low <= value <= found.high
    assert found.high - found.low == pytest.approx(wilson(0, count)[1])
    assert found.low >= 0
    assert found.high <= 1 + 1e-12


@pytest.mark.parametrize(
    ("questions", "samples", "shape"), [(10, 16, (0.7, 0.7)), (30, 16, (0.3, 1.7)), (30, 1, (1, 1))]
)
def test_the_interval_covers_the_truth_about_as_often_as_it_says(questions, samples, shape):
    """Of 300 sets, few questions or mostly unsolved ones, the 95 % interval holds the true rate for at least 88 %."""
    random_ = random.Random(7)
    truth, hits, rounds = shape[0] / sum(shape), 0, 300
    for _ in range(rounds):
        rates = [random_.betavariate(*shape) for _ in range(questions)]
        seen = [sum(random_.random() < p for _ in range(samples)) / samples for p in rates]
        found = estimate(seen, rounds=400)
        hits += found.low <= truth <= found.high
    assert 0.88 < hits / rounds < 0.99


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(fixed, broken):
    """The p is the chance of counts at least as lopsided, summed from the definition."""
    tosses = fixed + broken
    seen = abs(fixed - broken)
    chance = sum(math.comb(tosses, one) for one in range(tosses + 1) if abs(2 * one - tosses) >= seen) / 2**tosses
    assert mcnemar_p(fixed, broken) == pytest.approx(chance)


@given(st.lists(st.sampled_from([-1.0, -0.75, -0.25, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=9))
def test_the_randomisation_test_is_that_of_all_signs(differences):
    """For few questions the p is exactly the share of sign choices whose mean is at least as far from zero."""
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [abs(math.fsum(s * d for s, d in zip(one, differences, strict=True))) for one in signs]
    exact = sum(one >= abs(math.fsum(differences)) - 1e-9 for one in sums) / len(signs)
    assert randomisation_p(differences) == pytest.approx(exact)


def test_the_sampled_randomisation_test_is_near_the_exact_one():
    """Where signs are sampled, the p lies within Monte-Carlo error of the enumeration, and is never 0."""
    random_ = random.Random(2)
    for shift in (0.0, 0.1, 0.3):
        differences = [round(random_.uniform(-1, 1) + shift, 2) for _ in range(16)]
        sums = [0.0]
        for one in differences:
            sums = [total + sign * abs(one) for total in sums for sign in (1, -1)]
        exact = sum(abs(one) >= abs(math.fsum(differences)) - 1e-9 for one in sums) / len(sums)
        assert randomisation_p(differences) == pytest.approx(exact, abs=0.02)
    assert randomisation_p([0.5, 0.25] * 100) == pytest.approx(1 / 10_001)


def test_a_known_difference_is_found():
    """Twelve fixed and four broken of a hundred: the difference, its interval, and McNemar's p of the textbook."""
    before = [1.0] * 44 + [0.0] * 56
    after = [1.0] * 40 + [0.0] * 4 + [1.0] * 12 + [0.0] * 44
    found = paired_bootstrap(after, before)
    assert found.value == pytest.approx(0.08)
    assert (found.questions, found.better, found.worse) == (100, 12, 4)
    assert found.p == pytest.approx(2 * sum(math.comb(16, one) for one in range(5)) / 2**16)
    assert found.low == pytest.approx(0.08 - 1.96 * found.error, abs=0.015)
    assert found.high == pytest.approx(0.08 + 1.96 * found.error, abs=0.015)
    mirrored = paired_bootstrap(before, after)
    assert (mirrored.value, mirrored.p, mirrored.better) == (pytest.approx(-0.08), found.p, 4)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_the_paired_difference_is_the_difference_of_means(pairs):
    """Its value lies inside its interval, the interval inside [-1, 1], and p in (0, 1]."""
    first, second = [a / 4 for a, _ in pairs], [b / 4 for _, b in pairs]
    found = paired_bootstrap(first, second, rounds=500)
    assert found.value == pytest.approx(statistics.fmean(first) - statistics.fmean(second))
    assert -1 - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1 + 1e-9
    assert 0 < found.p <= 1


def test_pairing_sees_what_two_separate_intervals_hide():
    """A model that is a little better on every question is told apart, though the two intervals overlap widely."""
    random_ = random.Random(4)
    base = [random_.random() * 0.9 for _ in range(60)]
    better = [one + random_.choice((0.0, 0.1)) for one in base]
    one, other = estimate(base), estimate(better)
    assert one.high > other.low
    found = paired_bootstrap(better, base)
    assert found.low > 0
    assert found.p < 0.001


def test_a_thousand_questions_take_a_moment():
    """An interval over 1,000 questions with 16 samples each takes well under five seconds."""
    random_ = random.Random(1)
    found = [Tally(correct=random_.randrange(17), samples=16) for _ in range(1000)]
    start = time.monotonic()
    avg_at_k(found)
    assert time.monotonic() - start < 5


def test_many_questions_take_the_normal_interval():
    """From 2,000 questions on the interval is the mean and 1.96 standard errors, as a bootstrap finds it too."""
    random_ = random.Random(1)
    values = [random_.randrange(5) / 4 for _ in range(5000)]
    found = estimate(values)
    sampled = estimate(values, rounds=300)
    assert found.high - found.low == pytest.approx(2 * 1.96 * found.error, rel=1e-3)
    assert sampled.low == pytest.approx(found.low, abs=0.4 * found.error)
