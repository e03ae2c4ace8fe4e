"""From evidence to a level: 0 (this model solves it) to 5 (hardest), by one of two rules.

`paper` is the rule of arXiv 2504.11919: a right answer makes a question easy (level 0), and the mean of the PRM's
step scores sorts the wrong ones into levels 1 to 5. The paper does not say which scores part its levels: the default
cuts here are ours. `rate` is our extension to several attempts. Both look at decided attempts only; an undecided one
is never counted as wrong. Levels are derived: another cut calls no model.

What n decided attempts can reach with `rate` and its default cuts (p is the posterior mean; for a question never
solved, a PRM score multiplies it and opens every harder level as well):

    n = 1    p is 0.25 or 0.75              levels 1, 4; with PRM scores 1, 4, 5
    n = 4    p is 0.1, 0.3, 0.5, 0.7, 0.9   levels 0, 1, 2, 4, 5: never 3
    n = 8    p is 1/18, 3/18, ... 17/18     all six
    n = 16   all six, in steps of 1/17

`reachable_levels` answers for any n, so that a draw which asks for a level that cannot occur is warned about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.method.stats import credible_interval
from gradatim.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEVELS = (0, 1, 2, 3, 4, 5)
"""Easy, then the five levels of the paper."""

PAPER_CUTS = (0.8, 0.6, 0.4, 0.2)
"""Mean step scores that part levels 1 to 5. Ours: the paper has the levels, but names no scores."""

RATE_CUTS = (5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6)
"""Estimated pass rates that part levels 0 to 5: six equal parts. Ours; the paper has one attempt and no rate."""

JEFFREYS = (0.5, 0.5)
"""The Jeffreys prior of a pass rate: (correct, wrong) attempts added before counting."""

_ROUNDING = 1e-12
"""An estimate this close below a cut is on it: (12 + 0.5) / 15 is meant to reach 5/6 on every machine."""


class NoLevel(StrEnum):
    """Why a question has no level."""

    NO_ATTEMPT = "no_attempt"
    UNDECIDED = "undecided"
    NO_SCORE = "no_score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one question for one model."""

    correct: int = 0
    wrong: int = 0
    undecided: int = 0
    first: Outcome | None = None
    """The first decided attempt, by sample index."""
    score: float | None = None
    """The PRM's mean step score in [0, 1], or for a code question the share of tests passed: for `paper` of the first
    decided attempt, if wrong; for `rate` averaged over the wrong attempts that were scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """A level and how sure it is, or the reason for having none."""

    level: int | None
    difficulty: float | None
    """In [0, 1], for ordering within and across levels; none where there is no level."""
    low: float
    high: float
    """The credible interval of the pass rate, from all decided attempts; with none it is the prior's."""
    reason: str = ""
    """A `NoLevel`, or empty where there is a level."""


def _checked_cuts(cuts: Sequence[float], count: int, rule: str) -> None:
    """Raise `UsageError` unless there are `count` cuts in (0, 1), each below the one before."""
    shown = ", ".join(f"{cut:g}" for cut in cuts)
    if len(cuts) != count:
        raise UsageError(f"The rule {rule} takes {count} cuts, not the {len(cuts)} given ({shown or 'none'}).")
    if not all(0 < cut < 1 for cut in cuts):
        raise UsageError(f"The cuts of the rule {rule} lie between 0 and 1, without either; given: {shown}.")
    if not all(above > below for above, below in pairwise(cuts)):
        raise UsageError(f"The cuts of the rule {rule} fall, each below the one before; given: {shown}.")


