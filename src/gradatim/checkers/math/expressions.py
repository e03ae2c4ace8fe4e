r"""Reads one mathematical expression in LaTeX or plain writing into the exact ring of `algebra`.

A recursive descent that is sure or says so: what is read in two ways (`1/2x`, `\sqrt12`, `3\frac{5}{2}`), and what the
ring does not hold, raises `Unsure`. It evaluates nothing but arithmetic on numbers of limited size.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from gradatim.checkers.math.algebra import (
    Ratio,
    Unsure,
    generator,
    of_number,
    product,
    quotient,
    raise_to,
    rational,
    sum_of,
    take_root,
)

_DEEPEST = 40
_LONGEST = 600

_WORD = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]*\.[0-9]+|[0-9]+)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}])|(?P<sign>[^\s]))"
)
_GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|(?:var)?phi"
    r"|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega|hbar|ell)"
)


def parse(text: str) -> Ratio:
    """Return what a normalised expression is in the ring; raises `Unsure` where it is not certain."""
    if len(text) > _LONGEST:
        raise Unsure
    return _Reader(text).whole()


class _Reader:
    """A recursive descent over one expression; every path ends in a `Ratio` or in `Unsure`."""

    def __init__(self, text: str) -> None:
        self.words = [(match.lastgroup or "", match[match.lastgroup or 0]) for match in _WORD.finditer(text)]
        self.place = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.words[self.place] if self.place < len(self.words) else ("end", "")

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
            result = sum_of(result, self.product(), sign)
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
                result = product(result, self.signed())
            elif self.take("/"):
                result, divided = quotient(result, self.signed()), True
            elif self.starts_factor():
                if divided:
                    # `1/2x` is read both ways.
                    raise Unsure
                result = product(result, self.factor())
            else:
                break
        return product(of_number(Fraction(-1)), result) if sign < 0 else result

    def signed(self) -> Ratio:
        if self.take("-"):
            return product(of_number(Fraction(-1)), self.factor())
        return self.factor()

    def starts_factor(self) -> bool:
        kind, word = self.peek()
        if kind == "number":
            # Two numbers side by side are a mixed number, a product or a typo; after a power, `2^6 3^5`, a product.
            if self.words[self.place - 1][0] == "number" and self.words[self.place - 2][1] != "^":
                raise Unsure
            return True
        return word in {"(", "{", "["} or word.isalpha() or (kind == "command" and word not in {r"\cdot", r"\}"})

    def factor(self) -> Ratio:
        before = self.place
        base = self.atom()
        if self.take("!"):
            base = self.factorial(base)
        if self.take("^"):
            base = raise_to(base, self.exponent())
            if self.peek()[1] in {"^", "!"}:
                raise Unsure
        if self.peek()[1] in {"!", "'", "_"}:
            raise Unsure
        only_number = self.place == before + 1 and self.words[before][0] == "number"
        if only_number and self.peek()[1] == r"\frac":
            return self.mixed(base)
        return base

    def mixed(self, whole: Ratio) -> Ratio:
        r"""Read `2\frac{1}{2}` as two and a half, `2\frac{x}{2}` as a product, and be unsure of `2\frac{3}{2}`."""
        right = self.atom()
        fraction, integer = rational(right), rational(whole)
        if fraction is None:
            return product(whole, right)
        if integer is None or integer.denominator != 1 or not 0 < fraction < 1 or self.starts_factor():
            raise Unsure
        return of_number(integer + fraction)

    def argument(self) -> Ratio:
        r"""Read what follows `^`, `\sqrt` or `\frac`: a group, or a single digit or letter."""
        kind, word = self.peek()
        if word == "{":
            return self.group("{", "}")
        if word == "(":
            return self.group("(", ")")
        if kind == "number":
            if "." in word or "," in word:
                raise Unsure
            self.place += 1
            if len(word) > 1:
                self.place -= 1
                self.words[self.place] = ("number", word[1:])
            return of_number(Fraction(int(word[0])))
        if word == "-":
            self.place += 1
            return product(of_number(Fraction(-1)), self.argument())
        return self.atom()

    def exponent(self) -> Ratio:
        """Read a power: unlike TeX, people mean ten by `x^10`."""
        kind, word = self.peek()
        if kind == "number" and word.isdigit() and len(word) < 7:
            self.place += 1
            return of_number(Fraction(int(word)))
        return self.argument()

    def group(self, opening: str, closing: str) -> Ratio:
        self.need(opening)
        result = self.sum()
        self.need(closing)
        return result

    def atom(self) -> Ratio:
        kind, word = self.peek()
        if kind == "number":
            self.place += 1
            if len(word) > 400 or self.peek()[1] == "_":
                raise Unsure
            return of_number(Fraction(word.replace(",", "")))
        if word in {"(", "{", "["}:
            return self.group(word, {"(": ")", "{": "}", "[": "]"}[word])
        self.place += 1
        if kind == "command":
            return self.command(word)
        if word.isalpha() and word.isascii():
            return self.letter(word)
        raise Unsure

    def letter(self, word: str) -> Ratio:
        if word in "fgh" and self.peek()[1] == "(":
            raise Unsure
        name = f"{word}_{self.subscript()}" if self.take("_") else word
        while self.take("'"):
            name += "'"
            if self.peek()[1] == "(":
                raise Unsure
        return generator(name)

    def subscript(self) -> str:
        if not self.take("{"):
            self.place += 1
            return self.words[self.place - 1][1] if self.place <= len(self.words) else ""
        parts = []
        while not self.take("}"):
            kind, word = self.peek()
            if kind == "end" or word == "{":
                raise Unsure
            parts.append(word)
            self.place += 1
        return "".join(parts)

    def command(self, word: str) -> Ratio:
        if word == r"\frac":
            top = self.argument()
            return quotient(top, self.argument())
        if word == r"\sqrt":
            return self.root()
        if word == r"\binom":
            return self.binomial()
        if word == r"\pi":
            return generator("pi")
        if _GREEK.fullmatch(word):
            return self.letter(word)
        raise Unsure

    def root(self) -> Ratio:
        degree = 2
        if self.take("["):
            kind, word = self.peek()
            if kind != "number" or not word.isdigit() or len(word) > 2:
                raise Unsure
            degree = int(word)
            self.place += 1
            self.need("]")
        kind, word = self.peek()
        if kind == "number" and len(word) > 1:
            # TeX takes one digit; those who write \sqrt12 mean twelve.
            raise Unsure
        return take_root(self.argument(), degree)

    def factorial(self, base: Ratio) -> Ratio:
        value = rational(base)
        if value is None or value.denominator != 1 or not 0 <= value <= 300:
            raise Unsure
        return of_number(Fraction(math.factorial(int(value))))

    def binomial(self) -> Ratio:
        top, bottom = rational(self.argument()), rational(self.argument())
        if top is None or bottom is None or top.denominator * bottom.denominator != 1 or not 0 <= bottom <= top <= 600:
            raise Unsure
        return of_number(Fraction(math.comb(int(top), int(bottom))))
