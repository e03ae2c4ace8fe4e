"""Rows of code data sets that are no questions have a reason; and no row raises, hangs, or runs anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from code_rows import codecontests, codeforces, humaneval, livecodebench, mbpp, outputs, packed, read, reason, taco
from gradatim.formats import code, suites
from gradatim.formats.fields import QuestionFields, question_fields
from gradatim.formats.presets import recognise
from gradatim.formats.row import Row
from gradatim.suite import Case, Suite, decoded

OWN = {"prompt": "p", "function": "add", "tests": [{"input": [1, 2], "output": 3}]}
DEEP = "[" * 100 + "]" * 100
REASONS = {
    "no tests": (taco(input_output="{}"), "no_tests"),
    "empty text": (taco(input_output=""), "no_tests"),
    "empty lists": (taco(input_output='{"inputs": [], "outputs": []}'), "no_tests"),
    "null": (taco(input_output=None), "no_tests"),
    "torn": (taco(input_output='{"inputs": ["1'), "tests_not_json"),
    "a list": (taco(input_output="[1]"), "tests_not_json"),
    "not paired": (taco(input_output='{"inputs": ["1"], "outputs": []}'), "tests_not_paired"),
    "no lists": (taco(input_output='{"inputs": "1", "outputs": "2"}'), "tests_not_paired"),
    "objects on stdin": (taco(input_output='{"inputs": [{"a": 1}], "outputs": ["2"]}'), "tests_not_text"),
    "lists of lists on stdin": (taco(input_output='{"inputs": [[["1"]]], "outputs": ["2"]}'), "tests_not_text"),
    "no arguments": (outputs(3, inputs=["1"]), "arguments_not_a_list"),
    "no name": (taco(input_output='{"fn_name": "a b", "inputs": [[1]], "outputs": [1]}'), "no_function"),
    "a name that is none": (taco(input_output='{"fn_name": ["f"], "inputs": [[1]], "outputs": [1]}'), "no_function"),
    "numbers for keys": (outputs([{"1": 2}], [{"-2": 3}]), "number_keys"),
    "numbers for keys, given": (outputs(1, inputs=[[{"1": 2}]]), "number_keys"),
    "NaN": (taco(input_output='{"fn_name": "f", "inputs": [[1]], "outputs": [NaN]}'), "not_plain_data"),
    "Infinity": (taco(input_output='{"fn_name": "f", "inputs": [[1e999]], "outputs": [1]}'), "not_plain_data"),
    "deep": (taco(input_output=f'{{"fn_name": "f", "inputs": [[1]], "outputs": [{DEEP}]}}'), "nested_too_deeply"),
    "deeper": (taco(input_output="[" * 10**5), "tests_not_json"),
    "half a surrogate pair": (taco(input_output='{"inputs": ["\\ud800"], "outputs": ["1"]}'), "tests_not_json"),
    "no private text": (livecodebench(private_test_cases="eJwrSS0uAQAEXQHB"), "private_tests_unreadable"),
    "private tests of JSON that is none": (livecodebench(private=lambda tests: "[" + packed(tests)), "tests_not_json"),
    "packed, no tests": (livecodebench(private_test_cases=packed(7)), "tests_not_json"),
    "packed, no objects": (livecodebench(private_test_cases=packed([7])), "tests_not_cases"),
    "public tests torn": (livecodebench(public_test_cases="[{"), "tests_not_json"),
    "mixed": (
        livecodebench(public_test_cases=livecodebench("add")["public_test_cases"]),
        "mixed_styles",
    ),
    "an unknown style": (
        livecodebench(public_test_cases="[]", private_test_cases='[{"input": "", "output": "", "testtype": ["x"]}]'),
        "tests_not_cases",
    ),
    "none at all": (livecodebench(public_test_cases="[]", private_test_cases="[]"), "no_tests"),
    "no function": (livecodebench("add", metadata="{}"), "no_function"),
    "metadata torn": (livecodebench("add", metadata="{"), "no_function"),
    "arguments torn": (
        livecodebench("add", public_test_cases='[{"input": "[1", "output": "1", "testtype": "functional"}]'),
        "tests_not_json",
    ),
    "a checker": (codeforces(generated_checker="import sys"), "needs_checker"),
    "interactive": (codeforces(interaction_format="Print a query."), "interactive"),
    "files": (codeforces(input_mode="file"), "uses_files"),
    "not executable": (codeforces(executable=False), "not_executable"),
    "only examples": (codeforces(official_tests=[]), "no_tests"),
    "an output is missing": (codeforces(official_tests=[{"input": "1"}]), "tests_not_cases"),
    "files of CodeContests": (codecontests(input_file="in.txt"), "uses_files"),
    "CodeContests, not paired": (codecontests(private_tests={"input": ["1"], "output": []}), "tests_not_paired"),
    "humaneval without tests": (humaneval(test=""), "no_tests"),
    "humaneval without a name": (humaneval(entry_point="a(); import os"), "no_function"),
    "mbpp without tests": (mbpp(test_list=[]), "no_tests"),
    "mbpp with other tests": (mbpp(test_list=[1]), "tests_not_json"),
    "mbpp that calls nothing": (mbpp(code="x = 1", test_list=["assert 1 == 1"]), "no_function"),
    "no prompt": (taco(question=" "), "empty_prompt"),
    "own, none": ({"prompt": "p", "tests": []}, "no_tests"),
    "own, a number": ({"prompt": "p", "tests": 7}, "tests_not_json"),
    "own, mixed": ({"prompt": "p", "tests": [{"input": "1", "output": "2"}, "assert f()"]}, "tests_not_cases"),
    "own, arguments without a function": ({"prompt": "p", "tests": [{"input": [1], "output": 2}]}, "no_function"),
    "own, text for arguments": (
        {"prompt": "p", "function": "f", "tests": [{"input": "1", "output": 2}]},
        "arguments_not_a_list",
    ),
    "own, nothing to call": ({"prompt": "p", "tests": "x = 1"}, "no_function"),
    "own, compare": ({"prompt": "p", "tests": [{"input": "1", "output": "2"}], "compare": "roughly"}, "bad_setting"),
    "own, tolerance": ({"prompt": "p", "tests": [{"input": "1", "output": "2"}], "tolerance": -1}, "bad_setting"),
    "own, tolerance of words": (
        {"prompt": "p", "tests": [{"input": "", "output": ""}], "tolerance": []},
        "bad_setting",
    ),
    "own, unordered": ({"prompt": "p", "tests": [{"input": "1", "output": "2"}], "unordered": "maybe"}, "bad_setting"),
}


@pytest.mark.parametrize(("row", "wanted"), REASONS.values(), ids=REASONS)
def test_a_row_that_is_no_question_has_a_reason(row, wanted):
    """Whatever keeps a row from being judged is a word that can be counted."""
    assert reason(row) == wanted


def test_every_reason_is_listed():
    """The reasons that the module and docs/formats.md list are those that there are."""
    docs = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for one in {wanted for _, wanted in REASONS.values()} | {"tests_too_large"}:
        assert f"`{one}`" in docs, one
        assert f" {one} " in (code.__doc__ or "") or one == "empty_prompt", one


def test_tests_beyond_the_limit_are_set_aside():
    """A suite is as large as it is kept: one byte over the limit is too large."""
    kept = Suite(style="stdio", cases=(Case(input="1", output="2"),))
    text = kept.encoded()
    assert suites.encoded(kept, limit=len(text)) == text
    with pytest.raises(suites.NoSuite, match="tests_too_large"):
        suites.encoded(kept, limit=len(text) - 1)


LIMITS = {
    "2.0 seconds": 2.0,
    "1 second": 1.0,
    "500 ms": 0.5,
    "1500 milliseconds": 1.5,
    "0.5 minutes": 30.0,
    "2": 2.0,
    "soon": None,
    "0": None,
    "9999999999999999999999": None,
}


def test_limits_are_read_as_data_sets_write_them():
    """Numbers, texts with units, and protobuf's seconds and nanoseconds; what no one can mean is none."""
    assert {text: suites.seconds(text) for text in LIMITS} == LIMITS
    assert [suites.seconds(one) for one in (2, 1.5, None, -1, 1e9, float("nan"), [2], {"seconds": 2}, {})] == [
        2.0, 1.5, None, None, None, None, None, 2.0, None,
    ]  # fmt: skip
    sizes = ("256.0 megabytes", "64 MB", "1 GB", "65536 KB", 128, 7.9, "much", None, 10**30)
    assert [suites.megabytes(one) for one in sizes] == [256, 64, 1024, 64, 128, None, None, None, None]


