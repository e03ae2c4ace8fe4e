"""Multiple choice: the letter that an answer settles on."""

from __future__ import annotations

import pytest

from gradatim.checkers import Item
from gradatim.checkers.choice import ChoiceChecker
from gradatim.types import Outcome

CASES = [
    (r"\boxed{B}", "B", "box"),
    (r"\boxed{\text{(C)}}", "C", "box"),
    (r"\boxed{\textbf{(D)}\ 12}", "D", "box"),
    (r"\boxed{c}", "C", "box"),
    ("#### B", "B", "hash"),
    ("The answer is (B).", "B", "phrase"),
    ("The correct answer is C", "C", "phrase"),
    ("It's not A because it makes no sense, therefore I think it's B", "B", "phrase"),
    ("The answer is for sure D, it can't be A or B", "D", "phrase"),
    ("Answer: **E**", "E", "phrase"),
    ("Alina and the answer is\n(C) Cecile", "C", "phrase"),
    ("Some thoughts.\nB", "B", "whole"),
    ("(D) Alina", "D", "whole"),
    ("D. it can't be A or B", "D", "whole"),
    ("A man walks into a bar.", "", ""),
    ("The answer is unclear", "", ""),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "letter", "found_by"), CASES, ids=[repr(case[0])[:40] for case in CASES])
def test_letter_found(text, letter, found_by):
    """The letter that the text settles on decides, and the verdict says how it was found."""
    checker = ChoiceChecker()
    right = checker.decide(letter or "A", text)
    assert right.outcome is (Outcome.CORRECT if letter else Outcome.WRONG)
    assert right.found_by == found_by
    assert checker.decide("Z", text).outcome is Outcome.WRONG
    assert letter or right.reason == "no_answer"


@pytest.mark.parametrize("reference", ["B", "(B)", " b. ", "B)"])
def test_references_that_are_letters(reference):
    """A reference may come in brackets or in lower case."""
    assert ChoiceChecker().check_reference(reference).outcome is Outcome.CORRECT


@pytest.mark.parametrize("reference", ["", "42", "AB", "the second"])
def test_a_reference_that_is_no_letter_decides_nothing(reference):
    """An answer to a question without a right letter is undecided, never wrong."""
    checker = ChoiceChecker()
    assert checker.check_reference(reference).outcome is Outcome.UNDECIDED
    assert checker.decide(reference, r"\boxed{B}").reason == "reference_unparsable"


def test_check_streams_in_order():
    """Items are read one by one, and come back with their keys."""
    items = (Item(key=key, answer=rf"\boxed{{{letter}}}", reference="A") for key, letter in enumerate("ABA"))
    results = list(ChoiceChecker().check(items))
    assert [(key, verdict.outcome) for key, verdict in results] == [
        (0, Outcome.CORRECT),
        (1, Outcome.WRONG),
        (2, Outcome.CORRECT),
    ]
