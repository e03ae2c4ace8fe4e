"""What a server can do, as its answers to a few tiny requests show it, and how that was found out. Pure.

Each finding is `yes`, `no` or `unknown`, never a guess: answers that are all alike may come from a server that does not
sample or from a model that is sure, and only its log probabilities can tell which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gradatim.models.chat import text_of, usage_of
from gradatim.types import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

_REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_CONTEXT = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "max_input_tokens")
"""What servers call a model's context in their list of models: vLLM and SGLang; OpenRouter and Together; Groq; Mistral
and LM Studio; llama.cpp; LiteLLM."""
_CHARACTERS = 24
"""More than a token stands for on average, in any text."""
_SURE = 0.5
"""Where one answer is likelier than that, alike answers say nothing about the server."""


class Found(StrEnum):
    """Whether a server does something."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing, and how."""

    found: Found = Found.UNKNOWN
    how: str = "not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One of the probe's requests, and what came."""

    limit: int
    """`max_tokens` as it was sent."""
    status: int = 0
    """0: no answer came."""
    said: str = ""
    """What the server or the connection said where there was no answer."""
    choices: tuple[dict[str, Any], ...] = ()
    usage: Usage = field(default_factory=Usage)

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return bool(self.choices)

    @property
    def text(self) -> str:
        """What the model wrote, reasoning included; of the first choice."""
        message = _message(self.choices)
        parts = [text_of(message.get(name)) for name in _REASONING[:2] if message.get(name)]
        return "".join((*parts[:1], text_of(message.get("content"))))

    @property
    def finish(self) -> str:
        """Why the first choice ended, as the server says."""
        reason = self.choices[0].get("finish_reason") if self.choices else None
        return reason if isinstance(reason, str) else ""

    @property
    def failure(self) -> str:
        """What came in place of an answer, in a phrase."""
        return f"HTTP {self.status}: {self.said}" if self.status else self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one endpoint does. Things that were not asked are `unknown`."""

    model: str
    """The name that was sent."""
    server: str
    """Its base URL."""
    listed: tuple[str, ...] = ()
    """The models that the server lists."""
    model_name: Finding = Finding()
    """Whether the server has the model that was asked for."""
    sampling: Finding = Finding()
    """Whether answers to the same chat differ, as they must for several samples."""
    seed: Finding = Finding()
    stop: Finding = Finding()
    max_tokens: Finding = Finding()
    finish_reason: Finding = Finding()
    """Whether an answer says why it ended."""
    usage: Finding = Finding()
    """Whether tokens are counted."""
    reasoning: Finding = Finding()
    """Whether reasoning was seen, and where it stands."""
    n: Finding = Finding()
    logprobs: Finding = Finding()
    context: int | None = None
    """Tokens of prompt and answer together, where the server says so."""
    prompt: int | None = None
    """Tokens of the prompt that was sent as the run will send its own: short, with the system message and template."""
    clock: float | None = None
    """Seconds that the server's clock is ahead of ours."""
    requests: int = 0
    """Chat requests that the probe sent."""
    tokens: int = 0
    """Prompt and completion tokens that they took, the worst case where the server did not count."""
    seconds: float = 0.0


NAMES = ("model_name", "sampling", "seed", "stop", "max_tokens", "finish_reason", "usage", "reasoning", "n", "logprobs")
"""The findings of `Capabilities`, in the order in which they are shown."""


def tried(limit: int, status: int, body: Any, said: str) -> Tried:
    """Return what a response was: an answer where it holds a choice, whatever else it holds."""
    choices = body.get("choices") if status == 200 and isinstance(body, dict) else None
    found = tuple(one for one in choices if isinstance(one, dict)) if isinstance(choices, list) else ()
    if not found:
        return Tried(limit=limit, status=status, said=said or "no answer in it")
    return Tried(limit=limit, status=status, choices=found, usage=usage_of(body.get("usage")))


def context_of(entry: Any) -> int | None:
    """Return a model's context from its entry in the server's list."""
    if not isinstance(entry, dict):
        return None
    places: list[Any] = [entry, entry.get("top_provider"), entry.get("meta")]
    for place in places:
        for name in _CONTEXT if isinstance(place, dict) else ():
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def seed_finding(first: Tried, again: Tried, others: Sequence[Tried], alone: Sequence[Tried] = ()) -> Finding:
    """Judge two answers to one seed and some to others; `alone` are two more to one seed, with nothing beside them."""
    texts = [one.text for one in (first, again, *others)]
    if not all(texts):
        return Finding(how=_why(first, again, *others))
    if texts[0] == texts[1]:
        if len(set(texts)) == 1:
            return Finding(how="answers were alike with any seed")
        return Finding(found=Found.YES, how="the same seed gave the same answer, another seed another")
    if len(alone) == 2 and all(one.text for one in alone) and alone[0].text == alone[1].text:
        return Finding(found=Found.NO, how="holds only for requests that come one at a time")
    return Finding(found=Found.NO, how="the same seed gave different answers")