def _checked_posterior(prior: tuple[float, float], mass: float) -> None:
    """Raise `UsageError` unless the prior and the interval's mass are usable."""
    if len(prior) != 2 or not all(0 < count < 1e9 for count in prior):
        raise UsageError(f"A prior is two positive numbers, (0.5, 0.5) by default; given: {prior}.")
    if not 0 < mass < 1:
        raise UsageError(f"The mass of an interval lies between 0 and 1, 0.9 by default; given: {mass:g}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRule:
    """One attempt and its PRM mean (arXiv 2504.11919). Raises `UsageError` for cuts that do not fall."""

    cuts: tuple[float, ...] = PAPER_CUTS
    prior: tuple[float, float] = JEFFREYS
    mass: float = 0.9
    """How much of the posterior the interval holds; neither it nor the prior moves a level of this rule."""

    def __post_init__(self) -> None:
        _checked_cuts(self.cuts, 4, "paper")
        _checked_posterior(self.prior, self.mass)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule:
    """The pass rate over all decided attempts. Raises `UsageError` for cuts, a prior or a mass that cannot be."""

    cuts: tuple[float, ...] = RATE_CUTS
    prior: tuple[float, float] = JEFFREYS
    mass: float = 0.9
    """How much of the posterior the interval holds."""

    def __post_init__(self) -> None:
        _checked_cuts(self.cuts, 5, "rate")
        _checked_posterior(self.prior, self.mass)


Rule = PaperRule | RateRule


def band(value: float, cuts: Sequence[float]) -> int:
    """Return how many cuts lie above `value`; a value on a cut has reached it."""
    return sum(value + _ROUNDING < cut for cut in cuts)


# Counts are small numbers, so a million questions share some hundred intervals.
_interval = lru_cache(maxsize=4096)(credible_interval)


def grade(evidence: Evidence, rule: Rule) -> Grading:
    """Return the level that `rule` gives, or none and the reason.

    `paper`: level 0 where the first decided attempt is correct; else 1 to 5 by the score m, 1 where m >= the first
    cut, and the difficulty is 1 - m; without a score there is no level (`no_score`).
    `rate`: estimate p = (correct + prior) / (decided + both priors), the posterior mean; a question never solved
    that has a score m gets p * m, so the PRM orders those never solved and, among questions with as many decided
    attempts, none of them passes one that was solved. The level counts the cuts above the estimate; the difficulty
    is 1 - estimate.
    """
    decided = evidence.correct + evidence.wrong
    low, high = _interval(evidence.correct, evidence.wrong, prior=rule.prior, mass=rule.mass)
    if decided == 0:
        reason = NoLevel.UNDECIDED if evidence.undecided else NoLevel.NO_ATTEMPT
        return Grading(level=None, difficulty=None, low=low, high=high, reason=reason)
    if isinstance(rule, RateRule):
        estimate = _estimate(evidence, rule)
        return Grading(level=band(estimate, rule.cuts), difficulty=1 - estimate, low=low, high=high)
    if evidence.first is Outcome.CORRECT:
        return Grading(level=0, difficulty=0.0, low=low, high=high)
    if evidence.score is None:
        return Grading(level=None, difficulty=None, low=low, high=high, reason=NoLevel.NO_SCORE)
    return Grading(level=1 + band(evidence.score, rule.cuts), difficulty=1 - evidence.score, low=low, high=high)


def _estimate(evidence: Evidence, rule: RateRule) -> float:
    """Return the pass rate that `rate` grades by."""
    plus, minus = rule.prior
    mean = (evidence.correct + plus) / (evidence.correct + evidence.wrong + plus + minus)
    unsolved = evidence.correct == 0 and evidence.score is not None
    return mean * evidence.score if unsolved and evidence.score is not None else mean


def reachable_levels(attempts: int, rule: Rule, *, scored: bool = True) -> tuple[int, ...]:
    """Return the levels that a question with this many decided attempts can have, rising.

    `scored` says whether wrong answers get PRM scores. No attempts reach nothing.
    """
    if attempts < 1:
        return ()
    if isinstance(rule, PaperRule):
        return LEVELS if scored else (0,)
    counts = (Evidence(correct=right, wrong=attempts - right) for right in range(attempts + 1))
    levels = {band(_estimate(counted, rule), rule.cuts) for counted in counts}
    if scored:
        levels.update(range(max(levels), len(rule.cuts) + 1))
    return tuple(sorted(levels))


def levels_of_shares(sizes: Iterable[int], rule: PaperRule) -> tuple[int, ...]:
    """Return the levels that wrong programs can have by the share of tests passed, for suites of these sizes.

    A suite of 3 tests has the shares 0, 1/3 and 2/3: with the default cuts levels 5, 4 and 2.
    """
    found = {1 + band(passed / size, rule.cuts) for size in sizes for passed in range(size)}
    return tuple(sorted(found))


def quantile_cuts(scores: Iterable[float], parts: int = 5) -> tuple[float, ...]:
    """Return the `parts - 1` cuts that split these scores into equal parts, falling, for `PaperRule(cuts=...)`.

    A cut is itself one of the scores, and the scores on it belong to the easier part. Equal scores are never parted:
    where a run of them spans several cuts, the later cut moves down to the next lower score. The order of `scores`,
    numbers in [0, 1], does not matter; a million take about 50 MB. Raises `UsageError` where there are too few
    different scores.
    """
    ranked = sorted(scores)
    cuts: list[float] = []
    above = 1.0
    for part in range(parts - 1, 0, -1):
        at = len(ranked) * part // parts
        while at >= 0 and ranked and ranked[at] >= above:
            at -= 1
        if at < 0 or not ranked or ranked[at] <= 0:
            raise UsageError(
                f"{len(ranked)} scores with too few different values between 0 and 1 cannot be cut into {parts} parts: "
                "score more wrong answers, or give the cuts yourself."
            )
        above = ranked[at]
        cuts.append(above)
    return tuple(cuts)
