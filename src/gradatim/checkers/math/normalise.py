r"""Writes mathematical text in one way: `\dfrac12`, `1/2` and `½` differ here no more than they must.

Works on strings only, decides nothing, and is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 4000
"""Characters. Longer answers are compared as text only: no short answer is longer."""

_UNICODE = str.maketrans(
    {
        "\u2212": "-",  # minus sign
        "\u2013": "-",  # en dash
        "\u2014": "-",  # em dash
        "\u2010": "-",  # hyphen
        "\u00d7": r"\times ",  # multiplication sign
        "\u00b7": r"\cdot ",  # middle dot
        "\u22c5": r"\cdot ",  # dot operator
        "\u00f7": "/",  # division sign
        "\u2215": "/",  # division slash
        "\u2044": "/",  # fraction slash
        "\u03c0": r"\pi ",  # greek small letter pi
        "\u221a": r"\sqrt ",  # square root
        "\u221e": r"\infty ",  # infinity
        "\u2264": r"\le ",  # less-than or equal to
        "\u2265": r"\ge ",  # greater-than or equal to
        "\u2260": r"\ne ",  # not equal to
        "\u2248": r"\approx ",  # almost equal to
        "\u00b0": r"^\circ ",  # degree sign
        "\u222a": r"\cup ",  # union
        "\u2229": r"\cap ",  # intersection
        "\u2208": r"\in ",  # element of
        "\u00b1": r"\pm ",  # plus-minus sign
        "\u2205": r"\emptyset ",  # empty set
        "\u2220": r"\angle ",  # angle
        "\u03b8": r"\theta ",  # greek small letter theta
        "\u03b1": r"\alpha ",  # greek small letter alpha
        "\u03b2": r"\beta ",  # greek small letter beta
        "\u03b3": r"\gamma ",  # greek small letter gamma
        "\u03bb": r"\lambda ",  # greek small letter lamda
        "\u03c6": r"\phi ",  # greek small letter phi
        "\u00bd": r"\frac{1}{2}",  # vulgar fraction one half
        "\u2153": r"\frac{1}{3}",  # vulgar fraction one third
        "\u2154": r"\frac{2}{3}",  # vulgar fraction two thirds
        "\u00bc": r"\frac{1}{4}",  # vulgar fraction one quarter
        "\u00be": r"\frac{3}{4}",  # vulgar fraction three quarters
        "\u20ac": "",  # euro sign
        "\u00a3": "",  # pound sign
        "\u00a5": "",  # yen sign
        "\u200b": "",  # zero width space
        "\u2032": "'",  # prime
        "\u2019": "'",  # right single quotation mark
        "\u00a0": " ",  # no-break space
        "\u2009": " ",  # thin space
        "\u202f": " ",  # narrow no-break space
        "\u3002": ".",  # ideographic full stop
        "\uff0c": ",",  # fullwidth comma
        "\uff08": "(",  # fullwidth left parenthesis
        "\uff09": ")",  # fullwidth right parenthesis
        "\uff05": "%",  # fullwidth percent sign
        **{
            superscript: f"^{digit}"
            for digit, superscript in enumerate("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
        },
    }
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_BOX_WHOLE = re.compile(r"\\(?:boxed|fbox)\s*\{")
_GROUP_COMMA = re.compile(r"\{,\}|,\\!\s*")
_THIN_THOUSANDS = re.compile(r"(?<=\d)(?:\\[,; :!]|~)\s*(?=\d{3}(?!\d))")
_SPACING = re.compile(
    r"(?<!\\)\\[,;:!> ]|~|\\(?:quad|qquad|displaystyle|textstyle|limits|noindent|allowbreak|nonumber)(?![A-Za-z])"
)
_SIZES = re.compile(r"\\(?:m?left|m?right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?")
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathbb|mathnormal|boldsymbol|bm|rm|bf)\s*\{([A-Za-z0-9]{1,2})\}"
)
_TEXT = re.compile(
    r"\\(?:textbf|textit|textrm|textnormal|textsf|texttt|textup|mbox|hbox|mathrm|operatorname|mathbf|text)\s*\*?\s*\{"
)
_ONE = re.compile(r"(?<![\d} ])\\text\{\s*([A-Za-z]|-?[0-9.]+)\s*\}")
_DOUBLE = re.compile(r"\\\\(?=[A-Za-z(\[{])")
_BARE_CALL = re.compile(r"(?<![A-Za-z\\])(sqrt|sin|cos|tan|cot|sec|csc|log|ln|arcsin|arccos|arctan)(?=\s*[({])")
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_INF = re.compile(r"(?<![A-Za-z\\])(?:inf|infinity|oo)(?![A-Za-z])")
_PERCENT = re.compile(r"\s*(?:\\?%|\b(?:percentage|percent|pct)\b(?:\s+points?\b)?)")
_PERCENT_TEXT = re.compile(r"\\text\{\s*(?:percentage|percent|pct|\\?%)\s*\}")
_JOIN = re.compile(r",?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*,?")
_POWER_BEFORE_INDEX = re.compile(r"(\^(?:\d|\{\d+\}))(_(?:[A-Za-z0-9]|\{[A-Za-z0-9]*\}))")
_PRIMES = re.compile(r"\^\{?('+)\}?")
_SPACES = re.compile(r"\s+")
_SIMPLE = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_SYNONYMS = {
    r"\geq": r"\ge",
    r"\geqslant": r"\ge",
    r"\leq": r"\le",
    r"\leqslant": r"\le",
    r"\neq": r"\ne",
    r"\lt": "<",
    r"\gt": ">",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\dbinom": r"\binom",
    r"\tbinom": r"\binom",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\colon": ":",
    r"\div": "/",
    r"\varnothing": r"\emptyset",
    r"\times": r"\cdot",
    r"\ast": r"\cdot",
    r"\degree": r"^\circ",
    r"\simeq": r"\approx",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\vert": "|",
    r"\mid": "|",
    r"\dotsc": r"\ldots",
    r"\dots": r"\ldots",
    r"\cdots": r"\ldots",
    r"\imath": "i",
    r"\prime": "'",
}
_SYNONYM = re.compile(r"\\[A-Za-z]+")
_PLAIN_OPS = (("<=", r"\le "), (">=", r"\ge "), ("!=", r"\ne "), ("**", "^"), ("*", r"\cdot "), ("\\%", "%"))


def normalise(text: str) -> str:
    r"""Return `text` written our way: no fences, boxes, currency, sizes or fonts; `\frac`, `\cdot`, `\le`, `%`, `,`."""
    text = text.strip()
    if _SIMPLE.fullmatch(text):
        return text
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_UNICODE))
    text = _GROUP_COMMA.sub(",", _unwrap(text))
    if "\\" in text:
        text = _commands(text)
    elif "$" in text:
        text = text.replace("$", "")
    for plain, latex in _PLAIN_OPS:
        if plain in text:
            text = text.replace(plain, latex)
    text = _PERCENT.sub("%", _PERCENT_TEXT.sub("%", text))
    text = _POWER_BEFORE_INDEX.sub(r"\2\1", _PRIMES.sub(r"\1", _words(text)))
    return _SPACES.sub(" ", text).strip().rstrip(".,;:").strip()


def _unwrap(text: str) -> str:
    r"""Take off fences and boxes that enclose the whole of `text`."""
    for _ in range(8):
        before = text
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                text = text if opening in inner or closing in inner else inner.strip()
        box = _BOX_WHOLE.match(text)
        if box:
            end = closing_brace(text, box.end() - 1)
            if end is not None and not text[end + 1 :].strip(" .$"):
                text = text[box.end() : end].strip()
        if text == before:
            break
        text = text.rstrip(".").strip() if not text.endswith("\\.") else text
    return text


def closing_brace(text: str, start: int) -> int | None:
    r"""Return where the brace that opens at `start` closes, or None."""
    depth = 0
    for match in re.finditer(r"\\[\\{}]|[{}]", text[start:]):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return start + match.start()
    return None


def _commands(text: str) -> str:
    r"""Unify what LaTeX can write in several ways."""
    if r"\\begin" in text:
        # Escaped twice: a row of a matrix then ends in four backslashes.
        text = text.replace("\\\\", "\\")
    elif "\\\\" in text and r"\begin" not in text:
        text = _DOUBLE.sub(r"\\", text)
    text = _THIN_THOUSANDS.sub("", text)
    text = text.replace(r"\$", "").replace("$", "")
    text = _SPACING.sub(" ", text)
    text = _SIZES.sub("", text)
    text = _SYNONYM.sub(lambda match: _SYNONYMS.get(match[0], match[0]), text)
    text = _FONT.sub(r"\1", text)
    text = _ONE.sub(r"\1", _TEXT.sub(r"\\text{", text))
    for fence in (r"\(", r"\)", r"\[", r"\]"):
        text = text.replace(fence, " ")
    return text.removesuffix("\\")


def _words(text: str) -> str:
    """Give plain words their LaTeX names: `sqrt(` to a command, `pi`, `inf`, and ` and ` to a comma."""
    if not any(letter.isalpha() for letter in text):
        return text
    text = _BARE_CALL.sub(r"\\\1", text)
    text = _PI.sub(r"\\pi ", text)
    text = _INF.sub(r"\\infty ", text)
    return _JOIN.sub(", ", text)
