"""The seeded order of a draw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.method.draw import ordered
from gradatim.types import content_id

IDS = [content_id(str(number)) for number in range(5000)]


def ranks(seed):
    return {question_id: place for place, question_id in enumerate(ordered(IDS, seed))}


def rank_correlation(one, other):
    count = len(one)
    squares = sum((one[question_id] - other[question_id]) ** 2 for question_id in one)
    return 1 - 6 * squares / (count * (count**2 - 1))


def test_the_order_is_the_same_everywhere():
    """The first ids of an order are written down here, so no machine, version or change may give others."""
    assert ordered(IDS, 0, first=3) == ["p7cunpoidgk37hdu", "slbnu2h54m66qhcn", "zem3yswu57v33ya3"]
    assert ordered(IDS, -7, first=1) == ["xgdc6b76vu5ssbn6"]


@given(st.lists(st.text(), unique=True), st.integers(), st.integers(0, 20))
def test_first_is_the_start_of_the_whole(ids, seed, first):
    """Asking for some gives the start of the whole order, which holds every id once, in whatever order they come."""
    whole = ordered(ids, seed)
    assert sorted(whole) == sorted(ids)
    assert ordered(iter(reversed(ids)), seed, first) == whole[:first]


def test_a_question_that_joins_moves_no_other():
    """The order of the old questions stays when new ones come or old ones go."""
    fewer = ordered(IDS[::3], 11)
    assert [question_id for question_id in ordered(IDS, 11) if question_id in set(fewer)] == fewer


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (1, 11), (0, 2**63), (5, -5)])
def test_seeds_give_unrelated_orders(one, other):
    """The rank correlation of two seeds' orders of 5,000 ids is within four standard errors of 0."""
    assert abs(rank_correlation(ranks(one), ranks(other))) < 4 / 5000**0.5


def test_the_order_is_unrelated_to_the_ids():
    """Sorting by id and by the seeded order have nothing to do with each other."""
    by_id = {question_id: place for place, question_id in enumerate(sorted(IDS))}
    assert abs(rank_correlation(by_id, ranks(0))) < 4 / 5000**0.5
