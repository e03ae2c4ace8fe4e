"""The Beta distribution and Wilson's interval, against mpmath and closed forms."""

from __future__ import annotations

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.method.stats import beta_cdf, beta_quantile, credible_interval, wilson

SHAPES = [(0.5, 0.5), (0.5, 1.5), (1.5, 0.5), (2.5, 6.5), (0.5, 64.5), (64.5, 0.5), (30.5, 99.5), (500, 2000), (1e6, 1)]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("x", [1e-9, 0.001, 0.05, 0.2, 0.5, 0.8, 0.999])
def test_cdf_agrees_with_mpmath(a, b, x):
    """The distribution function is right to ten digits for the shapes that counts give, and far beyond."""
    assert beta_cdf(x, a, b) == pytest.approx(_exact_cdf(x, a, b), rel=1e-9, abs=1e-13)


def _exact_cdf(x, a, b):
    """Return mpmath's value to thirty digits."""
    with mpmath.workdps(30):
        return float(mpmath.betainc(a, b, 0, x, regularized=True))


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("q", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_quantile_undoes_the_cdf(a, b, q):
    """The quantile is the point at which the distribution function has the asked value."""
    assert beta_cdf(beta_quantile(q, a, b), a, b) == pytest.approx(q, rel=1e-9)


def test_quantile_has_its_closed_forms():
    """The uniform, the power and the arcsine distribution have quantiles that can be written down."""
    assert beta_quantile(0.3, 1, 1) == pytest.approx(0.3, rel=1e-12)
    assert beta_quantile(0.05, 4, 1) == pytest.approx(0.05**0.25, rel=1e-12)
    assert beta_quantile(0.05, 1, 4) == pytest.approx(1 - 0.95**0.25, rel=1e-12)
    assert beta_quantile(0.05, 0.5, 0.5) == pytest.approx(float(mpmath.sin(mpmath.pi * 0.05 / 2)) ** 2, rel=1e-12)
    assert (beta_quantile(0.0, 2, 3), beta_quantile(1.0, 2, 3)) == (0.0, 1.0)


@settings(deadline=None, max_examples=150)
@given(st.floats(0.5, 200), st.floats(0.5, 200), st.floats(0.0, 1.0))
def test_the_two_tails_add_up_to_one(a, b, x):
    """A Beta(a, b) variable is at most x exactly where one minus it is at least 1 - x."""
    assert beta_cdf(x, a, b) + beta_cdf(1 - x, b, a) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize(("correct", "wrong"), [(0, 1), (1, 0), (3, 5), (0, 16), (16, 0)])
def test_interval_holds_its_mass_with_equal_tails(correct, wrong):
    """Each side of a 90 % interval is passed with a probability of 5 %."""
    low, high = credible_interval(correct, wrong, prior=(0.5, 0.5), mass=0.9)
    assert _exact_cdf(low, correct + 0.5, wrong + 0.5) == pytest.approx(0.05, rel=1e-8)
    assert 1 - _exact_cdf(high, correct + 0.5, wrong + 0.5) == pytest.approx(0.05, rel=1e-8)


def test_wilson_has_its_published_values():
    """81 of 263 gives 0.2553 to 0.3662 (Newcombe 1998, table I); 0 of 10 reaches up to z*z / (10 + z*z)."""
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson(0, 10)
    assert low == 0
    assert high == pytest.approx(1.959964**2 / (10 + 1.959964**2), rel=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: beta_cdf(0.5, 0, 1),
        lambda: beta_quantile(1.5, 1, 1),
        lambda: wilson(3, 2),
        lambda: wilson(1, 2, mass=1.0),
    ],
)
def test_impossible_numbers_are_refused(call):
    """Shapes, probabilities and counts that cannot be raise instead of giving a number."""
    with pytest.raises(ValueError, match=r"is no|needs two"):
        call()
