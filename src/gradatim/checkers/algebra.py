r"""Exact algebra without a computer algebra system: rational functions over Q(i, square roots, pi, e, letters).

Two expressions are equal exactly when their cross product vanishes, and that is decided in microseconds, because
square roots of distinct primes, `i` and letters are independent over Q. What the ring does not hold (functions, symbolic
exponents, absolute values, huge powers) raises `Unsure`, and is left to the workers. Higher roots are opaque: equal
forms are equal, different forms prove nothing.
"""

from __future__ import annotations

import cmath
import math
import re
from dataclasses import dataclass
from fractions import Fraction

_LARGEST_BITS = 4096
_MOST_TERMS = 300
_DEEPEST = 40
_LONGEST = 600
_LARGEST_RADICAND = 10**12

_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]*\.[0-9]+|[0-9]+)|(?P<command>\\[A-Za-z]+|\\[{}])|(?P<sign>[^\s]))")
_GREEK = frozenset(
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \kappa \lambda \mu \nu \xi \rho \sigma \tau \phi"
    r" \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Sigma \Phi \Psi \Omega \hbar \ell".split()
)

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
    if len(total) > _MOST_TERMS or any(f.numerator.bit_length() > _LARGEST_BITS for f in total.values()):
        raise Unsure
    return total


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
    known = ("sqrt:", "pi", "e", "i")
    return all(gen.startswith("sqrt:") or gen in known for poly in (ratio.top, ratio.bottom) for term in poly for gen, _ in term)


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
    except OverflowError:
        raise Unsure from None
    for gen, power in term:
        base = {"pi": math.pi, "e": math.e, "i": 1j}.get(gen) or math.sqrt(int(gen[5:]))
        value *= base**power
    return value


def rational(ratio: Ratio) -> Fraction | None:
    """Return the value of a ratio that is a rational number, or None."""
    if not ratio.top:
        return Fraction(0)
    if list(ratio.top) == [()] and list(ratio.bottom) == [()]:
        return ratio.top[()] / ratio.bottom[()]
    return None


def parse(text: str) -> Ratio:
    """Return what a normalised expression is in the ring; raises `Unsure` where it is not certain."""
    if len(text) > _LONGEST:
        raise Unsure
    return _Reader(text).whole()


def _product(left: Ratio, right: Ratio) -> Ratio:
    return Ratio(multiply(left.top, right.top), multiply(left.bottom, right.bottom))


def _quotient(left: Ratio, right: Ratio) -> Ratio:
    if not right.top:
        raise Unsure
    return Ratio(multiply(left.top, right.bottom), multiply(left.bottom, right.top))


def _sum(left: Ratio, right: Ratio, sign: int) -> Ratio:
    if left.bottom == right.bottom:
        return Ratio(add(left.top, right.top, sign), left.bottom)
    top = add(multiply(left.top, right.bottom), multiply(right.top, left.bottom), sign)
    return Ratio(top, multiply(left.bottom, right.bottom))


def _number(value: Fraction) -> Ratio:
    return Ratio({(): value} if value else {}, ONE)


def _generator(name: str) -> Ratio:
    return Ratio({((name, 1),): Fraction(1)}, ONE)


def _power(base: Ratio, exponent: Ratio) -> Ratio:
    power = rational(exponent)
    if power is None:
        raise Unsure
    if power.denominator != 1:
        return _root(_power(base, _number(Fraction(power.numerator))), power.denominator)
    count = abs(int(power))
    number = rational(base)
    if number is not None:
        bits = max(number.numerator.bit_length(), number.denominator.bit_length())
        if bits * count > _LARGEST_BITS or (power <= 0 and number == 0):
            raise Unsure
        return _number(number ** int(power))
    if count > 24:
        raise Unsure
    result = Ratio(ONE, ONE)
    for _ in range(count):
        result = _product(result, base)
    return result if power >= 0 else _quotient(Ratio(ONE, ONE), result)


