"""Weaknesses that attacks on the sandbox and the judge have found: each stays closed."""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

import pytest

from code_world import needs_sandbox
from gradatim.checkers.code import values
from gradatim.checkers.code.extraction import extract
from gradatim.checkers.sandbox import Ending, Job, Limits, SandboxError, Tier, open_box
from gradatim.checkers.sandbox.box import ForkServer
from gradatim.checkers.sandbox.command import Plan, command
from gradatim.checkers.sandbox.inside import plain
from gradatim.errors import SetupError
from gradatim.suite import Suite

LIMITS = Limits(seconds=10.0, memory_mb=256)
PRIME = 2**61 - 1
"""All its multiples have the hash 0."""

CHANGES = """\
import os
for change in (
    lambda: os.chmod(P, 0o777), lambda: os.utime(P, (0, 0)), lambda: os.truncate(P, 0), lambda: os.remove(P),
    lambda: os.rename(P, P + "x"), lambda: os.link(P, P + "x"), lambda: open(P), lambda: os.setxattr(P, "user.x", b"x"),
):
    try:
        change()
    except OSError:
        continue
    print("changed")
"""


@pytest.fixture(scope="module")
def box():
    """A box of the default tier."""
    opened = open_box(Tier.DEFAULT)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def bare():
    """A box as it is where there is no bubblewrap."""
    opened = ForkServer(Plan(bubblewrap="", namespaces=False, landlock=True, seccomp=True))
    yield opened
    opened.close()


def flood(shape: str, count: int) -> str:
    """The text of a value whose items all have one hash."""
    numbers = [f'{{"i":"{PRIME * (place + 8):x}"}}' for place in range(count)]
    if shape == "d":
        return f'{{"d":[{",".join(f"[{number},0]" for number in numbers)}]}}'
    if shape == "tuples":
        return f'{{"s":[{",".join(f"""{{"t":[{number}]}}""" for number in numbers)}]}}'
    return f'{{"{shape}":[{",".join(numbers)}]}}'


@pytest.mark.parametrize("shape", ["s", "z", "d", "tuples"])
def test_a_value_of_one_hash_is_refused_in_time(shape):
    """A program that chooses its integers so that a table of them takes hours to build is refused in seconds."""
    start = time.process_time()
    with pytest.raises(ValueError, match="too many items of one hash"):
        plain.read(flood(shape, 100_000))
    assert time.process_time() - start < 5


def test_honest_tables_are_read():
    """Large sets and dicts of numbers and texts come through as they are."""
    numbers = random.Random(1).sample(range(-(10**12), 10**12), 50_000)
    for value in (
        set(numbers),
        dict.fromkeys(map(str, numbers), 1.5),
        frozenset(range(100_000)),
        {(a, -a) for a in numbers},
    ):
        assert plain.read(plain.written(value, 1 << 24)) == value


def test_a_value_of_very_many_containers_is_refused():
    """Sixteen megabytes of text that would be half a gigabyte of objects are not made into objects."""
    with pytest.raises(ValueError, match="too many containers"):
        plain.read("[" + ",".join(['{"s":[]}'] * 1_000_000) + "]")
    assert len(plain.read("[" + ",".join(["[1,2]"] * 300_000) + "]")) == 300_000


def test_the_marks_of_a_quotation_take_linear_time():
    """A million marks before a fence and before each line cost no more than seconds."""
    marks = ">" * 1_000_000
    start = time.process_time()
    assert extract(f"{marks}```python\n{marks}print(6)\n```\n").text == "print(6)\n"
    assert time.process_time() - start < 10


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "passed"),
    [("def f(x):\n    if x < 0: raise ValueError\n    return x", [True]), ("def f(x): return x", [True, False])],
)
def test_a_call_that_is_to_raise_and_does_not_fails(box, program, passed):
    """`assert False` after a call that is to raise fails where it is reached, and is none where it is not."""
    code = "assert f(6) == 6\ntry:\n    f(-1)\n    assert False, 'raises'\nexcept ValueError:\n    assert True\n"
    run = box.run(Job(style="assert", program=program, code=code, entries=("f",)), LIMITS)
    assert (run.ending, [one.passed for one in run.assertions]) == (Ending.FINISHED, passed)


@needs_sandbox
def test_a_module_that_the_program_lacks_is_not_the_suites_fault(box):
    """A program that says outside of an assertion that a module is missing has failed; it is not left undecided."""
    program = "def f(x):\n    import no_such_module"
    run = box.run(Job(style="assert", program=program, code="got = f(1)\nassert got == 1", entries=("f",)), LIMITS)
    assert run.ending is Ending.EXCEPTION
    assert "no_such_module" in run.error
    run = box.run(Job(style="assert", program=program, code="import no_such\nassert f(1)", entries=("f",)), LIMITS)
    assert run.ending is Ending.SUITE


