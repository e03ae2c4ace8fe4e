"""The math checker: exact and quick where it can be, symbolic in killable processes where it must.

An answer is found (`extract`), written in one way (`normalise`), compared exactly (`compare`), and only what that
leaves open goes to `pool`. What it promises: a limit of ours (time, memory, length) is `undecided`, never `wrong`; a
failure of ours is a `Fault`; nothing in a model's text is ever evaluated as code.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from importlib import metadata
from typing import TYPE_CHECKING

from gradatim.checkers.extract import extract
from gradatim.checkers.math.compare import How, compare
from gradatim.checkers.math.exact import Same, exact_leaf, tight
from gradatim.checkers.math.normalise import LONGEST, normalise
from gradatim.checkers.math.numbers import same_integer
from gradatim.checkers.math.pool import Job, Pool
from gradatim.types import Boundary, Fault, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.checkers import Item

VERSION = "1"
"""Of the rules in this package's math files; raised whenever one of them may change a verdict."""
_READ_AHEAD = 64
_OUTCOMES = {"yes": Outcome.CORRECT, "no": Outcome.WRONG}


class MathChecker:
    """Decides whether a mathematical answer equals the reference answer. Use it from one thread at a time."""

    name: str = "math"

    def __init__(self, *, deadline: float = 5.0, memory_mb: int = 1024, workers: int = 2, cache: int = 100_000) -> None:
        """Set the limits of symbolic work; no process is started before it is needed.

        Args:
            deadline: Seconds of wall-clock time for one pair.
            memory_mb: Address space of a worker process, in MiB.
            workers: How many worker processes at most.
            cache: How many decided (reference, answer) pairs are remembered; models repeat answers. 0 for none.
        """
        # Read from the installed packages' metadata: neither is imported.
        self.version = f"{VERSION}+math-verify.{metadata.version('math-verify')}+sympy.{metadata.version('sympy')}"
        self._pool = Pool(workers=workers, deadline=deadline, memory_mb=memory_mb)
        self._cache: OrderedDict[tuple[str, str], tuple[Outcome, str]] = OrderedDict()
        self._cache_size = cache
        self._in_flight: dict[tuple[str, str], Job] = {}

    def check(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict | Fault]]:
        """Give each item's key with its verdict, or its fault; quick ones overtake slow ones.

        Reads at most 64 items ahead of what symbolic work has finished. Raises nothing for what an item holds.
        """
        pending: deque[tuple[Item, _Asked]] = deque()
        try:
            for item in items:
                result = self._begin(item)
                if isinstance(result, _Asked):
                    pending.append((item, result))
                else:
                    yield item.key, result
                if pending:
                    self._pool.pump(0.0)
                    yield from self._finished(pending, wait=False)
                while len(pending) >= _READ_AHEAD:
                    yield from self._finished(pending, wait=True)
            while pending:
                yield from self._finished(pending, wait=True)
        finally:
            # Nobody reads on: what no worker has begun is not begun.
            for _, asked in pending:
                self._pool.cancel(asked.job)
                self._in_flight.pop(asked.key, None)

    def compare(self, reference: str, answer: str) -> Verdict:
        """Compare a reference with an answer that is no more than the answer: nothing is searched for.

        Raises `RuntimeError` where `check` would give a fault.
        """
        return self._one(self._ask(reference, answer, "whole"))

    def check_reference(self, reference: str) -> Verdict:
        """Say whether this checker can read `reference`: `correct` where it equals itself, else `undecided`.

        That both are the same text is no reason here.
        """
        unreadable = Verdict(outcome=Outcome.UNDECIDED, reason="reference_unparsable", answer=reference)
        text = normalise(reference) if len(reference) <= LONGEST else ""
        if not text:
            return unreadable
        found = compare(text, text, How(leaf=exact_leaf, textual=False))
        if found.same is Same.UNKNOWN:
            job = self._pool.submit(text, text, textual=False)
            verdict = self._one(_Asked(job=job, key=(reference, reference), found_by="whole"))
            return verdict if verdict.outcome is not Outcome.WRONG else unreadable
        if found.same is Same.NO:
            return unreadable
        return Verdict(outcome=Outcome.CORRECT, reason=found.reason, answer=reference, found_by="whole")

    def close(self) -> None:
        """End the worker processes; the checker can be used again, and then starts new ones."""
        self._pool.close()

    def _one(self, result: Verdict | _Asked) -> Verdict:
        while isinstance(result, _Asked):
            self._pool.pump(1.0)
            if result.job.done:
                settled = self._settle(result)
                if isinstance(settled, Fault):
                    raise RuntimeError(f"{settled.reason}: {settled.message}")
                return settled
        return result

    def _begin(self, item: Item) -> Verdict | Fault | _Asked:
        try:
            found = extract(item.answer)
            if found is None:
                return _same_words(item.reference, item.answer)
            return self._ask(item.reference, found.text, found.found_by)
        except Exception as error:  # noqa: BLE001 - the item boundary: our failure over one item is that item's fault
            return _fault(error)

    def _ask(self, reference: str, answer: str, found_by: str) -> Verdict | _Asked:
        """Decide at once, or give the pair to the workers."""
        key = (reference, answer)
        known = self._cache.get(key)
        if known is not None:
            self._cache.move_to_end(key)
            return Verdict(outcome=known[0], reason=known[1], answer=answer, found_by=found_by)
        if max(len(reference), len(answer)) > LONGEST:
            return self._long(reference, answer, found_by)
        wanted, given = normalise(reference), normalise(answer)
        if not wanted:
            return Verdict(outcome=Outcome.UNDECIDED, reason="reference_unparsable", answer=answer, found_by=found_by)
        if not given:
            return Verdict(outcome=Outcome.WRONG, reason="no_answer", answer=answer, found_by=found_by)
        found = compare(wanted, given)
        if found.same is Same.UNKNOWN:
            # The samples of one question come together, and often agree: one job serves them all.
            job = self._in_flight.get(key) or self._pool.submit(wanted, given)
            self._in_flight[key] = job
            return _Asked(job=job, key=key, found_by=found_by)
        return self._remember(key, _OUTCOMES[found.same.value], found.reason, found_by)

    def _long(self, reference: str, answer: str, found_by: str) -> Verdict:
        """Compare as text what is too long to be read as mathematics."""
        outcome, reason = Outcome.UNDECIDED, "too_long"
        if reference.split() == answer.split():
            outcome, reason = Outcome.CORRECT, "equal_text"
        elif same_integer(reference.strip(), answer.strip()) is False:
            outcome, reason = Outcome.WRONG, "different_number"
        return Verdict(outcome=outcome, reason=reason, answer=answer[:LONGEST], found_by=found_by)

    def _remember(self, key: tuple[str, str], outcome: Outcome, reason: str, found_by: str) -> Verdict:
        if self._cache_size > 0:
            self._cache[key] = (outcome, reason)
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return Verdict(outcome=outcome, reason=reason, answer=key[1], found_by=found_by)

    def _finished(self, pending: deque[tuple[Item, _Asked]], *, wait: bool) -> Iterator[tuple[int, Verdict | Fault]]:
        """Give what the workers have finished; with `wait`, return only after some of it, or after a second."""
        if wait and not any(asked.job.done for _, asked in pending):
            self._pool.pump(1.0)
        for _ in range(len(pending)):
            item, asked = pending.popleft()
            if asked.job.done:
                yield item.key, self._settle(asked)
            else:
                pending.append((item, asked))

    def _settle(self, asked: _Asked) -> Verdict | Fault:
        """Turn a worker's reply into a verdict or a fault."""
        job = asked.job
        self._in_flight.pop(asked.key, None)
        if job.found == "fault":
            return Fault(boundary=Boundary.CHECKER, reason=job.reason, message=job.message)
        outcome = _OUTCOMES.get(job.found, Outcome.UNDECIDED)
        if job.found == "unparsable" and job.reason == "answer_unparsable":
            outcome = Outcome.WRONG
        if job.textual:
            return self._remember(asked.key, outcome, job.reason, asked.found_by)
        return Verdict(outcome=outcome, reason=job.reason, answer=asked.key[1], found_by=asked.found_by)


class _Asked:
    """A pair that the workers have."""

    __slots__ = ("found_by", "job", "key")

    def __init__(self, *, job: Job, key: tuple[str, str], found_by: str) -> None:
        self.job = job
        self.key = key
        self.found_by = found_by


def _same_words(reference: str, answer: str) -> Verdict:
    """Decide an answer that marks nothing and holds prose: it can only be the reference, word for word."""
    if len(answer) <= LONGEST and tight(normalise(answer)) == tight(normalise(reference)) != "":
        return Verdict(outcome=Outcome.CORRECT, reason="equal_text", answer=answer, found_by="whole")
    return Verdict(outcome=Outcome.WRONG, reason="no_answer")


def _fault(error: Exception) -> Fault:
    return Fault(boundary=Boundary.CHECKER, reason="checker_error", message=f"{type(error).__name__}: {error}"[:500])
