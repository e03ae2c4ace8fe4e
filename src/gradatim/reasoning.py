"""Tells a reasoning model's thinking from its answer. Pure; applied when an answer is read, never when it is stored.

Servers give the thinking in a field of its own, or leave it in the text between tags, with the opening tag in the
prompt and so only the closing one in the answer, or unclosed where the answer was cut. `tests/cases/reasoning.json`
lists the shapes with their sources.
"""

from __future__ import annotations

import re

_TAG = re.compile(r"<(?P<a>/?)(?:seed:)?think(?:ing)?>|\[(?P<b>/?)THINK\]|◁(?P<c>/?)think▷")
"""DeepSeek, Qwen and most others; Magistral; Kimi."""


def split_reasoning(content: str, reasoning: str) -> tuple[str, str]:
    """Return (thinking, answer) of an answer as it was served. Takes any text; linear in its length.

    Args:
        content: the answer's text.
        reasoning: what the server gave as reasoning, or "".

    A tag that opens and never closes makes the rest thinking; one that closes what was never opened makes everything
    before it thinking. Tags are taken out, and blanks around the parts where there was a tag. Where all is thinking
    the answer is empty: what was not answered is not guessed.
    """
    if "think" not in content and "THINK" not in content:
        return reasoning, content
    thinking: list[str] = [reasoning.strip()] if reasoning.strip() else []
    answer: list[str] = []
    inside, position, tags = False, 0, 0
    for tag in _TAG.finditer(content):
        tags += 1
        (thinking if inside else answer).append(content[position : tag.start()].strip())
        position = tag.end()
        closes = bool(tag["a"] or tag["b"] or tag["c"])
        if closes and not inside:
            thinking += answer
            answer = []
        inside = not closes
    if not tags:
        return reasoning, content
    (thinking if inside else answer).append(content[position:].strip())
    return "\n\n".join(filter(None, thinking)), "\n\n".join(filter(None, answer))


def unfinished(text: str) -> str:
    """Return a text that was cut off without the half of a character at its end, which decodes to U+FFFD."""
    return text.rstrip("\ufffd")


def joined(first: tuple[str, str], further: tuple[str, str]) -> tuple[str, str]:
    """Return content and reasoning of an answer, (content, reasoning), that was cut off and then continued.

    What follows content is content: a server whose parser of reasoning sees the second half alone may take an answer
    for thinking. Where thinking stands in the content, in tags, `split_reasoning` tells it apart afterwards.
    """
    content, reasoning = first
    more, thought = further
    if content.strip():
        return unfinished(content) + thought + more, reasoning
    return content + more, unfinished(reasoning) + thought
