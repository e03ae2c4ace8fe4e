"""Qwen2.5-Math-PRM: a chat whose assistant's turn is the steps, each followed by `<extra_0>`.

From the model card of Qwen2.5-Math-PRM-7B (and -72B, and Qwen2.5-Math-7B-PRM800K, which are read the same way): a
step's score is the probability of the second of two labels at its `<extra_0>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.family import Architecture, Encoded, Family, Served

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gradatim.prm.family import Prepared

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
STEP_TAG = "<extra_0>"
TURN_TOKENS = ("<|im_start|>", "<|im_end|>")

_CONTROL = re.compile(
    r"<extra_[0-9]+>|<\|(?:endoftext|im_start|im_end|object_ref_start|object_ref_end|box_start|box_end|quad_start|quad_end"
    r"|vision_start|vision_end|vision_pad|image_pad|video_pad|fim_prefix|fim_middle|fim_suffix|fim_pad|repo_name|file_sep)\|>"
)
"""What a Qwen2.5 tokenizer reads as a control token. Named one by one: `<|x|>` is mathematics, not a token."""

_SERVE = (
    """serve it with --runner pooling --pooler-config '{"tok_pooling_type": "STEP", "step_tag_id": N}', where N is """
    f"the id of {STEP_TAG} in its tokenizer (151651 for the published Qwen2.5-Math-PRM)"
)


def chat_text(system: str | None, prompt: str, steps: Sequence[str]) -> str:
    """Return the chat as the model's own template writes it: steps stripped, a tag after each, the last included."""
    answer = "".join(step.strip() + STEP_TAG for step in steps)
    turns = (("system", system), ("user", prompt), ("assistant", answer))
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns if content is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenEncoder:
    """Token ids of a chat, and a head of two labels."""

    tokenizer: Any
    tag: int
    control: frozenset[int]
    """Ids of all control tokens, the tag's among them."""
    turns: int

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Tokenise the chat as one text."""
        ids = self.tokenizer.encode(prepared.text, add_special_tokens=False).ids
        # Each turn opens and closes; anything beyond that and the tags came out of the question or the answer.
        if sum(number in self.control for number in ids) != 2 * self.turns + len(prepared.steps):
            return "contains_step_tag"
        at = [place for place, number in enumerate(ids) if number == self.tag]
        return Encoded(key=prepared.key, steps=prepared.steps, ids=ids, at=at)

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """P(label 1)."""
        return model.score(hidden).float().softmax(dim=-1)[:, 1]


def forbidden(text: str) -> bool:
    """Find control tokens."""
    return "<" in text and _CONTROL.search(text) is not None


def encoder(tokenizer: Any, file: Path, *, turns: int = 3) -> QwenEncoder:
    """Take the control tokens' ids from the tokenizer; `turns` is how many turns the chat has."""
    added = tokenizer.get_added_tokens_decoder()
    named = (STEP_TAG, *TURN_TOKENS)
    for token in named:
        if token not in {one.content for one in added.values()}:
            raise SetupError(f"{file}: {token} is no token of its own here; give the tokenizer that came with the PRM")
    control = frozenset(number for number, token in added.items() if token.special or token.content in named)
    return QwenEncoder(tokenizer=tokenizer, tag=tokenizer.token_to_id(STEP_TAG), control=control, turns=turns)


def head(config: Any) -> Mapping[str, Any]:
    """Two layers, two labels."""
    from torch import nn  # noqa: PLC0415 - optional, and seconds to import

    width = config.hidden_size
    return {"score": nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))}


QWEN = Family(
    kind="qwen",
    format="qwen2.5-math-prm-1",
    context=4096,
    licence="Qwen2.5-Math-PRM-7B: Apache-2.0; -72B: Qwen licence",
    architecture=Architecture(
        names=("Qwen2ForProcessRewardModel",),
        model_types=("qwen2",),
        head="score.",
        # The published checkpoint has it: its four shards are 15.25 GB, 1.09 GB more than the backbone and the head.
        unused=("lm_head.weight",),
        called="a Qwen2.5-Math-PRM",
    ),
    served=Served(tag=STEP_TAG, options=_SERVE, special=False),
    forbidden=forbidden,
    text=partial(chat_text, SYSTEM),
    encoder=encoder,
    head=head,
)
