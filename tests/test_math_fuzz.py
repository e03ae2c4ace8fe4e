"""Hostile text of every kind: nothing hangs past its deadline, nothing is raised, memory stays where it was."""

from __future__ import annotations

import random
import resource
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.checkers import Item
from gradatim.checkers.math import MathChecker
from gradatim.checkers.math.compare import compare
from gradatim.checkers.math.exact import Same
from gradatim.checkers.math.normalise import LONGEST, normalise
from gradatim.types import Outcome, Verdict

DEADLINE = 1.0
PIECES = [
    *(
        r"\frac",
        r"\sqrt",
        r"\boxed{",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        r"\{",
        r"\}",
        ",",
        ";",
        "+",
        "-",
        "*",
        "/",
        "^",
        "_",
    ),
    *("=", "<", ">", r"\le", r"\in", r"\pm", r"\cup", "!", "|", "%", "$", r"\text{", r"\begin{pmatrix}"),
    *(r"\end{pmatrix}", r"\\", "&", "0", "1", "2", "12", "0.5", "1e5", "9999999999", "x", "y", "e", "i", r"\pi"),
    *(r"\infty", r"\sin", r"\log", r"\sum", r"\int", r"\circ", r"\ldots", " "),
]
HOSTILE = [
    "9^9^9^9",
    "9^{9^{9^{9^{9}}}}",
    "10!!!!!",
    "((((10!)!)!)!)!",
    "1" + "0" * 3900,
    "0." + "3" * 3900,
    "1e999999999",
    "10^{-999999999}",
    r"1\times 10^{999999999999}",
    "{" * 1500 + "1" + "}" * 1500,
    "(" * 1500 + "1" + ")" * 1500,
    "[" * 1500 + "1" + "]" * 1500,
    "-" * 3000 + "1",
    "+1" * 1500,
    "*2" * 1500,
    "^2" * 1500,
    "(x+1)" * 700,
    "(x+y+z+1)^{99}" * 5,
    r"\frac{1}{" * 400 + "2" + "}" * 400,
    r"\sqrt{" * 500 + "2" + "}" * 500,
    r"\sqrt[" * 500 + "2" + "]" * 500,
    r"\sin" * 900 + "x",
    r"\pm 1" * 700,
    r"1\pm " * 12 + "1",
    "1," * 1900 + "1",
    "(1,2)," * 600 + "(1,2)",
    r"\begin{pmatrix}" * 250,
    r"\begin{pmatrix}" + "1&" * 1500 + r"\end{pmatrix}",
    r"\binom{10^{9}}{5\cdot 10^{8}}",
    r"\sum_{k=1}^{10^{12}} \sin(k)",
    r"\int_0^1 x^x \sin(1/x) dx",
    r"\lim_{x\to 0} x^{x^{x^x}}",
    r"\prod_{k=1}^{10^9} k",
    r"\sqrt{999999999989}",
    r"\sqrt[12]{9999999967}",
    "1/0",
    "0/0",
    "0^0",
    "x_{" * 500 + "1" + "}" * 500,
    "|" * 2001,
    "a" * 3999,
    "\x00" * 100,
    "\ud800",
    "\u202e12",
    "١٢٣",
    "１２３",
    "½" * 1000,
    "²" * 1000,
    "=" * 3000,
    "<" * 3000,
    r"x \in " * 500,
    ";" * 3000,
    r"\text{" * 500,
    r"\$" * 1500,
    "%" * 3000,
    "and " * 900,
]


@pytest.fixture(scope="module")
def checker():
    checker = MathChecker(deadline=DEADLINE, memory_mb=700, workers=1, cache=0)
    checker.compare(r"\tan^2(y)+1", r"\sec^2(y)")
    yield checker
    checker.close()


@pytest.mark.alone
@pytest.mark.parametrize("text", HOSTILE, ids=[repr(text)[:30] for text in HOSTILE])
def test_hostile_pair(checker, text):
    """As answer and as reference, a hostile text is decided or undecided within the deadline and a second."""
    for reference, answer in (("5", text), (text, text + "+1")):
        start = time.monotonic()
        results = dict(checker.check([Item(key=0, answer=rf"\boxed{{{answer}}}", reference=reference)]))
        assert time.monotonic() - start < DEADLINE + 1.0
        verdict = results[0]
        assert isinstance(verdict, Verdict), verdict
        assert verdict.outcome is not Outcome.CORRECT


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.sampled_from(PIECES), max_size=12))
def test_quick_paths_take_anything(left, right):
    """The exact paths raise nothing and are quick, whatever pieces of LaTeX come together."""
    start = time.perf_counter()
    reference, answer = normalise("".join(left)), normalise("".join(right))
    compare(reference, answer)
    assert time.perf_counter() - start < 0.5


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_every_text_is_read(text):
    """Random Unicode equals itself and never makes the exact paths raise."""
    written = normalise(text)
    assert compare(written, written).same is Same.YES
    compare("12", written)
    compare(written, "12")


def test_workers_take_anything(checker):
    """Symbolic work on random pieces raises nothing, and every item gets exactly one result."""
    chance = random.Random(7)
    texts = ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(150)]
    items = [
        Item(
            key=key, answer=rf"\boxed{{{text}}}", reference=chance.choice([r"\sin x", "x^2", "(1, 2)", r"\frac{1}{2}"])
        )
        for key, text in enumerate(texts)
    ]
    results = list(checker.check(items))
    assert sorted(key for key, _ in results) == list(range(len(items)))


def test_a_megabyte_boxed(checker):
    """A megabyte in a box is compared as text: equal, different as an integer, or undecided, and at once."""
    digits = "7" * 1_000_000
    start = time.perf_counter()
    assert checker.compare(digits, digits).outcome is Outcome.CORRECT
    assert checker.compare(digits, digits[:-1] + "8").outcome is Outcome.WRONG
    assert checker.compare("5", r"\sin " * 200_000).reason == "too_long"
    assert len(checker.compare("5", "x" * 1_000_000).answer) <= LONGEST
    assert time.perf_counter() - start < 2.0


def test_memory_stays():
    """Thousands of different pairs through the exact paths leave this process within 30 MB of where it was."""
    checker = MathChecker(cache=100)
    for key in range(2000):
        checker.compare(str(key), rf"\frac{{{key}}}{{7}}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for key in range(20_000):
        checker.compare(f"{key}x+1", rf"1+\frac{{{7 * key}}}{{7}}x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    assert len(checker._cache) == 100
