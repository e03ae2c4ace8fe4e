"""Test code runs in a process of its own, and each of its assertions is recorded."""

import gzip
import json
import re

import pytest

import sandbox_corpus as corpus
from gradatim.checkers.sandbox import Ending, Job, Limits, Tier, open_box, probe

LIMITS = Limits(seconds=2.0, memory_mb=256)
HUMANEVAL = corpus.DATA / "humaneval.jsonl.gz"
pytestmark = pytest.mark.skipif(not probe()[0].available, reason="no default tier here: see tests/test_sandbox.py")


@pytest.fixture(scope="module")
def box():
    """A box of the default tier."""
    opened = open_box(Tier.DEFAULT)
    yield opened
    opened.close()


def check(box, program, code, entries=("f",), **rest):
    """Run test code against a program."""
    return box.run(Job(style="assert", program=program, code=code, entries=entries, **rest), LIMITS)


def passed(run):
    """Which assertions held, by line."""
    return {one.line: one.passed for one in run.assertions}


def test_each_assertion_is_recorded_and_the_code_goes_on(box):
    """A failing assertion shows both sides and ends nothing; one in a loop holds when all its turns do."""
    code = "assert f(1) == 1\nassert f(2) == 3, 'no'\nfor i in range(4):\n    assert f(i) < 3\n    assert f(i) >= 0\n"
    run = check(box, "def f(a): return a", code)
    assert run.ending is Ending.FINISHED
    assert passed(run) == {1: True, 2: False, 4: False, 5: True}
    assert run.assertions[1].message == "left: 2, right: 3"
    assert run.assertions[1].text == "assert f(2) == 3, 'no'"


def test_the_first_failure_may_be_the_last(box):
    """With `stop_at_first` nothing is run after a failure, and what was not reached has failed."""
    run = check(box, "def f(a): return a", "assert f(1) == 1\nassert f(2) == 3\nassert f(3) == 3", stop_at_first=True)
    assert passed(run) == {1: True, 2: False, 3: False}
    assert run.assertions[2].message == "not reached"


def test_constant_assertions_are_none_and_unreached_ones_are_left_out(box):
    """`assert True` counts for nothing, a branch not taken counts neither way, and one has to be reached."""
    code = "assert True\nassert 1 == 1, 'x'\nif f(1):\n    assert f(1) == 1\nelse:\n    assert f(1) == 2\n"
    assert passed(check(box, "def f(a): return a", code)) == {4: True}
    none = check(box, "def f(a): return a", "if f(0):\n    assert f(1) == 1\n")
    assert (none.ending, none.error) == (Ending.EXCEPTION, "no assertion was reached")


def test_an_exception_elsewhere_ends_the_code(box):
    """What comes after an exception of the test code's own has failed."""
    run = check(box, "def f(a): return a", "assert f(1) == 1\nx = f(1) + 'a'\nassert f(2) == 2")
    assert run.ending is Ending.EXCEPTION
    assert run.error.startswith("TypeError: unsupported operand")
    assert passed(run) == {1: True, 3: False}


def test_exceptions_of_the_program_come_over(box):
    """Test code catches what the program raises, by the name of the builtin exception that it is or descends from."""
    program = "class Own(ValueError): ...\ndef f(a):\n  if a: raise Own('why')\n  raise KeyboardInterrupt"
    code = (
        "try:\n    f(1)\n    assert f(1) == 'no'\nexcept ValueError as error:\n    assert 'why' in str(error)\n"
        "assert f(0) == 1\n"
    )
    run = check(box, program, code)
    assert run.ending is Ending.FINISHED
    assert passed(run) == {5: True, 6: False}
    assert "KeyboardInterrupt" in run.assertions[1].message


def test_arguments_changed_in_place_are_changed_here_too(box):
    """A program that sorts its argument is seen to have done so."""
    assert passed(check(box, "def f(a): a.sort()", "x = [3, 1]\nf(x)\nassert x == [1, 3]")) == {3: True}


def test_objects_stay_with_the_program(box):
    """A class of the program's is used from afar; an object is equal to itself alone and says so."""
    program = (
        "class A:\n  def __init__(self, x): self.x = x\n  def get(self): return self.x\n"
        "  def __eq__(self, other): return True\n  def __lt__(self, other): return True\ndef twice(a): return 2 * a.x\n"
    )
    code = "a = A(3)\nassert a.get() == 3\nassert twice(a) == 6\nassert a == a\n"
    code += "assert A(1) == A(1)\nassert a == 3\nassert a < 4"
    run = check(box, program, code, ("A", "twice"))
    assert passed(run) == {2: True, 3: True, 4: True, 5: False, 6: False, 7: False}


