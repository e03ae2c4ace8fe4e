r"""Exact algebra without a computer algebra system: rational functions over Q(i, square roots, pi, e, letters).

Two expressions are equal exactly when their cross product vanishes, and that is decided in microseconds, because
square roots of distinct primes, `i` and letters are independent over Q. What the ring does not hold (functions,
symbolic exponents, absolute values, huge powers) raises `Unsure`, and is left to the workers. Higher roots are opaque:
equal forms are equal, different forms prove nothing.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from fractions import Fraction

_LARGEST_BITS = 4096
_MOST_TERMS = 300
_LARGEST_RADICAND = 10**10

Monomial = tuple[tuple[str, int], ...]
Poly = dict[Monomial, Fraction]


class Unsure(Exception):  # noqa: N818 - no error: the text is outside what this module decides
    """The expression is not one that this ring holds."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of two polynomials; the denominator is not zero."""

    top: Poly
    bottom: Poly

    def opaque(self) -> bool:
        """Say whether a generator stands for something that this module does not understand."""
        return any(gen.startswith("?") for poly in (self.top, self.bottom) for term in poly for gen, _ in term)


ONE: Poly = {(): Fraction(1)}


def add(left: Poly, right: Poly, sign: int = 1) -> Poly:
    """Return left + sign * right."""
    total = dict(left)
    for term, factor in right.items():
        value = total.get(term, Fraction(0)) + sign * factor
        if value:
            total[term] = value
        else:
            total.pop(term, None)
    return total


def multiply(left: Poly, right: Poly) -> Poly:
    """Return the product, with squares of roots and of `i` reduced; raises `Unsure` where it grows too large."""
    if len(left) * len(right) > 4 * _MOST_TERMS:
        raise Unsure
    total: Poly = {}
    for term_a, factor_a in left.items():
        for term_b, factor_b in right.items():
            term, factor = _times(term_a, term_b)
            value = total.get(term, Fraction(0)) + factor * factor_a * factor_b
            if value:
                total[term] = value
            else:
                total.pop(term, None)
    if len(total) > _MOST_TERMS or any(_bits(factor) > _LARGEST_BITS for factor in total.values()):
        raise Unsure
    return total


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _times(left: Monomial, right: Monomial) -> tuple[Monomial, Fraction]:
    if not left:
        return right, Fraction(1)
    if not right:
        return left, Fraction(1)
    powers = dict(left)
    factor = Fraction(1)
    for gen, power in right:
        powers[gen] = powers.get(gen, 0) + power
        if gen == "i" and powers[gen] == 2:
            factor = -factor
            del powers[gen]
        elif gen.startswith("sqrt:") and powers[gen] == 2:
            factor *= int(gen[5:])
            del powers[gen]
    return tuple(sorted(powers.items())), factor


def equal(left: Ratio, right: Ratio) -> bool | None:
    """Say whether two quotients are the same; None where they differ in form only, perhaps."""
    if not add(multiply(left.top, right.bottom), multiply(right.top, left.bottom), -1):
        return True
    return None if left.opaque() or right.opaque() else False


def constant(ratio: Ratio) -> bool:
    """Say whether no letter occurs."""
    return all(
        gen.startswith("sqrt:") or gen in {"pi", "e", "i"}
        for poly in (ratio.top, ratio.bottom)
        for term in poly
        for gen, _ in term
    )


def approximate(ratio: Ratio) -> complex | None:
    """Return the value of a constant to about 14 digits, or None where it is none, or cancels too far to be trusted."""
    if not constant(ratio):
        return None
    values = []
    for poly in (ratio.top, ratio.bottom):
        parts = [_term_value(term, factor) for term, factor in poly.items()]
        total = sum(parts)
        if parts and abs(total) < 1e-6 * max(map(abs, parts)):
            return None
        values.append(total)
    result = values[0] / values[1] if values[1] else cmath.nan
    return complex(result) if cmath.isfinite(result) else None


