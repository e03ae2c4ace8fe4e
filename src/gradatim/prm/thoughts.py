r"""Split long reasoning, as R1-like models write it between their tags of thinking, into steps.

Reasoning has a blank line after every remark, and turns around in mid-paragraph. So to the cuts of `prm.steps` (blank
lines, outside of fenced code and displayed mathematics) come those before the words by which such models begin a new
thought, and short pieces go with a neighbour. The paper (arXiv 2504.11919) says nothing of this; the words and the size
are ours.

A piece is short below 120 bytes of UTF-8, about 30 tokens: no tokenizer is in the base install, and a token of a
current model stands for about four bytes, in English as in Chinese.

Left out: words of other languages than English, and a new thought that begins in mid-sentence.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from gradatim.prm.steps import Patterns, pieces, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

REASONING_RULE = "reasoning-1"
"""Names what `split_thoughts` does; it is part of a PRM's version, so a change of rule is a change of name."""
SHORT = 120
"""Bytes of UTF-8, white space around a piece not counted: less than this goes with a neighbour."""

_PATTERNS = Patterns(
    r"Wait\b|But (?:wait|let me|hold on)\b|Hold on\b|Hmm+\b|Alternatively\b|Actually\b|However\b|On second thought\b"
    r"|Another (?:way|approach|method|idea)\b|Oh\b|No, (?:wait|that)\b"
    r"|Let(?: me|['’]s) (?:also |now |just )?(?:double|re-?|check|verify|confirm|test|try|think|see|go back|start)"
)
_LEAD = 8
"""Characters before a marker that are looked at, so that a long run of blanks is not read again and again."""
_BLANKS = (" ", "\t")
_STARTS = re.compile(r"\n[ \t]*$|[.!?…][\"'”’)\]*]{0,3}[ \t]+$|^[ \t]+$")
"""What stands before a word that begins a line or a sentence."""
_NUMBERED = re.compile(r"(?:^|\n)[ \t]*[0-9]{1,2}[.)][ \t]+$")
"""A list's number, which ends no sentence."""


def split_thoughts(text: str) -> tuple[str, ...]:
    """Return the steps of a text of reasoning, in order; a blank text has none.

    The steps join to `text` exactly; none is blank, and none is short unless it is the only one. A short piece goes
    with the next one; where the next begins a new thought, with the one before it. A fence or display stays with the
    paragraph that leads to it. Takes time linear in the text's length.
    """
    places = places_of(text, _PATTERNS)
    turns = {turn for turn in places.turns if _begins(text, turn)}
    cuts = sorted({*places.cuts, *turns} - places.opens)
    return pieces(text, _without_short(text, cuts, turns))


def _begins(text: str, place: int) -> bool:
    """Tell whether a line or sentence begins here."""
    if text[place - 1 : place] == "\n":
        return True
    lead = text[max(0, place - _LEAD) : place]
    return lead[-1:] in _BLANKS and _STARTS.search(lead) is not None and _NUMBERED.search(lead) is None


def _without_short(text: str, places: Sequence[int], turns: set[int]) -> list[int]:
    """Return those of the places that leave no short piece; each piece is measured once."""
    kept: list[int] = []
    plain, size = text.isascii(), 0
    for start, end in pairwise((0, *places, len(text))):
        piece = text[start:end].strip()
        size += len(piece) if plain else len(piece.encode("utf-8", "surrogatepass"))
        if size >= SHORT:
            kept.append(end)
            size = 0
        elif end in turns and kept and kept[-1] not in turns:
            kept[-1] = end
            size = 0
    # What is last is either whole, and ends where the text does, or short.
    return kept[:-1]
