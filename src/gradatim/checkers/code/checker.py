"""The checker for programs: takes them from answers, runs them in a sandbox, and compares what came out, outside it.

What it promises: what is wanted never reaches the process that runs a program; a limit of the question's or the
settings' is the program's failure, a slow machine or a lost sandbox is a `Fault`; nothing of a program runs here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from gradatim.checkers.code.extraction import Program, extract
from gradatim.checkers.code.rules import Rules
from gradatim.checkers.code.schedule import Schedule, Ticket
from gradatim.checkers.code.trial import Trial, unreadable
from gradatim.checkers.sandbox import open_box
from gradatim.errors import GradatimError
from gradatim.suite import Suite, decoded
from gradatim.types import Boundary, Fault, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gradatim.checkers import Item
    from gradatim.checkers.code.bench import Bench, Opener
    from gradatim.checkers.code.schedule import Work

_T = TypeVar("_T")
_AHEAD = 32
"""Programs in flight per worker: what memory holds, whatever there is to check."""
_TEXT_AHEAD = 128 << 20
"""Characters of tests in flight, beyond the first two programs of each worker."""
_SUITES_KEPT = 32 << 20
"""Characters of tests that are kept as they were read: the samples of a question come together."""
_SOLUTIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A question's own programs, which are to pass its tests."""

    key: int
    """The caller's handle, given back with the result."""
    suite: str
    """The tests, as `Suite.encoded` wrote them."""
    solutions: tuple[str, ...]
    """Whole programs. At most five are tried, in this order."""


class CodeChecker:
    """Decides whether a program passes its question's tests. Use it from one thread at a time."""

    name: str = "code"

    def __init__(self, rules: Rules | None = None, *, opener: Opener | None = None) -> None:
        """Start nothing yet.

        Args:
            rules: The settings.
            opener: What opens a box, instead of the sandbox of the tier that `rules` name.
        """
        self._rules = rules or Rules()
        self.version = self._rules.version
        self._schedule = Schedule(opener or partial(open_box, self._rules.tier), self._rules.threads)
        self._suites: OrderedDict[str, Suite] = OrderedDict()
        self._kept = 0

    def check(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict | Fault]]:
        """Give each item's key with its verdict or fault: quick programs overtake slow ones.

        Reads at most 32 items per worker ahead, in the caller's thread. Raises nothing for what an item holds, and
        `SetupError` where this machine has no sandbox of the tier.
        """
        for item, _, result in self._run(items, self._begin, lambda item: len(item.tests)):
            yield item.key, result

    def check_references(self, references: Iterable[Reference]) -> Iterator[tuple[int, int, Verdict | Fault]]:
        """Give each reference's key, the index of the solution that passed or -1, and a verdict; in any order.

        The verdict is that of the solution that passed, else that of the first; each stops at its first failure. As
        with `check`, references are read in the caller's thread.
        """
        for reference, work, result in self._run(references, self._begin_reference, lambda one: len(one.suite)):
            passed = isinstance(result, Verdict) and result.outcome is Outcome.CORRECT
            yield reference.key, work.index if passed and isinstance(work, _Solutions) else -1, result

    def close(self) -> None:
        """End the worker threads and their boxes; the checker can be used again, and then starts new ones."""
        self._schedule.close()

    def _run(
        self, source: Iterable[_T], begin: Callable[[_T], Work | Verdict], size: Callable[[_T], int]
    ) -> Iterator[tuple[_T, Work | None, Verdict | Fault]]:
        """Give what was asked for with the work that it took and what came of it, as it is done."""
        done: SimpleQueue[Ticket] = SimpleQueue()
        flying: dict[Ticket, _T] = {}
        text = 0
        try:
            for one in source:
                work = _begun(begin, one)
                if isinstance(work, Verdict | Fault):
                    yield one, None, work
                    continue
                ticket = Ticket(work=work, done=done)
                flying[ticket] = one
                text += size(one)
                self._schedule.submit(ticket)
                while flying and (self._enough(len(flying), text) or not done.empty()):
                    ticket, result = _taken(done)
                    one = flying.pop(ticket)  # noqa: PLW2901 - what was read is in flight, this is what came back
                    text -= size(one)
                    yield one, ticket.work, result
            while flying:
                ticket, result = _taken(done)
                yield flying.pop(ticket), ticket.work, result
        finally:
            # Nobody reads on: what is not begun is not begun.
            self._schedule.cancel(set(flying))

    def _enough(self, count: int, text: int) -> bool:
        workers = self._rules.threads
        return count >= _AHEAD * workers or (text > _TEXT_AHEAD and count >= 2 * workers)

    def _begin(self, item: Item) -> Work | Verdict:
        suite = self._suite(item.tests)
        if isinstance(suite, Verdict):
            return suite
        program = extract(item.answer, self._rules.program)
        if program is None:
            return Verdict(outcome=Outcome.WRONG, reason="no_program")
        return Trial(program, suite, self._rules, stop_at_first=self._rules.stop == "first_failure")

    def _begin_reference(self, reference: Reference) -> Work | Verdict:
        suite = self._suite(reference.suite)
        if isinstance(suite, Verdict):
            return suite
        if not reference.solutions:
            return Verdict(outcome=Outcome.WRONG, reason="no_program")
        return _Solutions(reference.solutions[:_SOLUTIONS], suite, self._rules)

    def _suite(self, text: str) -> Suite | Verdict:
        """Return the tests as they are run; or the verdict that they cannot be."""
        suite = self._suites.get(text)
        if suite is None:
            try:
                suite = decoded(text)
            except (ValueError, RecursionError) as error:
                return unreadable(str(error))
            empty = not suite.code.strip() if suite.style == "assert" else not suite.cases
            if empty or (suite.style == "call" and not suite.function):
                return unreadable("there is no test in it" if empty else "it does not name the function")
            self._suites[text] = suite
            self._kept += len(text)
            while self._kept > _SUITES_KEPT and len(self._suites) > 1:
                self._kept -= len(self._suites.popitem(last=False)[0])
        self._suites.move_to_end(text)
        return suite


