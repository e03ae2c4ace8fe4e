"""Thinking is told from the answer, whatever way a server leaves them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.reasoning import split_reasoning

CASES = json.loads((Path(__file__).parent / "cases" / "reasoning.json").read_text(encoding="utf-8"))
PIECES = st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "a", " ", "\n", "think", "<", "42"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_shapes(case):
    """Each shape that a server is known to send gives the thinking and the answer beside it."""
    assert split_reasoning(case["content"], case["reasoning"]) == (case["thinking"], case["answer"])


@given(st.one_of(PIECES.map("".join), st.text()), st.text(max_size=20))
def test_total(content, reasoning):
    """Any text splits, no letter is invented, and no tag is left in the answer."""
    thinking, answer = split_reasoning(content, reasoning)
    assert "</think>" not in answer
    if "think" not in content.lower():
        assert (thinking, answer) == (reasoning, content)
    assert sum(map(len, (thinking, answer))) <= len(content) + len(reasoning) + 2 * content.count("hink") + 2


@given(st.text(alphabet="ab \n"), st.text(alphabet="ab \n"))
def test_field_and_tags_agree(thinking, answer):
    """A text gives the same thinking and answer whether its server used tags or a field."""
    field = split_reasoning(answer, thinking)
    tags = split_reasoning(f"<think>{thinking}</think>{answer}", "")
    assert tuple(map(str.strip, field)) == tags


def test_long_text_is_linear():
    """A megabyte of tags splits in well under a second."""
    thinking, answer = split_reasoning("</think>a" * 100_000, "")
    assert answer == "a"
    assert thinking.count("a") == 99_999
