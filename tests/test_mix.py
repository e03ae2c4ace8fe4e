"""Mixes, quotas, and what happens when a level runs dry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import LimitError, UsageError
from gradatim.method.mix import Mix, Move, Observed, WhenDry, fill, observed_mix, parse_mix, quotas

WEIGHTS = st.dictionaries(st.integers(0, 5), st.floats(0, 1e6), min_size=1).filter(
    lambda found: sum(found.values()) > 0
)
COUNTS = st.dictionaries(st.integers(0, 5), st.integers(0, 3000))


@pytest.mark.parametrize(
    ("text", "easy", "weights"),
    [
        ("curriculum:5,4,3,2,1", None, (0, 5, 4, 3, 2, 1)),
        (" Curriculum: 5, 4, 3, 2, 0.5 ", 2.0, (2, 5, 4, 3, 2, 0.5)),
        ("explicit:1,2,3,4,5", None, (0, 1, 2, 3, 4, 5)),
        ("explicit:0=1,3=2", None, (1, 0, 0, 2, 0, 0)),
        ("explicit:0=1,3=2", 0.0, (0, 0, 0, 2, 0, 0)),
    ],
)
def test_a_mix_is_read_as_written(text, easy, weights):
    """Weights go to levels 1 to 5, or to the levels named; level 0 is out unless it gets a weight."""
    mix = parse_mix(text, easy)
    assert isinstance(mix, Mix)
    assert mix.weights == weights
    assert mix.text == text.strip()


def test_an_observed_mix_waits_for_its_histogram():
    """P_eval follows the counts of an evaluation set; `easy` replaces the share of level 0."""
    waiting = parse_mix("observed:aime 24", 0.5)
    assert waiting == Observed(set_name="aime 24", easy=0.5, text="observed:aime 24")
    histogram = {0: 10, 1: 4, 3: 6}
    assert observed_mix(histogram, "aime").weights == (10, 4, 0, 6, 0, 0)
    assert observed_mix(histogram, "aime", easy=0.0).weights == (0, 4, 0, 6, 0, 0)
    assert observed_mix(histogram, "aime", easy=0.25).weights == (5, 4, 0, 6, 0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no mix: type one of"),
        ("curiculum:5,4,3,2,1", "is no mix: type one of curriculum:5,4,3,2,1"),
        ("curriculum", "lacks what comes after 'curriculum'"),
        ("observed:", "lacks what comes after 'observed'"),
        ("curriculum:5,4,3,2", "has 4 weights, but takes 5"),
        ("curriculum:5,4,3,2,1,1", "has 6 weights, but takes 5"),
        ("curriculum:1,2,3,4,5", "for any other weights type explicit:1,2,3,4,5"),
        ("curriculum:5,4,4,2,1", "must fall and stay above 0"),
        ("curriculum:4,3,2,1,0", "must fall and stay above 0"),
        ("curriculum:1=5,2=4", "for level=weight pairs type explicit:1=5,2=4"),
        ("explicit:1,2,three,4,5", "'three' in the mix"),
        ("explicit:1,2,,4,5", "'nothing' in the mix"),
        ("explicit:1,2,-3,4,5", "a plain number of at least 0"),
        ("explicit:nan,2,3,4,5", "a plain number of at least 0"),
        ("explicit:1,2,inf,4,5", "a plain number of at least 0"),
        ("explicit:6=1", "no pair of a level from 0 to 5"),
        ("explicit:0=1,3", "no pair of a level from 0 to 5"),
        ("explicit:3=1,3=2", "names level 3 twice"),
        ("explicit:0,0,0,0,0", "All weights of the mix"),
    ],
)
def test_a_wrong_mix_gets_a_sentence(text, words):
    """Every wrong text names the place and what to type."""
    with pytest.raises(UsageError) as caught:
        parse_mix(text)
    assert words in str(caught.value)


def test_histograms_without_anything_to_follow_are_refused():
    """An evaluation set that is not graded, or whose only level was left out, gives no mix."""
    with pytest.raises(UsageError, match="has no graded questions"):
        observed_mix({}, "aime")
    with pytest.raises(UsageError, match="has only easy questions"):
        observed_mix({0: 30}, "aime", easy=0)
    with pytest.raises(UsageError, match="weight of easy questions"):
        observed_mix({0: 30}, "aime", easy=float("nan"))
    with pytest.raises(UsageError, match="weight of easy questions"):
        parse_mix("curriculum:5,4,3,2,1", -1.0)


def test_quotas_of_the_usual_curriculum():
    """5:4:3:2:1 of 2,000 is 667, 533, 400, 267, 133."""
    assert quotas({1: 5, 2: 4, 3: 3, 4: 2, 5: 1}, 2000) == {1: 667, 2: 533, 3: 400, 4: 267, 5: 133}
    assert quotas((0, 5, 4, 3, 2, 1), 2000) == {0: 0, 1: 667, 2: 533, 3: 400, 4: 267, 5: 133}


def test_tied_remainders_go_to_the_easier_level():
    """Where two levels have the same remainder, also one that floats cannot show, the easier one gets the question."""
    assert quotas({1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, 7) == {1: 2, 2: 2, 3: 1, 4: 1, 5: 1}
    assert quotas({1: 1, 2: 5}, 3) == {1: 1, 2: 2}
    assert quotas({1: 0.1, 2: 0.7, 3: 0.2}, 5) == {1: 1, 2: 3, 3: 1}


@given(WEIGHTS, st.integers(0, 100_000))
def test_quotas_add_up_to_the_asked_size(weights, size):
    """Rounding never loses or invents a question, and moves no level by a whole one."""
    found = quotas(weights, size)
    assert sum(found.values()) == size
    total = sum(weights.values())
    for level, weight in weights.items():
        assert abs(found[level] - size * weight / total) < 1 + 1e-6
        assert weight > 0 or found[level] == 0


def test_wrong_quotas_are_refused():
    """A negative size, no weights, and weights that are all 0 or below get a sentence."""
    for weights, size in [({1: 1}, -1), ({}, 5), ({1: -1.0, 2: 2.0}, 5), ({1: 0, 2: 0}, 5), ({1: float("nan")}, 5)]:
        with pytest.raises(UsageError):
            quotas(weights, size)


def test_nearest_moves_to_the_harder_of_two_neighbours_first():
    """What level 3 lacks comes from 4, then 2, then 5: nearest first, harder before easier."""
    asked = {1: 0, 2: 10, 3: 30, 4: 10, 5: 10}
    got = fill(asked, {0: 99, 1: 0, 2: 15, 3: 10, 4: 20, 5: 99}, WhenDry.NEAREST)
    assert got.moved == (
        Move(wanted=3, given=4, count=10),
        Move(wanted=3, given=2, count=5),
        Move(wanted=3, given=5, count=5),
    )
    assert got.quotas == {1: 0, 2: 15, 3: 10, 4: 20, 5: 15}
    assert got.short == {}


def test_easy_questions_fill_no_gap_of_a_mix_without_them():
    """Level 0 stands in only where the mix asks for level 0."""
    assert fill({1: 5}, {0: 99, 1: 2}, WhenDry.NEAREST).short == {1: 3}
    assert fill({0: 1, 1: 5}, {0: 99, 1: 2}, WhenDry.NEAREST).quotas == {0: 4, 1: 2}


def test_short_takes_what_there_is():
    """`short` moves nothing and says by how much each level falls short."""
    got = fill({1: 5, 2: 5}, {1: 9, 2: 3}, WhenDry.SHORT)
    assert (got.quotas, got.short, got.moved) == ({1: 5, 2: 3}, {2: 2}, ())


def test_fail_names_each_dry_level_and_what_to_type():
    """The sentence has what each dry level holds and was asked, and a size that fits."""
    weights = {1: 5, 2: 4, 3: 3, 4: 2, 5: 1}
    available = {1: 900, 2: 900, 3: 900, 4: 120, 5: 66}
    with pytest.raises(LimitError) as caught:
        fill(quotas(weights, 2000), available, WhenDry.FAIL)
    said = str(caught.value)
    assert "level 4 has 120 of 267" in said
    assert "level 5 has 66 of 133" in said
    assert "--when-dry nearest" in said
    size = int(said.partition("--size ")[2].partition(",")[0])
    assert fill(quotas(weights, size), available, WhenDry.FAIL).short == {}
    with pytest.raises(LimitError, match="grade more questions"):
        fill({1: 5}, {}, WhenDry.FAIL)


@given(COUNTS, COUNTS, st.sampled_from([WhenDry.NEAREST, WhenDry.SHORT]))
def test_filling_accounts_for_every_question(asked, available, when_dry):
    """Given plus short is what was asked, no level gives more than it has, and moves explain every difference."""
    got = fill(asked, available, when_dry)
    assert sum(got.quotas.values()) + sum(got.short.values()) == sum(asked.values())
    assert all(count <= available.get(level, 0) for level, count in got.quotas.items())
    for level in range(6):
        came = sum(move.count for move in got.moved if move.given == level)
        went = sum(move.count for move in got.moved if move.wanted == level)
        missing = got.short.get(level, 0)
        assert got.quotas.get(level, 0) == asked.get(level, 0) + came - went - missing
    if when_dry is WhenDry.NEAREST and sum(got.short.values()):
        usable = [level for level in available if level > 0 or asked.get(0, 0) > 0]
        assert all(got.quotas.get(level, 0) == available[level] for level in usable)


@given(WEIGHTS, st.integers(1, 5000), COUNTS)
def test_the_size_that_fail_suggests_fits(weights, size, available):
    """Whatever is dry, the suggested smaller draw is short of nothing that the first one asked for."""
    asked = quotas(weights, size)
    try:
        fill(asked, available, WhenDry.FAIL)
    except LimitError as error:
        _, found, rest = str(error).partition("--size ")
        if found:
            smaller = fill(quotas(weights, int(rest.partition(",")[0])), available, WhenDry.SHORT)
            assert all(asked[level] == 0 for level in smaller.short)
