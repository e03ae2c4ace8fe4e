"""How an answer is split into steps."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.prm.steps import split_steps

CASES = json.loads((Path(__file__).parent / "cases" / "steps.json").read_text(encoding="utf-8"))

DISPLAYS = ("$$", "\\[", "\\]", "\\\\[", "\\$", "\\begin{a}", "\\end{a}", "\\begin{b*}", "\\end{b*}")
FENCES = ("```", "````", "```py", "~~~")
SPACES = ("\n", "\n\n", " ", "\t", "\r\n", "\x1c", "\u2028", "\x00")
PIECES = st.lists(st.sampled_from((*DISPLAYS, *FENCES, *SPACES, "a", "x = 1.", "é")), max_size=40).map("".join)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_answers_split_as_the_table_says(case):
    """Each answer of the table has exactly the steps written beside it."""
    assert list(split_steps(case["answer"])) == case["steps"]


@given(PIECES | st.text(max_size=200))
def test_steps_join_to_the_answer(answer):
    """The steps of any answer join to it, none is blank, and only a blank answer has none."""
    steps = split_steps(answer)
    assert "".join(steps) == (answer if answer.strip() else "")
    assert all(step.strip() for step in steps)


@given(st.lists(st.sampled_from(["a", "b c", "x = 1", "- y", "$x$"]), min_size=1, max_size=30))
def test_paragraphs_are_steps(paragraphs):
    """Plain paragraphs joined by blank lines come back one by one."""
    assert [step.strip() for step in split_steps("\n\n".join(paragraphs))] == paragraphs


@pytest.mark.parametrize(
    "unit",
    [
        "\\begin{a}",
        "\\begin{b}\n\n",
        "$$\n\n",
        "\\[",
        "\\]\n\n",
        "```\n\n",
        "```x\n",
        "\n \t",
        "\n" + " " * 50,
        "\\\\",
        "$",
        "a\n",
    ],
)
def test_hostile_answers_take_linear_time(unit):
    """An answer of 400,000 characters made of openers, closers or white space is split in under a second."""
    answer = unit * (400_000 // len(unit))
    start = time.perf_counter()
    split_steps("x" + answer + "x")
    assert time.perf_counter() - start < 1.0
