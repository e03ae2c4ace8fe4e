"""What the mock server makes up beside the text of an answer: further choices, stop texts, log probabilities.

And what it can be told to ignore, as servers do that answer 200 all the same.
"""

from __future__ import annotations

from typing import Any

from gradatim.models.mock_answers import Said
from gradatim.models.mock_faults import unit

IGNORED = {
    "n": "one choice, whatever `n` says",
    "logprobs": "no log probabilities",
    "seed": "each answer from a seed of its own",
    "temperature": "always the answer of temperature 0",
    "stop": "the answer goes on behind a stop text",
    "max_tokens": "the answer is as long as it is",
    "model": "the first of the models answers, and says so",
    "usage": "no count of tokens",
    "finish_reason": "no reason why an answer ended",
}
"""What a mock server may ignore, and what comes then."""
MOST_CHOICES = 16


def stopped(said: Said, stop: Any) -> Said:
    """Return an answer up to the first stop text in it, as servers cut it: thinking first."""
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    whole = said.thinking + said.content
    places = [at for one in stops if isinstance(one, str) and one and (at := whole.find(one)) >= 0]
    if not places:
        return said
    at = min(places)
    thinking = said.thinking[:at]
    content = said.content[: max(0, at - len(said.thinking))]
    return Said(thinking, content, "stop", (len(thinking) + len(content)) // 4 + 1)


def together(said: list[Said]) -> Said:
    """Return what all choices of an answer are together, as their tokens are counted."""
    first, *others = said
    if not others:
        return first
    written = sum(one.completion_tokens for one in said)
    return Said("".join(one.thinking for one in said), "".join(one.content for one in said), "", written)


def logprobs(text: str, most: int) -> dict[str, Any]:
    """Return made-up log probabilities of a text, whose tokens have four characters each."""
    rows: list[dict[str, Any]] = []
    for at in range(0, len(text), 4):
        token = text[at : at + 4]
        chance = -2 * unit(b"logprob", text[:at].encode("utf-8", "replace"), token.encode("utf-8", "replace"))
        best = [{"token": token, "logprob": chance, "bytes": None}]
        best += [{"token": f"other{number}", "logprob": chance - number, "bytes": None} for number in range(1, most)]
        rows.append({"token": token, "logprob": chance, "bytes": None, "top_logprobs": best[:most]})
    return {"content": rows, "refusal": None}
