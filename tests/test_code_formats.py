"""Code data sets are recognised by their columns, and every row becomes a question with its tests, or a reason."""

from __future__ import annotations

import csv
import json
import os
import textwrap
from pathlib import Path

import msgspec
import pytest

from code_rows import (
    ADDS,
    CALLS,
    METHOD,
    READS,
    STARTER,
    STDIO,
    codecontests,
    codeforces,
    humaneval,
    livecodebench,
    mbpp,
    mbpp_sanitized,
    outputs,
    read,
    suite,
    taco,
)
from gradatim.errors import UsageError
from gradatim.formats import tasks
from gradatim.formats.code import TOLERANCE
from gradatim.formats.fields import QuestionFields, question_fields
from gradatim.formats.presets import recognise
from gradatim.formats.read import rows
from gradatim.formats.row import Row
from gradatim.suite import Case, Suite, decoded
from gradatim.types import Domain
from pools import write_rows

DATA = Path(os.environ.get("GRADATIM_DATA") or Path(__file__).parents[2] / "shared" / "data")
HUMANEVAL = DATA / "humaneval.jsonl.gz"
TEXT_CASES = tuple(Case(input=given, output=wanted) for given, wanted in STDIO)
CALL_CASES = tuple(Case(input=given, output=wanted) for given, wanted in CALLS)
STDIN = Suite(style="stdio", cases=TEXT_CASES)
CALLED = Suite(style="call", function="add", cases=CALL_CASES)
STUB = humaneval()["prompt"]


SAME = {
    "livecodebench, packed": ("livecodebench", livecodebench(), STDIN),
    "livecodebench, JSON": ("livecodebench", livecodebench(private=json.dumps), STDIN),
    "livecodebench, lists": ("livecodebench", livecodebench(private=list), STDIN),
    "livecodebench, functional": ("livecodebench", livecodebench("add"), CALLED),
    "taco": ("taco", taco(), Suite(style="stdio", cases=TEXT_CASES, seconds=2.0, memory_mb=256)),
    "apps": ("taco", taco(time_limit=None, memory_limit=None), STDIN),
    "taco, function": ("taco", taco("add"), CALLED),
    "taco, function, wrapped": ("taco", taco("add", wrap=True), CALLED),
    "codeforces": ("codeforces", codeforces(), Suite(style="stdio", cases=TEXT_CASES, seconds=1.0, memory_mb=256)),
    "codecontests": (
        "codecontests",
        codecontests(),
        Suite(style="stdio", cases=TEXT_CASES, seconds=1.5, memory_mb=244),
    ),
}


@pytest.mark.parametrize(("name", "row", "wanted"), SAME.values(), ids=SAME)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet", ".csv"])
def test_the_same_question_of_any_data_set_has_the_same_tests(tmp_path, name, row, wanted, ending):
    """The same cases come out of each data set's form, whichever file it stands in; what decides is not kept twice."""
    path = written(tmp_path / f"pool{ending}", row)
    (found,) = rows(str(path))
    preset = recognise([found])
    assert (preset.name, preset.domain) == (name, Domain.CODE)
    question = question_fields(found, preset)
    assert isinstance(question, QuestionFields), question
    wanted = msgspec.structs.replace(wanted, tolerance=TOLERANCE[name] if wanted.style == "stdio" else 0.0)
    assert decoded(question.tests) == wanted
    assert question.reference == wanted.reference()
    assert question.prompt.startswith(("Add two numbers.\n", "# Sum\n\nAdd two numbers.\n"))
    assert not {"private_test_cases", "input_output", "official_tests", "public_tests", "solutions"} & set(
        json.loads(question.extra)
    )
    assert "difficulty" in json.loads(question.extra) or name == "codeforces"


