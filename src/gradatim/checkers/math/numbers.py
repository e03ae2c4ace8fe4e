r"""Exact numbers in text: integers, decimals, fractions, mixed numbers, percents, powers of ten, with or without units.

All values are `fractions.Fraction`; nothing is ever rounded here. What a number may not be told from (`2x`, `3!`) is
left to `algebra`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_LONGEST_DIGITS = 1000
_LARGEST_EXPONENT = 400

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?:"
    r"(?P<grouped>[0-9]{1,3}(?:,[0-9]{3})+)(?P<gtail>\.[0-9]+)?"
    r"|(?P<spaced>[0-9]{1,3}(?: [0-9]{3})+)(?P<stail>\.[0-9]+)?"
    r"|(?P<plain>[0-9]*\.?[0-9]+|[0-9]+\.)"
    r")(?:\s*(?:[eE](?P<e>[+-]?[0-9]{1,6})|(?:\\cdot|x)\s*10\s*\^\s*"
    r"(?:\{\s*(?P<p>[+-]?\s*[0-9]{1,6})\s*\}|\(\s*(?P<r>[+-]?[0-9]{1,6})\s*\)|(?P<q>-?[0-9]{1,6}))))?"
)
_PART = r"(?:\{{\s*(?P<{0}>[+-]?[0-9]+)\s*\}}|\s*(?P<{0}s>[0-9]))"
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)\s*(?:(?P<whole>[0-9]+)\s*)?\\frac\s*" + _PART.format("num") + r"\s*" + _PART.format("den")
)
_SLASH = re.compile(r"(?P<sign>[+-]?)\s*(?:(?P<whole>[0-9]+)\s+)?(?P<num>[0-9]+)\s*/\s*(?P<den>[+-]?[0-9]+)")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")

_UNITS = {
    "millimetre": "mm millimeter millimeters millimetre millimetres",
    "centimetre": "cm centimeter centimeters centimetre centimetres",
    "metre": "meter meters metre metres",
    "kilometre": "km kilometer kilometers kilometre kilometres",
    "inch": "inch inches",
    "foot": "ft foot feet",
    "yard": "yd yard yards",
    "mile": "mi mile miles",
    "gram": "gram grams",
    "kilogram": "kg kilogram kilograms",
    "pound": "lb lbs pound pounds",
    "second": "sec second seconds",
    "minute": "min minute minutes",
    "hour": "hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "litre": "liter liters litre litres",
    "millilitre": "ml milliliter milliliters millilitre millilitres",
    "dollar": "usd dollar dollars bucks",
    "cent": "cent cents",
    "degree": "deg degree degrees",
    "radian": "rad radian radians",
    "unit": "unit units",
    "mph": "mph",
    "other": "sq cu square cubic euro euros rupees yuan points point people students ways per mm cm",
}
_UNIT_OF = {word: name for name, words in reversed(_UNITS.items()) for word in words.split()}
_TAIL_SHIFT = 100
_TAIL = re.compile(
    r"\s*(?:\\text\s*\{(?P<text>[^{}]*)\}(?:\s*\^\s*(?:\{\s*\d\s*\}|\d))?"
    r"|\^\s*(?:\{\s*\\circ\s*\}|\\circ)(?P<circle>)"
    r"|(?P<sup>(?<=[A-Za-z])\s?\^\s*(?:\{\s*\d\s*\}|\d))"
    r"|(?P<word>(?<![A-Za-z\\])[A-Za-z]+))\s*$"
)
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_BASED = re.compile(r"(?P<digits>[0-9A-Z]+)_(?:\{(?P<base>[0-9]{1,2})\}|(?P<short>[0-9]))")
_NO_UNIT = re.compile(r"pi|sqrt|frac|sin|cos|tan|log|ln|exp|and|or|if|where|mod|max|inf|to|i|e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """An exact number as it was written."""

    value: Fraction
    percent: bool = False
    digits: int = 0
    """Significant digits, where it was written as a decimal; 0 for integers and fractions, which claim exactness."""
    step: Fraction = Fraction(0)
    """One unit in the last written place of a decimal."""


def read_number(text: str) -> Number | None:
    """Return the number that the whole of a normalised `text` is, or None where it is none or too long to hold."""
    percent = text.endswith("%")
    if percent:
        text = text[:-1].rstrip()
    if len(text) > _LONGEST_DIGITS:
        return None
    if _INTEGER.fullmatch(text):
        return Number(value=Fraction(int(text)), percent=percent)
    found = _NUMBER.fullmatch(text)
    if found:
        return _decimal(found, percent=percent)
    found = _FRACTION.fullmatch(text) or _SLASH.fullmatch(text)
    return _fraction(found, percent=percent) if found else None


def same_integer(left: str, right: str) -> bool | None:
    """Compare two integers of any length by their digits; None where one is no integer."""
    if not (_INTEGER.fullmatch(left) and _INTEGER.fullmatch(right)):
        return None
    return left == right or _digits(left) == _digits(right)


def _digits(text: str) -> str:
    digits = text.lstrip("+-").lstrip("0") or "0"
    return "-" + digits if text.startswith("-") and digits != "0" else digits


def same_based(left: str, right: str) -> bool | None:
    """Compare numerals such as `52_8`; an answer may leave the base out. None where neither names a base."""
    found = [_BASED.fullmatch(text) for text in (left, right)]
    if found == [None, None]:
        return None
    digits = [match["digits"] if match else text for match, text in zip(found, (left, right), strict=True)]
    bases = {match["base"] or match["short"] for match in found if match}
    return digits[0] == digits[1] and len(bases) == 1


def _decimal(found: re.Match[str], *, percent: bool) -> Number | None:
    whole = found["plain"] or (found["grouped"] or found["spaced"]) + (found["gtail"] or found["stail"] or "")
    whole = whole.replace(",", "").replace(" ", "")
    power = found["e"] or found["p"] or found["q"] or found["r"]
    exponent = int(power.replace(" ", "")) if power else 0
    if abs(exponent) > _LARGEST_EXPONENT:
        return None
    value = Fraction(whole + "0" if whole.endswith(".") else whole) * Fraction(10) ** exponent
    step, digits = Fraction(0), 0
    if "." in whole and not whole.endswith("."):
        step = Fraction(10) ** (exponent - len(whole.partition(".")[2]))
        digits = len(whole.replace(".", "").lstrip("0"))
    return Number(value=-value if found["sign"] == "-" else value, percent=percent, digits=digits, step=step)


def _fraction(found: re.Match[str], *, percent: bool) -> Number | None:
    groups = found.groupdict()
    top, bottom = (int(groups[name] or groups.get(name + "s") or 0) for name in ("num", "den"))
    if bottom == 0:
        return None
    value = Fraction(top, bottom)
    if groups["whole"] is not None:
        if not 0 <= value < 1:
            # 3\frac{5}{2} is as likely a product as a mixed number.
            return None
        value += int(groups["whole"])
    return Number(value=-value if groups["sign"] == "-" else value, percent=percent)


def comma_as_point(text: str) -> Number | None:
    """Return what `1000,99` is to those who write a decimal comma."""
    return read_number(text.replace(",", ".")) if _DECIMAL_COMMA.fullmatch(text) else None


def same_number(left: Number, right: Number) -> bool:
    """Say whether two numbers are the same answer.

    Exactly equal; or the one is a decimal of at least six significant digits that rounds (or cuts) the other; or one
    carries a percent sign and the other does not, where both 10 and 0.1 are taken for 10 %.
    """
    pairs = [(left.value, right.value)]
    if left.percent != right.percent:
        pairs.append((left.value / 100, right.value) if left.percent else (left.value, right.value / 100))
    if any(a == b for a, b in pairs):
        return True
    if left.step == right.step:
        return False
    return any(stands_for(left, b, scale=a / left.value if left.value else 1) for a, b in pairs) or any(
        stands_for(right, a, scale=b / right.value if right.value else 1) for a, b in pairs
    )


def stands_for(number: Number, exact: Fraction, scale: Fraction | int = 1) -> bool:
    """Say whether a decimal of at least six significant digits, times `scale`, is `exact` rounded or cut.

    A printed float (16 to 18 digits, not all of them before the point) is allowed noise of two units in its last place.
    """
    if number.digits < 6 or number.step == 0:
        return False
    decimal, step = number.value * scale, abs(number.step * scale)
    gap = abs(decimal - exact)
    if 16 <= number.digits <= 18 and number.value.denominator > 1 and gap <= abs(exact) / 2**51:
        return True
    cut = abs(exact) >= abs(decimal) and (exact < 0) == (decimal < 0) and gap < step
    return gap <= step / 2 or cut


def strip_unit(text: str) -> tuple[str, str]:
    r"""Split `10 cm^2` into `10` and the unit's name; what is no known unit is called `other`, no unit is empty.

    Degrees inside a function (`\sin 30^\circ`) are no unit. A unit follows a digit, a brace or a bracket; words of one
    letter are variables; glued words (`2xy`) must be known.
    """
    unit = ""
    for _ in range(12):
        shift = max(0, len(text) - _TAIL_SHIFT)
        found = _TAIL.search(text, shift)
        if not found or found.start() == 0:
            return text, unit
        rest = text[: found.start()].rstrip(" ,-/")
        name = _unit_name(found, glued=text[found.start() - 1].isdigit() and not found[0].startswith(" "))
        if (
            not name
            or not rest
            or (name == "degree" and _FUNCTION.search(rest))
            or (not found["sup"] and not re.search(r"[0-9A-Za-z})\]|%.]$", rest))
        ):
            return text, unit
        if found["sup"]:
            # `cm^2`: look at the word before; `x^2` ends here.
            inner, inner_unit = strip_unit(rest)
            return (inner, inner_unit) if inner_unit else (text, unit)
        text, unit = rest, name if not unit or unit == "other" else unit
    return text, unit


def _unit_name(found: re.Match[str], *, glued: bool) -> str:
    if found["circle"] is not None:
        return "degree"
    if found["sup"]:
        return "other"
    if found["text"] is not None:
        words = found["text"].strip(" .,").lower()
        return "" if words in {"and", "or", "i", "e", "if"} else _UNIT_OF.get(words, "other")
    word = found["word"].lower()
    if word in _UNIT_OF:
        return _UNIT_OF[word]
    return "" if glued or len(word) < 2 or _NO_UNIT.fullmatch(word) else "other"
