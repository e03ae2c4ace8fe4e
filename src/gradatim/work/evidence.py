"""From a question's attempts to the evidence that a rule grades by: which score a wrong attempt has, and whose it is.

A wrong answer to a math question has what a PRM's step scores come to, in the paper their mean (arXiv 2504.11919). A
wrong program has the share of tests that it passed in its place, or the PRM's score too where that is asked for: no
open PRM of quality exists for code. Both are kept beside the level, whichever made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradatim.method.levels import Evidence
from gradatim.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gradatim.library.grades import AttemptEvidence

CodeScores = Literal["tests", "prm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What a question's attempts come to."""

    evidence: Evidence
    """With the score that the level is made from."""
    prm: float | None
    """The PRM's score, of the same attempts."""
    tests: float | None
    """The share of tests that wrong programs among them passed."""


def paper(found: Sequence[AttemptEvidence], code_scores: CodeScores) -> Weighed:
    """The first decided attempt decides (one attempt, as in the paper); the score is that attempt's own."""
    first = next((one for one in found if one.outcome in (Outcome.CORRECT, Outcome.WRONG)), None)
    outcome = None if first is None or first.outcome is None else Outcome(first.outcome)
    wrong = [first] if first is not None and outcome is Outcome.WRONG else []
    return _weighed(found, outcome, wrong, code_scores)


def rate(found: Sequence[AttemptEvidence], code_scores: CodeScores) -> Weighed:
    """All decided attempts count; the score is the mean over the wrong ones that have one."""
    return _weighed(found, None, [one for one in found if one.outcome == Outcome.WRONG], code_scores)


def _weighed(
    found: Sequence[AttemptEvidence],
    first: Outcome | None,
    wrong: Sequence[AttemptEvidence],
    code_scores: CodeScores,
) -> Weighed:
    outcomes = [one.outcome for one in found]
    evidence = Evidence(
        correct=outcomes.count(Outcome.CORRECT),
        wrong=outcomes.count(Outcome.WRONG),
        undecided=outcomes.count(Outcome.UNDECIDED),
        first=first,
        score=_mean(one.share if one.code and code_scores == "tests" else one.score for one in wrong),
    )
    return Weighed(evidence=evidence, prm=_mean(one.score for one in wrong), tests=_mean(one.share for one in wrong))


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
