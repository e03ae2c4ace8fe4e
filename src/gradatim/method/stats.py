"""The little statistics that grading needs: the Beta distribution, and an interval for a counted share.

Not in the paper, which grades from one attempt; a rate needs an uncertainty. Written here because SciPy is 100 MB
and this is a page. Accuracy is tested against mpmath; it leaves out everything that no stage asks for.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_EPSILON = 1e-16
_TERMS = 100_000
"""The continued fraction needs about sqrt(max(a, b)) terms; this is enough for counts of some 10**9."""


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    result = d
    for m in range(1, _TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = 1 + term / c
            c = c if abs(c) > _TINY else _TINY
            result *= c * d
        if abs(c * d - 1) < 4 * _EPSILON:
            return result
    raise ArithmeticError(f"the incomplete beta function did not converge at x={x}, a={a}, b={b}")


def _log_density(x: float, a: float, b: float) -> float:
    """Return the logarithm of x**a (1-x)**b / B(a, b), for 0 < x < 1."""
    return a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the probability that a Beta(a, b) variable is at most `x` (regularised incomplete beta, DLMF 8.17).

    `a` and `b` are positive; `x` outside [0, 1] gives 0 or 1. Raises `ValueError` for another `a` or `b`.
    """
    if not (a > 0 and b > 0):
        raise ValueError(f"Beta({a}, {b}) needs two positive numbers")
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(_log_density(x, a, b))
    # Each side converges fast only on its own half of the mean.
    if x < (a + 1) / (a + b + 2):
        return min(1.0, front * _fraction(x, a, b) / a)
    return max(0.0, 1 - front * _fraction(1 - x, b, a) / b)


@lru_cache(maxsize=4096)
def beta_quantile(q: float, a: float, b: float) -> float:
    """Return the `x` at which the Beta(a, b) distribution function reaches `q`, 0 <= q <= 1.

    Newton's step where it stays inside the bracket, else its middle; exact to about 1e-12. Cached, since a library
    of a million questions holds some hundred pairs of counts. Raises `ValueError` for a `q` outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"{q} is no probability")
    low, high = 0.0, 1.0
    if q in (low, high):
        return q
    x = a / (a + b)
    for _ in range(200):
        gap = beta_cdf(x, a, b) - q
        low, high = (low, x) if gap > 0 else (x, high)
        slope = math.exp(_log_density(x, a, b)) / (x * (1 - x))
        step = x - gap / slope if slope > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - x) <= 4 * _EPSILON * x or high - low <= _EPSILON:
            return following
        x = following
    return x


def credible_interval(correct: int, wrong: int, *, prior: tuple[float, float], mass: float) -> tuple[float, float]:
    """Return the equal-tailed interval of the pass rate that holds `mass` of the posterior Beta."""
    a, b = prior[0] + correct, prior[1] + wrong
    tail = (1 - mass) / 2
    return beta_quantile(tail, a, b), beta_quantile(1 - tail, a, b)


def student_quantile(mass: float, freedom: float) -> float:
    """Return the t between whose negative and itself Student's distribution holds `mass`, 0 < mass < 1.

    By the Beta distribution: freedom / (freedom + T**2) is Beta(freedom / 2, 1/2). Raises `ValueError`.
    """
    if not (0 < mass < 1 and freedom > 0):
        raise ValueError(f"there is no t for a mass of {mass} and {freedom} degrees of freedom")
    x = beta_quantile(1 - mass, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


def normal_quantile(mass: float) -> float:
    """Return the z between whose negative and itself the normal distribution holds `mass`, 0 < mass < 1."""
    from statistics import NormalDist  # noqa: PLC0415 - 10 ms at every start of the command line otherwise

    return NormalDist().inv_cdf((1 + mass) / 2)


def wilson(successes: int, trials: int, mass: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval for a share (Wilson 1927), for printing beside counts of many questions.

    No trials give (0, 1). Raises `ValueError` for counts or a mass that cannot be.
    """
    if not (0 <= successes <= trials and 0 < mass < 1):
        raise ValueError(f"{successes} of {trials} with mass {mass} is no share")
    if trials == 0:
        return 0.0, 1.0
    z = normal_quantile(mass)
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    # At the ends the two terms cancel on paper, but not in floats.
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == trials else middle + half