@needs_sandbox
@pytest.mark.parametrize("style", ["stdio", "call", "assert"])
def test_a_process_that_cannot_be_made_ready_is_our_fault(box, style):
    """What fails before the program is begun is a fault; a program that ends with the same status has failed."""
    job = Job(style=style, program="def f(): return 6", function="f", code="assert f() == 6", entries=("f",))
    with pytest.raises(SandboxError) as caught:
        # No limit can be that.
        box.run(job, Limits(open_files=-(1 << 70)))
    assert caught.value.reason == "sandbox_start"
    run = box.run(Job(style="stdio", program="import os\nos._exit(70)"), LIMITS)
    assert run.ending is Ending.EXCEPTION


@needs_sandbox
def test_a_box_with_more_left_in_it_than_can_be_cleared_is_replaced(box):
    """What cannot be removed costs nothing but the start of another box, and the next program finds an empty folder."""
    if "bubblewrap" not in box.layers:
        pytest.skip("without bubblewrap there is no folder to write")
    for program in (
        "import os\nos.mkdir('a', 0o300)\nos.chdir('a')\nos.mkdir('b', 0o100)\nprint(6)",
        "import os\nfor _ in range(1200): os.mkdir('d' * 200), os.chdir('d' * 200)\nprint(6)",
    ):
        assert box.run(Job(style="stdio", program=program), LIMITS).stdout == b"6\n"
        assert box.run(Job(style="stdio", program="import os\nprint(os.listdir())"), LIMITS).stdout == b"[]\n"


@needs_sandbox
def test_files_of_the_user_keep_their_mode_and_times(bare):
    """Without bubblewrap, a program that runs as the owner of a file changes neither its mode nor its times."""
    victim = Path(tempfile.gettempdir()) / f"gradatim-victim-{os.getpid()}"
    victim.write_text("kept", encoding="utf-8")
    try:
        if os.geteuid() == 0:
            os.chown(victim, 65534, 65534)
        victim.chmod(0o600)
        before = victim.stat()
        run = bare.run(Job(style="stdio", program=f"P = {str(victim)!r}\n{CHANGES}"), LIMITS)
        assert (run.ending, run.stdout) == (Ending.FINISHED, b"")
        after = victim.stat()
        assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
            before.st_mode,
            before.st_mtime_ns,
            before.st_ctime_ns,
        )
    finally:
        victim.unlink()


def test_packages_beside_the_standard_library_are_not_to_be_read():
    """Without bubblewrap, what may be read is named part by part: not the folder in which packages are installed."""
    line = " ".join(command(Plan(bubblewrap="", namespaces=False, landlock=True, seccomp=True)))
    assert "site-packages" not in line
    assert "dist-packages" not in line
    assert f"{Path(os.__file__).parent}/json" in line.replace(sys.prefix, sys.base_prefix)


@pytest.mark.alone
@needs_sandbox
def test_time_is_counted_of_a_program_killed_with_its_namespaces():
    """In the strict tier too, a program that is ended for its time has used it."""
    try:
        strict = open_box(Tier.STRICT)
    except SetupError as error:
        pytest.skip(str(error))
    try:
        run = strict.run(Job(style="stdio", program="while True: pass"), Limits(seconds=0.5))
    finally:
        strict.close()
    assert run.ending is Ending.TIME
    assert run.seconds > 0.3


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_a_value_much_larger_than_the_wanted_one_is_compared_in_time(tolerance):
    """Where the order does not count, six million numbers for fifty are wrong before they are sorted."""
    suite = Suite(style="call", function="f", unordered=True, tolerance=tolerance)
    got = [[[[0] * 50 for _ in range(50)] for _ in range(50)] for _ in range(50)]
    start = time.process_time()
    assert values.difference(suite, [1] * 50, got) is not None
    assert time.process_time() - start < 2


@needs_sandbox
@pytest.mark.parametrize("error", ["StopIteration", "StopAsyncIteration", "type('S', (StopIteration,), {})"])
def test_a_program_cannot_end_the_cases_of_its_tests(box, error):
    """A program that raises `StopIteration` does not end the iteration over cases that test code is in."""
    code = "cases = [(1, 2), (3, 4)]\nassert all(map(lambda case: f(case[0]) == case[1], cases))\n"
    program = f"def f(x):\n    raise {error}"
    run = box.run(Job(style="assert", program=program, code=code, entries=("f",)), LIMITS)
    assert [one.passed for one in run.assertions] == [False]
