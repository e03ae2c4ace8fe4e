"""A budget is reserved before a request is sent, and never exceeded."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.models.budget import Budget, Price, prompt_bound
from gradatim.types import Message, Usage

COUNT = st.integers(0, 5000)
PRICE = st.builds(
    Price,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached_input=st.none() | st.floats(0, 100),
)


@given(
    st.lists(st.tuples(COUNT, COUNT, st.sampled_from(["exact", "unknown", "worst", "release"]), st.data()), max_size=30)
)
def test_tokens_never_exceed_the_limit(requests):
    """Whatever order requests are reserved and settled in, what was spent stays within the limit."""
    budget = Budget(tokens=12_000, spent_tokens=500)
    under_way = []
    for prompt, completion, how, data in requests:
        reservation = budget.reserve(prompt, completion)
        if reservation is not None:
            under_way.append((reservation, how))
        if under_way and data.draw(st.booleans()):
            settle(budget, *under_way.pop(0), data)
        assert budget.spent_tokens <= 12_000
    for reservation, _ in under_way:
        budget.assume_worst(reservation)
    assert budget.spent_tokens <= 12_000
    assert budget.open == 0


def settle(budget, reservation, how, data):
    if how == "exact":
        prompt = data.draw(st.integers(0, reservation.prompt))
        completion = data.draw(st.integers(0, reservation.completion))
        budget.settle(
            reservation, Usage(prompt=prompt, completion=completion, cached=data.draw(st.integers(0, prompt)))
        )
    elif how == "unknown":
        budget.settle(reservation, Usage())
    elif how == "worst":
        budget.assume_worst(reservation)
    else:
        budget.release(reservation)


@given(PRICE, st.lists(st.tuples(COUNT, COUNT, st.floats(0, 1)), max_size=30))
def test_money_never_exceeds_the_limit(price, requests):
    """Money in flight and money spent together stay within the limit, cached prompts at any price included."""
    budget = Budget(money=0.25, price=price)
    under_way = []
    for prompt, completion, part in requests:
        reservation = budget.reserve(prompt, completion)
        if reservation is not None:
            under_way.append((reservation, part))
    for reservation, part in under_way:
        used = Usage(
            prompt=int(reservation.prompt * part),
            completion=int(reservation.completion * part),
            cached=int(reservation.prompt * part * part),
        )
        budget.settle(reservation, used)
    assert budget.spent_money <= 0.25


def test_worst_case_blocks_and_settling_frees():
    """A reservation holds its worst case until the server's count replaces it."""
    budget = Budget(tokens=1000)
    first = budget.reserve(100, 500)
    assert budget.reserve(100, 500) is None
    budget.settle(first, Usage(prompt=80, completion=20))
    assert budget.spent_tokens == 100
    assert budget.reserve(100, 500) is not None


def test_unknown_usage_is_the_worst_case():
    """What the server does not count is counted as reserved, and shown as assumed."""
    budget = Budget(tokens=1000, price=Price(input=1, output=2))
    budget.settle(budget.reserve(100, 50), Usage())
    assert (budget.spent_tokens, budget.assumed_tokens) == (150, 150)
    budget.settle(budget.reserve(100, 50), Usage(prompt=10))
    assert (budget.spent_tokens, budget.assumed_tokens) == (210, 200)
    assert budget.spent_money == pytest.approx((100 + 2 * 50 + 10 + 2 * 50) / 1e6)


def test_nothing_sent_costs_nothing():
    """A released reservation leaves no trace."""
    budget = Budget(tokens=150)
    budget.release(budget.reserve(100, 50))
    assert budget.spent_tokens == 0
    assert budget.reserve(100, 50) is not None


def test_a_long_template_is_learnt_once():
    """A prompt longer than its bound raises the bound of later ones by what was missing, whatever was under way."""
    budget = Budget(tokens=100_000)
    together = [budget.reserve(100, 10) for _ in range(5)]
    for reservation in together:
        budget.settle(reservation, Usage(prompt=130, completion=1))
    assert budget.reserve(100, 10).prompt == 130


def test_cached_tokens_cost_their_own_price():
    """The cached part of a prompt is billed at its price and the rest at the full one."""
    price = Price(input=2.0, cached_input=0.5, output=8.0)
    usage = Usage(prompt=1_000_000, cached=400_000, completion=500_000)
    assert price.cost(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 8)


def test_a_million_costs_have_no_rounding():
    """Sums of money are exact."""
    budget = Budget(price=Price(input=0.1, output=0.3))
    for _ in range(10_000):
        budget.settle(budget.reserve(1, 1), Usage(prompt=1, completion=1))
    assert budget.spent_money == 10_000 * 0.4 / 1e6


def test_time(monkeypatch):
    """Time runs from the first request, and nothing is reserved after its end."""
    now = [100.0]
    monkeypatch.setattr("gradatim.models.budget.time.monotonic", lambda: now[0])
    budget = Budget(seconds=10)
    assert budget.seconds_left == 10
    assert budget.reserve(1, 1) is not None
    now[0] = 109.0
    assert budget.reserve(1, 1) is not None
    now[0] = 110.0
    assert budget.reserve(1, 1) is None


def test_earlier_runs_count():
    """What earlier runs spent is part of what may be spent."""
    assert Budget(tokens=100, spent_tokens=80).reserve(10, 11) is None
    assert Budget(money=1.0, spent_money=1.0, price=Price(input=1, output=1)).reserve(1, 0) is None


@given(st.text())
def test_bound_of_a_prompt(text):
    """A prompt's bound is at least its bytes, of which no token has less than one; odd characters raise nothing."""
    assert prompt_bound((Message(role="user", content=text),)) >= len(text.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "settings",
    [{"tokens": -1}, {"money": 1.0}, {"seconds": -2.0}, {"money": math.inf, "price": Price(input=1, output=1)}],
)
def test_limits_that_cannot_be(settings):
    """A limit below zero, without end, or in money without a price is refused."""
    with pytest.raises(UsageError, match="budget"):
        Budget(**settings)


def test_price_that_cannot_be():
    """A price below zero is refused."""
    with pytest.raises(UsageError, match="price"):
        Price(input=-1, output=1)


def test_describe():
    """The sentence a user gets has the limits that were set, and no others."""
    budget = Budget(tokens=100, money=1.0, price=Price(input=1, output=1))
    assert budget.describe() == "0 of 100 tokens, 0.0000 of 1 in money"
    assert Budget().describe() == "no limit"
