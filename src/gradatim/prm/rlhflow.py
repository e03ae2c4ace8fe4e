"""RLHFlow's Llama3.1-8B-PRM-Mistral-Data and -Deepseek-Data: a chat in which each step is answered by `+` or `-`.

From the repository's own code (RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py): the first turn of the user is
the question, a blank and the first step; each further one is the next step; every step before the one that is asked
about was answered by `+`, whatever it scored. A step's score is the probability of `+` against `-` where the answer
begins, by softmax over these two tokens. No system message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradatim.prm.chat import Chat
from gradatim.prm.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.prm.chat import Turn

GOOD, BAD = "+", "-"

_CONTROL = re.compile(
    r"<\|(?:begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|python_tag|finetune_right_pad_id"
    r"|reserved_special_token_[0-9]+)\|>"
)
"""What a Llama 3.1 tokenizer reads as a control token."""


def turns(prompt: str, steps: Sequence[str], number: int) -> list[Turn]:
    """Return the chat that ends where the step's label is to be."""
    first, *others = (step.strip() for step in steps[: number + 1])
    asked = [{"role": "user", "content": f"{prompt} {first}"}]
    for step in others:
        asked += [{"role": "assistant", "content": GOOD}, {"role": "user", "content": step}]
    return asked


def forbidden(text: str) -> bool:
    """Tell whether a text holds a control token."""
    return "<" in text and _CONTROL.search(text) is not None


RLHFLOW = Chat(
    kind="rlhflow",
    format="rlhflow-1",
    labels=Labels(good=GOOD, bad=BAD, exact=True),
    turns=turns,
    forbidden=forbidden,
)