class _Solutions:
    """Programs that are tried one after the other, until one passes."""

    def __init__(self, solutions: tuple[str, ...], suite: Suite, rules: Rules) -> None:
        self.index = 0
        self._before = 0.0
        self._solutions = solutions
        self._suite = suite
        self._rules = rules
        self._first: Verdict | None = None
        self._trial = self._begun()

    @property
    def spent(self) -> float:
        """The seconds of all of them."""
        return self._before + self._trial.spent

    def advance(self, bench: Bench) -> Verdict | None:
        """Run the next case of the present program."""
        verdict = self._trial.advance(bench)
        if verdict is None or verdict.outcome is Outcome.CORRECT:
            return verdict
        self._first = self._first or verdict
        if self.index + 1 == len(self._solutions):
            return self._first
        self._before = self.spent
        self.index += 1
        self._trial = self._begun()
        return None

    def _begun(self) -> Trial:
        text = self._solutions[self.index]
        program = Program(text=text, span=(0, len(text)), found_by="whole")
        return Trial(program, self._suite, self._rules, stop_at_first=True)


def _begun(begin: Callable[[_T], Work | Verdict], one: _T) -> Work | Verdict | Fault:
    try:
        return begin(one)
    except Exception as error:  # noqa: BLE001 - the item boundary: our failure over one item is that item's fault
        message = f"{type(error).__name__}: {error}"[:500]
        return Fault(boundary=Boundary.CHECKER, reason="checker_error", message=message)


def _taken(done: SimpleQueue[Ticket]) -> tuple[Ticket, Verdict | Fault]:
    """Wait for the next piece of work that is done. Raises what kept any work from being done."""
    ticket = done.get()
    if isinstance(ticket.result, GradatimError):
        raise ticket.result
    assert ticket.result is not None
    return ticket, ticket.result
