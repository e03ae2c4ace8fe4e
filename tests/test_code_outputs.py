"""What a program wrote is compared with what is wanted as the field does, and no false equal is made."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.checkers.code.outputs import close, difference
from gradatim.suite import Suite

TOKENS = Suite(style="stdio")
LINES = Suite(style="stdio", compare="lines")
EXACT = Suite(style="stdio", compare="exact")
ANY_ORDER = Suite(style="stdio", unordered=True)
ANY_LINES = Suite(style="stdio", compare="lines", unordered=True)
NEAR = Suite(style="stdio", tolerance=1e-6)
NEAR_LINES = Suite(style="stdio", compare="lines", tolerance=1e-6)
NEAR_ANY = Suite(style="stdio", tolerance=1e-6, unordered=True)
BYTES = bytes(range(256))


@pytest.mark.parametrize(
    ("suite", "expected", "got"),
    [
        (TOKENS, "1 2\n3\n", b"1 2 3"),
        (TOKENS, "", b"\n \n"),
        (TOKENS, "a\r\nb", b"a\nb\n"),
        (LINES, "1 2\n3\n", b"1 2  \n3\n\n\n"),
        (LINES, "1\r\n2\r\n", b"1\n2"),
        (LINES, "a\n\nb", b"a\n \nb\n"),
        (EXACT, "a\n", b"a\n"),
        (EXACT, "\ud800", b"\xed\xa0\x80"),
        (ANY_ORDER, "1 2\n3 4\n", b"3  4\n\n1 2"),
        (ANY_LINES, "1 2\n3 4\n", b"3 4 \n1 2"),
        (ANY_ORDER, "a\na\nb", b"a\nb\na"),
        (NEAR, "0.333333333", b"0.3333333"),
        (NEAR, "1000000.0", b"1000000.5"),
        (NEAR, "3", b"3.0000001"),
        (NEAR, "1e-3 x", b"0.001 x"),
        (NEAR, "nan inf", b"nan inf"),
        (NEAR_LINES, "x 0.5\ny", b"x .50000001 \ny\n"),
        (NEAR_ANY, "0.1 b\n2.0 a\n", b"2.0000001 a\n0.1 b"),
        (TOKENS, "\ufffd", b"\xff"),
    ],
)
def test_right_outputs(suite, expected, got):
    """White space, order and decimals count only as far as the question says."""
    assert difference(suite, expected, got) is None


@pytest.mark.parametrize(
    ("suite", "expected", "got", "where"),
    [
        (TOKENS, "1 2 3", b"1 2", "the output ends before token 3"),
        (TOKENS, "1 2", b"1 2 3", "the output goes on with token 3"),
        (TOKENS, "1 2", b"12", "at token 1"),
        (TOKENS, "Yes", b"YES", "at token 1"),
        (TOKENS, "1.0", b"1", "at token 1"),
        (TOKENS, "6", b"", "the output ends before token 1"),
        (LINES, "1 2\n3", b"1  2\n3", "at line 1"),
        (LINES, "a\nb", b"a\n\nb", "at line 2"),
        (LINES, "a", b" a", "at line 1"),
        (EXACT, "a\n", b"a", "at character 2"),
        (ANY_ORDER, "1 2\n3 4", b"1 3\n2 4", "a line that is not wanted"),
        (ANY_ORDER, "a\na\nb", b"a\nb\nb", "a line that is not wanted"),
        (ANY_ORDER, "a\nb", b"a", "a line that is wanted is not there"),
        (NEAR, "0.333", b"0.334", "at token 1"),
        (NEAR, "1000000007", b"1000000008", "at token 1"),
        (NEAR, "nan", b"0.5", "at token 1"),
        (NEAR, "inf", b"1e999", "at token 1"),
        (NEAR, "1e400", b"2e400", "at token 1"),
        (NEAR, "1.0", b"1.0x", "at token 1"),
        (NEAR, "1", b"0x1", "at token 1"),
        (NEAR, "10.5", b"1_0.5", "at token 1"),
        (NEAR, "1.0", "１.0".encode(), "at token 1"),
        (NEAR_ANY, "0.1\n2.0", b"2.0\n0.2", "a line that is wanted is not there"),
    ],
)
def test_wrong_outputs(suite, expected, got, where):
    """What is wrong is told with its place: prefixes, further output, other words, other numbers."""
    assert difference(suite, expected, got).where == where


def test_a_difference_shows_both_sides():
    """The verdict's texts begin where the outputs part, and are short however long the outputs are."""
    found = difference(TOKENS, "1 " * 100_000 + "2 3", b"1 " * 100_000 + b"4 3 " * 100_000)
    assert (found.expected, found.got[:7], found.where) == ("2 3", "4 3 4 3", "at token 100001")
    assert len(found.got) < 1000
    long = difference(EXACT, "x" * 1_000_000 + "a", b"x" * 1_000_000 + b"b")
    assert long.where == "at character 1000001"
    assert (long.expected[-1], long.got[-1]) == ("a", "b")


