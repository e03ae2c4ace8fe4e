"""From exchanges to token ids, through a model's own chat template.

The prompt is what an inference server makes of the same messages: the template with its generation prompt. The answer
is tokenised by itself, as a model writes it, and ends with the token that ends a turn. So the template's rendering of
past assistant turns, which in Qwen3's and DeepSeek-R1's drops the reasoning, is never used for what is trained on; the
check here only finds it out, for the trainers that do use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gradatim.training.recipe import Exchange
    from gradatim.types import Message

_QUESTION, _THOUGHT, _ANSWER = "What is 17+25?", "17+25=42", "The sum is 42"
_OPENING = re.compile(r"<think>\s*\Z")
_CLOSED = re.compile(r"</think>\s*\Z")
_FEW = 512
"""Texts that are tokenised at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One example as it is trained on."""

    id: str
    ids: tuple[int, ...]
    answer_from: int
    """Where the answer begins: loss is on these tokens and the later ones, the end of the turn included."""

    def labels(self) -> list[int]:
        """Return the ids with -100 where there is no loss."""
        return [-100] * self.answer_from + list(self.ids[self.answer_from :])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a chat template treats an answer."""

    ending: str
    """The text that ends an assistant's turn."""
    ending_id: int
    ends: frozenset[int]
    """All tokens that end an answer."""
    opening: str
    """The beginning of the answer's reasoning that the generation prompt itself has: `<think>` or nothing."""
    closes: bool
    """The generation prompt ends with reasoning that is over: the model is to answer at once."""
    keeps: bool
    """Rendering a whole conversation keeps the last answer's reasoning, after the very prompt of inference."""


def manner_of(tokenizer: Any, ends: Iterable[int], where: str) -> Manner:
    """Try a tokenizer's chat template out. `ends`: tokens that end an answer, by the model's generation settings.

    Raises `UsageError` where there is no template, it does not show the messages, or nothing ends a turn.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"{where} has no chat template, so nothing says how a question is put to it. Add chat_template.jinja to "
            "the folder (ChatML, say), or start from the instruct version of the model."
        )
    ends = frozenset(ends)
    user = {"role": "user", "content": _QUESTION}
    prompt = _rendered(tokenizer, [user], where, prompt=True)
    plain = _rendered(tokenizer, [user, {"role": "assistant", "content": _ANSWER}], where)
    for text, words in ((prompt, _QUESTION), (plain, _ANSWER)):
        if words not in text:
            raise UsageError(
                f"{where}: its chat template loses the text of a message ({words!r} became {text[-80:]!r}). Put the "
                "model's own chat_template.jinja into the folder."
            )
    ending, ending_id = _ending(tokenizer, plain.rpartition(_ANSWER)[2], ends, where)
    opening = _OPENING.search(prompt)
    target = f"<think>\n{_THOUGHT}\n</think>\n\n{_ANSWER}"
    whole = _rendered(tokenizer, [user, {"role": "assistant", "content": target}], where)
    rest = whole.removeprefix(prompt)
    keeps = whole.startswith(prompt) and rest.startswith(
        _without_opening(target, opening[0] if opening else "") or "\0"
    )
    return Manner(
        ending=ending,
        ending_id=ending_id,
        ends=frozenset({ending_id, *ends}),
        opening=opening[0] if opening else "",
        closes=_CLOSED.search(prompt) is not None,
        keeps=keeps,
    )


def _ending(tokenizer: Any, tail: str, ends: frozenset[int], where: str) -> tuple[str, int]:
    """Return what ends a turn: what the template writes up to the first token that stops generation, or else eos."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = {*ends, *(number for number, token in added.items() if token.special)}
    for number in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        token = str(tokenizer.convert_ids_to_tokens(number))
        if number in special and token in tail:
            return tail[: tail.index(token) + len(token)], number
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"{where}: neither its chat template nor its tokenizer has a token that ends an answer, so the trained "
            'model would never stop. Set "eos_token" in tokenizer_config.json.'
        )
    return str(tokenizer.eos_token), int(tokenizer.eos_token_id)


def _rendered(tokenizer: Any, messages: list[dict[str, str]], where: str, *, prompt: bool = False) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # the template is a program of the model's folder, which may raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise UsageError(
            f"{where}: its chat template refuses a conversation of {roles} ({' '.join(str(error).split())[:200]}). "
            'Leave out what it refuses (system = ""), or put a template into the folder that takes it.'
        ) from error


def _without_opening(target: str, opening: str) -> str | None:
    """Return the answer after the part that the generation prompt has; None where it does not begin so."""
    if not opening:
        return target
    for start in (opening, opening.rstrip() + "\n", opening.rstrip()):
        if target.startswith(start):
            return target[len(start) :]
    return None


def encode(
    tokenizer: Any, exchanges: Sequence[Exchange], manner: Manner, *, max_length: int, where: str
) -> tuple[list[Encoded], dict[str, list[str]]]:
    """Return the examples as tokens, in their order, and for each reason the ids of those left out.

    `too_long`: over `max_length` tokens. `control_token`: an answer holds what the tokenizer takes for its end.
    `no_reasoning`: the template begins every answer with `<think>`, and this one has none.
    """
    found: list[Encoded] = []
    out: dict[str, list[str]] = {}
    if manner.closes and any(one.target.startswith("<think>") for one in exchanges):
        raise UsageError(
            f"{where}: its chat template asks for answers without reasoning, and these have some. Set thinking = "
            '"none" in [train], or put a template into the folder whose generation prompt does not close </think>.'
        )
    for start in range(0, len(exchanges), _FEW):
        some = exchanges[start : start + _FEW]
        targets = [_without_opening(one.target, manner.opening) for one in some]
        prompts = [_rendered(tokenizer, _plain(one.messages), where, prompt=True) for one in some]
        before = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        after = tokenizer([(text or "") + manner.ending for text in targets], add_special_tokens=False)["input_ids"]
        for one, target, asked, answer in zip(some, targets, before, after, strict=True):
            reason = "no_reasoning" if target is None else _unfit(asked, answer, manner, max_length)
            if reason:
                out.setdefault(reason, []).append(one.id)
            else:
                found.append(Encoded(id=one.id, ids=(*asked, *answer), answer_from=len(asked)))
    return found, out


def _unfit(asked: list[int], answer: list[int], manner: Manner, max_length: int) -> str:
    if answer[-1] != manner.ending_id or not manner.ends.isdisjoint(answer[:-1]):
        return "control_token"
    return "too_long" if len(asked) + len(answer) > max_length else ""


def _plain(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.content} for one in messages]
