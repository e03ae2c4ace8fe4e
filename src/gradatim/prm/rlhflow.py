"""RLHFlow's Llama3.1-8B-PRM-Mistral-Data and -Deepseek-Data: a chat in which each step is answered by `+` or `-`.

From the repository's own code (RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py): the first turn of the user is
the question, a blank and the first step; each further one is the next step; every step before the one that is asked
about was answered by `+`, whatever it scored. A step's score is the probability of `+` against `-` where the answer
begins, by softmax over these two tokens. No system message.

A chat server is asked step by step (`RLHFLOW_CHAT`); in this process the whole chat is read once (`RLHFLOW`), since
each shorter one is its beginning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.chat import Chat
from gradatim.prm.family import Architecture, Encoded, Family
from gradatim.prm.labels import Labels
from gradatim.prm.tokens import TOKENIZER_FILES, one_token, special_ids
from gradatim.templates import fix_day

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gradatim.prm.chat import Turn
    from gradatim.prm.family import Prepared

GOOD, BAD = "+", "-"

_CONTROL = re.compile(
    r"<\|(?:begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|python_tag|finetune_right_pad_id"
    r"|reserved_special_token_[0-9]+)\|>"
)
"""What a Llama 3.1 tokenizer reads as a control token."""
_MARK = "\ue000"
"""A character for private use: stands for a label while the template writes the chat."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    folder: Path
    tokenizer: Any
    render: Callable[[list[Turn]], str]
    """Writes a chat as the model's own template does, up to where the next answer begins."""
    labels: tuple[int, int]
    """Ids of `-` and `+`."""
    special: frozenset[int]
    each: tuple[int, int]
    """How many special tokens a chat has with one step, and how many each further step brings."""

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Tokenise the chat about the last step; the others' labels are in it, each a `+` of its own."""
        count = len(prepared.steps)
        text, begins = self._written(turns(prepared.prompt, prepared.steps, count - 1))
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        ids = list(encoding.ids)
        ends = {end: place for place, (_, end) in enumerate(encoding.offsets)}
        at = [ends.get(begin, -1) for begin in begins]
        if sum(number in self.special for number in ids) != self.each[0] + (count - 1) * self.each[1]:
            return "contains_step_tag"
        if len(at) != count or -1 in at or any(ids[place + 1] != self.labels[1] for place in at[:-1]):
            raise SetupError(
                f"{self.folder}: its chat template does not begin an answer where a step's label is to be; give the "
                "folder that came with the PRM"
            )
        return Encoded(key=prepared.key, steps=prepared.steps, ids=ids, at=at)

    def _written(self, chat: list[Turn]) -> tuple[str, list[int]]:
        """Return the chat as the template writes it, once for all steps, and where in it each label is to be."""
        mark = _MARK
        while any(mark in turn["content"] for turn in chat):
            mark += _MARK
        parts = self.render([turn | {"content": mark} if turn["role"] == "assistant" else turn for turn in chat])
        written = parts.split(mark)
        begins = [size + number * len(GOOD) for number, size in enumerate(accumulate(map(len, written)))]
        return GOOD.join(written), begins

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """P(+) against -, from those two rows of the language model's head."""
        return (hidden @ model.lm_head.weight[list(self.labels)].T).float().softmax(dim=-1)[:, 1]


def _encoder(tokenizer: Any, file: Path) -> _Encoder:
    from transformers import AutoTokenizer  # noqa: PLC0415 - optional, and seconds to import

    reader = AutoTokenizer.from_pretrained(file.parent, local_files_only=True, trust_remote_code=False)
    if not reader.chat_template:
        raise SetupError(f"{file.parent}: it has no chat template, by which this PRM is asked; fetch the folder again")
    fix_day(reader)

    def render(chat: list[Turn]) -> str:
        return str(reader.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    special = special_ids(tokenizer)
    one, two = (
        sum(
            number in special
            for number in tokenizer.encode(render(turns("q", "ab", last)), add_special_tokens=False).ids
        )
        for last in (0, 1)
    )
    labels = (one_token(tokenizer, BAD, file), one_token(tokenizer, GOOD, file))
    return _Encoder(
        folder=file.parent, tokenizer=tokenizer, render=render, labels=labels, special=special, each=(one, two - one)
    )


def _head(config: Any) -> Mapping[str, Any]:
    from torch import nn  # noqa: PLC0415 - optional, and seconds to import

    return {"lm_head": nn.Linear(config.hidden_size, config.vocab_size, bias=False)}


_FORMAT = "rlhflow-1"
RLHFLOW_CHAT = Chat(
    kind="rlhflow",
    format=_FORMAT,
    labels=Labels(good=GOOD, bad=BAD, exact=True),
    turns=turns,
    forbidden=forbidden,
)
RLHFLOW = Family(
    kind="rlhflow",
    format=_FORMAT,
    context=8192,
    aggregation="mean",
    licence="that of its base model, Llama 3.1",
    architecture=Architecture(
        name="LlamaForCausalLM",
        model_type="llama",
        head="lm_head.",
        unused=(),
        called="an RLHFlow Llama3.1-8B-PRM",
        also_read=(*TOKENIZER_FILES, "chat_template.jinja"),
    ),
    served=None,
    forbidden=forbidden,
    encoder=_encoder,
    head=_head,
)
