"""What the mock server counts and bills for an answer: its tokens as they are, or made-up ones that try a budget.

`random` counts are anything that an honest server could say: up to `max_tokens` written, up to a token for each byte of
the prompt and what a chat template adds, some of it cached. With `untold`, one answer in ten does not say its counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.models.mock_faults import unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.models.mock_answers import Said

USAGES = ("counted", "random", "untold")
UNBILLED = frozenset({"429", "429_bare", "500"})
"""Faults that come before a model has written anything."""
_UNTOLD = 0.1
_TEMPLATE, _TURN = 256, 16
"""Tokens that a chat template may add: to a chat, and to each of its turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one request is billed."""

    prompt: int
    cached: int
    completion: int
    reasoning: int
    told: bool = True
    """Whether the answer says it."""

    def told_as(self) -> dict[str, object] | None:
        """Return the `usage` of the answer."""
        if not self.told:
            return None
        usage: dict[str, object] = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }
        return usage | ({"prompt_tokens_details": {"cached_tokens": self.cached}} if self.cached else {})


def used(usage: str, turns: Sequence[str], said: Said, *, limit: int | None, digest: bytes) -> Used:
    """Return what an answer to these turns used; `digest` decides what is random, so that it can be repeated."""
    reasoning = len(said.thinking) // 4
    if usage == "counted":
        prompt = sum(len(turn) // 4 + 4 for turn in turns)
        return Used(prompt=prompt, cached=0, completion=said.completion_tokens, reasoning=reasoning)
    most = _TEMPLATE + sum(len(turn.encode("utf-8", "replace")) + _TURN for turn in turns)
    prompt = 1 + int(unit(b"prompt", digest) * most)
    written = said.completion_tokens if limit is None else int(unit(b"written", digest) * (limit + 1))
    return Used(
        prompt=prompt,
        cached=int(unit(b"cached", digest) * (prompt + 1)) if unit(b"has cached", digest) < 0.5 else 0,
        completion=written,
        reasoning=min(reasoning, written),
        told=usage != "untold" or unit(b"told", digest) >= _UNTOLD,
    )
