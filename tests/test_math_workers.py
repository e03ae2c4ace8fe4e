"""The symbolic workers: killed at the deadline, limited in memory, replaced when they die, gone after `close`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradatim.checkers import Item
from gradatim.checkers.math import MathChecker
from gradatim.types import Boundary, Fault, Outcome

SYMBOLIC = (r"\tan^2(y)+1", r"\sec^2(y)")
SLOW = ("10^{10^{10^{10}}}", r"10^{10}+\sin(1)")
CODE = [
    "__import__('os').system('touch {marker}') or 0",
    "open('{marker}', 'w').write('x') or 0",
    r"\text{{__import__('os').system('touch {marker}')}}",
    "getattr(__import__('pathlib').Path('{marker}'), 'touch')()",
    "(lambda: open('{marker}', 'w'))()",
    "[open('{marker}', 'w') for _ in [0]]",
    "eval(\"open('{marker}', 'w')\")",
    r"\operatorname{{__import__('os').system('touch {marker}')}}",
    r"\sqrt{{__import__('os').system('touch {marker}')}}",
    r"x_{{__import__('os').system('touch {marker}')}}",
    r"\sin(__import__('os').system('touch {marker}'))",
    'S(\'__import__("os").system("touch {marker}")\')',
    'sympify(\'open("{marker}","w")\')',
    "1; import os; os.system('touch {marker}')",
    "$(touch {marker})",
    "`touch {marker}`",
    r"\input{{|touch {marker}}}",
    r"\write18{{touch {marker}}}",
]


def _children() -> set[int]:
    """Return the process ids of this process's descendants."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listing.splitlines())}
    found: set[int] = set()
    new = {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return {pid for pid in found if Path(f"/proc/{pid}/cmdline").exists() and b"worker" in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def checker():
    checker = MathChecker(deadline=1.5, memory_mb=700, workers=1, cache=0)
    yield checker
    checker.close()


def _settle(checker, count=1):
    """Pump until the checker has answered one symbolic pair, so that its worker is warm."""
    for _ in range(count):
        assert checker.compare(*SYMBOLIC).outcome is Outcome.CORRECT


def test_no_process_without_need():
    """Making a checker and deciding by exact paths starts no process and imports no sympy."""
    code = (
        "import sys; from gradatim.checkers.math import MathChecker; c = MathChecker(); c.version\n"
        r"print(c.compare('\\frac{1}{2}', '0.5').outcome, 'sympy' in sys.modules, c._pool.pids())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.split() == ["correct", "False", "[]"]


def _environment():
    source = str(Path(__file__).parents[1] / "src")
    return {**os.environ, "PYTHONPATH": source}


def test_deadline_is_kept_and_siblings_go_on(checker):
    """A pair that never ends is undecided within a second after its deadline, and the next one is decided."""
    _settle(checker)
    start = time.monotonic()
    slow = checker.compare(*SLOW)
    assert (slow.outcome, slow.reason) == (Outcome.UNDECIDED, "timeout")
    assert time.monotonic() - start < 2.5
    start = time.monotonic()
    _settle(checker)
    assert time.monotonic() - start < 1.0


def test_memory_is_limited(checker):
    """A pair that wants gigabytes is undecided, and does not get them."""
    verdict = checker.compare("10^{10^{10}}!", r"\sin(1)")
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, "out_of_memory")
    _settle(checker)


def test_a_killed_child_costs_nothing():
    """SIGKILL in the middle of a pair: it is tried once more and decided, and so are its siblings."""
    checker = MathChecker(deadline=30.0, workers=1, cache=0)
    _settle(checker)
    pool = checker._pool
    job = pool.submit(r"\sin(x)^2+\cos(x)^2+\tan(y)^2", r"\sec(y)^2")
    other = pool.submit(*SYMBOLIC)
    pool._feed()
    os.kill(pool.pids()[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not (job.done and other.done) and time.monotonic() < deadline:
        pool.pump(0.5)
    assert (job.found, other.found) == ("yes", "yes")
    assert job.tries == 2
    checker.close()


def test_a_child_that_keeps_dying_is_a_fault():
    """A pair over which two workers die is a fault of the checker: no verdict, and the rest is decided."""
    checker = MathChecker(deadline=30.0, workers=1, cache=0)
    _settle(checker)
    pool = checker._pool
    job = pool.submit("10^{10^{10^{10}}}+x", r"\sin(1)")
    killed: list[int] = []
    deadline = time.monotonic() + 20
    while not job.done and time.monotonic() < deadline:
        pool.pump(0.05)
        for slot in pool._slots:
            if slot.job is job and slot.child not in killed:
                os.kill(slot.child, signal.SIGKILL)
                killed.append(slot.child)
    assert (job.found, job.reason) == ("fault", "worker_crash")
    _settle(checker)
    checker.close()


def test_a_killed_worker_is_replaced():
    """When the whole worker process is killed, its pair is decided by the next one."""
    checker = MathChecker(deadline=30.0, workers=1, cache=0)
    _settle(checker)
    os.killpg(checker._pool._slots[0].process.pid, signal.SIGKILL)
    _settle(checker)
    checker.close()


def test_a_worker_that_cannot_start_is_a_fault(monkeypatch):
    """Without a worker, a pair that needs one is a fault that says what to try; quick pairs are decided anyway."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    checker = MathChecker(workers=1)
    items = [
        Item(key=1, answer=r"\boxed{\sec^2(y)}", reference=r"\tan^2(y)+1"),
        Item(key=2, answer=r"\boxed{2}", reference="2"),
    ]
    results = dict(checker.check(items))
    assert isinstance(results[1], Fault)
    assert (results[1].boundary, results[1].reason) == (Boundary.CHECKER, "worker_start")
    assert results[2].outcome is Outcome.CORRECT
    checker.close()


def test_an_exception_for_one_item_is_its_fault(monkeypatch):
    """An exception in our own code over one item is that item's fault, and stops no sibling."""
    from gradatim.checkers.math import checker as module

    def broken(text):
        if text == "13":
            raise ZeroDivisionError("made up")
        return text

    monkeypatch.setattr(module, "normalise", broken)
    checker = MathChecker()
    results = dict(checker.check(Item(key=key, answer=f"#### {key}", reference=str(key)) for key in (12, 13, 14)))
    assert isinstance(results[13], Fault)
    assert "ZeroDivisionError" in results[13].message
    assert {results[12].outcome, results[14].outcome} == {Outcome.CORRECT}


def test_no_process_remains():
    """After `close`, busy or idle, no worker process is left; the checker can then be used again."""
    before = _children()
    checker = MathChecker(deadline=30.0, workers=2, cache=0)
    _settle(checker)
    checker._pool.submit(*SLOW)
    checker._pool.submit(*SLOW)
    end = time.monotonic() + 10
    while len(checker._pool.pids()) < 2 and time.monotonic() < end:
        checker._pool.pump(0.2)
    assert len(_children() - before) >= 3
    checker.close()
    assert _children() <= before
    _settle(checker)
    checker.close()
    assert _children() <= before


def test_workers_end_with_a_killed_parent():
    """When the calling process is killed, its workers end by themselves."""
    code = (
        "import os, signal; from gradatim.checkers.math import MathChecker; c = MathChecker(workers=1)\n"
        r"c.compare('\\tan^2(y)+1', '\\sec^2(y)'); print(c._pool.pids()[0], c._pool._slots[0].process.pid, flush=True)"
        "\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=_environment())
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    end = time.monotonic() + 10
    while any(b"worker" in _command(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(b"worker" in _command(pid) for pid in pids)


def test_check_reads_a_bounded_number_ahead():
    """Items are read as verdicts are taken: at most 64 wait for workers, however many there are."""
    read = 0

    def items():
        nonlocal read
        for key in range(1000):
            read += 1
            yield Item(key=key, answer=rf"\boxed{{\sec^2(y)+{key}}}", reference=rf"\tan^2(y)+1+{key}")

    checker = MathChecker(workers=1)
    results = checker.check(items())
    next(results)
    assert read <= 65
    results.close()
    checker.close()


def test_quick_pairs_overtake_slow_ones():
    """A slow pair holds up nothing: the quick ones behind it come first."""
    items = [Item(key=0, answer=rf"\boxed{{{SLOW[1]}}}", reference=SLOW[0])]
    items += [Item(key=key, answer=rf"\boxed{{{key}}}", reference=str(key)) for key in range(1, 200)]
    checker = MathChecker(deadline=1.0, workers=1)
    keys = [key for key, _ in checker.check(items)]
    assert sorted(keys) == list(range(200))
    assert keys[-1] == 0
    checker.close()


def test_repeated_pairs_cost_one_job():
    """The same pair asked many times, at once or later, is worked on once."""
    checker = MathChecker(workers=1)
    items = [Item(key=key, answer=r"\boxed{\sec^2(y)}", reference=r"\tan^2(y)+1") for key in range(50)]
    assert {verdict.outcome for _, verdict in checker.check(items)} == {Outcome.CORRECT}
    assert {verdict.outcome for _, verdict in checker.check(items)} == {Outcome.CORRECT}
    assert checker._pool._keys == 1
    checker.close()


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize(
    "shape", ["{}", r"\boxed{{{}}}", "#### {}", "The answer is {}", r"\sin({})", "({}, 1)", "x = {}"]
)
def test_model_text_is_never_run(code, shape, tmp_path, shared_checker):
    """Python, shell and TeX in an answer or a reference leave no mark on the disk."""
    marker = tmp_path / "marker"
    text = shape.format(code.format(marker=marker))
    list(shared_checker.check([Item(key=0, answer=text, reference="0"), Item(key=1, answer="#### 0", reference=text)]))
    assert not marker.exists()


@pytest.fixture(scope="module")
def shared_checker():
    checker = MathChecker(deadline=3.0, workers=1)
    yield checker
    checker.close()