def _root(radicand: Ratio, degree: int) -> Ratio:
    value = rational(radicand)
    if value is None or not 2 <= degree <= 12:
        raise Unsure
    if value == 0:
        return radicand
    if degree == 2:
        root = _square_root(abs(value))
        return _product(root, _generator("i")) if value < 0 else root
    if value < 0:
        # The principal and the real root differ; which is meant the text does not say.
        raise Unsure
    inside = value.numerator * value.denominator ** (degree - 1)
    if inside > _LARGEST_RADICAND:
        raise Unsure
    exact = round(inside ** (1 / degree))
    if exact**degree == inside:
        return _number(Fraction(exact, value.denominator))
    return _product(_generator(f"?root{degree}:{inside}"), _number(Fraction(1, value.denominator)))


def _square_root(value: Fraction) -> Ratio:
    inside = value.numerator * value.denominator
    exact = math.isqrt(inside)
    if exact * exact == inside:
        return _number(Fraction(exact, value.denominator))
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


class _Reader:
    """A recursive descent over one expression; every path ends in a `Ratio` or in `Unsure`."""

    def __init__(self, text: str) -> None:
        self.tokens = [(match.lastgroup or "", match[match.lastgroup or 0]) for match in _TOKEN.finditer(text)]
        self.place = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")

    def take(self, *signs: str) -> bool:
        if self.peek()[1] in signs:
            self.place += 1
            return True
        return False

    def need(self, sign: str) -> None:
        if not self.take(sign):
            raise Unsure

    def whole(self) -> Ratio:
        result = self.sum()
        if self.peek()[0] != "end":
            raise Unsure
        return result

    def sum(self) -> Ratio:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Unsure
        result = self.product()
        while self.peek()[1] in {"+", "-"}:
            sign = 1 if self.take("+") or not self.take("-") else -1
            result = _sum(result, self.product(), sign)
        self.depth -= 1
        return result

    def product(self) -> Ratio:
        sign = 1
        while self.peek()[1] in {"+", "-"}:
            sign = -sign if self.take("-") or not self.take("+") else sign
        result = self.factor()
        divided = False
        while True:
            if self.take(r"\cdot"):
                result = _product(result, self.signed())
            elif self.take("/"):
                result, divided = _quotient(result, self.signed()), True
            elif self.starts_factor():
                if divided:
                    # `1/2x` is read both ways.
                    raise Unsure
                result = _product(result, self.factor())
            else:
                break
        return _product(_number(Fraction(-1)), result) if sign < 0 else result

    def signed(self) -> Ratio:
        if self.take("-"):
            return _product(_number(Fraction(-1)), self.factor())
        return self.factor()

    def starts_factor(self) -> bool:
        kind, token = self.peek()
        if kind == "number":
            # Two numbers side by side are a mixed number, a product or a typo; after a power, `2^6 3^5`, a product.
            if self.tokens[self.place - 1][0] == "number" and self.tokens[self.place - 2][1] != "^":
                raise Unsure
            return True
        return token in {"(", "{", "["} or token.isalpha() or (kind == "command" and token not in {r"\cdot", r"\}"})

    def factor(self) -> Ratio:
        before = self.place
        base = self.atom()
        if self.take("!"):
            base = self.factorial(base)
        if self.take("^"):
            base = _power(base, self.exponent())
            if self.peek()[1] in {"^", "!"}:
                raise Unsure
        if self.peek()[1] in {"!", "'", "_"}:
            raise Unsure
        only_number = self.place == before + 1 and self.tokens[before][0] == "number"
        if only_number and self.peek()[1] == r"\frac":
            return self.mixed(base)
        return base

    def mixed(self, whole: Ratio) -> Ratio:
        """Read `2\\frac{1}{2}` as two and a half, `2\\frac{x}{2}` as a product, and be unsure of `2\\frac{3}{2}`."""
        right = self.atom()
        fraction, integer = rational(right), rational(whole)
        if fraction is None:
            return _product(whole, right)
        if integer is None or integer.denominator != 1 or not 0 < fraction < 1 or self.starts_factor():
            raise Unsure
        return _number(integer + fraction)

    def argument(self) -> Ratio:
        """Read what follows `^`, `\\sqrt` or `\\frac`: a group, or a single digit or letter."""
        kind, token = self.peek()
        if token == "{":
            return self.group("{", "}")
        if token == "(":
            return self.group("(", ")")
        if kind == "number":
            if "." in token or "," in token:
                raise Unsure
            self.place += 1
            if len(token) > 1:
                self.place -= 1
                self.tokens[self.place] = ("number", token[1:])
            return _number(Fraction(int(token[0])))
        if token == "-":
            self.place += 1
            return _product(_number(Fraction(-1)), self.argument())
        return self.atom()

    def exponent(self) -> Ratio:
        """Read a power: unlike TeX, people mean ten by `x^10`."""
        kind, token = self.peek()
        if kind == "number" and token.isdigit() and len(token) < 7:
            self.place += 1
            return _number(Fraction(int(token)))
        return self.argument()

    def group(self, opening: str, closing: str) -> Ratio:
        self.need(opening)
        result = self.sum()
        self.need(closing)
        return result

    def atom(self) -> Ratio:
        kind, token = self.peek()
        if kind == "number":
            self.place += 1
            if len(token) > 400 or self.peek()[1] == "_":
                raise Unsure
            return _number(Fraction(token.replace(",", "")))
        if token in {"(", "{", "["}:
            return self.group(token, {"(": ")", "{": "}", "[": "]"}[token])
        self.place += 1
        if kind == "command":
            return self.command(token)
        if token.isalpha() and token.isascii():
            return self.letter(token)
        raise Unsure

    def letter(self, token: str) -> Ratio:
        if token in "fgh" and self.peek()[1] == "(":
            raise Unsure
        name = f"{token}_{self.subscript()}" if self.take("_") else token
        while self.take("'"):
            name += "'"
            if self.peek()[1] == "(":
                raise Unsure
        return _generator(name)

    def subscript(self) -> str:
        if not self.take("{"):
            self.place += 1
            return self.tokens[self.place - 1][1] if self.place <= len(self.tokens) else ""
        parts = []
        while not self.take("}"):
            kind, token = self.peek()
            if kind == "end" or token == "{":
                raise Unsure
            parts.append(token)
            self.place += 1
        return "".join(parts)

    def command(self, token: str) -> Ratio:
        if token == r"\frac":
            top = self.argument()
            return _quotient(top, self.argument())
        if token == r"\sqrt":
            return self.root()
        if token == r"\binom":
            return self.binomial()
        if token == r"\pi":
            return _generator("pi")
        if token in _GREEK:
            return self.letter(token)
        raise Unsure

    def root(self) -> Ratio:
        degree = 2
        if self.take("["):
            kind, token = self.peek()
            if kind != "number" or not token.isdigit() or len(token) > 2:
                raise Unsure
            degree = int(token)
            self.place += 1
            self.need("]")
        kind, token = self.peek()
        if kind == "number" and len(token) > 1:
            # TeX takes one digit; those who write \sqrt12 mean twelve.
            raise Unsure
        return _root(self.argument(), degree)

    def factorial(self, base: Ratio) -> Ratio:
        value = rational(base)
        if value is None or value.denominator != 1 or not 0 <= value <= 300:
            raise Unsure
        return _number(Fraction(math.factorial(int(value))))

    def binomial(self) -> Ratio:
        top, bottom = rational(self.argument()), rational(self.argument())
        if top is None or bottom is None or top.denominator * bottom.denominator != 1 or not 0 <= bottom <= top <= 600:
            raise Unsure
        return _number(Fraction(math.comb(int(top), int(bottom))))
