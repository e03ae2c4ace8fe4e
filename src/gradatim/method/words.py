r"""How a prompt is read, word by word, when it is compared with another one.

Two sources print one question in two ways: case, punctuation, blanks, `\left(`, `\,`, `$` or `\(`, `\dfrac` or
`\frac`, `1,000` or `1000`, `\times` or its sign. Those differences vanish here; what decides a mathematical question
does not: its numbers, signs, brackets, variables and functions. Each word keeps its place in the text it came from.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple


class Kind(IntEnum):
    """What a word is to a comparison."""

    PROSE = 0
    """A word that may differ a little between two prints of one question."""
    EXACT = 1
    """A number, variable, function or deciding word: another one makes another question."""
    SIGN = 2
    """An operator, relation or bracket: as exact, but no word in the count of an n-gram."""


class Reading(NamedTuple):
    """The words of one text, in order: three lists of one length."""

    texts: list[str]
    """Each word as it is compared."""
    kinds: list[Kind]
    spans: list[tuple[int, int]]
    """Where each word stands: `text[start:end]`."""


# Letters of scripts that write no blanks are one word each; \u2019 is the curved apostrophe.
_LETTER = r"[^\W\d_\u3040-\u30ff\u3400-\u9fff]"
_TOKEN = re.compile(
    rf"""
    (?:{_LETTER}++[\u0300-\u036f]*+)++(?:['\u2019](?:{_LETTER}++[\u0300-\u036f]*+)++)*+
  | [\u3040-\u30ff\u3400-\u9fff]
  | \d{{1,3}}(?:(?:,|\{{,\}}|\\,)\d{{3}})+(?!\d)(?:\.\d+)? | \d+(?:\.\d+)? | \.\d+
  | \\[A-Za-z]+ | \\[^A-Za-z]
  | (?<![A-Za-z]{{2}})[-\u2010\u2013](?!\ ?[A-Za-z]{{2}}) | (?<!\*)\*(?!\*) | (?<=\d)!
  | [+/=<>^%(){{}}[\]\u2212\xb1\xd7\xf7\xb7\u22c5\u2219\u2264\u2265\u2260\u221a\xb0]
    """,
    re.VERBOSE,
)
"""A word, an ideogram, a number, a command, or a sign: a hyphen inside prose and bold's `**` are none."""

_SIGNS = {
    "\u2010": "-",  # hyphen, en dash, minus
    "\u2013": "-",
    "\u2212": "-",
    "\xd7": "*",  # times, and three dots
    "\xb7": "*",
    "\u22c5": "*",
    "\u2219": "*",
    "\xf7": "/",  # division, and the commands that print a sign
    "\\div": "/",
    "\\frac": "/",
    "\\dfrac": "/",
    "\\tfrac": "/",
    "\\cfrac": "/",
    "\\times": "*",
    "\\cdot": "*",
    "\\ast": "*",
    "\\lt": "<",
    "\\gt": ">",
    "\\le": "\u2264",
    "\\leq": "\u2264",
    "\\leqslant": "\u2264",
    "\\ge": "\u2265",
    "\\geq": "\u2265",
    "\\geqslant": "\u2265",
    "\\ne": "\u2260",
    "\\neq": "\u2260",
    "\\pm": "\xb1",
    "\\sqrt": "\u221a",
    "\\circ": "\xb0",
    "\\degree": "\xb0",
    "\\%": "%",
    "\\{": "{",
    "\\}": "}",
}
"""What is compared in place of a sign, or of a command that prints one."""

_LAYOUT_NAMES = """
left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle scriptstyle text textrm
textbf textit texttt emph mathrm mathbf mathit mathsf boldsymbol bf it rm quad qquad hspace vspace hfill noindent
begin end item limits nolimits ldots cdots dots dotsc dotsb phantom label tag par newline centering
"""
_LAYOUT = frozenset(_LAYOUT_NAMES.split())
"""Commands that only set type."""

_COUNTED = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty
"""
_TENS = {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90"}
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_COUNTED.split())} | _TENS

_DECIDING_WORDS = """
hundred hundreds thousand thousands million billion dozen half third quarter fifth double twice triple thrice first
second last not no never without except even odd more less fewer least most greater larger smaller greatest largest
smallest longest shortest highest lowest maximum minimum maximal minimal max min increase decrease increased decreased
positive negative sum difference product quotient mean median mode range area perimeter circumference radius diameter
volume before after north south east west left right up down true false sin cos tan cot sec csc log ln gcd lcm prime
composite integer integers real rational
"""
_DECIDING = frozenset(_DECIDING_WORDS.split())
"""Words that make another question where another one stands in their place: a choice, surely not all there are."""


def read(text: str) -> Reading:
    """Return the words of a text in order.

    Numbers lose thousands' separators and closing zeros, and number words up to ninety become digits. Braces round a
    single word vanish, as `x^{2}` is `x^2`; `$` is never a word, since it may be money or begin a formula.
    """
    texts: list[str] = []
    kinds: list[Kind] = []
    spans: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        word, kind = _compared(match[0])
        if not word:
            continue
        if word == "}" and len(texts) > 1 and texts[-2] == "{" and texts[-1] != "{":
            del texts[-2], kinds[-2], spans[-2]
            continue
        texts.append(word)
        kinds.append(kind)
        spans.append(match.span())
    return Reading(texts, kinds, spans)


@lru_cache(maxsize=1 << 16)
def _compared(raw: str) -> tuple[str, Kind]:
    """Return a word as it is compared, empty for one that only sets type, and its kind."""
    start = raw[0]
    if start.isdecimal() or (start == "." and len(raw) > 1):
        return _number(raw), Kind.EXACT
    if start.isalnum():
        return _prose(raw)
    if raw in _SIGNS:
        return _SIGNS[raw], Kind.SIGN
    if start == "\\":
        name = raw[1:]
        return "" if name in _LAYOUT or not name.isalpha() else name, Kind.EXACT
    return raw, Kind.SIGN


def _number(raw: str) -> str:
    """Return a number without thousands' separators or closing zeros; any script's digits become ours."""
    digits = re.sub(r"\{,\}|\\,|,", "", unicodedata.normalize("NFKC", raw))
    whole, _, part = digits.partition(".")
    part = part.rstrip("0")
    return f"{whole or '0'}.{part}" if part else whole or "0"


def _prose(raw: str) -> tuple[str, Kind]:
    """Return a word of letters in lower case; number words become digits."""
    word = unicodedata.normalize("NFKC", raw).replace("\u2019", "'").casefold()
    if word in _NUMBER_WORDS:
        return _NUMBER_WORDS[word], Kind.EXACT
    variable = len(raw) == 1 and word not in "ai" and not "\u3040" <= raw <= "\u9fff"
    exact = variable or word in _DECIDING or any(letter.isnumeric() for letter in word)
    return word, Kind.EXACT if exact else Kind.PROSE
