"""Which program is next, what a slow or failing machine does to verdicts, and what is left behind."""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from code_world import ADD, SUM, item, judged, many_cases, needs_sandbox, quick
from gradatim.checkers.code import CodeChecker, Reference
from gradatim.checkers.code.bench import Bench, Gauge
from gradatim.checkers.code.pulse import Pulse
from gradatim.checkers.sandbox import Job, Limits, SandboxError, Tier, open_box
from gradatim.errors import SetupError
from gradatim.suite import Case, Suite
from gradatim.types import Boundary, Fault

pytestmark = needs_sandbox

TINY = "print(input())"


@pytest.fixture
def checker():
    """A checker with two workers."""
    checker = CodeChecker(quick(seconds=6.0))
    yield checker
    checker.close()


def children():
    """The processes that this one has started and that are there, dead or alive."""
    me = os.getpid()
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == me:
            found.add(int(stat.parent.name))
    return found


def test_slow_programs_do_not_hold_quick_ones(checker):
    """Programs that are slow in each of many cases come last, though they were first and fill both workers."""
    slow = "import time\nx = input()\ntime.sleep(0.1)\nprint(x)"
    items = [item(key, slow, many_cases(12)) for key in range(4)]
    items += [item(key, TINY, many_cases(3)) for key in range(4, 60)]
    order = [key for key, _ in checker.check(items)]
    assert sorted(order) == list(range(60))
    assert set(order[-4:]) == {0, 1, 2, 3}


def test_items_are_read_a_bounded_number_ahead_in_the_callers_thread(checker):
    """An endless source is read as far as programs are in flight, and by no other thread."""
    read = []

    def source():
        for key in itertools.count():
            read.append(threading.get_ident())
            yield item(key, SUM)

    results = checker.check(source())
    taken = [next(results) for _ in range(200)]
    assert len({key for key, _ in taken}) == 200
    assert len(read) <= 200 + 64 + 1
    assert set(read) == {threading.get_ident()}
    results.close()


def test_large_tests_are_read_less_far_ahead(checker):
    """What is in flight is bounded by the size of the tests too, and not only by the number of programs."""
    huge = Suite(style="stdio", cases=(Case(input="1" * 20_000_000, output="1"),)).encoded()
    read = itertools.count()
    results = checker.check(item(next(read), "print(input()[0])", huge) for _ in range(200))
    assert next(results)[1].reason == "tests_passed"
    assert next(read) <= 12
    results.close()


def test_a_reader_that_stops_ends_the_work(checker):
    """Closing early leaves nothing waiting; the checker goes on with the next, and closing it leaves no process."""
    before = children()
    results = checker.check(item(key, SUM) for key in range(10_000))
    next(results)
    results.close()
    assert judged(checker, [SUM])[0].reason == "tests_passed"
    results = checker.check(item(key, "while True: pass") for key in range(10))
    results.close()
    checker.close()
    assert children() <= before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gradatim")]
    assert judged(checker, [SUM])[0].reason == "tests_passed"


class Stuck:
    """A box whose jobs do not end before it is closed."""

    layers = ()

    def __init__(self):
        self._closed = threading.Event()

    def run(self, *_):
        """Wait."""
        self._closed.wait(30)
        raise SandboxError("sandbox_lost", "the sandbox was closed")

    def close(self):
        """End the wait."""
        self._closed.set()


def test_closing_waits_once_for_all_workers():
    """Forty workers in the middle of a case are ended together: half a second for each would be twenty."""
    checker = CodeChecker(quick(workers=40), opener=Stuck)
    results = checker.check(item(key, SUM) for key in range(40))
    reading = threading.Thread(target=next, args=(results,), daemon=True)
    reading.start()
    while sum(thread.name == "gradatim-code" for thread in threading.enumerate()) < 40:
        time.sleep(0.01)
    start = time.monotonic()
    checker.close()
    assert time.monotonic() - start < 10
    reading.join()


def test_a_worker_that_is_stopped_while_it_opens_a_box_runs_nothing():
    """Who closes the checker finds no box to end then, so the worker ends it itself."""
    opened = Stuck()
    bench = Bench(lambda: (bench.stop(), opened)[1], Gauge(), Pulse())
    with pytest.raises(SandboxError, match="the checker was closed"):
        bench.run(Job(style="stdio", program=TINY), Limits())
    assert opened._closed.is_set()


def test_an_exception_of_the_source_comes_through(checker):
    """A source that fails is not the checker's business, and does it no harm."""

    def source():
        yield item(0, SUM)
        raise KeyError("no such row")

    with pytest.raises(KeyError, match="no such row"):
        list(checker.check(source()))
    assert judged(checker, [SUM])[0].reason == "tests_passed"


def test_two_readings_at_once_do_not_mix(checker):
    """References can be checked while answers are, and each caller gets its own."""
    answers = checker.check(item(key, SUM) for key in range(40))
    first = next(answers)
    references = [Reference(key=key, suite=ADD, solutions=("x =", SUM)) for key in range(40, 50)]
    assert {key: index for key, index, _ in checker.check_references(references)} == dict.fromkeys(range(40, 50), 1)
    assert {key for key, _ in [first, *answers]} == set(range(40))


class Broken:
    """A real box that is lost at some of its jobs."""

    opened = 0

    def __init__(self, bad, times):
        Broken.opened += 1
        self._box = open_box(Tier.DEFAULT)
        self.layers = self._box.layers
        self._bad = bad
        self._times = times

    def run(self, job, limits):
        """Lose the box over a bad program, as often as it is to be."""
        if self._bad in job.program and self._times:
            self._times.pop()
            raise SandboxError("sandbox_lost", "the sandbox ended by itself")
        return self._box.run(job, limits)

    def close(self):
        """End it."""
        self._box.close()


