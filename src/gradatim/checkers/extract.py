r"""Finds the answer in what a model wrote: the last box, `#### x`, "answer is x", in that order.

Every search here is a single pass (or a literal `rfind`), so a megabyte of hostile text costs milliseconds.
Leaves out: guessing. A text that marks no answer has none, unless its last line is nothing but an expression.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

_BOX = re.compile(r"\\f?boxed(?![A-Za-z])|\\fbox(?![A-Za-z])|\\begin\{?boxed\}?")
_BOX_WORD = re.compile(r"[ \t]*([^\s$,;{}\\]+)")
_BETWEEN = re.compile(r"(?:[\s$.,;]|\\[()\[\],;: ]|\\quad|\\qquad|\\text\s*\{\s*(?:and|or)\s*\}|\band\b|\bor\b)*")
_JOINS = re.compile(r"[,;]|and|or")
_HASH = re.compile(r"####[ \t]*([^\n]*)")
# Begins with a set of letters, and not with IGNORECASE: so `re` skips to them, four times as fast.
_PHRASE = re.compile(
    r"[Aa](?<![A-Za-z0-9_].)(?i:(?P<line>(?:ns)?(?:\*\*)?:)"
    r"|nswers?\b(?:\*\*)?"
    r"(?:[ \t]+(?:to[ \t]+(?:the|this)[ \t]+(?:question|problem)[ \t]+)?(?:is|are|would[ \t]+be)\b"
    r"|[ \t]*[:=](?:\*\*)?|(?=\s*(?:\$|\\[(\[])))(?:[ \t]*:)?)",
    re.DOTALL,
)
_LONGEST_INDENT = 12
_LEAD_WORDS = re.compile(
    r"(?:therefore|thus|then|hence|simply|just|equal to|given by|indeed|clearly|for sure|probably|option|choice|is)\b"
    r"[ ,:]*",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:is|are|equals)\b(?=.*\w)")
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z]|\s*$)|<\|")
_FENCE = re.compile(r"\$\$|\$|\\[()\[\]]")
_PROSE = re.compile(r"[^\W\d_]{3,}")
_MATH_WORDS = re.compile(
    r"\\(?:begin|end)\s*\{[^{}]*\}|\\(?:text|mbox|mathrm|textbf|textnormal|textit)\s*\{[^{}]*\}|\\[A-Za-z]+"
    r"|\b(?:sqrt|sin|cos|tan|log|pct|percent|percentage|and)\b"
)
_LONGEST_LINE = 400
_LAST_LINE = 100
_MOST_PHRASES = 50
"""How many phrases are tried from the end on: each reads on from where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An answer and how it was found."""

    text: str
    found_by: str
    """`box`, `hash`, `phrase` or `whole`."""


def extract(text: str) -> Found | None:
    """Return the answer that `text` states, or None.

    Of several boxes (marks, phrases) the last that holds something counts: models box intermediate results, and
    correct themselves. `whole` is a last line that is a bare expression without prose.
    """
    for find, found_by in ((last_box, "box"), (_last_hash, "hash"), (_last_phrase, "phrase"), (_bare_line, "whole")):
        answer = find(text)
        if answer:
            return Found(text=answer, found_by=found_by)
    return None


def last_box(text: str) -> str:
    r"""Return what the last non-empty `\boxed` or `\fbox` holds, or an empty string.

    Boxes that only commas, "and" or "or" part are one answer (`\boxed{1} and \boxed{2}`), joined by commas. An unclosed
    last box gives the rest of its line: the model was right to box, and only forgot the brace. Braces are matched once
    for the whole text, not once per box.
    """
    starts = [match.span() for match in _BOX.finditer(text)] if "\\" in text else []
    if not starts:
        return ""
    closing = _closing_braces(text, starts[0][0])
    answer, left = "", 0
    for start, after in reversed(starts):
        inside, end = _box(text, after, closing)
        if not inside:
            continue
        if not answer:
            answer, left = inside, start
            continue
        between = text[end:left] if left - end <= 60 else "-"
        if inside == answer or not (_BETWEEN.fullmatch(between) and _JOINS.search(between)):
            break
        answer, left = f"{inside}, {answer}", start
        if len(answer) > _LONGEST_LINE:
            break
    return answer


def _box(text: str, after: int, closing: dict[int, int]) -> tuple[str, int]:
    """Return what a box holds, whose name ends at `after`, and where the box ends."""
    brace = after
    while brace < len(text) and text[brace] in " \t\n" and brace < after + 20:
        brace += 1
    if text[brace : brace + 1] != "{":
        word = _BOX_WORD.match(text, after)
        return (word[1], word.end()) if word else ("", after)
    end = closing.get(brace)
    if end is None:
        return text[brace + 1 :].split("\n", 1)[0].strip(" \t$"), len(text)
    inside = text[brace + 1 : end].strip()
    return (inside if inside.strip("$ ") else ""), end + 1


def _closing_braces(text: str, start: int) -> dict[int, int]:
    r"""Map each opening brace from `start` on to its closing one; `\{` and `\}` are no braces."""
    closing: dict[int, int] = {}
    stack: list[int] = []
    for match in re.finditer(r"\\[\\{}]|[{}]", text[start:]):
        mark = match[0]
        if mark == "{":
            stack.append(match.start() + start)
        elif mark == "}" and stack:
            closing[stack.pop()] = match.start() + start
    return closing


def _last_hash(text: str) -> str:
    if "####" not in text:
        return ""
    found = ""
    for match in _HASH.finditer(text):
        # A Markdown heading of level four holds prose; "#### Answer: 5" and "#### 5" hold the answer.
        found = match[1].strip() or found
    return _last_phrase(found) or found


def _last_phrase(text: str) -> str:
    # The answer nearly always stands in the last line: a phrase there is the last one, and the rest need not be read.
    for start in (max(0, len(text) - _LAST_LINE), 0):
        ends = deque(
            (match.end() for match in _PHRASE.finditer(text, start) if not match["line"] or _begins_line(text, match)),
            maxlen=_MOST_PHRASES,
        )
        for end in reversed(ends):
            found = _segment(text[end : end + 4 * _LONGEST_LINE])
            if found:
                return found
    return ""


def _begins_line(text: str, match: re.Match[str]) -> bool:
    """Say whether `A:` is the first thing on its line."""
    before = text[max(0, match.start() - _LONGEST_INDENT) : match.start()]
    if match.start() > _LONGEST_INDENT and "\n" not in before:
        return False
    return not before.rpartition("\n")[2].strip(" \t*")


def _segment(rest: str) -> str:
    """Return the expression at the start of what follows "answer is"."""
    rest = rest.lstrip(" \t\n:*")
    lead = _LEAD_WORDS.match(rest)
    while lead:
        rest = rest[lead.end() :].lstrip(" \t\n:*")
        lead = _LEAD_WORDS.match(rest)
    fence = _FENCE.match(rest)
    if fence:
        return _fenced(rest, fence)
    line = rest.split("\n", 1)[0]
    end = _SENTENCE_END.search(line)
    if end:
        line = line[: end.start()]
    verbs = list(_VERB.finditer(line))
    if verbs:
        # "Final answer: The largest $n$ is 34".
        line = line[verbs[-1].end() :]
    return line.replace("**", "").strip(' \t$.*"')


def _fenced(rest: str, fence: re.Match[str]) -> str:
    r"""Return what stands between `$`, `$$`, `\(` or `\[` and its end, with a following percent sign."""
    close = {"\\(": "\\)", "\\[": "\\]"}.get(fence[0], fence[0])
    end = rest.find(close, fence.end())
    if end < 0 or not rest[fence.end() : end].strip():
        return rest[fence.end() :].split("\n", 1)[0].strip(" \t$.")
    inside = rest[fence.end() : end].strip()
    after = rest[end + len(close) :].lstrip()
    if re.match(r"\\?%|percent|pct", after):
        return inside + "%"
    if re.match(r"(?:,|and|or)\s*(?:and\s*)?\$", after):
        # "$1$, $2$ and $3$" is one answer.
        return re.split(r"\n|[.](?=\s|$)", rest, maxsplit=1)[0].strip(' \t."')
    return inside


def _bare_line(text: str) -> str:
    """Return the last line if it is an expression without prose, or an empty string."""
    stripped = text.rstrip()
    line = stripped[stripped.rfind("\n", max(0, len(stripped) - _LONGEST_LINE - 1)) + 1 :].strip()
    if not line or len(line) > _LONGEST_LINE:
        return ""
    if not any(letter.isalnum() for letter in _BOX.sub("", line)) or _PROSE.search(_MATH_WORDS.sub(" ", line)):
        return ""
    return line
