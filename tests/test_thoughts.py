"""How long reasoning is split into steps."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.prm.steps import split_steps
from gradatim.prm.thoughts import SHORT, split_thoughts

CASES = json.loads((Path(__file__).parent / "cases" / "thoughts.json").read_text(encoding="utf-8"))

DISPLAYS = ("$$", "\\[", "\\]", "\\\\[", "\\$", "\\begin{a}", "\\end{a}", "\\begin{b*}", "\\end{b*}")
FENCES = ("```", "````", "```py", "~~~", "   ~~~", "    ```")
SPACES = (
    "\n",
    "\n\n",
    " ",
    "\t",
    "\r\n",
    "\r\n\r\n",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\x00",
    " " * 300,
    "\n" * 300,
)
MARKERS = ("Wait, ", "Hmm. ", "Alternatively, ", "Let me check ", "wait ", "But wait", " 3. ", "! ", '." ')
WORDS = ("a", "x = 1.", "é", "思考", "\ud800", "so we add three to both sides of it and find that ", "z" * SHORT)
PIECES = st.lists(st.sampled_from((*DISPLAYS, *FENCES, *SPACES, *MARKERS, *WORDS)), max_size=60).map("".join)


def size(step: str) -> int:
    """Bytes of a step, white space at its ends not counted."""
    return len(step.strip().encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_reasoning_splits_as_the_table_says(case):
    """Each text of the table has exactly the steps written beside it; `%` there stands for 120 letters."""
    text = case["text"].replace("%", "z" * SHORT)
    assert list(split_thoughts(text)) == [step.replace("%", "z" * SHORT) for step in case["steps"]]


@given(PIECES | st.text(max_size=400))
def test_steps_join_to_the_text(text):
    """The steps of any text join to it, none is blank, and only a blank text has none."""
    steps = split_thoughts(text)
    assert "".join(steps) == (text if text.strip() else "")
    assert all(step.strip() for step in steps)


@given(PIECES)
def test_no_step_is_short_unless_it_is_the_only_one(text):
    """Each of several steps has 120 bytes at least."""
    steps = split_thoughts(text)
    assert len(steps) <= 1 or all(size(step) >= SHORT for step in steps)


@given(
    st.lists(st.sampled_from(("%", "% a", "%\n\n%", "% Wait, a")), min_size=1, max_size=6), st.sampled_from((0, 1, 2))
)
def test_what_is_displayed_or_fenced_stays_whole(parts, which):
    """No step begins within a fence or display, whatever stands in it."""
    opener, closer = (("```", "```"), ("$$", "$$"), ("\\[", "\\]"))[which]
    inside = f"{opener}\n" + "\n\nWait, ".join(parts) + f"\n{closer}"
    text = f"%\n\n{inside}\n\n%".replace("%", "z" * SHORT)
    steps = split_thoughts(text)
    assert [step.strip() for step in steps] == [text[: -SHORT - 2], "z" * SHORT]


@given(PIECES)
def test_steps_begin_where_answers_do_or_at_a_new_thought(text):
    """A step begins where one begins as an answer is split, or at the capital letter of a marker."""
    ends, starts = set(), 0
    for step in split_steps(text):
        starts += len(step)
        ends.add(starts)
    place = 0
    for step in split_thoughts(text)[:-1]:
        place += len(step)
        assert place in ends or text[place] in "WBHAOLN"


@pytest.mark.parametrize(
    "unit",
    [
        "\\begin{a}",
        "\\begin{b}\n\n",
        "\\begin{b}\n\n\\end{a}",
        "$$\n\n",
        "\\[",
        "\\[\n\nWait, \\]\n\n",
        "```\n\n",
        "```x\n",
        "`",
        "~~~",
        "\n \t",
        "\n" + " " * 50,
        " Wait",
        "Wait, ",
        "Let me ",
        "Hmmmm",
        "\\\\",
        "$",
        "\\$$",
        "a\n\n",
        "é\n\n",
    ],
)
def test_time_grows_as_the_text_does(unit):
    """Eight times the text takes less than 24 times the CPU time; a square would take 64."""

    def taken(length: int) -> float:
        text = f"x{unit * (length // len(unit))}x"
        times = []
        for _ in range(3):
            start = time.process_time()
            split_thoughts(text)
            times.append(time.process_time() - start)
        return min(times)

    taken(1000)
    assert taken(160_000) < 24 * max(taken(20_000), 0.0005)
