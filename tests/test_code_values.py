"""A value that a function gave is compared with the one that is wanted: by value, and no false equal is made."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.checkers.code.values import difference, equal, shown
from gradatim.suite import Suite

CALL = Suite(style="call")
NEAR = Suite(style="call", tolerance=1e-6)
ANY_ORDER = Suite(style="call", unordered=True)
NEAR_ANY = Suite(style="call", unordered=True, tolerance=1e-6)
NAN = float("nan")


def nested(depth, core):
    """A list in a list in a list."""
    for _ in range(depth):
        core = [core]
    return core


@pytest.mark.parametrize(
    ("suite", "expected", "got"),
    [
        (CALL, [1, [2, 3]], (1, (2, 3))),
        (CALL, 2, 2.0),
        (CALL, 2.0, 2),
        (CALL, None, None),
        (CALL, True, True),
        (CALL, {"1": "a", "null": 2, "false": 3, "1.5": 4}, {1: "a", None: 2, False: 3, 1.5: 4}),
        (CALL, [10**5000], [10**5000]),
        (CALL, nested(5000, 1), nested(5000, 1)),
        (NEAR, [0.3333333333], (1 / 3,)),
        (NEAR, 2, 2.0000001),
        (NEAR, {"a": [0.5]}, {"a": (0.5000001,)}),
        (ANY_ORDER, [[1, 2], [3]], [(3,), (1, 2)]),
        (ANY_ORDER, [1, 2], {2, 1}),
        (ANY_ORDER, ["a", None, 1, True, 2.5, {"x": 1}], [{"x": 1}, 2.5, True, None, "a", 1]),
        (ANY_ORDER, "ab", "ab"),
        (NEAR_ANY, [0.1, 0.2], [0.2000001, 0.1]),
        (NEAR_ANY, [[0.1, "a"], [0.2, "b"]], [[0.2000001, "b"], [0.1, "a"]]),
    ],
)
def test_right_values(suite, expected, got):
    """Tuples are lists, numbers count by value, keys as JSON writes them, and order where it counts."""
    assert difference(suite, expected, got) is None


@pytest.mark.parametrize(
    ("suite", "expected", "got"),
    [
        (CALL, 1, True),
        (CALL, True, 1),
        (CALL, False, 0),
        (CALL, 0, None),
        (CALL, "1", 1),
        (CALL, [1], "1"),
        (CALL, "ab", ["a", "b"]),
        (CALL, "a", b"a"),
        (CALL, [1, 2], [1]),
        (CALL, [1], [1, 2]),
        (CALL, [], {}),
        (CALL, [], None),
        (CALL, [1, 2], {1, 2}),
        (CALL, {"1": 1}, {"1": 1, 1: 1}),
        (CALL, {"a": 1}, {"b": 1}),
        (CALL, {"a": 1}, [["a", 1]]),
        (CALL, 0, NAN),
        (CALL, 1, 1 + 0j),
        (CALL, 2**53, 2.0**53 + 2),
        (CALL, 10**400, float("inf")),
        (CALL, {"1": 1}, {10**5000: 1}),
        (CALL, nested(5000, 1), nested(5000, 2)),
        (NEAR, 1000000007, 1000000008),
        (NEAR, 10**400, 1e300),
        (NEAR, 0.5, NAN),
        (NEAR, 0.5, "0.5"),
        (NEAR, 0, False),
        (ANY_ORDER, [1, 1, 2], [1, 2, 2]),
        (ANY_ORDER, [[1, 2]], [[2, 1]]),
        (ANY_ORDER, [1], [True]),
        (ANY_ORDER, [1], "1"),
        (ANY_ORDER, [1, 1], {1}),
        (ANY_ORDER, [1.0], [NAN]),
        (NEAR_ANY, [0.1, 0.2], [0.2, 0.2]),
        (NEAR_ANY, [1], [True]),
    ],
)
def test_wrong_values(suite, expected, got):
    """Nothing of another kind or number is equal, and a prefix is not the whole."""
    assert difference(suite, expected, got)


def test_a_difference_is_told_shortly():
    """The item that differs is named, and shown alone where the whole is long."""
    assert difference(CALL, [1, 2], [1, 3]).where == "at item 2"
    assert difference(CALL, [1, 2], [1, 3]).got == "[1, 3]"
    long = difference(CALL, [0] * 5000 + [7], [0] * 5000 + [8])
    assert (long.expected, long.got, long.where) == ("7", "8", "at item 5001")
    assert "bits" in shown(10**9999)
    assert len(shown(["x" * 10**6] * 1000)) < 100_000
    wide = 1
    for _ in range(6):
        wide = [wide] * 50
    assert len(shown(wide)) < 20_000


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(st.text(max_size=3), items, max_size=3),
    max_leaves=12,
)


def tupled(value):
    """The same value with tuples for lists."""
    if isinstance(value, list):
        return tuple(tupled(item) for item in value)
    return {key: tupled(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(plain, plain)
def test_equality_of_values_is_what_it_says(one, other):
    """Every value equals itself and its tuples, both ways alike, and only what JSON's numbers cannot tell apart."""
    assert equal(one, one)
    assert equal(one, tupled(one))
    assert equal(one, json.loads(json.dumps(one)))
    assert equal(one, other) == equal(other, one)
    if equal(one, other):
        assert one == other
        assert difference(ANY_ORDER, one, other) is None


@given(st.lists(plain, max_size=8), st.randoms())
def test_the_order_of_items_does_not_count_where_it_says_so(items, chance):
    """A shuffled list is right where the order does not count; one item more is not."""
    shuffled = items[:]
    chance.shuffle(shuffled)
    for suite in (ANY_ORDER, NEAR_ANY):
        assert difference(suite, items, shuffled) is None
        assert difference(suite, items, [*shuffled, "x"])
