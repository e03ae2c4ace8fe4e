"""What keeps a teacher's chain out of the finished set, apart from its verdict: length, repetition, language.

Not part of the paper, which keeps every chain that verifies. Repetition is measured as for pre-training text, as the
share of the text in repeated lines and in repeated word n-grams (Rae et al. 2021, arXiv 2112.11446, appendix A). Its
words and limits are for web pages: with 10-grams and every sign a word, 7 of the 500 reference solutions of MATH-500
are more than half repetition, since an equation is carried from line to line. With 20-grams of what stands between
blanks none passes 0.29 and no right answer of four models to GSM8K repeats at all, while their loops reach 0.83; hence
the default limit, 0.5: an answer that says all of its thinking again is no loop. Mixing of languages inside a chain
is a known fault of reasoning models (DeepSeek-R1, arXiv 2501.12948), hence the third filter. All take time linear in
the text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gradatim.errors import UsageError

NGRAM = 20
"""Pieces between blanks per n-gram: shorter ones repeat in honest mathematics."""

CHARACTERS_PER_TOKEN = 4
"""How many characters stand for a token where no server counted: on the long side, so that fewer are dropped."""

# What stands between blanks, at most 16 characters of it, so that a loop without blanks is many pieces; Chinese and
# Japanese write none, so each of their characters is a piece.
_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]{1,16}")

_SCRIPTS = {
    "latin": ("LATIN",),
    "cyrillic": ("CYRILLIC",),
    "han": ("CJK", "IDEOGRAPHIC"),
    "kana": ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    "hangul": ("HANGUL",),
    "arabic": ("ARABIC",),
    "hebrew": ("HEBREW",),
    "devanagari": ("DEVANAGARI",),
    "bengali": ("BENGALI",),
    "tamil": ("TAMIL",),
    "telugu": ("TELUGU",),
    "thai": ("THAI",),
    "armenian": ("ARMENIAN",),
    "georgian": ("GEORGIAN",),
}
"""Our name of a script: how its letters' Unicode names begin."""

_UNCOUNTED = ("GREEK", "MODIFIER")
"""Letters of no script here: mathematics in any language writes Greek ones, and accents stand beside all."""


class Dropped(StrEnum):
    """Why a filter drops a chain, in the order in which the filters are asked."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    REPETITION = "repetition"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """Limits for a chain; a limit that is None is not asked. Raises `UsageError` for one that cannot be."""

    min_chars: int | None = 1
    """Characters of thinking and answer together, blanks at their ends not counted."""
    max_tokens: int | None = None
    """Tokens as the server counted them; where it did not, four characters stand for one."""
    max_repetition: float | None = 0.5
    """The largest share of the text, 0 to 1, that may have been said before, by `repetition`."""
    scripts: tuple[str, ...] = ()
    """The scripts that letters may have: `latin`, `han`, `kana`, ...; empty allows all."""
    max_foreign: float = 0.02
    """The largest share of letters, 0 to 1, in other scripts."""

    def __post_init__(self) -> None:
        for name, limit in (("min_chars", self.min_chars), ("max_tokens", self.max_tokens)):
            if limit is not None and limit < 0:
                raise UsageError(
                    f"The filter {name} is a number of at least 0, not {limit}; leave it out for no limit."
                )
        for name, share in (("max_repetition", self.max_repetition), ("max_foreign", self.max_foreign)):
            if share is not None and not (math.isfinite(share) and 0 <= share <= 1):
                raise UsageError(f"The filter {name} is a share from 0 to 1, not {share:g}.")
        unknown = [script for script in self.scripts if script not in _SCRIPTS]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is no script that the language filter knows: {', '.join(_SCRIPTS)}.")


def filter_reason(thinking: str, answer: str, completion_tokens: int | None, settings: FilterSettings) -> str | None:
    """Return why this chain is dropped, a `Dropped`, or None where it stays.

    `completion_tokens` is what the server counted, thinking included. Thinking and answer are measured as one text,
    so an answer that repeats a line of the thinking counts as said twice, but a short one weighs little.
    """
    text = f"{thinking.strip()}\n{answer.strip()}".strip()
    if settings.min_chars is not None and len(text) < settings.min_chars:
        return Dropped.TOO_SHORT
    if settings.max_tokens is not None:
        tokens = completion_tokens if completion_tokens is not None else len(text) / CHARACTERS_PER_TOKEN
        if tokens > settings.max_tokens:
            return Dropped.TOO_LONG
    if settings.max_repetition is not None and repetition(text) > settings.max_repetition:
        return Dropped.REPETITION
    if settings.scripts and foreign_share(text, settings.scripts) > settings.max_foreign:
        return Dropped.LANGUAGE
    return None


def repetition(text: str) -> float:
    """Return the share of a text, 0 to 1, that was said before in it: by lines or by 20-grams, whichever is more.

    By lines: characters in lines that came earlier, of the characters in all. By 20-grams of pieces between blanks:
    pieces that lie in a 20-gram which came earlier, of all pieces; a text of 20 pieces or fewer has none.
    """
    return max(_repeated_lines(text), _repeated_pieces(text))


def _repeated_lines(text: str) -> float:
    """Return the share of characters in lines that came earlier; blanks at a line's ends do not count."""
    lines = Counter(stripped for line in text.splitlines() if (stripped := line.strip()))
    total = sum(len(line) * times for line, times in lines.items())
    again = sum(len(line) * (times - 1) for line, times in lines.items())
    return again / total if total else 0.0


def _repeated_pieces(text: str) -> float:
    """Return the share of pieces that lie in an n-gram which came earlier."""
    pieces = tuple(_PIECE.findall(text))
    seen: set[tuple[str, ...]] = set()
    covered, reached = 0, 0
    for start in range(len(pieces) - NGRAM + 1):
        ngram = pieces[start : start + NGRAM]
        if ngram in seen:
            end = start + NGRAM
            covered += end - max(start, reached)
            reached = end
        else:
            seen.add(ngram)
    return covered / len(pieces) if pieces else 0.0


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    """Return the first word of a letter's Unicode name, or nothing for what belongs to no script."""
    # A letter made from another one for its looks (double-struck, script, raised) is a sign of mathematics.
    if not character.isalpha() or unicodedata.decomposition(character).startswith("<"):
        return ""
    script = unicodedata.name(unicodedata.normalize("NFC", character), "").partition(" ")[0]
    return "" if script in _UNCOUNTED else script


def foreign_share(text: str, scripts: tuple[str, ...]) -> float:
    """Return the share of a text's letters, 0 to 1, that belong to none of these scripts.

    Greek letters and those that only mathematics writes (double-struck, script, raised) are not counted; digits,
    signs and combining marks are no letters. A variable or a LaTeX command is Latin: allow `latin` beside `han`. A
    text without letters has none that are foreign.
    """
    expected = {name for script in scripts for name in _SCRIPTS[script]}
    total = foreign = 0
    for character, times in Counter(text).items():
        script = _script(character)
        if script:
            total += times
            foreign += times if script not in expected else 0
    return foreign / total if total else 0.0
