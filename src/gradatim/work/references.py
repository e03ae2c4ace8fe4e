"""Whether a question's own reference passes its own checker: the last thing asked of it before it is taken in.

For math and choice that is the reference answer, looked at when its row's turn comes. For code it is the source's own
programs against the question's tests, run side by side for a batch of rows; a question without a program is taken if
its tests can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gradatim.checkers.choice import ChoiceChecker
from gradatim.checkers.code import Reference
from gradatim.checkers.math import MathChecker
from gradatim.suite import decoded
from gradatim.types import Boundary, Domain, Fault, Outcome
from gradatim.work.judging import code_checker
from gradatim.work.programs import failed_sentence, read_detail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.config import CodeSettings
    from gradatim.types import Question, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A question on its way in, with the source's own programs for it."""

    question: Question
    solutions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a reference."""

    reason: str = ""
    """Why the question is dropped; empty where it is taken."""
    detail: str = ""
    solution: str = ""
    """The program that passed, where one did."""


class References(Protocol):
    """Looks at references of one domain."""

    def prepare(self, batch: Sequence[Candidate]) -> None:
        """Do what is better done for many at once. Raises `SetupError` where the machine cannot."""
        ...

    def settle(self, one: Candidate) -> Settled | Fault:
        """Say what became of a reference; of a code question, one of the batch."""
        ...

    def same(self, one: str, other: str) -> bool:
        """Say whether two references of one question, which are not the same text, mean the same."""
        ...

    def close(self) -> None:
        """End worker processes, if any."""
        ...


def references(domain: Domain, code: CodeSettings) -> References:
    """Return what looks at references of a domain."""
    return _Programs(code) if domain is Domain.CODE else _Answers(domain)


class _Answers:
    """References of math and choice questions."""

    def __init__(self, domain: Domain) -> None:
        self._checker: MathChecker | ChoiceChecker = MathChecker() if domain is Domain.MATH else ChoiceChecker()

    def prepare(self, _: Sequence[Candidate]) -> None:
        """Nothing: these are quick."""

    def settle(self, one: Candidate) -> Settled | Fault:
        reference = one.question.reference
        detail = f"reference {reference[:200]!r} does not pass its own checker"
        try:
            reference.encode("utf-8")
        except UnicodeEncodeError:
            return Settled(reason="reference_not_text", detail=detail)  # half of a surrogate pair cannot be kept
        try:
            verdict = self._checker.check_reference(reference)
        except RuntimeError as error:
            return checker_fault(error)
        return Settled() if verdict.outcome is Outcome.CORRECT else Settled(reason=verdict.reason, detail=detail)

    def same(self, one: str, other: str) -> bool:
        if isinstance(self._checker, MathChecker):
            return self._checker.compare(one, other).outcome is Outcome.CORRECT
        letters = [self._checker.check_reference(reference).answer for reference in (one, other)]
        return letters[0] == letters[1]

    def close(self) -> None:
        self._checker.close()


def checker_fault(error: RuntimeError) -> Fault:
    """Return the fault that a checker raised about one reference."""
    reason, _, message = str(error).partition(": ")
    return Fault(boundary=Boundary.CHECKER, reason=reason or "checker_error", message=message)


class _Programs:
    """References of code questions: programs that are to pass the tests."""

    def __init__(self, settings: CodeSettings) -> None:
        self._checker = code_checker(settings)
        self._settled: dict[Candidate, Settled | Fault] = {}

    def prepare(self, batch: Sequence[Candidate]) -> None:
        self._settled.clear()
        to_run = []
        for place, one in enumerate(batch):
            unreadable = _unreadable(one.question.tests)
            if unreadable or not one.solutions:
                self._settled[one] = unreadable or Settled()
            else:
                to_run.append(Reference(key=place, suite=one.question.tests, solutions=one.solutions))
        if to_run:
            for place, index, verdict in self._checker.check_references(iter(to_run)):
                self._settled[batch[place]] = _settled(verdict, batch[place].solutions, index)

    def settle(self, one: Candidate) -> Settled | Fault:
        return self._settled[one]

    def same(self, one: str, other: str) -> bool:
        """Two suites are the same where the words that name them are."""
        return one == other

    def close(self) -> None:
        self._checker.close()


def _unreadable(tests: str) -> Settled | None:
    if not tests:
        return Settled(reason="no_tests", detail="the row has no tests; say where they are: --field tests=COLUMN")
    try:
        decoded(tests)
    except ValueError as error:
        return Settled(reason="suite_unreadable", detail=str(error))
    return None


def _settled(verdict: Verdict | Fault, solutions: Sequence[str], index: int) -> Settled | Fault:
    if isinstance(verdict, Fault):
        return verdict
    if verdict.outcome is Outcome.CORRECT:
        return Settled(solution=solutions[index])
    if verdict.outcome is Outcome.UNDECIDED:
        return Settled(reason=verdict.reason, detail=failed_sentence(verdict.reason, None, read_detail(verdict.detail)))
    tried = f" (first of {len(solutions)})" if len(solutions) > 1 else ""
    sentence = failed_sentence(verdict.reason, verdict.total, read_detail(verdict.detail))
    return Settled(reason="reference_fails", detail=f"its own program{tried}: {sentence}")
