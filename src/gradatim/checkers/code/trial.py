"""One program before one suite of tests: what is run next, what came of it, and the verdict in the end.

What is wanted stays here; a job has the program and one input. Rules that are ours:

* A time limit counts where the machine is known to have given the time: it did not stand still (see `pulse`), and a
  known program takes at most twice its best (see `bench`), by CPU time where the program used its limit of that, else
  by the clock as well. On a slower machine the limit is raised by as much and the case runs again, after the programs
  that had less time; twice at most, then the item is a fault.
* After three cases that took too long the rest are counted as failed, and so are those beyond the time of all tests.
* An assertion is a test; test code without any is one test. Test code that cannot be used decides nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim.checkers.code import outputs, values
from gradatim.checkers.sandbox import Ending, Job, SandboxError
from gradatim.checkers.sandbox.replies import printable
from gradatim.types import Outcome, Verdict

if TYPE_CHECKING:
    from gradatim.checkers.code.bench import Bench
    from gradatim.checkers.code.extraction import Program
    from gradatim.checkers.code.rules import Rules
    from gradatim.checkers.sandbox import Limits, Run
    from gradatim.suite import Suite

_TOLERATED = 2.0
"""Slowness at which a time limit is believed as it is."""
_MARGIN = 1.25
_STANDSTILL = 0.2
"""Of the limit."""
_IDLE = 4.0
"""How much longer than its CPU time the clock may run before all tests are ended by the clock."""
_MOST_SCALE = 8.0
_RERUNS = 2
_TIMEOUTS = 3
_ANSWER = 20_000
_SIGKILL = 9
_SIDES = re.compile(r"left: (.*?), right: (.*)", re.DOTALL)
"""How a box tells both sides of a comparison."""
_RAISED = {"AssertionError": "wrong_answer", "MemoryError": "memory_limit", "ModuleNotFoundError": "import_missing"}
_REASONS = {
    Ending.EXCEPTION: "exception",
    Ending.FUNCTION: "function_missing",
    Ending.NO_VALUE: "exception",
    Ending.SYNTAX: "syntax_error",
    Ending.IMPORT: "import_missing",
    Ending.SIGNAL: "killed",
    Ending.TIME: "time_limit",
    Ending.MEMORY: "memory_limit",
    Ending.OUTPUT: "output_limit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A test that failed."""

    reason: str
    test: int
    """From 1."""
    input: object = None
    expected: str | None = None
    got: str | None = None
    error: str = ""

    def described(self) -> dict[str, object]:
        """Return what the verdict says of it, in short texts."""
        texts = {"input": self.input, "expected": self.expected, "got": self.got, "error": self.error or None}
        shorts = {name: printable(str(text)) for name, text in texts.items() if text is not None}
        return {"test": self.test, **shorts}