def sampling_finding(answers: Sequence[Tried], scored: Tried) -> Finding:
    """Judge answers to one chat with several seeds; `scored` is one with its log probabilities, if the server has them.

    Alike answers mean no sampling only where the model was not sure of its words.
    """
    texts = [one.text for one in answers if one.text]
    if len(texts) < 3:
        return Finding(how=_why(*answers))
    if len(set(texts)) > 1:
        return Finding(found=Found.YES, how="answers to the same chat differ")
    chance = certainty(scored)
    if chance is not None and chance > _SURE:
        return Finding(how=f"{len(texts)} answers were alike, but the model is sure of its words")
    return Finding(found=Found.NO, how=f"{len(texts)} answers with different seeds were all alike")


def certainty(scored: Tried) -> float | None:
    """Return how likely the model found its own answer, from 0 to 1; None without log probabilities."""
    rows = logprobs_of(scored)
    return math.exp(min(0.0, sum(rows))) if rows else None


def logprobs_of(answer: Tried) -> list[float]:
    """Return the log probability of each token written; none where the server gave none."""
    found = answer.choices[0].get("logprobs") if answer.choices else None
    rows = found.get("content") if isinstance(found, dict) else None
    values = [row.get("logprob") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]


def logprobs_finding(answer: Tried) -> Finding:
    """Judge an answer that was asked for with log probabilities."""
    if not answer.answered:
        return _refused(answer)
    if logprobs_of(answer):
        return Finding(found=Found.YES, how="each token came with its log probability")
    return Finding(found=Found.NO, how="asked for, and left out without a word")


def n_finding(answer: Tried) -> Finding:
    """Judge an answer that was asked for with n = 2."""
    if not answer.answered:
        return _refused(answer)
    if len(answer.choices) == 2:
        return Finding(found=Found.YES, how="2 choices for n = 2")
    return Finding(found=Found.NO, how=f"{len(answer.choices)} for n = 2, without a word")


def stop_finding(answer: Tried, stop: str) -> Finding:
    """Judge an answer that was to end before a text which the model had written in the same place."""
    if not answer.answered:
        return _refused(answer)
    if stop in answer.text:
        return Finding(found=Found.NO, how="wrote on behind the stop text")
    written = answer.usage.completion
    if answer.finish == "length" or (written is not None and written >= answer.limit):
        return Finding(how="the stop text did not come up")
    return Finding(found=Found.YES, how="ended before the stop text")


def max_tokens_finding(answers: Sequence[Tried]) -> Finding:
    """Judge all answers by their length."""
    there = [one for one in answers if one.answered]
    for one in there:
        written, most = one.usage.completion, one.limit * len(one.choices)
        if written is not None and written > most:
            return Finding(found=Found.NO, how=f"wrote {written} tokens where {most} were the most")
        if written is None and len(one.text) > most * _CHARACTERS:
            return Finding(found=Found.NO, how=f"wrote {len(one.text)} characters where {most} tokens were the most")
    if any(one.usage.completion == one.limit * len(one.choices) or one.finish == "length" for one in there):
        return Finding(found=Found.YES, how="answers ended at the limit")
    return Finding(how="no answer was as long as its limit")


def reasoning_finding(answers: Sequence[Tried]) -> Finding:
    """Say where reasoning was seen. A model that did not reason in a few tokens may do so in more."""
    for one in answers:
        message = _message(one.choices)
        for name in _REASONING:
            if message.get(name):
                return Finding(found=Found.YES, how=f"in {name}")
        if text_of(message.get("content")).lstrip().startswith(("<think", "[THINK]", "◁think▷")):
            return Finding(found=Found.YES, how="in the text, between tags")
    return Finding(how=f"none in the first {max((one.limit for one in answers), default=0)} tokens")


def usage_finding(answers: Sequence[Tried]) -> Finding:
    """Say whether answers come with their count of tokens."""
    there = [one for one in answers if one.answered]
    if not there:
        return Finding(how=_why(*answers))
    if all(one.usage.prompt is not None and one.usage.completion is not None for one in there):
        return Finding(found=Found.YES, how="each answer came with its tokens")
    return Finding(found=Found.NO, how="answers came without their tokens")


def finish_finding(answers: Sequence[Tried]) -> Finding:
    """Say whether answers come with the reason why they ended."""
    there = [one for one in answers if one.answered]
    if not there:
        return Finding(how=_why(*answers))
    if all(one.finish for one in there):
        return Finding(found=Found.YES, how=", ".join(sorted({one.finish for one in there})))
    return Finding(found=Found.NO, how="answers came without it")


def _message(choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    message = choices[0].get("message") if choices else None
    return message if isinstance(message, dict) else {}


def _refused(answer: Tried) -> Finding:
    """Judge a request that got no answer: an error about the request is a `no`, anything else is not known."""
    known = 400 <= answer.status < 429 or answer.status in {500, 501}
    return Finding(found=Found.NO if known and answer.status != 408 else Found.UNKNOWN, how=answer.failure)


def _why(*answers: Tried) -> str:
    """Say why nothing can be said."""
    failed = next((one for one in answers if not one.answered), None)
    return failed.failure if failed is not None else "no text in so few tokens"
