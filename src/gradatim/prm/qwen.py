"""Qwen2.5-Math-PRM: a chat whose assistant's turn is the steps, each followed by `<extra_0>`.

From the model card of Qwen2.5-Math-PRM-7B (and -72B, and Qwen2.5-Math-7B-PRM800K, which are read the same way): a
step's score is the probability of the second of two labels at its `<extra_0>`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.family import Architecture, Encoded, Family, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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


def joined(steps: Sequence[str]) -> str:
    """Return the assistant's turn: steps stripped, a tag after each, the last included."""
    return "".join(step.strip() + STEP_TAG for step in steps)


def chat_text(prompt: str, steps: Sequence[str]) -> str:
    """Return the chat as the model's own template writes it."""
    turns = (("system", SYSTEM), ("user", prompt), ("assistant", joined(steps)))
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEncoder:
    """Token ids of a chat, and a head of two labels."""

    tokenizer: Any
    write: Callable[[str, Sequence[str]], str]
    """From a prompt and its steps to the chat."""
    tag: int
    control: frozenset[int]
    """Ids of all control tokens, the tag's among them."""
    frame: int
    """How many control tokens a chat without steps has."""

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Tokenise the chat as one text."""
        text = self.write(prepared.prompt, prepared.steps)
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        # Anything beyond the turns and the tags came out of the question or the answer.
        if sum(number in self.control for number in ids) != self.frame + len(prepared.steps):
            return "contains_step_tag"
        at = [place for place, number in enumerate(ids) if number == self.tag]
        return Encoded(key=prepared.key, steps=prepared.steps, ids=ids, at=at)

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """P(label 1)."""
        return model.score(hidden).float().softmax(dim=-1)[:, 1]


def forbidden(text: str) -> bool:
    """Find control tokens."""
    return "<" in text and _CONTROL.search(text) is not None


def encoder(tokenizer: Any, file: Path, *, write: Callable[[str, Sequence[str]], str] = chat_text) -> ChatEncoder:
    """Take the control tokens' ids from the tokenizer; `write` makes a chat of a prompt and its steps."""
    added = tokenizer.get_added_tokens_decoder()
    named = (STEP_TAG, *TURN_TOKENS)
    for token in named:
        if token not in {one.content for one in added.values()}:
            raise SetupError(f"{file}: {token} is no token of its own here; give the tokenizer that came with the PRM")
    control = frozenset(number for number, token in added.items() if token.special or token.content in named)
    empty = tokenizer.encode(write("", ()), add_special_tokens=False).ids
    return ChatEncoder(
        tokenizer=tokenizer,
        write=write,
        tag=tokenizer.token_to_id(STEP_TAG),
        control=control,
        frame=sum(number in control for number in empty),
    )


def body(prompt: str, steps: Sequence[str]) -> dict[str, object]:
    """Send the chat as one text, control tokens and all; the server is to add none of its own."""
    return {"input": chat_text(prompt, steps), "add_special_tokens": False}


def arguments(tag_id: int) -> tuple[str, ...]:
    """Return what vLLM is started with. It knows the architecture, and takes 151651 for the tag by itself."""
    return "--runner", "pooling", "--pooler-config", json.dumps({"pooling_type": "STEP", "step_tag_id": tag_id})


def head(config: Any) -> Mapping[str, Any]:
    """Two layers, two labels."""
    from torch import nn  # noqa: PLC0415 - optional, and seconds to import

    width = config.hidden_size
    return {"score": nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))}


QWEN = Family(
    kind="qwen",
    format="qwen2.5-math-prm-1",
    context=4096,
    aggregation="mean",
    licence="Qwen licence",
    architecture=Architecture(
        name="Qwen2ForProcessRewardModel",
        model_type="qwen2",
        head="score.",
        # The published checkpoint has it: its four shards are 15.25 GB, 1.09 GB more than the backbone and the head.
        unused=("lm_head.weight",),
        called="a Qwen2.5-Math-PRM",
    ),
    served=Served(body=body, tag=STEP_TAG, tag_id=151651, arguments=arguments),
    forbidden=forbidden,
    encoder=encoder,
    head=head,
)
