"""The answer in a model's text: which mark counts, and that no text makes the search slow."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.checkers.choice import find_letter
from gradatim.checkers.extract import extract
from gradatim.checkers.math.normalise import normalise

CASES = json.loads((Path(__file__).parent / "cases" / "extract.json").read_text(encoding="utf-8"))
MEGABYTE = 1_000_000
HOSTILE = {
    "open boxes": r"\boxed{" * (MEGABYTE // 7),
    "nested boxes": r"\boxed{" * 60_000 + "1" + "}" * 60_000,
    "open braces": "{" * MEGABYTE,
    "one box, open braces": r"\boxed" + "{" * MEGABYTE,
    "empty boxes": r"\boxed{}" * (MEGABYTE // 8),
    "joined boxes": r"\boxed{1}, " * (MEGABYTE // 11),
    "box and blanks": (r"\boxed" + " " * 1000) * 1000,
    "hashes": "#" * MEGABYTE,
    "hash lines": "#### \n" * (MEGABYTE // 6),
    "answers": "answer is " * (MEGABYTE // 10),
    "answer and blanks": ("answer" + " " * 1000) * 1000,
    "answer and lines": ("answer:" + "\n" * 100) * 10_000,
    "a colon": "A:" * (MEGABYTE // 2),
    "fences": "answer is $" * (MEGABYTE // 11),
    "dollars": "$" * MEGABYTE,
    "blanks": " " * MEGABYTE,
    "digits": "9" * MEGABYTE,
    "backslashes": "\\" * MEGABYTE,
    "text groups": r"\text{" * (MEGABYTE // 6),
    "lines": "a\n" * (MEGABYTE // 2),
    "is": "answer: " + "is " * (MEGABYTE // 3),
}


@pytest.mark.parametrize("case", CASES, ids=[repr(case["text"])[:40] for case in CASES])
def test_case(case):
    """Each row of the table is found as it says, by the mark that it says."""
    found = extract(case["text"])
    assert (found.text, found.found_by) == (case["answer"], case["found_by"]) if found else case["found_by"] == ""


def test_order_of_marks():
    """A box counts before a hash, and a hash before a phrase, wherever they stand."""
    assert extract("\\boxed{1}\n#### 2\nThe answer is 3").found_by == "box"
    assert extract("The answer is 3\n#### 2\nAnswer: 4").text == "2"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_is_quick(name):
    """Searching a megabyte of hostile text takes less than two seconds, for every part of the search."""
    start = time.perf_counter()
    extract(HOSTILE[name])
    find_letter(HOSTILE[name])
    assert time.perf_counter() - start < 2.0


@pytest.mark.alone
@pytest.mark.parametrize("name", HOSTILE)
def test_normalising_is_quick(name):
    """Writing 4,000 characters (the longest that are read as mathematics) our way takes less than half a second."""
    start = time.perf_counter()
    normalise(HOSTILE[name][:4000])
    assert time.perf_counter() - start < 0.5


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("\\boxed{}#$ 1a\n:.,answeris()[]"), max_size=200))
def test_any_text_is_searched(text):
    """No text makes the search raise, and what it finds is never blank."""
    found = extract(text)
    assert found is None or found.text.strip()
    find_letter(text)
    normalise(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=100))
def test_normalising_twice_changes_nothing_more(text):
    """What is written our way stays as it is when it is written our way again, but for fences within fences."""
    once = normalise(text)
    assert normalise(normalise(once)) == normalise(once)