class Trial:
    """One program's way through its tests, a case at a time. Of one thread at a time."""

    def __init__(self, program: Program, suite: Suite, rules: Rules, *, stop_at_first: bool) -> None:
        self.spent = 0.0
        """Seconds that it has had a worker for: those with the least go first."""
        self._program = program
        self._suite = suite
        self._rules = rules
        self._stop = stop_at_first
        self._case = 0
        self._passed = 0
        self._total = 1 if suite.style == "assert" else len(suite.cases)
        self._failure: Failure | None = None
        self._tries = 0
        self._scale = 1.0
        self._timeouts = 0
        self._most = {"seconds": 0.0, "memory_mb": 0.0}
        self._cpu = self._clock = 0.0
        self._allowed = rules.total_seconds

    def advance(self, bench: Bench) -> Verdict | None:
        """Run the next case; return the verdict after the last.

        Raises `SandboxError` where the program cannot be judged, and `SetupError` where no program can.
        """
        limits = self._rules.limits(self._suite, self._scale)
        try:
            run = bench.run(self._job(), limits)
        except SandboxError as error:
            if error.reason != "overloaded":
                raise
            self.spent += limits.seconds
            self._try_again(max(bench.slowness().wall, _TOLERATED), error.message)
            return None
        self.spent += max(run.seconds, run.wall)
        if run.ending is Ending.SUITE or (run.ending is Ending.FINISHED and self._lacks_assertions(run)):
            return unreadable(run.error or "the test code asserts nothing")
        if self._doubted(bench, run, limits):
            return None
        self._take(run, limits)
        return self._verdict(bench) if self._over(bench) else None

    def _lacks_assertions(self, run: Run) -> bool:
        return self._suite.style == "assert" and not run.assertions

    def _job(self) -> Job:
        suite, program = self._suite, self._program.text
        if suite.style == "assert":
            stop = self._stop
            return Job(
                style="assert",
                program=program,
                setup=suite.setup,
                code=suite.code,
                entries=suite.entries,
                stop_at_first=stop,
            )
        given = suite.cases[self._case].input
        if suite.style == "stdio":
            stdin = str(given).encode("utf-8", "surrogatepass")
            return Job(style="stdio", program=program, setup=suite.setup, stdin=stdin)
        arguments = tuple(given) if isinstance(given, list | tuple) else (given,)
        return Job(style="call", program=program, setup=suite.setup, function=suite.function, arguments=arguments)

    def _doubted(self, bench: Bench, run: Run, limits: Limits) -> bool:
        """Say whether the case has to run once more before what came of it counts."""
        if run.ending is Ending.SIGNAL and run.signal == _SIGKILL and not self._tries:
            # So ends what the machine has no memory for, too.
            self._tries += 1
            return True
        if run.ending is not Ending.TIME:
            return False
        lost = bench.lost(run.wall)
        slowness = bench.slowness()
        slow = slowness.cpu if run.seconds >= 0.9 * limits.seconds else max(slowness.cpu, slowness.wall)
        if slow > max(_TOLERATED, self._scale):
            how = f"takes {slow:.1f} times as long as at its best" if slow < math.inf else "does not come to its end"
            self._try_again(slow, f"a known program {how}")
            return True
        if lost > _STANDSTILL * limits.seconds:
            self._try_again(self._scale, f"the machine stood still for {lost:.1f} s")
            return True
        return False

    def _try_again(self, slow: float, why: str) -> None:
        self._tries += 1
        if self._tries > _RERUNS:
            raise SandboxError("overloaded", f"{why}: run fewer programs at a time, or other work later")
        self._scale = min(max(slow * _MARGIN, 1.0), _MOST_SCALE)

    def _take(self, run: Run, limits: Limits) -> None:
        """Count a case, and go on to the next."""
        late = limits.seconds / self._scale if run.ending is Ending.TIME else 0.0
        self._cpu += late or run.seconds
        self._clock += late or max(0.0, run.wall - run.waited)
        self._most["seconds"] = max(self._most["seconds"], run.seconds)
        self._most["memory_mb"] = max(self._most["memory_mb"], run.memory_mb)
        self._timeouts += run.ending is Ending.TIME
        if self._suite.style == "assert":
            self._take_assertions(run)
        else:
            failure = self._compared(run)
            self._passed += failure is None
            self._failure = self._failure or failure
        self._case += 1
        self._tries, self._scale = 0, 1.0

    def _take_assertions(self, run: Run) -> None:
        finished = run.ending is Ending.FINISHED
        if not run.assertions:
            self._failure = Failure(reason=_REASONS[run.ending], test=1, error=run.error)
            return
        self._total = len(run.assertions)
        self._passed = sum(one.passed for one in run.assertions)
        failed = next((number for number, one in enumerate(run.assertions, 1) if not one.passed), self._total)
        if not finished or self._passed < self._total:
            one = run.assertions[failed - 1]
            told = _told(one.text, one.message)
            if not finished:
                told = {"reason": _REASONS[run.ending], "error": run.error or one.message}
            self._failure = Failure(test=failed, input=one.text, **told)

    def _compared(self, run: Run) -> Failure | None:
        case, number = self._suite.cases[self._case], self._case + 1
        given = case.input if self._suite.style == "stdio" else values.shown(case.input)
        if run.ending is not Ending.FINISHED:
            return Failure(reason=_REASONS[run.ending], test=number, input=given, error=run.error)
        if self._suite.style == "stdio":
            found = outputs.difference(self._suite, str(case.output), run.stdout)
        else:
            found = values.difference(self._suite, case.output, run.value)
        if found is None:
            return None
        return Failure(
            reason="wrong_answer",
            test=number,
            input=given,
            expected=found.expected,
            got=found.got,
            error=found.where,
        )

    def _over(self, bench: Bench) -> bool:
        if self._suite.style == "assert" or self._case >= self._total or (self._stop and self._failure):
            return True
        if self._timeouts >= _TIMEOUTS:
            return True
        if not self._exhausted(bench):
            return False
        if self._failure is None:
            error = f"no time for this test: all tests together may take {self._rules.total_seconds:g} s"
            self._failure = Failure(reason="time_limit", test=self._case + 1, error=error)
        return True

    def _exhausted(self, bench: Bench) -> bool:
        """Say whether the time of all tests is used up, on a machine as it is at its best."""
        total = self._rules.total_seconds
        used = max(self._cpu, self._clock / _IDLE)
        if used < self._allowed:
            return False
        slowness = bench.slowness()
        slow = slowness.cpu if self._cpu >= self._allowed else max(slowness.cpu, slowness.wall)
        self._allowed = total * (1.0 if slow <= _TOLERATED else min(slow, _MOST_SCALE))
        return used >= self._allowed

    def _verdict(self, bench: Bench) -> Verdict:
        right = self._failure is None
        detail: dict[str, object] = {} if self._failure is None else {"failed": self._failure.described()}
        detail |= {name: round(most, 3) for name, most in self._most.items()}
        detail |= {"tier": self._rules.sandbox, "layers": bench.layers, "span": self._program.span}
        return Verdict(
            outcome=Outcome.CORRECT if right else Outcome.WRONG,
            reason="tests_passed" if self._failure is None else self._failure.reason,
            answer=self._program.text[:_ANSWER].encode("utf-8", "backslashreplace").decode(),
            found_by=self._program.found_by,
            # Stopped at the first failure, nobody knows how many it would have passed.
            passed=self._passed if right or not self._stop else None,
            total=self._total,
            detail=msgspec.json.encode(detail).decode(),
        )


def unreadable(why: str) -> Verdict:
    """Return the verdict of a question whose suite says nothing of any program."""
    detail = msgspec.json.encode({"failed": {"test": 1, "error": printable(why)}}).decode()
    return Verdict(outcome=Outcome.UNDECIDED, reason="suite_unreadable", detail=detail)


def _told(assertion: str, message: str) -> dict[str, str]:
    """Return the reason of an assertion that failed, and what there is to say: its sides, or the exception."""
    sides = _SIDES.fullmatch(message)
    if sides:
        # Of `assert abs(x - 2) < 0.1` neither is what is wanted.
        equal = {"got": sides[1], "expected": sides[2]} if "==" in assertion else {"error": message}
        return {"reason": "wrong_answer", **equal}
    reason = next((reason for name, reason in _RAISED.items() if message.startswith(name)), "exception")
    return {"reason": reason if message else "wrong_answer", "error": message}
