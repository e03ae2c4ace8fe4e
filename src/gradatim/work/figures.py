"""From a set's answers to figures: accuracy by level and source, pass@k, and two models compared.

An undecided answer is not wrong. Each figure is over decided answers; beside it stands what it would be if every
undecided one were wrong, so that nobody gains by leaving hard questions unfinished.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.method.evaluation import Difference, Estimate, Tally, avg_at_k, paired_bootstrap, pass_at_k

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.evaluations import Answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The figures of some questions of a set: all, one level's, one source's."""

    group: str
    """`all`, `level`, `source`, or the column that was asked for."""
    name: str
    questions: int
    """Those with an answer that was judged."""
    answers: int
    """Judged ones."""
    decided: int
    accuracy: Estimate | None
    """The mean over questions of the share of correct among decided answers; None where nothing is decided."""
    at_least: Estimate | None
    """The same, if every undecided answer were wrong; None where nothing is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassAt:
    """The chance that at least one of k answers is correct (Chen et al. 2021)."""

    k: int
    estimate: Estimate | None
    """Over questions with at least k decided answers; None where there is none."""
    left_out: int
    """Questions with fewer."""
    at_least: Estimate | None
    """If every undecided answer were wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """This model against another, question by question."""

    model: str
    """The other one."""
    setting: str
    difference: Difference | None
    """This model's accuracy minus the other's, over questions that both have a decided answer to."""
    at_least: Difference | None
    """The same, if every undecided answer of either were wrong."""
    note: str = ""
    """How the other one was asked, where that differs."""


def tallies(rows: Iterable[Answered], *, strict: bool) -> dict[int, Tally]:
    """Return each question's tally: of its decided answers, or with `strict` of all judged ones."""
    found = {}
    for one in rows:
        samples = one.judged if strict else one.decided
        if samples:
            found[one.question] = Tally(correct=one.correct, samples=samples)
    return found


def line(group: str, name: str, rows: Sequence[Answered]) -> Line:
    """Return the figures of these questions."""
    decided, judged = (list(tallies(rows, strict=strict).values()) for strict in (False, True))
    return Line(
        group=group,
        name=name,
        questions=len(judged),
        answers=sum(one.samples for one in judged),
        decided=sum(one.samples for one in decided),
        accuracy=avg_at_k(decided) if decided else None,
        at_least=avg_at_k(judged) if judged else None,
    )


def lines(group: str, names: Mapping[int, str], rows: Sequence[Answered]) -> list[Line]:
    """Return the figures of each name's questions, numbers in their order; those without a name come last."""
    by_name: dict[str, list[Answered]] = {}
    for one in rows:
        by_name.setdefault(names.get(one.question, ""), []).append(one)
    return [line(group, name or "none", by_name[name]) for name in sorted(by_name, key=_order)]


def _order(name: str) -> tuple[bool, bool, float, str]:
    try:
        return name == "", False, float(name), name
    except ValueError:
        return name == "", True, 0.0, name


def passes(rows: Sequence[Answered], samples: int) -> list[PassAt]:
    """Return pass@k for k = 1, 2, 4 and so on, up to the number of samples."""
    decided, judged = (list(tallies(rows, strict=strict).values()) for strict in (False, True))
    ks = [2**power for power in range(samples.bit_length()) if 2**power <= samples]
    return [
        PassAt(
            k=k,
            estimate=_pass(decided, k),
            left_out=len(judged) - sum(one.samples >= k for one in decided),
            at_least=_pass(judged, k),
        )
        for k in ks
    ]


def _pass(found: Sequence[Tally], k: int) -> Estimate | None:
    return pass_at_k(found, k) if any(one.samples >= k for one in found) else None


def compared(first: Sequence[Answered], second: Sequence[Answered], *, strict: bool) -> Difference | None:
    """Return the first model's accuracy minus the second's on the questions that both have answers to."""
    one, other = tallies(first, strict=strict), tallies(second, strict=strict)
    both = sorted(one.keys() & other.keys())
    if not both:
        return None
    return paired_bootstrap([one[key].rate for key in both], [other[key].rate for key in both])


def undecided(rows: Iterable[Answered]) -> dict[str, int]:
    """Count the undecided answers of each reason, the most frequent first."""
    reasons: Counter[str] = Counter()
    for one in rows:
        reasons.update(one.undecided)
    return dict(reasons.most_common())


def differing(one: Setting, other: Setting) -> str:
    """Say in which settings the other differs."""
    ours, theirs = json.loads(one.sampling), json.loads(other.sampling)
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return ", ".join(f"{key} {theirs.get(key)!r} instead of {ours.get(key)!r}" for key in keys)
