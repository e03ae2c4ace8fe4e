"""Split an answer into the steps that a process reward model scores.

The paper (arXiv 2504.11919) does not say what a step is. We split as the Qwen2.5-Math-PRM model card asks, on blank
lines, and leave whole what a blank line does not end: fenced code and displayed mathematics. An answer without a blank
line is split on its lines, which is how GSM8K's solutions are written. Nothing is cut away: the steps join to the
answer.

Left out: merging of short steps and splitting at words like "Wait", which long reasoning needs and answers do not;
`prm.thoughts` does both, and shares the reading of a text with this.
"""

from __future__ import annotations

import re
from itertools import chain, pairwise
from operator import methodcaller
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SPLIT_RULE = "blank-lines-1"
"""Names what `split_steps` does; it is part of every PRM's version, so a change of rule is a change of name."""

# Possessive repeats: white space is looked at once, however much of it there is.
_BLANK_LINE = r"\n[^\S\n]*+\n\s*+"
_LINE_END = r"\n\s*+"
# A doubled backslash is taken as one mark, so that `\\[2pt]`, a line break in a matrix, opens no display; so is `\$`.
# Each choice begins with a letter: one that does not is told from the first character, without a try.
_DISPLAY = r"\$\$|\\(?:[\\$\[\]]|begin\{[A-Za-z]+\*?\}|end\{[A-Za-z]+\*?\})"
_OPENING = re.compile(r"\\(?:\[|begin\{)")
_NO_MARKS = ("\\\\", "\\$")
_KINDS = {"$$": ("$$", False), "\\[": ("[", True), "\\]": ("[", False)}
"""The kind of display that a mark belongs to, and whether it opens one; `$$` closes the one that it opened."""
# One pattern for each letter: what begins with a letter of its own is found at the speed of memory.
_RUNS = {"`": re.compile("```+"), "~": re.compile("~~~+")}
_start = methodcaller("start")

Span = tuple[int, int]


class Patterns:
    """What is looked for in a text: where it may be cut, and what stays whole."""

    def __init__(self, turn: str = "") -> None:
        """`turn`: a pattern of words before which a text may be cut too; each of its choices begins with a letter."""
        separators, more = (_BLANK_LINE, _LINE_END), f"|{turn}" if turn else ""
        self.plain = tuple(re.compile(f"{separator}{more}") for separator in separators)
        self.marked = tuple(re.compile(f"{separator}|{_DISPLAY}{more}") for separator in separators)


class Places:
    """Where a text may be cut, outside of fenced code and displayed mathematics; every list in order."""

    def __init__(self, text: str, fences: Sequence[Span], pattern: re.Pattern[str]) -> None:
        self.cuts: list[int] = []
        """Where separators end."""
        self.turns: list[int] = []
        """Where the words of `Patterns` begin."""
        self.opens = {fence[0] for fence in fences}
        """Where what stays whole begins."""
        cuts, turns, opens = self.cuts, self.turns, self.opens
        waiting: dict[str, list[int]] = {"$$": [], "[": []}
        for gap in _gaps(text, fences):
            # One loop for all, with few calls in it: this is where a text of mathematics spends its time.
            for match in pattern.finditer(text, *gap):
                place, end = match.span()
                first = text[place]
                if first == "\n":
                    cuts.append(end)
                elif first not in {"\\", "$"}:
                    turns.append(place)
                elif (mark := text[place:end]) not in _NO_MARKS:
                    kind, opening = _KINDS.get(mark) or (mark[mark.index("{") :], mark[1] == "b")
                    opened = waiting.setdefault(kind, [])
                    if opening or (mark == "$$" and not opened):
                        opened.append(place)
                    elif opened:
                        start = opened.pop()
                        opens.add(start)
                        if (cuts and cuts[-1] > start) or (turns and turns[-1] > start):
                            self._keep_whole(start)

    def _keep_whole(self, start: int) -> None:
        """Take back what was to be cut from `start` on: what is displayed there has been closed."""
        for places in (self.cuts, self.turns):
            while places and places[-1] > start:
                places.pop()


_PATTERNS = Patterns()


def split_steps(answer: str) -> tuple[str, ...]:
    r"""Return the steps of `answer`, in order; a blank answer has none.

    The steps join to `answer` exactly, and none is blank: white space between two steps ends the first of them, that
    before the first step begins it. Blank lines within ``` or ~~~ fences, `$$..$$`, `\[..\]` and
    `\begin{x}..\end{x}` do not split. What is opened and never closed protects nothing, so a stray `$$` or fence
    cannot make the rest of an answer one step. Takes time linear in the answer's length.
    """
    return pieces(answer, places_of(answer, _PATTERNS).cuts)


def places_of(text: str, patterns: Patterns) -> Places:
    """Return where a text may be cut: after its blank lines; where there is none to cut at, after its lines."""
    fences = _fences(text) if "`" in text or "~" in text else []
    by_blank_lines, by_lines = patterns.marked if "$$" in text or _OPENING.search(text) else patterns.plain
    found = Places(text, fences, by_blank_lines)
    if not found.cuts:
        found = Places(text, fences, by_lines)
        # A display or fence stays with the line that leads to it, as it does where blank lines split.
        found.cuts = [cut for cut in found.cuts if cut not in found.opens]
    return found


def pieces(text: str, cuts: Sequence[int]) -> tuple[str, ...]:
    """Return what a text is cut into at these places; nothing where it is blank."""
    if not text or text.isspace():
        return ()
    return tuple([text[a:b] for a, b in pairwise((0, *cuts, len(text)))])


def _gaps(text: str, fences: Sequence[Span]) -> Iterator[Span]:
    """Give the spans between the fences, without the white space at the text's ends."""
    start = len(text) - len(text.lstrip())
    for fence in fences:
        yield start, fence[0]
        start = fence[1]
    yield start, len(text.rstrip())


def _fences(text: str) -> list[Span]:
    """Return the spans of fenced code that is closed, by CommonMark's rule for which line closes a fence."""
    runs = sorted(chain(*(runs.finditer(text) for letter, runs in _RUNS.items() if letter in text)), key=_start)
    spans = []
    opened: re.Match[str] | None = None
    for run in runs:
        start, after = run.span()
        if text[start - 1 : start] != "\n" and not _begins_line(text, start):
            continue
        end = text.find("\n", after)
        end = len(text) if end < 0 else end
        rest = text[after:end]
        if opened is None:
            # ```x``` on one line is code within a sentence.
            opened = None if run[0][0] == "`" and "`" in rest else run
        elif run[0].startswith(opened[0]) and not rest.strip():
            spans.append((opened.start(), end))
            opened = None
    return spans


def _begins_line(text: str, place: int) -> bool:
    """Tell whether nothing but up to three blanks or tabs stands before this place in its line."""
    lead = text[max(0, place - 4) : place]
    line = lead.rfind("\n") + 1
    return (line > 0 or place < 4) and not lead[line:].strip(" \t")
