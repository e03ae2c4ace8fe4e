"""The last box of a worked solution, which is where data sets of the MATH family keep the answer."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"[^\s$\\{}]+")


def last_boxed(text: str) -> str:
    r"""Return what the last complete `\boxed{...}` or `\fbox{...}` holds, blanks at the ends removed; else nothing.

    Braces are balanced and escaped ones (`\{`) do not count; `\boxed 7` holds `7`. A box that is never closed is
    passed over. Time is linear in the text, whatever it holds.
    """
    boxes = [match.end() for match in _BOX.finditer(text)]
    if not boxes:
        return ""
    closing = _closing_braces(text)
    for start in reversed(boxes):
        if start in closing:
            return text[start + 1 : closing[start]].strip()
        bare = _BARE.match(text, start)
        if bare:
            return bare.group().rstrip(".,;")
    return ""


def _closing_braces(text: str) -> dict[int, int]:
    """Return where each opening brace is closed; those that are not are left out."""
    opened: list[int] = []
    closing = {}
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            closing[opened.pop()] = match.start()
    return closing
