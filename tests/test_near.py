"""Near duplicates, and how prompts are read for the comparison."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.method.near import BANDS, THRESHOLD, bands, candidate_probability, jaccard, near_duplicate, scheme
from gradatim.method.words import Kind, read

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
EGGS = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the rest at the farmers' market for $2 per fresh egg. How much does she make?"
)


def candidates(text, other):
    """Whether two texts share a band."""
    return any(one == two for one, two in zip(bands(text), bands(other), strict=True))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (EGGS, EGGS.upper()),
        (EGGS, EGGS.replace("three", "3").replace("four", "4")),
        (EGGS, EGGS.replace("'", "\u2019").replace(". ", ".\n\n")),
        (EGGS, "Question: " + EGGS + " Answer:"),
        (r"Compute $\left(\frac{1}{2}\right)^{10}$.", r"compute \( (\dfrac{1}{2})^10 \)"),
        (r"What is $1{,}000 \times 3.50$?", "What is 1,000 × 3.5?"),
        (r"Find $x$ if $x \leq 5$ and $x \neq 3$.", "Find x if x ≤ 5 and x ≠ 3."),
        ("What is the two-digit number?", "What is the two digit number?"),
        ("Find cafe\u0301 A.", "Find café A."),
        ("**Find** the area.", "Find the area"),
    ],
)
def test_two_prints_of_one_question_are_found(text, other):
    """Case, punctuation, LaTeX spacing, number words and a short frame make no other question."""
    assert candidates(text, other)
    assert near_duplicate(text, other) is not None


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (EGGS, EGGS.replace("16", "18")),
        (EGGS, EGGS.replace("three", "five")),
        (EGGS + " Pay 3.5.", EGGS + " Pay 3.05."),
        (EGGS + " It takes 30 minutes at 2 km.", EGGS + " It takes 2 minutes at 30 km."),
        (EGGS + " Find $x+y$.", EGGS + " Find $x-y$."),
        (EGGS + " Find $x^2$.", EGGS + " Find $x^3$."),
        (EGGS + " Find x².", EGGS + " Find x³."),
        (EGGS + r" Find $\sin x$.", EGGS + r" Find $\cos x$."),
        (EGGS + r" Find $\frac{x}{y+z}$.", EGGS + r" Find $\frac{x}{y}+z$."),
        (EGGS + " Find $(2+3)*4$.", EGGS + " Find $2+3*4$."),
        (EGGS + " Find the value of x.", EGGS + " Find the value of y."),
        (EGGS + " Take the largest.", EGGS + " Take the smallest."),
        (EGGS + " Find $x<5$.", EGGS + r" Find $x \le 5$."),
        ("Compute 2+3", "Compute 3+2"),
        (EGGS, "A train leaves the station at 9 and another one an hour later."),
    ],
)
def test_another_number_sign_or_function_is_another_question(text, other):
    """However alike the prose, two questions whose mathematics differs are two, and share no band."""
    assert not candidates(text, other)
    assert near_duplicate(text, other) is None


def test_the_jaccard_index_is_that_of_word_5_grams():
    """Twelve words against the same with another last one share 7 of 9 5-grams."""
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
    assert jaccard(" ".join(words), " ".join([*words[:-1], "nu"])) == pytest.approx(7 / 9)
    assert jaccard("", "") == 1
    assert jaccard("abcdef", "abcdeg") == pytest.approx(1 / 3)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_can_be_compared(text, other):
    """Bands are numbers that SQLite can hold, any text is its own duplicate, and which comes first is no matter."""
    found = bands(text)
    assert len(found) == BANDS
    assert all(0 <= band < 2**63 for band in found)
    assert near_duplicate(text, text) == 1
    assert jaccard(text, other) == jaccard(other, text)


@given(st.text(max_size=300))
def test_words_stand_where_they_say(text):
    """Spans rise, lie inside the text, and are never empty."""
    reading = read(text)
    assert len(reading.texts) == len(reading.kinds) == len(reading.spans)
    end = 0
    for start, stop in reading.spans:
        assert end <= start < stop <= len(text)
        end = stop


def test_kinds_of_words():
    """Numbers, variables, functions and deciding words are exact, operators and brackets signs, the rest prose."""
    reading = read(r"Find the larger root $x = \sqrt{2}$ of a twenty-five")
    assert [(text, kind) for text, kind in zip(reading.texts, reading.kinds, strict=True)] == [
        ("find", Kind.PROSE),
        ("the", Kind.PROSE),
        ("larger", Kind.EXACT),
        ("root", Kind.PROSE),
        ("x", Kind.EXACT),
        ("=", Kind.SIGN),
        ("√", Kind.SIGN),
        ("2", Kind.EXACT),
        ("of", Kind.PROSE),
        ("a", Kind.PROSE),
        ("20", Kind.EXACT),
        ("5", Kind.EXACT),
    ]


def test_bands_are_the_same_in_every_process():
    """Another process, with another hash seed, gives the same bands and scheme."""
    code = "import sys; from gradatim.method.near import bands, scheme; print(bands(sys.argv[1]), scheme())"
    for seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", code, EGGS],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert said.strip() == f"{bands(EGGS)} {scheme()}"


def test_the_search_finds_as_many_as_the_formula_says():
    """Pairs of word lists are candidates about as often as 1 - (1 - s**4)**6 of their Jaccard index says."""
    draw = random.Random(7)
    letters = "bcdefghjklmnpqrstuvwxyz"
    for swaps in (1, 3, 6, 12):
        hits, expected, pairs = 0, 0.0, 400
        for _ in range(pairs):
            words = ["".join(draw.choices(letters, k=6)) for _ in range(60)]
            other = words[:]
            for place in range(swaps):
                other[-1 - place] = "".join(draw.choices(letters, k=6))
            expected += candidate_probability(jaccard(" ".join(words), " ".join(other)))
            hits += candidates(" ".join(words), " ".join(other))
        spread = (pairs * 0.25) ** 0.5
        assert abs(hits - expected) < 4 * spread, swaps
    assert candidate_probability(THRESHOLD) > 0.98
    assert candidate_probability(0.2) < 0.01


@pytest.mark.skipif(not (DATA / "gsm8k_train.jsonl").exists(), reason="shared/data is not here")
def test_gsm8k_and_math500_hold_one_near_duplicate():
    """Of 9,292 questions two differ in a name only, and the search compares no other pair."""
    prompts = []
    for name, column in (("gsm8k_train", "question"), ("gsm8k_test", "question"), ("math500", "problem")):
        with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
            prompts += [json.loads(line)[column] for line in lines]
    table, pairs = defaultdict(list), set()
    for place, prompt in enumerate(prompts):
        for band in enumerate(bands(prompt)):
            pairs.update((other, place) for other in table[band])
            table[band].append(place)
    found = [pair for pair in pairs if near_duplicate(prompts[pair[0]], prompts[pair[1]])]
    assert len(found) == 1
    assert len(pairs) <= 3
