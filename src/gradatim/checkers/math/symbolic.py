r"""Symbolic comparison by math-verify, and the numeric check on it. Runs in worker processes only: see `worker`.

Text is parsed by latex2sympy's grammar, and by nothing that evaluates Python (`parse_expr`, `sympify` of a string): the
plain-expression parser of math-verify does, so it is not used. Values are compared first at 50 digits with random
values for the letters, relative to their size: that settles what differs without any simplification, and overrules
math-verify, whose own numeric comparison is absolute and takes 1/2^99 for 1/2^98.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy, normalize_latex
from math_verify.grader import should_treat_as_complex, sympy_symbolic_eq, verify
from sympy import Basic, E, Eq, Expr, Float, I, Integer, MatrixBase, N, Rational, Symbol, pi, preorder_traversal, solve
from sympy.core.relational import Relational

from gradatim.checkers.math.compare import How, compare
from gradatim.checkers.math.exact import Found, Same, exact_leaf
from gradatim.checkers.math.numbers import read_number, stands_for, strip_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = 50
_MANY_DIGITS = 300
_POINTS = 3
_SMALLEST, _LARGEST = Rational(1, 10**15), 10**15
_CONFIG = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
_CONVERSION = ConversionConfig(lowercase_symbols=False)
_INDEX = re.compile(r"_\{([A-Za-z0-9])\}(?![A-Za-z0-9])")
_LABEL = re.compile(r"_\s*(?:\{((?:[^{}]|\{[^{}]*\})*\\[^{}]*)\}|(?=\\)(\\[A-Za-z]+))")
_TRIG = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)")


class Unparsable(Exception):  # noqa: N818 - an outcome of one item, not an error of the run
    """One of the two texts is no mathematics that the grammar knows; `str()` says which."""


def decide(reference: str, answer: str, *, textual: bool = True) -> Found:
    """Compare two normalised texts; raises `Unparsable`, and whatever sympy raises for what it cannot handle."""
    found = compare(reference, answer, How(leaf=_leaf, textual=textual))
    return found if found.same is not Same.UNKNOWN else _leaf(reference, answer)


def _leaf(reference: str, answer: str) -> Found:  # noqa: PLR0911 - one return per stage
    found = exact_leaf(reference, answer)
    if found.same is not Same.UNKNOWN:
        return found
    left, right = (_with_degrees(strip_unit(text)[0] or text) for text in (reference, answer))
    gold = _parse(left, "reference")
    given = _parse(right, "answer")
    if isinstance(gold, Relational) or isinstance(given, Relational):
        return _relations(gold, given)
    agree = _agree(gold, given, _DIGITS)
    if agree is False:
        return _decimal(reference, given) or _decimal(answer, gold) or Found(Same.NO, _contradiction(gold, given))
    if agree and not (_ordinary(gold) and _ordinary(given)):
        # Fifty digits hide a summand of 10^-400; only an exact zero counts here.
        zero = sympy_symbolic_eq(gold, given)
        return Found(Same.YES, "equal_symbolic") if zero else Found(Same.NO, "different_symbolic")
    if verify(gold, given, timeout_seconds=None, allow_set_relation_comp=True):
        return Found(Same.YES, "equal_symbolic")
    if agree and _agree(gold, given, _MANY_DIGITS, signs=True):
        return Found(Same.YES, "equal_numeric")
    return Found(Same.NO, "different_symbolic")


def _contradiction(gold: Any, given: Any) -> str:
    """Return the reason for two values that differ: `numeric_contradiction` where math-verify's quick test is deceived.

    It compares the difference with zero absolutely, at 15 digits; the costly `simplify` is not asked.
    """
    if gold.free_symbols or given.free_symbols:
        return "different_value"
    try:
        deceived = bool((gold - given).evalf(15, chop=True) == 0)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the boundary to sympy's evaluation; only the wording of the reason hangs on it
        deceived = False
    return "numeric_contradiction" if deceived else "different_value"


def _with_degrees(text: str) -> str:
    return _DEGREES.sub(r"\\cdot\\frac{\\pi}{180}", text) if _TRIG.search(text) else text


def _parse(text: str, which: str) -> Any:
    parsed = _parse_cached(text)
    if parsed is None:
        raise Unparsable(which)
    return parsed


@lru_cache(maxsize=512)
def _parse_cached(text: str) -> Any:
    """Parse; None where the grammar has no reading. A reference is parsed once for all of its answers."""
    # An index is a label: `x_{0}` and `x_0` would be two letters to the grammar, and `R_{\odot}` none.
    latex = normalize_latex(_INDEX.sub(r"_\1", _LABEL.sub(_label, text)).replace("%", r"\%"), _CONFIG)
    try:
        return latex2sympy(
            latex,
            is_real=not should_treat_as_complex(latex),
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_CONVERSION,
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the boundary to a grammar that raises bare `Exception` for text it cannot read
        return None


def _label(found: re.Match[str]) -> str:
    return "_{" + "".join(letter for letter in (found[1] or found[2]) if letter.isalnum()) + "}"


def _value(expression: Any, digits: int, letters: dict[str, Rational]) -> tuple[Any, Any] | None:
    """Return real and imaginary part to `digits` digits with numbers for the letters; None where there is no value."""
    values: dict[Any, Any] = {
        symbol: {"e": E, "i": I, "pi": pi}.get(symbol.name, letters.get(symbol.name))
        for symbol in expression.free_symbols
    }
    # A decimal in an expression means what was written, not the nearest binary number.
    values |= {value: Rational(str(value)) for value in expression.atoms(Float)}
    number = N(expression.xreplace(values), digits)
    if getattr(number, "is_number", False) is not True:
        return None
    real, imaginary = number.as_real_imag()
    return (real, imaginary) if _finite(real) and _finite(imaginary) else None


def _finite(number: Any) -> bool:
    return isinstance(number, (Float, Integer, Rational)) and number.is_finite is True


def _agree(gold: Any, given: Any, digits: int, *, signs: bool = False) -> bool | None:
    """Say whether two expressions have the same values at random points; None where they cannot be evaluated.

    Points are positive, where roots and logarithms have one meaning; with `signs` two of three have negative letters
    too, and count where both values are real: that parts `x` from its absolute value.
    """
    if not (isinstance(gold, Expr) and isinstance(given, Expr)) or isinstance(gold, MatrixBase):
        return None
    names = sorted({symbol.name for side in (gold, given) for symbol in side.free_symbols})
    chance = random.Random(20250418)  # noqa: S311 - points of evaluation, fixed so that verdicts repeat
    compared = False
    for point in range(_POINTS if names else 1):
        letters = {name: Rational(chance.randint(1000, 9999), chance.choice((2503, 3001, 4001))) for name in names}
        negative = signs and point > 0
        if negative:
            letters = {name: value * chance.choice((-1, 1)) for name, value in letters.items()}
        try:
            one, other = _value(gold, digits, letters), _value(given, digits, letters)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001 - the boundary to sympy's evaluation: what has no value has no say
            return None
        if one is None or other is None or (negative and (one[1] != 0 or other[1] != 0)):
            continue
        compared = True
        if not _near(one, other, digits):
            return False
    return True if compared else None


def _near(one: tuple[Any, Any], other: tuple[Any, Any], digits: int) -> bool:
    """Compare relative to the larger value: 1/2^99 and 1/2^98 are as different as 1 and 2."""
    size = max(abs(part) for value in (one, other) for part in value)
    gap = max(abs(a - b) for a, b in zip(one, other, strict=True))
    return bool(gap <= size * Rational(1, 10 ** (digits - 12)))


def _ordinary(expression: Any) -> bool:
    """Say whether no constant in it is so large or small that fifty digits of agreement could hide another summand."""
    try:
        sizes = [abs(N(part, 15)) for part in preorder_traversal(expression) if not part.free_symbols]
        return all(size == 0 or _SMALLEST < size < _LARGEST for size in sizes)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the boundary to sympy's evaluation: a part without a size is not ordinary
        return False


def _decimal(text: str, exact: Any) -> Found | None:
    """Accept a decimal of six digits or more that rounds the exact value of the other side."""
    number = read_number(strip_unit(text)[0])
    if not number or number.digits < 6:
        return None
    value = _value(exact, _DIGITS, {})
    if value is None or abs(value[1]) > Rational(1, 10**30):
        return None
    return Found(Same.YES, "equal_decimal") if stands_for(number, _fraction(value[0])) else None


def _fraction(number: Any) -> Any:
    from fractions import Fraction  # noqa: PLC0415 - only workers come here

    exact = Rational(number)
    return Fraction(int(exact.p), int(exact.q))


def _relations(gold: Any, given: Any) -> Found:
    """Compare equations by their solutions, and leave inequalities to math-verify."""
    if isinstance(gold, Eq) and isinstance(given, Eq):
        left, right = gold.lhs - gold.rhs, given.lhs - given.rhs
        if _proportional(left, right):
            return Found(Same.YES, "equal_relation")
        same = _same_solutions(left, right)
        return Found(Same.YES, "equal_solutions") if same else Found(Same.NO, "different_relation")
    equal = bool(verify(gold, given, timeout_seconds=None, allow_set_relation_comp=True))
    return Found(Same.YES, "equal_symbolic") if equal else Found(Same.NO, "different_symbolic")


def _proportional(left: Any, right: Any) -> bool:
    """Say whether one side is a constant times the other, judged at random points."""
    names = sorted({symbol.name for side in (left, right) for symbol in side.free_symbols})
    chance = random.Random(20250419)  # noqa: S311 - as in `_agree`
    ratios = []
    for _ in range(_POINTS):
        letters = {name: Rational(chance.randint(1000, 9999), 2503) for name in names}
        one, other = _value(left, _DIGITS, letters), _value(right, _DIGITS, letters)
        if one is None or other is None or max(map(abs, one)) == 0 or max(map(abs, other)) == 0:
            return False
        ratios.append((one[0] + I * one[1]) / (other[0] + I * other[1]))
    return all(abs(N(ratio / ratios[0] - 1, _DIGITS)) < Rational(1, 10**30) for ratio in ratios)


def _same_solutions(left: Any, right: Any) -> bool:
    """Say whether both equations have the same, existing, solutions for one of their letters.

    math-verify takes two equations that it cannot solve for equal; here no solution is no agreement.
    """
    names = sorted({symbol.name for symbol in left.free_symbols} & {symbol.name for symbol in right.free_symbols})
    plain = [side.xreplace({symbol: Symbol(symbol.name) for symbol in side.free_symbols}) for side in (left, right)]
    for name in names[:3]:
        try:
            solutions: list[Sequence[Any]] = [solve(side, Symbol(name)) for side in plain]
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001, S112 - the boundary to sympy's solver: another letter may be solvable
            continue
        if not solutions[0] or len(solutions[0]) != len(solutions[1]):
            continue
        if all(any(isinstance(b, Basic) and _agree(a, b, _DIGITS) for b in solutions[1]) for a in solutions[0]):
            return True
    return False
