"""What the checker of programs says of programs, each run in the real sandbox."""

import json

import pytest

from code_world import ADD, SUM, fenced, item, judged, many_cases, needs_sandbox, quick
from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker, Reference, Rules
from gradatim.errors import UsageError
from gradatim.suite import Case, Suite
from gradatim.types import Outcome

pytestmark = needs_sandbox

CALL = Suite(style="call", function="f", cases=(Case(input=[[1, 2]], output=[2, 1]), Case(input=[[]], output=[])))
TESTS = "assert f([1, 2]) == [2, 1]\nassert f([]) == []\n"
ASSERT = Suite(style="assert", code=TESTS, entries=("f",))
STDIO = Suite(style="stdio", cases=(Case(input="[1, 2]", output="[2, 1]"), Case(input="[]", output="[]")))
READ = "\nimport json\nprint(json.dumps(f(json.loads(input()))))\n"


@pytest.fixture(scope="module")
def checker():
    """A checker with a time limit of a second."""
    checker = CodeChecker(quick())
    yield checker
    checker.close()


@pytest.mark.parametrize(
    ("program", "reason", "passed"),
    [
        (SUM, "tests_passed", 2),
        (
            "import sys\na, b = map(int, sys.stdin)if 0 else map(int, input().split())\nprint(a + b, end='  ')",
            "tests_passed",
            2,
        ),
        ("print(3)", "wrong_answer", 1),
        ("print(3, 3)", "wrong_answer", 0),
        ("import os\nos._exit(0)", "wrong_answer", 0),
        ("1 / 0", "exception", 0),
        (f"{SUM}\nraise SystemExit(3)", "exception", 0),
        ("x =", "syntax_error", 0),
        ("x = 1\x00", "syntax_error", 0),
        ("import no_such_module", "import_missing", 0),
        pytest.param("while True: pass", "time_limit", 0, marks=pytest.mark.alone),
        pytest.param("import time\ntime.sleep(60)", "time_limit", 0, marks=pytest.mark.alone),
        ("x = 'a' * (3 << 30)", "memory_limit", 0),
        ("while True: print('x' * 1000000)", "output_limit", 0),
        ("import os\nos.kill(os.getpid(), 15)", "killed", 0),
    ],
)
def test_every_way_to_fail_has_its_reason(checker, program, reason, passed):
    """The reason is that of the first test that failed, and the tests that passed are counted."""
    verdict = judged(checker, [program])[0]
    assert (verdict.reason, verdict.passed, verdict.total) == (reason, passed, 2)
    assert verdict.outcome is (Outcome.CORRECT if reason == "tests_passed" else Outcome.WRONG)


def test_a_verdict_says_what_was_run_and_what_happened(checker):
    """The detail has the first failing test, time, memory, the sandbox, and where the program stands in the answer."""
    answer = fenced("print(3)")
    ((_, verdict),) = checker.check([Item(key=7, answer=answer, reference="", tests=ADD)])
    detail = json.loads(verdict.detail)
    failed = {"test": 2, "input": "5 6\\n", "expected": "11", "got": "3", "error": "at token 1"}
    assert detail["failed"] == failed
    assert (verdict.answer, verdict.found_by) == ("print(3)\n", "fence")
    assert answer[slice(*detail["span"])] == "print(3)\n"
    assert 0 < detail["seconds"] < 1
    assert 1 < detail["memory_mb"] < 1024
    assert detail["tier"] == "default"
    assert "seccomp" in detail["layers"]


def test_texts_of_a_verdict_are_short_and_printable(checker):
    """Long and unprintable outputs, inputs and programs are shortened and escaped; half characters do no harm."""
    tests = Suite(style="stdio", cases=(Case(input="\x1b[31m" * 1000, output="1" * 100_000),)).encoded()
    programs = [
        "print('\\x1b[2J' + 'y' * 100000)" + "#" * 30_000,
        "print('\ud800')",
        "raise ValueError('\\x07' * 9999)",
    ]
    for verdict in judged(checker, programs, tests):
        detail = json.loads(verdict.detail)
        assert len(verdict.answer) <= 20_000
        verdict.answer.encode("utf-8")
        for text in (value for value in detail["failed"].values() if isinstance(value, str)):
            assert len(text) <= 400
            assert text.isprintable()


def body(program):
    """The same function in the three styles."""
    return [("stdio", STDIO, program + READ), ("call", CALL, program), ("assert", ASSERT, program)]


