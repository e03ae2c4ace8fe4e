"""Chat templates for trainers that render whole conversations, so that the reasoning is still there afterwards.

DeepSeek-R1's distilled models, QwQ and others have templates that cut everything up to `</think>` out of an assistant's
turn. That is right when a chat goes on, and wrong when the turn is what is to be learnt: the loss looks healthy and the
model unlearns to think. For these a template of ours takes the place of the model's while it is trained: the same
prompts, and the answer left whole. `gradatim train` needs none, since it makes its own token ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import UsageError
from gradatim.training.template import manner_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEEPSEEK = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message.role == 'system' %}{{- message.content }}"
    "{%- elif message.role == 'user' %}{{- '<｜User｜>' + message.content }}"
    "{%- else %}{{- '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<｜Assistant｜>OPENING' }}{%- endif %}"
)
_CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\nOPENING' }}{%- endif %}"
)
_OPENED = "<think>\\n"
_PROBES = (
    [{"role": "user", "content": "What is 17+25?"}],
    [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "What is 17+25?"}],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is known of a kind of model by its name."""

    name: re.Pattern[str]
    llamafactory: str
    """The template's name in LLaMA-Factory, which has its own and uses the model's for none of these."""
    template: str | None = None
    """Of ours, where the model's own drops the reasoning."""
    ending: str | None = None
    """The token that ends a turn."""


FAMILIES = (
    Family(
        name=re.compile(r"deepseek-r1", re.IGNORECASE),
        llamafactory="deepseekr1",
        template=_DEEPSEEK.replace("OPENING", _OPENED),
        ending="<｜end▁of▁sentence｜>",
    ),
    Family(
        name=re.compile(r"qwq", re.IGNORECASE),
        llamafactory="qwen",
        template=_CHATML.replace("OPENING", _OPENED),
        ending="<|im_end|>",
    ),
    Family(name=re.compile(r"qwen-?3", re.IGNORECASE), llamafactory="qwen3", ending="<|im_end|>"),
    Family(name=re.compile(r"qwen-?2(\.5)?", re.IGNORECASE), llamafactory="qwen", ending="<|im_end|>"),
    Family(name=re.compile(r"llama-?3", re.IGNORECASE), llamafactory="llama3", ending="<|eot_id|>"),
)
"""The first whose name is found counts: DeepSeek-R1-Distill-Qwen is no Qwen."""


def family_of(name: str) -> Family | None:
    """Return what is known of a model of this name or path."""
    return next((one for one in FAMILIES if one.name.search(name)), None)


def keeping_template(tokenizer: Any, ends: Iterable[int], where: str) -> str | None:
    """Return a template that keeps the reasoning and asks exactly as the model's own; None where its own does.

    Raises `UsageError` where the model's own drops the reasoning, and none of ours asks the same way.
    """
    own = tokenizer.chat_template
    ends = list(ends)
    if manner_of(tokenizer, ends, where).keeps:
        return None
    prompts = [_prompt(tokenizer, probe) for probe in _PROBES]
    try:
        for text in (_DEEPSEEK, _CHATML):
            for opening in ("", _OPENED):
                candidate = text.replace("OPENING", opening)
                tokenizer.chat_template = candidate
                if [_prompt(tokenizer, probe) for probe in _PROBES] != prompts:
                    continue
                if manner_of(tokenizer, ends, where).keeps:
                    return candidate
    finally:
        tokenizer.chat_template = own
    raise UsageError(
        f"{where}: its chat template drops the reasoning of an answer, and no template of ours asks the same way, so "
        "this trainer would teach answers without reasoning. Train here (gradatim train makes its own token ids), hand "
        "off to llamafactory, or put a template into the folder that leaves assistant turns whole."
    )


def _prompt(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception:  # noqa: BLE001 - a template is a program of the folder: one that refuses a system message is no fault
        return None