def written(path: Path, row: dict) -> Path:
    """A file with one row, in the format that its name says; in CSV, lists and objects are JSON."""
    if path.name.endswith(".parquet"):
        parquet = pytest.importorskip("pyarrow.parquet")
        arrow = pytest.importorskip("pyarrow")
        parquet.write_table(arrow.Table.from_pylist([row]), path)
    elif path.name.endswith(".csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(row)
            writer.writerow(
                "" if one is None else one if isinstance(one, str) else json.dumps(one) for one in row.values()
            )
    elif path.name.endswith(".gz"):
        import gzip

        path.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    else:
        write_rows(path, [row])
    return path


@pytest.mark.skipif(not HUMANEVAL.exists(), reason=f"the real data is not in {DATA}: set GRADATIM_DATA to its folder")
def test_all_of_humaneval_is_read():
    """Each of the 164 questions has its stub, its test code and a reference that starts with the stub."""
    pool = list(rows(str(HUMANEVAL)))
    preset = recognise(pool[:50])
    assert preset.name == "humaneval"
    found = [question_fields(row, preset) for row in pool]
    assert len({one.prompt for one in found}) == len({one.reference for one in found}) == 164
    for row, one in zip(pool, found, strict=True):
        kept = decoded(one.tests)
        assert (kept.style, kept.entries) == ("assert", (row.data["entry_point"],))
        assert kept.setup == row.data["prompt"]
        assert kept.code.endswith(f"\ncheck({row.data['entry_point']})\n")
        assert one.solutions == (one.solution,) == (row.data["prompt"] + row.data["canonical_solution"],)
        assert json.loads(one.extra) == {"task_id": row.data["task_id"], "entry_point": row.data["entry_point"]}


def test_humaneval_without_a_solution_is_read():
    """The canonical solution may be missing."""
    found = read(humaneval(canonical_solution=None))
    assert (found.solutions, found.solution) == ((), "")


@pytest.mark.parametrize("row", [mbpp(), mbpp_sanitized()], ids=["full", "sanitized"])
def test_mbpp_asks_for_the_names_that_its_tests_use(row):
    """Functions of the reference that tests use are wanted; the tests are shown, and challenge tests left aside."""
    found = read(row)
    kept = decoded(found.tests)
    assert kept == Suite(style="assert", entries=("add",), setup="import math", code="\n".join(row["test_list"]))
    assert found.solutions == (row["code"].replace("\r\n", "\n"),)
    assert found.prompt.startswith("Add two numbers.\n")
    assert all(test in found.prompt for test in row["test_list"])


def test_mbpp_without_a_reference_goes_by_what_its_assertions_call():
    """Built-in and imported functions are not asked for."""
    row = mbpp(code=None, test_list=["assert sorted(adds([1])) == [1]", "assert not math.isclose(adds(2), Sum(3))"])
    assert suite(row).entries == ("adds", "Sum")


def test_mbpp_plus_has_further_tests_that_are_not_shown():
    """The column `test` decides, and `test_list` is what the prompt shows."""
    found = read(mbpp_sanitized(test="import math\nfor a in range(9):\n    assert add(a, 1) == a + 1\n"))
    assert "range(9)" in decoded(found.tests).code
    assert "range(9)" not in found.prompt
    assert "add(1, 2) == 3" in found.prompt


OWN = {
    "stdio": ({"tests": [{"input": a, "output": b} for a, b in STDIO]}, STDIN),
    "stdio, lines": ({"tests": [{"input": a.split("\n"), "output": b.split("\n")} for a, b in STDIO]}, STDIN),
    "as text": ({"tests": json.dumps([{"input": a, "output": b} for a, b in STDIO])}, STDIN),
    "call": ({"function": "add", "tests": [{"input": a, "output": b} for a, b in CALLS]}, CALLED),
    "pairs": ({"function": "add", "tests": json.loads(taco("add")["input_output"])}, CALLED),
    "asserts": (
        {"tests": ["assert add(1, 2) == 3"], "setup": "import math"},
        Suite(style="assert", code="assert add(1, 2) == 3", entries=("add",), setup="import math"),
    ),
    "test code": (
        {"tests": "def check(f):\n    assert f(1, 2) == 3\n", "entry_point": "add"},
        Suite(style="assert", code="def check(f):\n    assert f(1, 2) == 3\n\ncheck(add)\n", entries=("add",)),
    ),
    "its own check": (
        {"tests": "def check(f):\n    assert f(1) == 3\ncheck(add)", "entry_point": "add"},
        Suite(style="assert", code="def check(f):\n    assert f(1) == 3\ncheck(add)", entries=("add",)),
    ),
    "several names": (
        {"tests": "assert A().f() == g()", "entry_point": ["A", "g"]},
        Suite(style="assert", code="assert A().f() == g()", entries=("A", "g")),
    ),
    "names of the solution": (
        {"tests": "x = g(1)\nassert x == 1", "solution": "class A: pass\nasync def g(x): pass\ndef h(): pass"},
        Suite(style="assert", code="x = g(1)\nassert x == 1", entries=("g",)),
    ),
    "settings": (
        {
            "tests": [{"input": "1", "output": "0.3"}],
            "compare": "lines",
            "tolerance": 1e-6,
            "unordered": True,
            "seconds": 3,
            "memory_mb": 64,
        },
        Suite(
            style="stdio",
            cases=(Case(input="1", output="0.3"),),
            compare="lines",
            tolerance=1e-6,
            unordered=True,
            seconds=3.0,
            memory_mb=64,
        ),
    ),
}


@pytest.mark.parametrize(("row", "wanted"), OWN.values(), ids=OWN)
def test_our_own_form_says_all_that_a_suite_can(row, wanted):
    """A prompt and `tests`, with what else a row may say, give the suite."""
    assert suite({"prompt": "Add two numbers."} | row) == wanted


def test_rows_of_our_own_form_may_differ():
    """One file may hold questions of each style."""
    sample = [Row(place=f"own.jsonl:{n}", data={"prompt": "p"} | row) for n, (row, _) in enumerate(OWN.values())]
    preset = recognise(sample)
    assert preset.name == "tests"
    assert [decoded(question_fields(row, preset).tests) for row in sample] == [wanted for _, wanted in OWN.values()]


def test_columns_may_have_any_name():
    """Prompt, tests, function, setup and solution are named; the reference is the tests' word."""
    row = {
        "ask": "Add.",
        "checks": [{"input": [1], "output": 2}],
        "fn": "inc",
        "pre": "k = 1",
        "ref": "def inc(x): ...",
    }
    named = {"prompt": "ask", "tests": "checks", "function": "fn", "setup": "pre", "solution": "ref"}
    found = read(row, named)
    assert decoded(found.tests) == Suite(
        style="call", function="inc", setup="k = 1", cases=(Case(input=[1], output=2),)
    )
    assert (found.solution, found.extra) == ("def inc(x): ...", "{}")
    with pytest.raises(UsageError, match=r"There is no column 'chekcs'.*Did you mean checks"):
        read(row, named | {"tests": "chekcs"})
    with pytest.raises(UsageError, match="holds the question"):
        read(row, {"tests": "checks"})


def test_a_named_column_changes_the_rest_of_a_preset_little():
    """A data set that is recognised stays so where one column of it has another name."""
    row = taco() | {"statement": "Sum up."}
    found = read(row, {"prompt": "statement"})
    assert found.prompt.startswith("Sum up.\n")
    assert decoded(found.tests).cases == TEXT_CASES


def test_a_reference_that_is_named_makes_it_no_code_question():
    """Whoever names a reference wants it compared."""
    sample = [Row(place="p:1", data={"prompt": "2+2?", "tests": "none", "answer": "4"})]
    assert recognise(sample, {"reference": "answer"}).domain is Domain.MATH


def test_the_prompt_says_how_the_program_is_judged():
    """A program that reads stdin is told so; one that is called sees the starter code or the name; a stub is shown."""
    asked = {
        "stdin": read(livecodebench()).prompt,
        "starter": read(livecodebench("add")).prompt,
        "name": read(livecodebench("add", starter_code="")).prompt,
        "stub": read(humaneval()).prompt,
        "tests": read(mbpp()).prompt,
        "entries": read({"prompt": "Add.", "tests": "assert add(1, 2) == 3"}).prompt,
    }
    assert "standard input" in asked["stdin"]
    assert f"```python\n{STARTER.rstrip()}\n```" in asked["starter"]
    assert "`add`" in asked["name"]
    assert f"```python\n{STUB.rstrip()}\n```" in asked["stub"]
    assert "assert add(1, 2) == 3" in asked["tests"]
    assert "defines `add`" in asked["entries"]
    assert "assert" not in asked["entries"]
    assert all(prompt.endswith("Give the whole program in one ```python block.") for prompt in asked.values())


def test_a_fence_inside_a_stub_does_not_end_its_block():
    """The block's fence is longer than any in the stub."""
    stub = 'def add(a, b):\n    """```python\n    add(1, 2)\n    ```\n    """\n'
    assert f"````python\n{stub.rstrip()}\n````" in read(humaneval(prompt=stub)).prompt


def test_codeforces_shows_its_parts_and_not_its_tests():
    """Title, formats and examples are asked; the tests that are no examples are not shown."""
    prompt = read(codeforces(note="Small.")).prompt
    assert "# Sum\n\nAdd two numbers.\n\n## Input\n\nTwo numbers.\n\n## Output\n\nTheir sum.\n\n## Examples" in prompt
    assert "1 2" in prompt
    assert "10 20" not in prompt


SOLUTIONS = {
    "a list as text": (taco(), (READS,)),
    "a list": (taco(solutions=[READS, "print(1)", " ", 3]), (READS, "print(1)")),
    "one program": (taco(solutions=READS), (READS,)),
    "a program that starts with a bracket": (taco(solutions="[print(1)]"), ("[print(1)]",)),
    "many": (taco(solutions=[f"print({n})" for n in range(900)]), tuple(f"print({n})" for n in range(5))),
    "none": (taco(solutions=None), ()),
    "an empty list": (taco(solutions="[]"), ()),
    "Python 3 of several": (codecontests(), (READS,)),
    "Python 3 as pairs": (codecontests(solutions=[{"language": "PYTHON3", "solution": ADDS}]), (ADDS,)),
    "windows line ends": (taco(solutions=[ADDS.replace("\n", "\r\n")]), (ADDS,)),
}


@pytest.mark.parametrize(("row", "wanted"), SOLUTIONS.values(), ids=SOLUTIONS)
def test_programs_of_the_source_are_kept(row, wanted):
    """The first five of different text, in Python 3, are kept, the first as the solution."""
    found = read(row)
    assert found.solutions == wanted
    assert found.solution == (wanted[0] if wanted else "")


WRAPPED = {
    "all in lists of one": (outputs([3], [4]), [3, 4]),
    "lists in lists of one": (outputs([[3, 4]], [[]]), [[3, 4], []]),
    "as they are": (outputs(3, [4]), [3, [4]]),
    "lists of several": (outputs([3], [4, 5]), [[3], [4, 5]]),
    "annotated as lists": (outputs([3], [4], starter="def f(x: int) -> List[int]:"), [[3], [4]]),
    "annotated, and in lists": (outputs([[3]], [[4]], starter="def f(x) -> list[int]:"), [[3], [4]]),
    "annotated as lists of lists": (outputs([[3]], [[4]], starter="def f(x) -> List[List[int]]:"), [[[3]], [[4]]]),
    "annotated as a number": (outputs([3], [4], starter="def f(x: List[int]) -> int:"), [3, 4]),
    "numbers of any size": (outputs([2**70], [-(10**30)]), [2**70, -(10**30)]),
}


@pytest.mark.parametrize(("row", "wanted"), WRAPPED.values(), ids=WRAPPED)
def test_outputs_in_lists_of_one_are_taken_out(row, wanted):
    """TACO and APPS wrap what a function returns; what is itself a list of one is told by the annotation."""
    assert [case.output for case in suite(row).cases] == wanted


def test_the_method_of_a_class_is_what_a_starter_shows():
    """The starter code of LeetCode's questions ends in an empty body; it is shown as it stands."""
    assert METHOD.rstrip() in read(livecodebench("add")).prompt


def test_the_docs_have_the_templates():
    """Each template stands in docs/formats.md as it is."""
    docs = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for asked in (
        tasks.reads_stdin("QUESTION"),
        tasks.is_called("QUESTION", "NAME", "STARTER"),
        tasks.is_called("QUESTION", "NAME"),
        tasks.completes("STUB"),
        tasks.passes("QUESTION", "TESTS"),
        tasks.defines("QUESTION", ("NAME",)),
    ):
        assert f":\n\n{textwrap.indent(asked, '    ')}\n\n" in docs


def test_the_docs_have_rows_that_are_questions():
    """The rows of our own form that docs/formats.md shows are questions, of three styles."""
    docs = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    shown = docs.partition("### Your own tests")[2].partition("```json\n")[2].partition("```")[0]
    assert [suite(json.loads(line)).style for line in shown.splitlines()] == ["stdio", "call", "assert", "assert"]


SHARED = {
    "stdin": (tasks.reads_stdin("Add up.\n\nWrite a list."), "Add up.\n\nWrite a list."),
    "starter": (tasks.is_called("Add up.", "add", STARTER), "Add up."),
    "name": (
        tasks.is_called("Add up.\n\nWrite a Python function that adds.", "add"),
        "Add up.\n\nWrite a Python function that adds.",
    ),
    "stub": (tasks.completes("def add(): ..."), "```python\ndef add(): ...\n```"),
    "tests": (tasks.passes("Add up.", "assert add()"), "Add up.\n\n```python\nassert add()\n```"),
    "entries": (tasks.defines("Add up.", ("add", "sub")), "Add up."),
    "no code": ("What is 2 + 2?", "What is 2 + 2?"),
}


@pytest.mark.parametrize(("prompt", "own"), SHARED.values(), ids=SHARED)
def test_questions_are_compared_without_what_all_share(prompt, own):
    """What was added to the source's text comes off again, and nothing else does."""
    assert tasks.own_text(prompt) == own
    assert tasks.own_text(own) == own