@pytest.mark.parametrize(
    ("program", "reason", "passed"),
    [
        ("def f(xs): return xs[::-1]", "tests_passed", 2),
        ("def f(xs):\n    xs.reverse()\n    return xs", "tests_passed", 2),
        ("def f(xs): return xs", "wrong_answer", 1),
        ("def f(xs): return None", "wrong_answer", 0),
        ("def f(xs: return", "syntax_error", 0),
        ("import no_such_module\ndef f(xs): return xs[::-1]", "import_missing", 0),
        ("raise ValueError('no')", "exception", 0),
        ("def f(xs): return xs[::-1] if xs else 1 / 0", "exception", 1),
        ("def f(xs): return [0] * (1 << 40)", "memory_limit", 0),
        ("def f(xs):\n    import no_such_module", "import_missing", 0),
        ("def f(xs):\n    import os\n    os.kill(os.getpid(), 15)", "killed", 0),
        pytest.param("def f(xs):\n    while True: pass", "time_limit", 0, marks=pytest.mark.alone),
    ],
)
def test_the_three_styles_agree(checker, program, reason, passed):
    """A program gets the same verdict whether it is called, reads a line, or meets assertions."""
    for style, suite, text in body(program):
        verdict = judged(checker, [text], suite.encoded())[0]
        assert (verdict.reason, verdict.total) == (reason, 2), style
        assert verdict.passed == passed, style


def test_an_assertion_shows_both_sides(checker):
    """Of `assert f(x) == y` the verdict has what came and what is wanted."""
    below = Suite(style="assert", code="assert f(3) < 2\n", entries=("f",)).encoded()
    equal, less = (judged(checker, ["def f(xs): return xs"], tests)[0] for tests in (ASSERT.encoded(), below))
    assert json.loads(less.detail)["failed"] == {"test": 1, "input": "assert f(3) < 2", "error": "left: 3, right: 2"}
    assert json.loads(equal.detail)["failed"] == {
        "test": 1,
        "input": "assert f([1, 2]) == [2, 1]",
        "expected": "[2, 1]",
        "got": "[1, 2]",
    }


def test_a_method_of_solution_is_called_too(checker):
    """In the style `call` the function may be a method of a class `Solution`; one that is not there is told."""
    programs = ["class Solution:\n    def f(self, xs):\n        return tuple(xs[::-1])", "def g(xs): return xs"]
    assert [one.reason for one in judged(checker, programs, CALL.encoded())] == ["tests_passed", "function_missing"]
    assert judged(checker, programs[1:], ASSERT.encoded())[0].reason == "function_missing"


@pytest.mark.parametrize(
    "tests",
    [
        "",
        "{",
        "[]",
        '{"style":"poem"}',
        f'{{"style":"call","function":"f","cases":[{{"output":{"[" * 5000}{"]" * 5000}}}]}}',
        Suite(style="stdio").encoded(),
        Suite(style="call", cases=(Case(input=[1], output=1),)).encoded(),
        Suite(style="assert").encoded(),
        Suite(style="assert", code="assert f(1) ==", entries=("f",)).encoded(),
        Suite(style="assert", code="import nothing_of_that_name\nassert f(1) == 1", entries=("f",)).encoded(),
        Suite(style="assert", code="assert f(1) == 1", entries=("f",), setup="1 / 0").encoded(),
    ],
)
def test_tests_that_cannot_be_read_decide_nothing(checker, tests):
    """A suite that is none, or has no test, leaves the answer undecided."""
    verdict = judged(checker, ["def f(a): return a"], tests)[0]
    assert (verdict.outcome, verdict.reason, verdict.passed) == (Outcome.UNDECIDED, "suite_unreadable", None)


@pytest.mark.parametrize(
    "code", ["assert f([1, 2]) ==", "f([1, 2])", "import not_there\nassert f([]) == []", "if f:\n    pass"]
)
def test_test_code_that_tests_nothing_decides_nothing(checker, code):
    """Test code that does not compile, asserts nothing, or lacks a module of its own says nothing of the program."""
    suite = Suite(style="assert", code=code, entries=("f",)).encoded()
    for program in ("def f(a):\n    return a[::-1]", "def f(a):\n    return None"):
        found = judged(checker, [program], suite)[0]
        assert (found.outcome, found.reason) == (Outcome.UNDECIDED, "suite_unreadable")
        assert json.loads(found.detail)["failed"]["error"]


def test_an_answer_without_a_program_is_wrong(checker):
    """No complete block is the model's failure, and no test was run."""
    answers = ["It is 3.", "```python\nprint(3)", "```text\n3\n```", ""]
    items = [Item(key=key, answer=answer, reference="", tests=ADD) for key, answer in enumerate(answers)]
    for _, verdict in checker.check(items):
        assert (verdict.outcome, verdict.reason, verdict.total) == (Outcome.WRONG, "no_program", None)