HOSTILE = "raise SystemExit\nopen('gradatim-was-here', 'w')\n"


def test_nothing_that_a_row_holds_is_run(tmp_path, monkeypatch):
    """Programs, tests, stubs, names and setup code are texts here: none is compiled, evaluated or imported."""
    monkeypatch.chdir(tmp_path)
    for function in ("compile", "eval", "exec"):
        monkeypatch.setattr(f"builtins.{function}", None)
    made = [
        read(humaneval(prompt=HOSTILE, test=HOSTILE, canonical_solution=HOSTILE)),
        read(mbpp(code=HOSTILE + "def add(): ...", test_list=[HOSTILE + "assert add()"], test_setup_code=HOSTILE)),
        read(taco(solutions=[HOSTILE], raw_tags=HOSTILE)),
        read({"prompt": "p", "tests": HOSTILE, "entry_point": "f", "setup": HOSTILE, "solution": HOSTILE}),
    ]
    monkeypatch.undo()
    assert all(isinstance(one, QuestionFields) for one in made)
    assert not (tmp_path / "gradatim-was-here").exists()


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10**6,
        "a" * 10**6,
        "a " * 10**6,
        "assert " * 10**5,
        ") ->" * 10**5,
        ")" + " " * 10**6,
        "`" * 10**6,
        "def " * 10**5,
    ],
    ids=["brackets", "a name", "names", "asserts", "arrows", "blanks", "fences", "defs"],
)
def test_long_texts_take_no_long_time(text):
    """Patterns are linear in what a row holds: a million characters take below two seconds."""
    start = time.process_time()
    for row in (
        mbpp(test_list=[text], code=None),
        mbpp(test_list=[text], code=text),
        outputs([3], [4], starter=text),
        humaneval(prompt=text + "x", test=text),
        {"prompt": text + "x", "tests": text},
    ):
        read(row)
    assert time.process_time() - start < 10


TEXTS = st.text(max_size=8) | st.sampled_from(["[", "[1]", "{}", "1", "assert f()"])
NAMES = st.text(max_size=4) | st.sampled_from(["input", "output", "inputs", "outputs", "fn_name", "testtype"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
SHAPES = (
    *(livecodebench(), livecodebench("add"), taco(), taco("add"), codeforces(), codecontests(), humaneval(), mbpp()),
    OWN,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_row_raises(data):
    """Whatever stands in one or two columns of a row, it is a question that can be read again, or a reason."""
    shape = data.draw(st.sampled_from(SHAPES))
    changed = data.draw(
        st.dictionaries(st.sampled_from([*shape, "seconds", "tolerance", "entry_point"]), JSON, max_size=2)
    )
    preset = recognise([Row(place="pool.jsonl:1", data=shape)])
    found = question_fields(Row(place="pool.jsonl:1", data=shape | changed), preset)
    if isinstance(found, QuestionFields):
        assert decoded(found.tests).reference() == found.reference
    else:
        assert found.reason.replace("_", "").isalpha()
