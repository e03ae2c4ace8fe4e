"""Takes the program from a model's answer. Pure; linear in the answer's length, whatever it holds.

A fenced block is what CommonMark calls one: a line that begins with three or more backticks or tildes, possibly after
blanks, a list's mark or a quotation's `>`, up to a line with as many or more of the same and nothing else. Where it
departs from CommonMark, it is for how models write:

* A block that is never closed is no block; a new fence with a language inside of an open block begins a new one.
* A block counts as a program where its language is Python or not said. Beside blocks that say Python, one that says
  nothing counts only where it looks like a program: it may as well show an output.
* The indentation of the opening fence is taken off each line, and so is a quotation's `>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.checkers.code.rules import Which

_BLANK = r" \t\u00a0\u200b\u202f\u3000\ufeff"
_INVISIBLE = " \t\r\f\v\u00a0\u200b\u202f\u3000\ufeff"
_NO_WIDTH = {0x200B: None, 0xFEFF: None}
_FENCE = re.compile(
    rf"^(?P<lead>[{_BLANK}]*+(?:>[{_BLANK}]*+)*+(?P<mark>(?:[-*+]|\d{{1,9}}[.)])[{_BLANK}]++)?+)"
    r"(?P<fence>`{3,}+|~{3,}+)(?P<info>[^\n]*+)",
    re.MULTILINE,
)
_QUOTE = re.compile(r"\s*+>")
_WHITE = re.compile(r"\s*+\Z")
_WORD = re.compile(r"\w")
_PYTHON = re.compile(r"[{.\s]*(?:py|python|pypy)[\d.]*(?![\w+#-])", re.IGNORECASE)
_PROGRAM = re.compile(
    r"^[ \t]*+(?:def \w+[ \t]*\(|class \w+[ \t]*[(:]|import \w|from [\w.]++ import\b|print[ \t]*\(|for \w[^\n]* in |@\w"
    r"|[^\n=#]*+=[^\n]*?\binput\()",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What was taken from an answer."""

    text: str
    span: tuple[int, int]
    """Where it stands in the answer: the lines between the fences, indentation and all."""
    found_by: str
    """`fence` or `whole`."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A complete block that may be a program."""

    start: int
    end: int
    indent: int
    quotes: int
    labelled: bool


def extract(answer: str, which: Which = "last_fence") -> Program | None:
    """Return the program that an answer gives, or None where it has no complete block that is one.

    Of several blocks `which` names one; of several longest the first. Blocks of nothing but white space do not count.
    """
    if which == "whole":
        return Program(text=answer, span=(0, len(answer)), found_by="whole") if answer.strip() else None
    blocks = _programs(answer)
    if not blocks:
        return None
    if which == "longest_fence":
        block = max(blocks, key=lambda one: one.end - one.start)
    else:
        block = blocks[-1 if which == "last_fence" else 0]
    text = _unindented(answer[block.start : block.end].replace("\r\n", "\n"), block)
    return Program(text=text, span=(block.start, block.end), found_by="fence")


def _programs(answer: str) -> list[_Block]:
    blocks = [block for block in _blocks(answer) if not _empty(answer, block)]
    if not any(block.labelled for block in blocks):
        return blocks
    return [block for block in blocks if block.labelled or _PROGRAM.search(answer, block.start, block.end)]


def _blocks(answer: str) -> Iterator[_Block]:
    """Give the complete blocks whose language is Python or not said, in order."""
    opened: re.Match[str] | None = None
    fence = info = ""
    for match in _FENCE.finditer(answer):
        mark, said = match["fence"], match["info"].strip(_INVISIBLE)
        if opened is not None:
            if mark[0] != fence[0] or len(mark) < len(fence):
                continue
            if not said and not match["mark"]:
                labelled = bool(_PYTHON.match(info))
                if labelled or not info:
                    yield _block(opened, match, labelled=labelled)
                opened = None
                continue
            if not _WORD.match(said):
                continue
        if mark[0] == "`" and "`" in said:
            continue  # inline code that stands at the beginning of a line
        opened, fence, info = match, mark, said


def _block(opened: re.Match[str], closed: re.Match[str], *, labelled: bool) -> _Block:
    lead = opened["lead"].translate(_NO_WIDTH)
    indent = len(lead[lead.rfind(">") + 1 :].expandtabs(4))
    return _Block(opened.end() + 1, closed.start(), indent, lead.count(">"), labelled)


def _empty(answer: str, block: _Block) -> bool:
    return _WHITE.match(answer, block.start, block.end) is not None


def _unindented(text: str, block: _Block) -> str:
    """Take the quotation's marks off each line, and as much of the fence's indentation as all lines have."""
    if not block.quotes and not block.indent:
        return text
    lines = [_unquoted(line, block.quotes) for line in text.split("\n")]
    columns = min((_indent(line) for line in lines if line.strip()), default=0)
    return "\n".join(_without(line, min(block.indent, columns)) for line in lines)


def _unquoted(line: str, quotes: int) -> str:
    at = 0
    for _ in range(quotes):
        mark = _QUOTE.match(line, at)
        if mark is None:
            break
        at = mark.end()
    return line[at:]


def _indent(line: str) -> int:
    white = line[: len(line) - len(line.lstrip())]
    return len(white.expandtabs(4))


def _without(line: str, columns: int) -> str:
    """Take columns of white space off the front; a tab reaches to the next multiple of four."""
    white = line[: len(line) - len(line.lstrip())]
    if "\t" not in white[:columns]:
        return line[min(columns, len(white)) :]
    return white.expandtabs(4)[columns:] + line[len(white) :]