def _term_value(term: Monomial, factor: Fraction) -> complex:
    try:
        value = complex(float(factor))
        for gen, power in term:
            base = {"pi": math.pi, "e": math.e, "i": 1j}.get(gen) or math.sqrt(int(gen[5:]))
            value *= base**power
    except OverflowError:
        raise Unsure from None
    return value


def rational(ratio: Ratio) -> Fraction | None:
    """Return the value of a ratio that is a rational number, or None."""
    if not ratio.top:
        return Fraction(0)
    if list(ratio.top) == [()] and list(ratio.bottom) == [()]:
        return ratio.top[()] / ratio.bottom[()]
    return None


def product(left: Ratio, right: Ratio) -> Ratio:
    """Return left * right."""
    return Ratio(multiply(left.top, right.top), multiply(left.bottom, right.bottom))


def quotient(left: Ratio, right: Ratio) -> Ratio:
    """Return left / right; raises `Unsure` for a division by zero."""
    if not right.top:
        raise Unsure
    return Ratio(multiply(left.top, right.bottom), multiply(left.bottom, right.top))


def sum_of(left: Ratio, right: Ratio, sign: int) -> Ratio:
    """Return left + sign * right."""
    if left.bottom == right.bottom:
        return Ratio(add(left.top, right.top, sign), left.bottom)
    top = add(multiply(left.top, right.bottom), multiply(right.top, left.bottom), sign)
    return Ratio(top, multiply(left.bottom, right.bottom))


def of_number(value: Fraction) -> Ratio:
    """Return a rational number as a ratio."""
    return Ratio({(): value} if value else {}, ONE)


def generator(name: str) -> Ratio:
    """Return a letter, or another thing that is independent of all others."""
    return Ratio({((name, 1),): Fraction(1)}, ONE)


def raise_to(base: Ratio, exponent: Ratio) -> Ratio:
    """Return base ** exponent for a rational exponent within our sizes; raises `Unsure` for others."""
    power, value = rational(exponent), rational(base)
    if power is None:
        raise Unsure
    if power.denominator != 1:
        if value is None or value < 0:
            # The principal and the real root differ; which is meant the text does not say.
            raise Unsure
        return take_root(raise_to(base, of_number(Fraction(power.numerator))), power.denominator)
    count = abs(int(power))
    if value is not None:
        if _bits(value) * count > _LARGEST_BITS or (power <= 0 and value == 0):
            raise Unsure
        return of_number(value ** int(power))
    if count > 24:
        raise Unsure
    result = Ratio(ONE, ONE)
    for _ in range(count):
        result = product(result, base)
    return result if power >= 0 else quotient(Ratio(ONE, ONE), result)


def take_root(radicand: Ratio, degree: int) -> Ratio:
    """Return the principal root of a rational number: exact, or with a generator for what no rational is."""
    value = rational(radicand)
    if value is None or not 2 <= degree <= 12:
        raise Unsure
    if value == 0:
        return radicand
    if degree == 2:
        root = _square_root(abs(value))
        return product(root, generator("i")) if value < 0 else root
    if value < 0:
        raise Unsure
    inside = value.numerator * value.denominator ** (degree - 1)
    if inside > _LARGEST_RADICAND:
        raise Unsure
    exact = round(inside ** (1 / degree))
    if exact**degree == inside:
        return of_number(Fraction(exact, value.denominator))
    return product(generator(f"?root{degree}:{inside}"), of_number(Fraction(1, value.denominator)))


def _square_root(value: Fraction) -> Ratio:
    inside = value.numerator * value.denominator
    exact = math.isqrt(inside)
    if exact * exact == inside:
        return of_number(Fraction(exact, value.denominator))
    if inside > _LARGEST_RADICAND:
        raise Unsure
    outside, roots, prime = 1, [], 2
    while prime * prime <= inside:
        count = 0
        while inside % prime == 0:
            inside //= prime
            count += 1
        outside *= prime ** (count // 2)
        if count % 2:
            roots.append((f"sqrt:{prime}", 1))
        prime += 1 if prime == 2 else 2
    if inside > 1:
        roots.append((f"sqrt:{inside}", 1))
    return Ratio({tuple(sorted(roots)): Fraction(outside, value.denominator)}, ONE)
