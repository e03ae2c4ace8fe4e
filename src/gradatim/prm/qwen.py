"""The format of Qwen2.5-Math-PRM: the text it reads, what it cannot read, and how its output becomes scores.

From the model card of Qwen2.5-Math-PRM-7B (and -72B, and Qwen2.5-Math-7B-PRM800K, which are read the same way): a chat
whose assistant's turn is the steps, each followed by `<extra_0>`; a step's score is the probability of the second of
two labels at its `<extra_0>`. Both backends, `local` and `pooling`, take their text from here and give their
probabilities back through here, so that they differ in nothing but where the model runs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.prm.steps import SPLIT_RULE, split_steps
from gradatim.types import Boundary, Fault, StepScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.prm import Solution

FORMAT = "qwen2.5-math-prm-1"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
STEP_TAG = "<extra_0>"
TURN_TOKENS = ("<|im_start|>", "<|im_end|>")

_CONTROL = re.compile(
    r"<extra_[0-9]+>|<\|(?:endoftext|im_start|im_end|object_ref_start|object_ref_end|box_start|box_end|quad_start|quad_end"
    r"|vision_start|vision_end|vision_pad|image_pad|video_pad|fim_prefix|fim_middle|fim_suffix|fim_pad|repo_name|file_sep)\|>"
)
"""What a Qwen2.5 tokenizer reads as a control token. Named one by one: `<|x|>` is mathematics, not a token."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A solution as the model reads it."""

    key: int
    steps: tuple[str, ...]
    text: str
    """The whole chat; it holds as many step tags as there are steps."""


def version_of(*parts: str) -> str:
    """Return a PRM's version: this format, the rule that splits steps, and what the backend adds."""
    return ";".join((FORMAT, SPLIT_RULE, *parts))


def chat_text(prompt: str, steps: Sequence[str]) -> str:
    """Return the chat as the model's own template writes it: steps stripped, a tag after each, the last included."""
    answer = "".join(step.strip() + STEP_TAG for step in steps)
    turns = (("system", SYSTEM), ("user", prompt), ("assistant", answer))
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)


def prepare(solution: Solution) -> Prepared | StepScores:
    """Return what the model is to read, or step scores with the reason why it cannot read this solution.

    `no_steps`: the answer is blank. `contains_step_tag`: the question or the answer holds the tag, or another control
    token of the chat, and would be read as more steps or more turns than there are. `bad_unicode`: it holds half of a
    surrogate pair, which no tokenizer takes.
    """
    steps = split_steps(solution.answer)
    if not steps:
        return refusal(steps, "no_steps")
    for text in (solution.prompt, solution.answer):
        if "<" in text and _CONTROL.search(text):
            return refusal(steps, "contains_step_tag")
        if not text.isascii() and _SURROGATE.search(text):
            return refusal(steps, "bad_unicode")
    return Prepared(key=solution.key, steps=steps, text=chat_text(solution.prompt, steps))


def refusal(steps: tuple[str, ...], reason: str) -> StepScores:
    """Return that these steps have no scores, and why."""
    return StepScores(steps=steps, scores=(), reason=reason)


def scored(steps: tuple[str, ...], probabilities: Sequence[float]) -> StepScores | Fault:
    """Return the steps with their scores, or a fault: `wrong_count`, `not_finite`. One score per step or none.

    A score of exactly 0.0 or 1.0 is a score: in float32 a sure model's probability underflows.
    """
    if len(probabilities) != len(steps):
        return Fault(
            boundary=Boundary.PRM,
            reason="wrong_count",
            message=f"the PRM gave {len(probabilities)} scores for {len(steps)} steps",
        )
    if not all(math.isfinite(value) for value in probabilities):
        return Fault(boundary=Boundary.PRM, reason="not_finite", message="the PRM gave a score that is not a number")
    # A softmax in half precision may end a rounding step above 1.
    return StepScores(steps=steps, scores=tuple(min(1.0, max(0.0, float(value))) for value in probabilities))
