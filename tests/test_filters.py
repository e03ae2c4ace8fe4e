"""The filters that keep a chain out of the finished set."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.method.filters import FilterSettings, filter_reason, foreign_share, repetition

CASES = json.loads((Path(__file__).parent / "cases" / "filters.json").read_text(encoding="utf-8"))
DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_each_case_gets_its_reason(case):
    """Every row of the case table is kept, or dropped for the reason it names."""
    settings = {key: tuple(value) if key == "scripts" else value for key, value in case["settings"].items()}
    thinking = "".join(text * times for text, times in case["thinking"])
    found = filter_reason(thinking, case["answer"], case["tokens"], FilterSettings(**settings))
    assert found == case["reason"], repetition(thinking + "\n" + case["answer"])


def test_the_case_table_names_its_sources():
    """Every row says where it is from, and no two have one name."""
    assert all(case["source"] for case in CASES)
    assert len({case["name"] for case in CASES}) == len(CASES)


@given(st.text(max_size=300), st.text(max_size=60), st.none() | st.integers(0, 9999))
def test_shares_are_shares(thinking, answer, tokens):
    """Whatever the text, both measures stay between 0 and 1 and the filters answer."""
    assert 0 <= repetition(thinking) <= 1
    assert 0 <= foreign_share(thinking, ("latin",)) <= 1
    settings = FilterSettings(min_chars=None, max_tokens=100, scripts=("latin", "han"))
    assert filter_reason(thinking, answer, tokens, settings) in {None, "too_long", "repetition", "language"}


@given(st.lists(st.text("abcdefghijk=+12", min_size=1, max_size=9), min_size=5, max_size=60))
def test_saying_all_again_raises_the_repetition(words):
    """A text of any words said ten times over is mostly repetition."""
    assert repetition(" ".join(words * 10)) > 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FilterSettings(min_chars=-1), "min_chars is a number of at least 0"),
        (lambda: FilterSettings(max_tokens=-5), "max_tokens is a number of at least 0"),
        (lambda: FilterSettings(max_repetition=1.5), "max_repetition is a share from 0 to 1"),
        (lambda: FilterSettings(max_foreign=float("nan")), "max_foreign is a share from 0 to 1"),
        (lambda: FilterSettings(scripts=("english",)), "'english' is no script"),
    ],
)
def test_limits_that_cannot_be_get_a_sentence(make, words):
    """A wrong limit is refused with what would be right."""
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)


def test_long_chains_take_linear_time():
    """Two megabytes of a chain are measured in seconds, whether they repeat or not."""
    started = time.perf_counter()
    assert repetition("0" * 2_000_000) > 0.99
    assert repetition(" ".join(map(str, range(300_000)))) == 0
    assert foreign_share("ab в" * 500_000, ("latin",)) == pytest.approx(1 / 3)
    assert time.perf_counter() - started < 10


@pytest.mark.skipif(not (DATA / "math500.jsonl").exists(), reason="shared/data is not here")
def test_reference_solutions_and_right_answers_pass():
    """No reference solution of MATH-500 and no right answer of four models to GSM8K is dropped; models' loops are."""
    with (DATA / "math500.jsonl").open(encoding="utf-8") as lines:
        solutions = [json.loads(line)["solution"] for line in lines]
    with (DATA / "gsm8k_solutions.jsonl").open(encoding="utf-8") as lines:
        answers = [cell for line in lines for cell in json.loads(line).values() if isinstance(cell, dict)]
    settings = FilterSettings(scripts=("latin",))
    assert {filter_reason("", text, None, settings) for text in solutions} == {None}
    right = [cell["solution"] for cell in answers if cell["is_correct"]]
    assert {filter_reason("", text, None, settings) for text in right} == {None}
    wrong = [cell["solution"] for cell in answers if not cell["is_correct"]]
    loops = [text for text in wrong if filter_reason("", text, None, settings) == "repetition"]
    assert 3 <= len(loops) <= 12
