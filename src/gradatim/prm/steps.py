"""Split an answer into the steps that a process reward model scores.

The paper (arXiv 2504.11919) does not say what a step is. We split as the Qwen2.5-Math-PRM model card asks, on blank
lines, and leave whole what a blank line does not end: fenced code and displayed mathematics. An answer without a blank
line is split on its lines, which is how GSM8K's solutions are written. Nothing is cut away: the steps join to the
answer.

Left out: merging of short steps and splitting at words like "Wait", which long reasoning traces need and answers do
not.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import chain, pairwise

SPLIT_RULE = "blank-lines-1"
"""Names what `split_steps` does; it is part of every PRM's version, so a change of rule is a change of name."""

# Possessive repeats: white space is looked at once, however much of it there is.
_BLANK_LINE = re.compile(r"\n[^\S\n]*+\n\s*+")
_LINE_END = re.compile(r"\n\s*+")

_MARKS = ("$$", "\\[", "\\begin{", "```", "~~~")
"""None of these in an answer, and there is nothing to protect: the usual case, found out at the speed of memory."""

_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
# A doubled backslash is taken as one mark, so that `\\[2pt]`, a line break in a matrix, opens no display; so is `\$`.
_DISPLAY = re.compile(r"\$\$|\\(?:[\\$\[\]]|(?:begin|end)\{([A-Za-z]+\*?)\})")

Span = tuple[int, int]


def split_steps(answer: str) -> tuple[str, ...]:
    r"""Return the steps of `answer`, in order; a blank answer has none.

    The steps join to `answer` exactly, and none is blank: white space between two steps ends the first of them, that
    before the first step begins it. Blank lines within ``` or ~~~ fences, `$$..$$`, `\[..\]` and
    `\begin{x}..\end{x}` do not split. What is opened and never closed protects nothing, so a stray `$$` or fence
    cannot make the rest of an answer one step. Takes time linear in the answer's length.
    """
    start = len(answer) - len(answer.lstrip())
    end = len(answer.rstrip())
    if start >= end:
        return ()
    protected = _protected(answer) if any(mark in answer for mark in _MARKS) else []
    cuts = _cuts(_BLANK_LINE, answer, (start, end), protected)
    if not cuts:
        # A display or fence stays with the line that leads to it, as it does where blank lines split.
        opens = {span[0] for span in protected}
        cuts = [cut for cut in _cuts(_LINE_END, answer, (start, end), protected) if cut not in opens]
    return tuple(answer[a:b] for a, b in pairwise((0, *cuts, len(answer))))


def _cuts(separator: re.Pattern[str], text: str, within: Span, protected: list[Span]) -> list[int]:
    """Return where the separators outside the protected spans end."""
    found = separator.finditer(text, *within)
    if not protected:
        return [match.end() for match in found]
    starts = [span[0] for span in protected]
    cuts = []
    for match in found:
        before = bisect_right(starts, match.start()) - 1
        if before < 0 or protected[before][1] <= match.start():
            cuts.append(match.end())
    return cuts


def _protected(text: str) -> list[Span]:
    """Return the spans that stay whole: sorted, apart from one another, each beginning where its content does."""
    fences = _fences(text)
    merged: list[Span] = []
    for span in sorted(chain(fences, _displays(text, fences))):
        if merged and span[0] < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span[1]))
        else:
            merged.append(span)
    return merged


def _fences(text: str) -> list[Span]:
    """Return the spans of fenced code that is closed, by CommonMark's rule for which line closes a fence."""
    if "```" not in text and "~~~" not in text:
        return []
    spans = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opened is None:
            # ```x``` on one line is code within a sentence.
            opened = None if match[1][0] == "`" and "`" in match[2] else match
        elif match[1].startswith(opened[1]) and not match[2].strip():
            spans.append((opened.start(1), match.end()))
            opened = None
    return spans


def _displays(text: str, fences: list[Span]) -> list[Span]:
    """Return the spans of displayed mathematics that is closed, outside of fences; they may lie in one another."""
    spans = []
    starts = [span[0] for span in fences]
    opened: dict[str, list[int]] = {}
    for match in _DISPLAY.finditer(text):
        mark = match[0]
        before = bisect_right(starts, match.start()) - 1
        if mark in ("\\\\", "\\$") or (before >= 0 and match.start() < fences[before][1]):
            continue
        kind = match[1] or ("$$" if mark == "$$" else "[")
        waiting = opened.setdefault(kind, [])
        closes = bool(waiting) if mark == "$$" else mark.startswith(("\\]", "\\end"))
        if not closes:
            waiting.append(match.start())
        elif waiting:
            spans.append((waiting.pop(), match.end()))
    return spans
