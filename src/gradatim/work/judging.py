"""From a stored attempt to its verdict: what needs no checker is decided here, the rest is the checker's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.checkers import Item
from gradatim.checkers.choice import ChoiceChecker
from gradatim.checkers.math import MathChecker
from gradatim.config import VerifySettings
from gradatim.types import Boundary, Domain, Fault, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.checkers import Checker
    from gradatim.library.verdicts import Unjudged

_CUT_OFF = {"length": "truncated", "max_tokens": "truncated", "content_filter": "content_filter"}
"""Finish reasons of answers that the model did not end itself."""


def make_checker(domain: Domain, settings: VerifySettings | None = None) -> Checker:
    """Return the checker of a domain."""
    settings = settings or VerifySettings()
    if domain is Domain.CHOICE:
        return ChoiceChecker()
    return MathChecker(deadline=settings.deadline, memory_mb=settings.memory_mb, workers=settings.workers)


def judge(checker: Checker, unjudged: Iterable[Unjudged]) -> Iterator[tuple[int, Verdict | Fault]]:
    """Give each attempt's key with its verdict or fault; in any order."""
    settled: list[tuple[int, Verdict | Fault]] = []

    def items() -> Iterator[Item]:
        for attempt in unjudged:
            ready = _without_checker(attempt)
            if isinstance(ready, str):
                yield Item(key=attempt.pk, answer=ready, reference=attempt.reference)
            else:
                settled.append((attempt.pk, ready))

    for result in checker.check(items()):
        yield result
        yield from settled
        settled.clear()
    yield from settled


def _without_checker(attempt: Unjudged) -> str | Verdict | Fault:
    """Return the answer to be checked, or what is decided without looking at it."""
    cut_off = _CUT_OFF.get(attempt.finish_reason)
    if cut_off is not None:
        return Verdict(outcome=Outcome.UNDECIDED, reason=cut_off)
    try:
        answer = attempt.answer()
    except Exception as error:  # noqa: BLE001 - the item boundary: a parser's bug costs no verdict and no request
        return Fault(boundary=Boundary.CHECKER, reason=f"bug:{type(error).__name__}", message=str(error))
    if not answer.strip() and (attempt.reasoning.strip() or attempt.content.strip()):
        return Verdict(outcome=Outcome.UNDECIDED, reason="only_reasoning")
    return answer
