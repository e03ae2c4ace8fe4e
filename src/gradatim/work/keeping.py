"""Whether a teacher's attempt can be a chain: asked by `teach` while it counts, and by `curate` when it decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.method.filters import FilterSettings, filter_reason
from gradatim.reasoning import split_reasoning
from gradatim.types import Outcome

if TYPE_CHECKING:
    from gradatim.config import CurateSettings


def drop_reason(
    outcome: str | None, content: str, reasoning: str, completion_tokens: int | None, settings: CurateSettings
) -> str:
    """Return why this attempt cannot be a chain, or nothing. `outcome` is that of its newest verdict."""
    if outcome is None:
        return "not_verified"
    if outcome == Outcome.UNDECIDED or (settings.keep == "correct" and outcome != Outcome.CORRECT):
        return outcome
    thinking, answer = split_reasoning(content, reasoning)
    if not answer.strip():
        return "no_answer"
    if any(tag in text for tag in ("<think>", "</think>") for text in (thinking, answer)):
        return "think_tag"
    return filter_reason(thinking, answer, completion_tokens, filters(settings)) or ""


def filters(settings: CurateSettings) -> FilterSettings:
    """Return the settings as the filters take them."""
    return FilterSettings(
        min_chars=settings.min_chars,
        max_tokens=settings.max_tokens,
        max_repetition=settings.max_repetition,
        scripts=tuple(settings.scripts),
    )