@pytest.mark.parametrize(("losses", "fault"), [(1, False), (99, True)])
def test_a_lost_box_is_no_verdict(losses, fault):
    """A program whose box is lost runs once more in a fresh one; then it is a fault, and the others have verdicts."""
    Broken.opened = 0
    times = list(range(losses))
    checker = CodeChecker(quick(workers=1), opener=lambda: Broken("bad", times))
    try:
        good, bad, other = judged(checker, [SUM, f"{SUM}  # bad", SUM])
    finally:
        checker.close()
    assert {good.reason, other.reason} == {"tests_passed"}
    if fault:
        message = "the sandbox ended by itself"
        assert bad == Fault(boundary=Boundary.SANDBOX, reason="sandbox_lost", message=message)
    else:
        assert (bad.reason, Broken.opened) == ("tests_passed", 2)


def test_without_a_sandbox_nothing_is_judged():
    """Where no box can be opened the whole check ends, saying so."""

    def opener():
        raise SetupError("This machine has no sandbox: apt-get install bubblewrap")

    checker = CodeChecker(quick(), opener=opener)
    with pytest.raises(SetupError, match="bubblewrap"):
        list(checker.check([item(0, SUM)]))
    checker.close()


class SlowMachine:
    """A real box on a machine that becomes slower: all times are multiplied, and limits reached so much sooner."""

    def __init__(self, factors):
        self._box = open_box(Tier.DEFAULT)
        self.layers = self._box.layers
        self._factors = factors

    def run(self, job, limits):
        """Run with as much less time as the machine is slower."""
        from dataclasses import replace

        factor = next(self._factors)
        run = self._box.run(job, replace(limits, seconds=limits.seconds / factor))
        return replace(run, seconds=run.seconds * factor, wall=run.wall * factor)

    def close(self):
        """End it."""
        self._box.close()


WORKING = "import time\nwhile time.process_time() < 0.6: pass\nprint(sum(map(int, input().split())))"


def one_verdict(factors, program=WORKING):
    """What is said of a program on a machine as slow as that: three known programs first, then a case."""
    machine = SlowMachine(itertools.chain([1.0] * 3, factors))
    tests = Suite(style="stdio", cases=(Case(input="1 2", output="3"),)).encoded()
    checker = CodeChecker(quick(seconds=1.5, workers=1), opener=lambda: machine)
    try:
        return judged(checker, [program], tests)[0]
    finally:
        checker.close()


def test_a_slow_machine_makes_no_program_wrong():
    """A program that is stopped for its time on a slow machine gets as much more time, and is judged by that."""
    assert one_verdict(itertools.repeat(6.0)).reason == "tests_passed"


def test_a_program_without_end_is_wrong_on_a_slow_machine_too():
    """One that takes longer even with the time that it would have had is wrong."""
    assert one_verdict(itertools.repeat(5.0), "while True: pass").reason == "time_limit"


def test_a_machine_that_grows_slower_gives_a_fault():
    """Where the machine is slower at each try nothing is decided: the fault says that it is overloaded."""
    found = one_verdict(6.0**n for n in itertools.count(1) for _ in range(3))
    assert isinstance(found, Fault)
    assert (found.boundary, found.reason) == (Boundary.SANDBOX, "overloaded")
    assert "times as long" in found.message


class BusyMachine:
    """A real box of which each program waits for a core for a minute, though the machine is as quick as ever after."""

    def __init__(self, waited):
        self._box = open_box(Tier.DEFAULT)
        self.layers = self._box.layers
        self._waited = waited

    def run(self, job, limits):
        """Run, and say that it took a minute; known programs are run as they are."""
        from dataclasses import replace

        run = self._box.run(job, limits)
        return replace(run, wall=run.wall + 60.0, waited=self._waited) if job.stdin else run

    def close(self):
        """End it."""
        self._box.close()


@pytest.mark.parametrize(("waited", "reason"), [(60.0, "tests_passed"), (0.0, "time_limit")])
def test_waiting_for_a_core_is_not_the_programs_time(waited, reason):
    """Of the time of all tests it costs a program nothing that others had its core; that it slept does."""
    checker = CodeChecker(quick(total_seconds=20.0, workers=1), opener=lambda: BusyMachine(waited))
    try:
        assert judged(checker, [TINY], many_cases(3))[0].reason == reason
    finally:
        checker.close()


def test_a_standstill_is_felt():
    """A process that was stopped for a second knows it."""
    pulse = Pulse()
    pulse.start()
    try:
        stopper = f"import os, time; os.kill({os.getpid()}, 19); time.sleep(1.2); os.kill({os.getpid()}, 18)"
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", stopper], check=True)
        assert 1.0 <= pulse.lost(time.monotonic() - start) <= time.monotonic() - start
        time.sleep(1.0)
        assert pulse.lost(0.05) == 0
    finally:
        pulse.stop()


def resident():
    """This process's memory, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_steady(checker):
    """A thousand programs more take no more memory here, and leave no process."""
    tests = [many_cases(1 + n % 3) for n in range(50)]

    def run(count):
        items = (item(key, TINY + "#" * (key % 1000), tests[key % 50]) for key in range(count))
        assert sum(verdict.reason == "tests_passed" for _, verdict in checker.check(items)) == count

    run(300)
    before, processes = resident(), len(children())
    run(1000)
    assert resident() - before < 8
    assert len(children()) == processes
