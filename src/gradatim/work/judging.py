"""From a stored attempt to its verdict: what needs no checker is decided here, the rest is the checker's.

A code question's tests can be megabytes, so they are read when its program's turn comes, and a few are kept at hand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from gradatim.checkers import Item
from gradatim.checkers.choice import ChoiceChecker
from gradatim.checkers.code import CodeChecker, Rules
from gradatim.checkers.math import MathChecker
from gradatim.config import VerifySettings
from gradatim.errors import GradatimError
from gradatim.types import Boundary, Domain, Fault, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gradatim.checkers import Checker
    from gradatim.config import CodeSettings
    from gradatim.library.verdicts import Unjudged

_CUT_OFF = {"length": "truncated", "max_tokens": "truncated", "content_filter": "content_filter"}
"""Finish reasons of answers that the model did not end itself."""
_AT_HAND = 4
"""Suites of tests that are kept for the next attempt at the same question."""
_SETTLED = 500
"""How many attempts may be settled without the checker before they are given out."""


def make_checker(domain: Domain, settings: VerifySettings | None = None) -> Checker:
    """Return the checker of a domain."""
    settings = settings or VerifySettings()
    if domain is Domain.CHOICE:
        return ChoiceChecker()
    if domain is Domain.CODE:
        return code_checker(settings.code)
    return MathChecker(deadline=settings.deadline, memory_mb=settings.memory_mb, workers=settings.workers)


def code_checker(settings: CodeSettings) -> CodeChecker:
    """Return the checker of programs."""
    return CodeChecker(Rules(**msgspec.structs.asdict(settings)))


def judge(
    checker: Checker, unjudged: Iterable[Unjudged], tests: Callable[[int], str] | None = None
) -> Iterator[tuple[int, Verdict | Fault]]:
    """Give each attempt's key with its verdict or fault; in any order.

    `tests` returns the tests of a question by its key, where attempts answer code questions; it is called in this
    thread, and `unjudged` is read in it.

    Streams: what needs no checker waits for at most `_SETTLED` others. An exception of the checker's that it was to
    keep to itself is the fault of the attempts that it had and did not decide; the next ones go to it as before.
    """
    waiting = iter(unjudged)
    suites = lru_cache(maxsize=_AT_HAND)(tests or (lambda _: ""))
    turn = _Turn(suites)
    while not turn.over:
        turn = _Turn(suites)
        try:
            for key, result in checker.check(turn.items(waiting)):
                turn.given.discard(key)
                yield key, result
                yield from turn.settled
                turn.settled.clear()
        except GradatimError:
            raise
        except Exception as error:
            # The item boundary. Where the attempts could not be read, or none was given, it is not about an item.
            if turn.unreadable or not turn.given:
                raise
            fault = Fault(boundary=Boundary.CHECKER, reason=f"bug:{type(error).__name__}", message=str(error))
            yield from ((key, fault) for key in turn.given)
        yield from turn.settled


class _Turn:
    """One call of a checker: what it was given, and what was decided beside it."""

    def __init__(self, tests: Callable[[int], str]) -> None:
        self._tests = tests
        self.given: set[int] = set()
        self.settled: list[tuple[int, Verdict | Fault]] = []
        self.over = False
        """Whether all attempts were taken."""
        self.unreadable = False

    def items(self, waiting: Iterator[Unjudged]) -> Iterator[Item]:
        """Give what the checker has to look at, until too much has been settled without it."""
        while len(self.settled) < _SETTLED:
            try:
                attempt = next(waiting, None)
                ready = None if attempt is None else _without_checker(attempt)
                tests = self._tests(attempt.question) if attempt is not None and isinstance(ready, str) else ""
            except BaseException:
                self.unreadable = True
                raise
            if attempt is None or ready is None:
                self.over = True
                return
            if isinstance(ready, str):
                self.given.add(attempt.pk)
                yield Item(key=attempt.pk, answer=ready, reference=attempt.reference, tests=tests)
            else:
                self.settled.append((attempt.pk, ready))


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