@pytest.mark.slow
@pytest.mark.parametrize("suite", [TOKENS, LINES, EXACT, ANY_ORDER, NEAR_LINES, NEAR_ANY])
def test_huge_outputs_take_linear_time(suite):
    """Fifty megabytes of digits and a million lines are compared in seconds of CPU time."""
    start = time.process_time()
    digits = "7" * 50_000_000
    assert difference(suite, f"{digits}1", f"{digits}2".encode())
    assert difference(suite, f"{digits}\n", digits.encode()) is None or suite is EXACT
    rows = "\n".join(map(str, range(1_000_000)))
    assert difference(suite, f"{rows}\n", f"{rows}\n\n".encode()) is None or suite is EXACT
    assert difference(suite, f"{rows} 1", f"{rows} 2".encode())
    assert time.process_time() - start < 60


texts = st.text(st.sampled_from("ab1.-e \n\r\t\x0b\x85"), max_size=30)
suites = st.builds(
    Suite,
    style=st.just("stdio"),
    compare=st.sampled_from(["tokens", "lines", "exact"]),
    tolerance=st.sampled_from([0.0, 1e-6]),
    unordered=st.booleans(),
)


@given(suite=suites, text=texts, other=texts)
def test_equality_is_what_it_says(suite, text, other):
    """Every text equals itself; with no tolerance both ways alike; and equals differ in white space and order alone."""
    assert difference(suite, text, text.encode()) is None
    same = difference(suite, text, other.encode()) is None
    if suite.tolerance == 0 or suite.compare == "exact":
        assert same == (difference(suite, other, text.encode()) is None)
        if same:
            assert sorted(text.split()) == sorted(other.split())
    if text.split() != other.split() and not suite.unordered and not any(map(str.isdigit, text)):
        assert not same
    if suite.compare == "tokens" and text.split() == other.split() and not suite.unordered:
        assert same


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), max_size=12), st.randoms())
def test_the_order_of_lines_does_not_count_where_it_says_so(rows, chance):
    """A shuffled output is right where the order does not count; one line more or less is not."""
    shuffled = rows[:]
    chance.shuffle(shuffled)
    assert difference(ANY_ORDER, "\n".join(rows), "\n".join(shuffled).encode()) is None
    assert difference(ANY_ORDER, "\n".join(rows), "\n".join([*shuffled, "x"]).encode())
    assert difference(ANY_ORDER, "\n".join([*rows, "x"]), "\n".join(shuffled).encode())


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_decimals_are_close_only_within_the_tolerance(one, other):
    """Two written numbers are close exactly where they differ by a millionth, absolutely or of what is wanted."""
    wanted = repr(one) == repr(other) or abs(one - other) <= 1e-6 * max(1.0, abs(one))
    assert close(repr(one), repr(other), 1e-6) == wanted