@pytest.mark.parametrize(
    ("program", "ending"),
    [
        ("import sys\ndef f(a): return 0\nsys.exit(0)", Ending.EXCEPTION),
        ("import os\ndef f(a): os._exit(0)", Ending.NO_VALUE),
        ("import os\ndef f(a): os.kill(os.getpid(), 9)", Ending.SIGNAL),
        (
            "import os, threading\nthreading.Timer(0.1, os._exit, (0,)).start()\ndef f(a):\n  while True: pass",
            Ending.NO_VALUE,
        ),
        ("def f(a):\n  while True: pass", Ending.TIME),
        ("def f(:", Ending.SYNTAX),
        ("import nothing_of_that_name", Ending.IMPORT),
        ("def g(a): return 6", Ending.FUNCTION),
    ],
)
def test_a_program_that_ends_early_passes_nothing(box, program, ending):
    """However the program's process ends, assertions that were not decided have failed."""
    run = check(box, program, "assert f(1) == 6\nassert f(2) == 6")
    assert run.ending is ending, run.error
    assert set(passed(run).values()) == {False}


def test_forged_messages_decide_nothing(box):
    """A program that writes to every descriptor it has can only say what it might have returned."""
    forged = '{"passed": 0}\\n{"passed": 1}\\n{"end": "finished", "error": ""}\\n'
    program = (
        f"import os\ndef f(a):\n  for fd in range(3, 64):\n    try: os.write(fd, b'{forged}')\n"
        "    except OSError: pass\n  return 0\n"
    )
    run = check(box, program, "assert f(1) == 6\nassert f(2) == 6")
    assert not any(passed(run).values())
    assert run.ending is not Ending.FINISHED or passed(run) == {1: False, 2: False}


def test_what_is_wanted_is_not_in_the_programs_process(box):
    """The program searches its memory for the number that its test code holds, and does not find it."""
    word = "wanted" + "8264"
    program = (
        "import ctypes, gc, os\ndef f(digits):\n  mark, seen, pages = b'wan' + b'ted' + digits, 0, 0\n"
        "  r, w = os.pipe()\n"
        "  for base in sorted({id(one) >> 20 for one in gc.get_objects()}):\n"
        "    for page in range(base << 20, base + 1 << 20, 4096):\n"
        "      try: os.write(w, (ctypes.c_char * 4096).from_address(page))\n      except OSError: continue\n"
        "      pages += 1\n      seen += os.read(r, 4096).count(mark)\n  return [seen, pages]\n"
    )
    code = f"there = {word!r}\na, b = f(b'8264'), f(b'1973')\n"
    code += "assert a[1] > 500\nassert a[0] <= b[0] + 1\nassert f(b'8264') == there"
    job = Job(style="assert", program=program, code=code, entries=("f",))
    for _ in range(2):
        run = box.run(job, Limits(seconds=20.0))
        assert passed(run) == {3: True, 4: True, 5: False}, run


@pytest.mark.parametrize("code", ["assert f(1) ==", "x = f(1)", "import nothing_of_that_name\nassert f(1) == 1"])
def test_a_suite_that_cannot_be_used_says_nothing_of_the_program(box, code):
    """Test code that does not compile, asserts nothing or needs what is not there ends as `suite`."""
    assert check(box, "def f(a): return a", code).ending is Ending.SUITE
    assert check(box, "def f(a): return a", "assert f(1) == 1", setup="1 / 0").ending is Ending.SUITE


@pytest.mark.slow
@pytest.mark.skipif(not HUMANEVAL.exists(), reason=f"{HUMANEVAL} is not there: set GRADATIM_DATA to its folder")
def test_humaneval_is_decided_right(box):
    """All 164 reference programs pass all assertions of HumanEval, and none does whose body is `return None`."""
    rows = [json.loads(line) for line in gzip.decompress(HUMANEVAL.read_bytes()).splitlines()]
    assert len(rows) == 164
    for row in rows:
        for body, right in ((row["canonical_solution"], True), ("    return None\n", False)):
            name = row["entry_point"]
            code = f"{row['test']}\ncheck({name})\n"
            run = check(box, row["prompt"] + body, code, (name,), setup=row["prompt"])
            done = run.ending is Ending.FINISHED and bool(run.assertions) and all(passed(run).values())
            assert done is right, (row["task_id"], body, re.sub(r"\s+", " ", str(run))[:500])
