"""Decontamination against evaluation questions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.method.contamination import NgramIndex

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
TRAIN = (
    "A train leaves Aville at 9 in the morning and travels 60 miles per hour towards Beeton, which is 1,000 miles "
    r"away. When does it arrive if $\dfrac{1}{2}$ of the way is $\left(2x+1\right)$ times slower?"
)
WORDS = st.sampled_from(["red", "blue", "green", "ten", "train", "7", "3.5", "$x$", "apples"])


def index_of(*texts, words=13):
    index = NgramIndex(words)
    for number, text in enumerate(texts):
        index.add(f"eval:{number}", text)
    return index


def test_a_shared_run_is_found_where_it_stands():
    """The span is the longest shared run, in the question's own print, however that sets case, blanks and LaTeX."""
    pool = (
        "Here is a new one.  A  TRAIN leaves aville, at 9 in the morning, and travels 60 miles per hour towards Beeton "
        "(which is 1000 miles away)! When does it come back?"
    )
    match = index_of("Nothing alike in this one at all.", TRAIN).match(pool)
    assert match.name == "eval:1"
    assert pool[match.start : match.end] == match.text
    assert match.text.startswith("A  TRAIN leaves")
    assert match.text.endswith("When does it")
    assert match.words == 25


def test_latex_spacing_hides_nothing():
    """A formula's print does not part a run: another fraction command, bracket sizes and thin blanks come and go."""
    pool = r"towards Beeton which is $1{,}000$ miles away when does it arrive if \( \frac{1}{2} \) of it"
    assert index_of(TRAIN).match(pool) is not None
    pool = r"does it arrive if $\frac{1}{2}$ of the way is $\, ( 2x + 1 )$ times slower"
    assert index_of(TRAIN).match(pool).words == 15


def test_twelve_shared_words_are_no_match():
    """A run one word shorter than the n-gram is none, and the number of words can be set."""
    pool = "A train leaves Aville at 9 in the morning and travels 60 kilometres"
    assert index_of(TRAIN).match(pool) is None
    assert index_of(TRAIN, words=12).match(pool).words == 12


def test_a_short_question_matches_as_a_whole():
    """Of 6 to 12 words it is found inside a text, with its signs; below 6 only as the whole text."""
    index = index_of(r"What is the value of $2+3\cdot 4$?", r"Compute $\sin 60^\circ$.")
    match = index.match(r"Please answer: What is the value of $2 + 3 \times 4$? Think first.")
    assert (match.name, match.text) == ("eval:0", r"What is the value of $2 + 3 \times 4")
    assert index.match(r"What is the value of $2-3\cdot 4$?") is None
    assert index.match("What is the value of the house?") is None
    assert index.match(r"compute \( \sin 60^{\circ} \)").name == "eval:1"
    assert index.match(r"compute $\sin 60$") is None
    assert index.match(r"Compute $\sin 60^\circ$ by hand") is None


def test_the_question_added_first_is_named():
    """Where two evaluation questions hold one run, the first is given; an empty one is not counted."""
    index = index_of("", TRAIN, TRAIN)
    assert len(index) == 2
    assert index.match(TRAIN).name == "eval:1"
    assert index_of().match(TRAIN) is None
    assert index.match("") is None


def test_questions_can_be_added_after_asking():
    """An index that has answered takes more questions."""
    index = index_of("Nothing alike in this one at all.")
    assert index.match(TRAIN) is None
    index.add("late", TRAIN)
    assert index.match(TRAIN).name == "late"


def test_too_short_n_grams_are_refused():
    """An n-gram of five words is in every text."""
    with pytest.raises(UsageError, match="at least 6 words, not 5"):
        NgramIndex(5)


@given(st.lists(st.lists(WORDS, max_size=25), max_size=5), st.lists(WORDS, max_size=40))
def test_matches_are_those_of_a_plain_search(questions, pool):
    """The index finds a run exactly where comparing every window with every window finds one."""
    index = index_of(*map(" ".join, questions), words=8)
    match = index.match(" ".join(pool))
    expected = False
    for question in questions:
        count = len(question)
        if count >= 8:
            windows = {tuple(question[at : at + 8]) for at in range(count - 7)}
            expected |= any(tuple(pool[at : at + 8]) in windows for at in range(len(pool) - 7))
        elif count >= 6:
            expected |= any(pool[at : at + count] == question for at in range(len(pool) - count + 1))
        elif count:
            expected |= pool == question
    assert (match is not None) == expected
    if match:
        assert match.text == " ".join(pool)[match.start : match.end]


@pytest.mark.skipif(not (DATA / "gsm8k_train.jsonl").exists(), reason="shared/data is not here")
def test_gsm8k_and_math500():
    """Every evaluation question matches itself, and of 7,473 training questions four share 13 words with one."""
    index, prompts = NgramIndex(), []
    for name, column in (("gsm8k_test", "question"), ("math500", "problem")):
        with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                prompts.append(json.loads(line)[column])
                index.add(f"{name}:{len(prompts)}", prompts[-1])
    assert all(index.match(prompt) for prompt in prompts)
    with (DATA / "gsm8k_train.jsonl").open(encoding="utf-8") as lines:
        hits = [match for line in lines if (match := index.match(json.loads(line)["question"]))]
    assert len(hits) == 4