def test_the_first_failure_can_end_it():
    """With `first_failure` the rest is not run, and how many would pass is not known of a wrong program."""
    checker = CodeChecker(quick(stop="first_failure"))
    try:
        wrong, right = judged(checker, ["x = input()\nprint(x if x != '1' else 0)", "print(input())"], many_cases(5))
        assert (wrong.reason, wrong.passed, wrong.total) == ("wrong_answer", None, 5)
        assert (right.reason, right.passed, right.total) == ("tests_passed", 5, 5)
    finally:
        checker.close()


@pytest.mark.alone
def test_time_has_an_end():
    """Three cases that took too long end a program, and so does the time of all its tests; what is left has failed."""
    checker = CodeChecker(quick(seconds=0.4, total_seconds=1.0))
    sleeper = "import time\nx = int(input())\ntime.sleep(9 if x > 1 else 0)\nprint(x)"
    busy = "import time\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass\nprint(input())"
    try:
        slept, worked = judged(checker, [sleeper, busy], many_cases(40))
        assert (slept.reason, slept.passed, slept.total) == ("time_limit", 2, 40)
        assert (worked.reason, worked.total) == ("time_limit", 40)
        assert 3 <= worked.passed <= 20
        assert "all tests together" in json.loads(worked.detail)["failed"]["error"]
    finally:
        checker.close()


@pytest.mark.alone
def test_a_question_has_limits_of_its_own(checker):
    """The question's time and memory come before the settings'."""
    slow = "import time\nwhile time.process_time() < 2.5: pass\nprint(input())"
    large = "x = bytearray(300 << 20)\nprint(input())"
    case = (Case(input="1", output="1"),)
    roomy = Suite(style="stdio", cases=case, seconds=20.0).encoded()
    tight = Suite(style="stdio", cases=case, memory_mb=100).encoded()
    assert judged(checker, [slow, large], roomy)[0].reason == "tests_passed"
    assert [one.reason for one in judged(checker, [slow, large], tight)] == ["time_limit", "memory_limit"]


def test_the_whole_answer_can_be_the_program():
    """The rule `whole` runs the answer as it is."""
    checker = CodeChecker(quick(program="whole"))
    try:
        items = [Item(key=0, answer=SUM, reference="", tests=ADD), item(1, SUM)]
        found = {key: (verdict.reason, verdict.found_by) for key, verdict in checker.check(items)}
    finally:
        checker.close()
    assert found == {0: ("tests_passed", "whole"), 1: ("syntax_error", "whole")}


def test_a_reference_is_right_where_one_of_its_programs_is(checker):
    """Programs are tried in order, five at most; the verdict is that of the one that passed, or of the first."""
    bad, good = "def f(xs): return 1", "def f(xs): return xs[::-1]"
    suite = CALL.encoded()
    solutions = {
        0: (good,),
        1: (bad, "x =", good),
        2: ("x =", bad),
        3: (),
        4: (bad,) * 5 + (good,),
        5: (bad,) * 4 + (good,),
    }
    references = [Reference(key=key, suite=suite, solutions=texts) for key, texts in solutions.items()]
    references.append(Reference(key=6, suite="{}", solutions=(good,)))
    found = {key: (index, verdict.reason) for key, index, verdict in checker.check_references(references)}
    assert found == {
        0: (0, "tests_passed"),
        1: (2, "tests_passed"),
        2: (-1, "syntax_error"),
        3: (-1, "no_program"),
        4: (-1, "wrong_answer"),
        5: (4, "tests_passed"),
        6: (-1, "suite_unreadable"),
    }


def test_the_version_names_all_that_may_change_a_verdict():
    """Other limits, another rule or another tier is another checker; more workers are not."""
    other = [
        {"seconds": 2.0}, {"total_seconds": 9.0}, {"memory_mb": 1}, {"output_kb": 1},
        {"program": "whole"}, {"stop": "first_failure"}, {"sandbox": "strict"},
    ]  # fmt: skip
    versions = [CodeChecker(Rules(**rules)).version for rules in [{}, *other]]
    assert len(set(versions)) == len(versions)
    assert CodeChecker(Rules(workers=7)).version == versions[0]


@pytest.mark.parametrize("name", ["seconds", "total_seconds", "memory_mb", "output_kb", "workers"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_that_let_nothing_run_are_refused(name, value):
    """A limit of nothing, less or no number is a wrong setting, and named, before anything starts."""
    with pytest.raises(UsageError, match=rf"\[verify.code\] {name} is a number above 0"):
        Rules(**{name: value})
