"""Data sets are recognised by shape, and every row becomes a question or a reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.formats.boxed import last_boxed
from gradatim.formats.fields import QuestionFields, after_hash, question_fields
from gradatim.formats.presets import recognise
from gradatim.formats.read import rows
from gradatim.formats.recorded import AttemptFields, attempt_columns, attempt_fields
from gradatim.formats.row import BadRow, Row
from gradatim.types import Domain

CASES = json.loads((Path(__file__).parent / "cases" / "presets.json").read_text())
DATA = Path(os.environ.get("GRADATIM_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not at {DATA}")


def as_rows(*data, name="pool.jsonl"):
    return [Row(place=f"{name}:{number}", data=row) for number, row in enumerate(data, 1)]


@pytest.mark.parametrize("case", CASES, ids=[case["source"] for case in CASES])
def test_each_shape_is_recognised_and_read(case):
    """Every row of the case table gives the preset, and the fields or the reason, that it names."""
    pads = [case["pad"]] * 20 if "pad" in case else []
    sample = as_rows(*case["rows"], *pads, name=case.get("file", "pool.jsonl"))
    preset = recognise(sample)
    assert preset.name == case["preset"]
    found = question_fields(sample[0], preset)
    if "reason" in case:
        assert isinstance(found, BadRow)
        assert found.reason == case["reason"]
        return
    assert isinstance(found, QuestionFields)
    for name in ("prompt", "reference", "solution"):
        assert getattr(found, name) == case.get(name, getattr(found, name))
    if "extra" in case:
        assert json.loads(found.extra) == case["extra"]


@needs_data
@pytest.mark.parametrize(
    ("file", "preset", "count"),
    [("gsm8k_train.jsonl", "gsm8k", 7473), ("gsm8k_test.jsonl", "gsm8k", 1319), ("math500.jsonl", "math500", 500)],
)
def test_real_data_sets_are_recognised_and_all_rows_map(file, preset, count):
    """GSM8K and MATH-500 are recognised by shape, and each of their rows becomes a question with a reference."""
    pool = list(rows(str(DATA / file)))
    found = recognise(pool[:100])
    questions = [question_fields(row, found) for row in pool]
    assert found.name == preset
    assert found.domain is Domain.MATH
    assert len(questions) == count
    assert all(isinstance(question, QuestionFields) and question.reference for question in questions)


@needs_data
def test_gsm8k_references_are_plain_numbers():
    """No thousands comma, currency sign or blank is left in the references of GSM8K."""
    preset = recognise(list(rows(str(DATA / "gsm8k_test.jsonl")))[:10])
    for row in rows(str(DATA / "gsm8k_train.jsonl")):
        assert question_fields(row, preset).reference.lstrip("-").replace(".", "", 1).isdigit()


@needs_data
def test_math500_references_are_its_last_boxes():
    """The last box of a MATH-500 solution is the reference that its authors published, in all 500 rows."""
    pool = list(rows(str(DATA / "math500.jsonl")))
    same = sum(last_boxed(row.text("solution")) == row.text("answer") for row in pool)
    assert same == len(pool) == 500


@needs_data
def test_recorded_answers_of_four_models_are_read_by_dotted_paths():
    """The recorded GSM8K answers of each model map through `MODEL.solution`, all 1,319 of them."""
    pool = list(rows(str(DATA / "gsm8k_solutions.jsonl")))
    for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
        columns = attempt_columns({"prompt": "question", "answer": f"{model}.solution"}, pool[:10])
        found = [attempt_fields(row, columns) for row in pool]
        assert len(found) == 1319
        assert all(isinstance(attempt, AttemptFields) and attempt.answer for attempt in found)


def test_named_columns_come_before_shapes():
    """Columns that the user names are read, whatever else the rows could be taken for."""
    sample = as_rows({"question": "no", "answer": "#### 1", "task": "yes", "gold.answer": "2", "gold": {"answer": "3"}})
    preset = recognise(sample, {"prompt": "task", "reference": "gold.answer"})
    found = question_fields(sample[0], preset)
    assert (preset.name, found.prompt, found.reference) == ("custom", "yes", "2")
    assert json.loads(found.extra) == {"question": "no", "answer": "#### 1", "gold": {"answer": "3"}}


def test_one_named_column_keeps_the_rest_of_the_shape():
    """Naming only the reference leaves the prompt to the preset that fits."""
    sample = as_rows({"question": "q", "answer": "1", "checked": "2"})
    found = question_fields(sample[0], recognise(sample, {"reference": "checked"}))
    assert (found.prompt, found.reference) == ("q", "2")


def test_a_named_solution_gives_the_reference_from_its_box():
    """Without a reference column the last box of the named solution is the reference."""
    sample = as_rows({"task": "q", "worked": "so \\boxed{7}"})
    preset = recognise(sample, {"prompt": "task", "solution": "worked"})
    assert question_fields(sample[0], preset).reference == "7"
    assert preset.describe() == "custom (prompt=task; solution=worked)"


def test_named_choices_make_choice_questions():
    """A named column of options turns the rows into choice questions."""
    sample = as_rows({"stem": "q", "opts": ["x", "y"], "key": "B"})
    preset = recognise(sample, {"prompt": "stem", "choices": "opts", "reference": "key"})
    found = question_fields(sample[0], preset)
    assert preset.domain is Domain.CHOICE
    assert (found.prompt, found.reference) == ("q\n\nA) x\nB) y", "B")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"prompt": "problen", "reference": "answer"}, ["problen", "problem, answer", "Did you mean problem?"]),
        ({"promt": "problem"}, ["'promt'", "did you mean prompt?"]),
        ({"prompt": "", "reference": "answer"}, ["--field prompt=COLUMN"]),
        ({"prompt": "problem.text", "reference": "answer"}, ["'problem.text'", "problem, answer"]),
    ],
)
def test_wrong_columns_get_a_sentence(named, words):
    """A column or field that is not there is refused with those there are and the nearest."""
    with pytest.raises(UsageError) as caught:
        recognise(as_rows({"problem": "p", "answer": "1"}), named)
    assert all(word in str(caught.value) for word in words)


def test_an_unknown_shape_says_what_to_type():
    """Rows of no known shape are refused with their columns and the options to give."""
    with pytest.raises(UsageError, match=r"foo, bar.*--field prompt=COLUMN --field reference=COLUMN"):
        recognise(as_rows({"foo": 1, "bar": 2}))
    with pytest.raises(UsageError, match="no rows"):
        recognise([])


def test_gpqa_options_are_shuffled_the_same_way_each_time():
    """Options in columns are asked in an order that only the content decides, with the letter of the right one."""
    wrong = {f"Incorrect Answer {number}": f"w{number}" for number in (1, 2, 3)}
    sample = as_rows(
        *({"Question": f"q{i}", "Correct Answer": "right", **wrong, "Explanation": "e"} for i in range(60))
    )
    preset = recognise(sample)
    found = [question_fields(row, preset) for row in sample]
    assert preset.name == "choice"
    assert found == [question_fields(row, preset) for row in sample]
    assert all(f"{question.reference}) right" in question.prompt for question in found)
    assert {question.reference for question in found} == set("ABCD")


def test_recorded_answers_keep_every_field():
    """Each named column of a recorded answer ends in its field; an empty answer is an answer."""
    data = {"id": "abc", "out": {"text": "", "why": "hm "}, "k": 3, "end": "length", "use": {"in": 10, "out": 20}}
    sample = as_rows(data)
    named = {
        "question_id": "id",
        "answer": "out.text",
        "reasoning": "out.why",
        "sample": "k",
        "finish_reason": "end",
        "prompt_tokens": "use.in",
        "completion_tokens": "use.out",
    }
    found = attempt_fields(sample[0], attempt_columns(named, sample))
    assert found == AttemptFields(
        question_id="abc",
        answer="",
        reasoning="hm ",
        sample=3,
        finish_reason="length",
        prompt_tokens=10,
        completion_tokens=20,
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"q": "x", "a": None, "n": 0, "t": 1}, "no_answer"),
        ({"q": None, "a": "1", "n": 0, "t": 1}, "no_question"),
        ({"q": "x", "a": "1", "n": -1, "t": 1}, "bad_sample"),
        ({"q": "x", "a": "1", "n": 1.5, "t": 1}, "bad_sample"),
        ({"q": "x", "a": "1", "n": 1, "t": "many"}, "bad_tokens"),
    ],
)
def test_unusable_recorded_answers_get_a_reason(data, reason):
    """A recorded answer that cannot be used becomes a reason and raises nothing."""
    sample = as_rows(data)
    columns = attempt_columns({"prompt": "q", "answer": "a", "sample": "n", "completion_tokens": "t"}, sample)
    assert attempt_fields(sample[0], columns).reason == reason


def test_recorded_answers_without_a_question_column_are_refused():
    """Without a way to know the question, recorded answers are refused with the options to give."""
    with pytest.raises(UsageError, match=r"--field answer=COLUMN, and --field prompt=COLUMN"):
        attempt_columns({"answer": "a"}, as_rows({"a": "1"}))


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"\boxed{1} and \boxed{2}", "2"),
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\boxed {3}", "3"),
        (r"$\boxed 4$.", "4"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\boxed{6}}", "6"),
        ("no box", ""),
        (r"\boxed", ""),
        (r"\boxed{}", ""),
    ],
)
def test_the_last_complete_box_is_found(text, box):
    """The last box that is closed is read, with balanced braces."""
    assert last_boxed(text) == box


def balanced(text):
    """Say whether the braces that are not escaped are balanced and the end escapes nothing."""
    depth, index = 0, 0
    while index < len(text):
        if text[index] == "\\":
            index += 2
            if index > len(text):
                return False
            continue
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth < 0:
            return False
        index += 1
    return depth == 0


@given(st.text(alphabet="ab{}\\ $", max_size=40).filter(balanced))
def test_whatever_is_balanced_comes_back_out_of_a_box(inner):
    """Text with balanced braces is found again in a box, whatever else it holds."""
    assert last_boxed("x \\boxed{" + inner + "} y") == inner.strip()


def test_hostile_boxes_take_linear_time():
    """A megabyte of boxes that are never closed is read in well under a second."""
    assert last_boxed("\\boxed{" * 150_000) == ""


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_thousands_commas_never_change_a_number(number):
    """A number with or without thousands commas is read as the same reference."""
    assert after_hash(f"so\n#### {number:,}") == after_hash(f"so\n#### {number}") == str(number)


def test_headings_are_no_references():
    """A `####` with more lines below it is a heading, not GSM8K's mark."""
    assert after_hash("#### Step 1\nadd\n\nso 4") == ""


# A loaded machine takes a second to build the first texts, which says nothing about the strategy.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["question", "answer", "options", "problem", "solution", "source", "id"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
def test_no_row_raises(data):
    """Whatever JSON a row holds, each preset makes a question or a reason of it."""
    good = {
        "gsm8k": {"question": "q", "answer": "#### 1"},
        "numinamath": {"problem": "p", "solution": "\\boxed{1}", "source": "s"},
        "choice": {"question": "q", "options": ["a", "b"], "answer": "A"},
        "plain": {"question": "q", "answer": "1"},
    }
    for name, row in good.items():
        preset = recognise(as_rows(row))
        assert preset.name == name
        assert isinstance(question_fields(as_rows(data)[0], preset), QuestionFields | BadRow)
