"""Levels from evidence: both rules, what they can reach, and cuts from data."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.method.levels import (
    Evidence,
    NoLevel,
    PaperRule,
    RateRule,
    grade,
    quantile_cuts,
    reachable_levels,
)
from gradatim.types import Outcome

WRONG = Evidence(wrong=1, first=Outcome.WRONG)


def wrong_with(score):
    return Evidence(wrong=1, first=Outcome.WRONG, score=score)


def test_paper_calls_a_first_right_answer_easy_whatever_follows():
    """One right answer, the first decided one, is level 0, even where later attempts failed."""
    grading = grade(Evidence(correct=1, wrong=3, first=Outcome.CORRECT, score=0.1), PaperRule())
    assert (grading.level, grading.difficulty, grading.reason) == (0, 0.0, "")


@pytest.mark.parametrize(
    ("score", "level"),
    [(1.0, 1), (0.8, 1), (0.79, 2), (0.6, 2), (0.59, 3), (0.4, 3), (0.39, 4), (0.2, 4), (0.19, 5), (0.0, 5)],
)
def test_paper_parts_wrong_answers_at_the_cuts(score, level):
    """A mean step score on a cut belongs to the easier level; the difficulty is one minus the score."""
    grading = grade(wrong_with(score), PaperRule())
    assert grading.level == level
    assert grading.difficulty == pytest.approx(1 - score)


def test_what_gives_no_level_is_named():
    """No attempt, only undecided attempts, and a wrong one without a score are three different reasons."""
    cases = [(Evidence(), NoLevel.NO_ATTEMPT), (Evidence(undecided=4), NoLevel.UNDECIDED), (WRONG, NoLevel.NO_SCORE)]
    for evidence, reason in cases:
        grading = grade(evidence, PaperRule())
        assert (grading.level, grading.difficulty, grading.reason) == (None, None, reason)
    assert grade(Evidence(undecided=4), RateRule()).reason == NoLevel.UNDECIDED
    assert grade(WRONG, RateRule()).level == 4


def test_undecided_attempts_change_nothing():
    """An undecided attempt is not counted as wrong: neither level, difficulty nor interval move."""
    for rule in (PaperRule(), RateRule()):
        known = Evidence(correct=1, wrong=2, first=Outcome.WRONG, score=0.5)
        more = Evidence(correct=1, wrong=2, undecided=9, first=Outcome.WRONG, score=0.5)
        assert grade(known, rule) == grade(more, rule)


def test_rate_is_the_posterior_mean_under_the_jeffreys_prior():
    """(correct + 1/2) / (decided + 1) decides the level; 3 of 4 give 0.7 and level 1."""
    grading = grade(Evidence(correct=3, wrong=1, first=Outcome.WRONG, score=0.0), RateRule())
    assert grading.level == 1
    assert grading.difficulty == pytest.approx(0.3)
    assert grading.low < 0.7 < grading.high


def test_an_estimate_on_a_cut_reaches_it_despite_rounding():
    """Estimates that are exactly k/6 on paper are on the cut for every count that gives one."""
    for decided in range(2, 600):
        for right in range(decided + 1):
            sixths, rest = divmod(6 * (2 * right + 1), 2 * (decided + 1))
            if rest == 0 and 1 <= sixths <= 5:
                level = grade(Evidence(correct=right, wrong=decided - right), RateRule()).level
                assert level == 5 - sixths, (right, decided)


@given(st.integers(1, 64), st.floats(0, 1), st.floats(0, 1))
def test_scores_order_the_never_solved_behind_the_solved(attempts, better, worse):
    """With equally many attempts every solved question is easier than those never solved, which the score orders."""
    better, worse = max(better, worse), min(better, worse)
    solved = grade(Evidence(correct=1, wrong=attempts - 1, score=worse), RateRule())
    near = grade(Evidence(wrong=attempts, score=better), RateRule())
    far = grade(Evidence(wrong=attempts, score=worse), RateRule())
    assert solved.difficulty < near.difficulty <= far.difficulty
    assert solved.level <= near.level <= far.level


@pytest.mark.alone
@given(st.integers(1, 40), st.booleans())
def test_reachable_levels_are_those_that_occur(attempts, scored):
    """What is called reachable is exactly what some count and score give."""
    seen = set()
    for right in range(attempts + 1):
        for score in [hundredth / 100 for hundredth in range(101)] if scored else [None]:
            seen.add(grade(Evidence(correct=right, wrong=attempts - right, score=score), RateRule()).level)
    assert reachable_levels(attempts, RateRule(), scored=scored) == tuple(sorted(seen))


def test_the_documented_reach_of_few_attempts_holds():
    """One attempt reaches three levels, four miss level 3, eight reach all."""
    assert reachable_levels(1, RateRule(), scored=False) == (1, 4)
    assert reachable_levels(1, RateRule()) == (1, 4, 5)
    assert reachable_levels(4, RateRule()) == (0, 1, 2, 4, 5)
    assert reachable_levels(8, RateRule()) == reachable_levels(16, RateRule()) == (0, 1, 2, 3, 4, 5)
    assert reachable_levels(1, PaperRule()) == (0, 1, 2, 3, 4, 5)
    assert reachable_levels(1, PaperRule(), scored=False) == (0,)
    assert reachable_levels(0, RateRule()) == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PaperRule(cuts=(0.8, 0.6, 0.4)), "takes 4 cuts, not the 3 given"),
        (lambda: PaperRule(cuts=()), "given (none)"),
        (lambda: PaperRule(cuts=(0.8, 0.6, 0.6, 0.2)), "fall, each below the one before"),
        (lambda: PaperRule(cuts=(1.0, 0.6, 0.4, 0.2)), "between 0 and 1, without either"),
        (lambda: PaperRule(cuts=(0.8, 0.6, 0.4, float("nan"))), "between 0 and 1"),
        (lambda: RateRule(cuts=(0.8, 0.6, 0.4, 0.2)), "takes 5 cuts, not the 4 given"),
        (lambda: RateRule(prior=(0.0, 1.0)), "two positive numbers"),
        (lambda: RateRule(mass=1.0), "mass of an interval"),
    ],
)
def test_settings_that_cannot_be_get_a_sentence(make, words):
    """A wrong cut, prior or mass is refused before any grading, with what would be right."""
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")


def test_quantile_cuts_make_equal_parts():
    """A hundred different scores fall into five levels of twenty, whatever their order."""
    scores = [(number + 1) / 102 for number in range(100)]
    shuffled = random.Random(3).sample(scores, 100)
    cuts = quantile_cuts(array("d", shuffled))
    assert cuts == quantile_cuts(scores)
    levels = [grade(wrong_with(score), PaperRule(cuts=cuts)).level for score in scores]
    assert [levels.count(level) for level in range(1, 6)] == [20] * 5


def test_equal_scores_stay_in_one_part():
    """A run of equal scores is not parted; the next cut moves below it."""
    cuts = quantile_cuts([0.9] * 60 + [0.5] * 20 + [0.3] * 10 + [0.1] * 10)
    assert cuts == (0.9, 0.5, 0.3, 0.1)


@given(st.lists(st.floats(0, 1), max_size=60))
def test_quantile_cuts_are_usable_or_refused(scores):
    """Whatever the scores, the cuts pass a rule's own check, or one sentence says that there are too few."""
    try:
        cuts = quantile_cuts(scores)
    except UsageError:
        # Every part needs a score below the last cut and above 0, or the run of equal ones above it takes all.
        assert len({score for score in scores if 0 < score < 1}) < 4 or len(set(scores)) < len(scores)
    else:
        assert PaperRule(cuts=cuts).cuts == cuts
