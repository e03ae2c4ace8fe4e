"""The math checker's decisions: a table of pairs, and what holds for whole families of pairs."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.checkers import Item
from gradatim.checkers.math import MathChecker
from gradatim.checkers.math.compare import compare
from gradatim.checkers.math.exact import Same
from gradatim.checkers.math.normalise import normalise
from gradatim.types import Outcome

CASES = json.loads((Path(__file__).parent / "cases" / "math.json").read_text(encoding="utf-8"))
fractions = st.builds(Fraction, st.integers(-9999, 9999), st.integers(1, 999))


@pytest.fixture(scope="module")
def checker():
    checker = MathChecker(deadline=20.0, workers=1)
    yield checker
    checker.close()


@pytest.mark.parametrize("case", CASES, ids=[f"{case['reference'][:30]}|{case['answer'][:30]}" for case in CASES])
def test_case(checker, case):
    """Each pair of the table is decided as it says."""
    verdict = checker.compare(case["reference"], case["answer"])
    assert verdict.outcome is (Outcome.CORRECT if case["equal"] else Outcome.WRONG), verdict


@pytest.mark.parametrize(
    ("reference", "answer"),
    [("1-1/e", "1+1/e"), (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"), (r"\frac{1}{2004!}", r"\frac{1}{2006!}")],
)
def test_numeric_check_overrules_math_verify(checker, reference, answer):
    """Pairs that math-verify 0.9.0 calls equal because it compares differences absolutely are wrong here."""
    assert checker.compare(reference, answer).outcome is Outcome.WRONG


def test_the_contradiction_is_named(checker):
    """Where math-verify would have said equal and the numbers say otherwise, the reason says so."""
    assert checker.compare(r"\frac{1}{2004!}", r"\frac{1}{2006!}").reason == "numeric_contradiction"


def test_reasons_of_no_decision(checker):
    """An empty reference and one that nothing reads are undecided; an answer that nothing reads is wrong."""
    assert checker.compare("", "5").reason == "reference_unparsable"
    assert checker.compare(r"\frac{1}{", "\\sin 5").reason == "reference_unparsable"
    unread = checker.compare(r"\sin 5", r"\frac{1}{")
    assert (unread.outcome, unread.reason) == (Outcome.WRONG, "answer_unparsable")
    assert checker.compare("5", " ").reason == "no_answer"


def test_no_answer_and_whole_answers(checker):
    """A text that marks no answer is wrong for that reason, unless it is the reference word for word."""
    items = [
        Item(key=1, answer="I do not know how to go on.", reference="5"),
        Item(key=2, answer="all odd numbers", reference=r"\text{all odd numbers}"),
        Item(key=3, answer="all odd numbers", reference="all odd numbers"),
        Item(key=4, answer=r"Hence $x = \boxed{5}$.", reference="5"),
    ]
    verdicts = dict(checker.check(items))
    assert (verdicts[1].outcome, verdicts[1].reason) == (Outcome.WRONG, "no_answer")
    assert verdicts[3].outcome is Outcome.CORRECT
    assert (verdicts[4].outcome, verdicts[4].found_by, verdicts[4].answer) == (Outcome.CORRECT, "box", "5")


@pytest.mark.parametrize(
    "reference", ["5", r"\frac{1}{2}", "(1, 2)", r"\cot x", "4210_{5}", r"\text{east}", "C", "x=5"]
)
def test_readable_references(checker, reference):
    """A reference that is read passes its own check, though not for being the same text."""
    verdict = checker.check_reference(reference)
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.reason != "equal_text"


@pytest.mark.parametrize("reference", ["", " ", r"\frac{1}{", r"\foo{", "+", "))", r"x = \boxed{", "9" * 5000])
def test_unreadable_references(checker, reference):
    """A reference that nothing reads is undecided, although it equals itself as text."""
    assert checker.check_reference(reference).outcome is Outcome.UNDECIDED


def test_checking_a_reference_lets_no_answer_pass(checker):
    """What was found about a reference is not remembered as a verdict about an answer."""
    checker.check_reference(r"\cot x")
    assert checker.compare(r"\cot x", "").outcome is Outcome.WRONG


def test_version_names_what_it_stands_on(checker):
    """The version changes with the rules, with math-verify and with sympy."""
    own, verify, sympy = checker.version.split("+")
    assert own
    assert verify.startswith("math-verify.")
    assert sympy.startswith("sympy.")


def _same(reference: str, answer: str) -> Same:
    return compare(normalise(reference), normalise(answer)).same


@settings(max_examples=200, deadline=None)
@given(fractions, fractions)
def test_fractions_are_decided_exactly(one, other):
    """Every way to write a fraction equals every other way, and no other fraction, without any symbolic work."""

    def ways(value):
        sign = "-" if value < 0 else ""
        top, bottom = abs(value.numerator), value.denominator
        whole, rest = divmod(top, bottom)
        yield rf"{sign}\frac{{{top}}}{{{bottom}}}"
        yield rf"{sign}\dfrac{{{3 * top}}}{{{3 * bottom}}}"
        yield f"{sign}{top}/{bottom}"
        yield rf"$\boxed{{\frac{{{value.numerator}}}{{{bottom}}}}}$"
        if whole and rest:
            yield rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}"
            yield f"{sign}{whole} {rest}/{bottom}"

    for left in ways(one):
        assert all(_same(left, right) is Same.YES for right in ways(one))
        assert all(_same(left, right) is (Same.YES if one == other else Same.NO) for right in ways(other))


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**30), 10**30), st.integers(1, 10**6))
def test_integers_are_decided_exactly(number, gap):
    """Grouped, decimal and plain forms of an integer agree; no two integers do."""
    forms = [
        f"{number}",
        f"{number:,}",
        f"{number:,}".replace(",", r"{,}"),
        f"{number:,}".replace(",", r"\,"),
        f"{number}.0",
    ]
    assert all(_same(str(number), form) is Same.YES for form in forms)
    assert all(_same(str(number + gap), form) is Same.NO for form in forms)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_order_counts_in_tuples_only(numbers, chance):
    """A shuffled list or set is the same answer; a shuffled tuple is, only if it is the same tuple."""
    shuffled = numbers.copy()
    chance.shuffle(shuffled)
    one, other = (", ".join(map(str, values)) for values in (numbers, shuffled))
    assert _same(one, other) is Same.YES
    assert _same(rf"\{{{one}\}}", rf"\{{{other}\}}") is Same.YES
    assert _same(f"({one})", rf"\left({other}\right)") is (Same.YES if numbers == shuffled else Same.NO)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=4), st.integers(1, 9), st.integers(2, 50))
def test_polynomials_and_roots_are_decided_exactly(factors, scale, radicand):
    """A product of linear factors equals its expansion, and n sqrt(m) is sqrt(n n m); a changed number is not."""
    expanded = [1]
    for root in factors:
        expanded = [a - root * b for a, b in zip([*expanded, 0], [0, *expanded], strict=True)]
    degree = len(factors)
    terms = "+".join(f"({value})x^{{{degree - place}}}" for place, value in enumerate(expanded))
    product = "".join(f"(x-({root}))" for root in factors)
    assert _same(product, terms) is Same.YES
    assert _same(product, terms + "+1") is Same.NO
    assert _same(rf"{scale}\sqrt{{{radicand}}}", rf"\sqrt{{{scale * scale * radicand}}}") is Same.YES
    assert _same(rf"{scale}\sqrt{{{radicand}}}", rf"\sqrt{{{scale * scale * radicand + 1}}}") is Same.NO
