"""Training examples in the shapes that trainers read.

    messages            {"messages": [{"role", "content"}, ...]}          TRL, Axolotl, OpenAI fine-tuning
    prompt_completion   {"prompt": text, "completion": text}              TRL's standard (not conversational) form
    sharegpt            {"conversations": [{"from", "value"}, ...]}       LLaMA-Factory, FastChat
    alpaca              {"instruction", "input", "output", "system"?}     LLaMA-Factory, Stanford Alpaca

`prompt_completion` is trained on as it stands: TRL applies no chat template to it, and joins the two texts without
anything between them. So the prompt carries the system text and ends in an empty line. Choose `messages` for a model
with a chat template.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gradatim.types import Domain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.formats.row import Json


class Shape(StrEnum):
    """The shape of a training example."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"


class Thinking(StrEnum):
    """What becomes of the reasoning."""

    TAGS = "tags"
    """Before the answer, as `<think>` text: what Qwen3's and DeepSeek's templates write."""
    FIELD = "field"
    """By itself: `reasoning_content` of the assistant's message, or in the other shapes a column `thinking`."""
    NONE = "none"
    """Left out."""


class Column(StrEnum):
    """A further column that an example may carry beside its shape."""

    ID = "id"
    LEVEL = "level"
    SOURCE = "source"
    MODEL = "model"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One chain to be trained on."""

    prompt: str
    answer: str
    """Without the reasoning."""
    thinking: str = ""
    system: str = ""
    id: str = ""
    """The question's id."""
    level: int = 0
    source: str = ""
    """Where the question was read."""
    model: str = ""
    """The teacher."""
    reference: str = ""
    domain: Domain = Domain.MATH


def unfit(example: Example, thinking: Thinking) -> str:
    """Return why the example cannot be written so, in a word; empty where it can.

    `think_tag`: a think tag inside the texts would end the reasoning in the wrong place. `no_answer`: nothing but
    reasoning would be taught.
    """
    if not example.answer.strip():
        return "no_answer"
    texts = (example.thinking, example.answer) if thinking is Thinking.TAGS else (example.answer,)
    return "think_tag" if any("<think>" in text or "</think>" in text for text in texts) else ""


def shaped(
    example: Example, shape: Shape, *, thinking: Thinking = Thinking.TAGS, columns: Sequence[Column] = ()
) -> dict[str, Json]:
    """Return the example as one row to be written; names stand in a fixed order, `columns` last in the order given.

    Raises:
        ValueError: the example is `unfit`.
    """
    reason = unfit(example, thinking)
    if reason:
        raise ValueError(f"example {example.id} cannot be written as {shape} with thinking={thinking}: {reason}")
    row = _SHAPES[shape](example, thinking)
    row.update((column.value, getattr(example, column.value)) for column in columns)
    return row


def typical(shape: Shape, *, thinking: Thinking = Thinking.TAGS, columns: Sequence[Column] = ()) -> dict[str, Json]:
    """Return a row with a value of the right type in every column, for writers that need types before rows."""
    return shaped(Example(prompt="1+1?", answer="2", thinking="one and one"), shape, thinking=thinking, columns=columns)


def target(example: Example, thinking: Thinking) -> str:
    """Return the text that a model is to answer with."""
    if thinking is Thinking.TAGS and example.thinking:
        return f"<think>\n{example.thinking}\n</think>\n\n{example.answer}"
    return example.answer


def _messages(example: Example, thinking: Thinking) -> dict[str, Json]:
    messages: list[Json] = [{"role": "user", "content": example.prompt}]
    if example.system:
        messages.insert(0, {"role": "system", "content": example.system})
    assistant: dict[str, Json] = {"role": "assistant", "content": target(example, thinking)}
    if thinking is Thinking.FIELD:
        assistant["reasoning_content"] = example.thinking
    return {"messages": [*messages, assistant]}


def _prompt_completion(example: Example, thinking: Thinking) -> dict[str, Json]:
    # The break ends the prompt and does not begin the completion: tokenizers join "?" and a line end into one token,
    # and a token that lies across the border could not be masked.
    prompt = "\n\n".join(filter(None, (example.system, example.prompt))) + "\n\n"
    return {"prompt": prompt, "completion": target(example, thinking)} | _apart(example, thinking)


def _sharegpt(example: Example, thinking: Thinking) -> dict[str, Json]:
    turns: list[Json] = [
        {"from": "human", "value": example.prompt},
        {"from": "gpt", "value": target(example, thinking)},
    ]
    if example.system:
        turns.insert(0, {"from": "system", "value": example.system})
    return {"conversations": turns} | _apart(example, thinking)


def _alpaca(example: Example, thinking: Thinking) -> dict[str, Json]:
    row: dict[str, Json] = {"instruction": example.prompt, "input": "", "output": target(example, thinking)}
    if example.system:
        row["system"] = example.system
    return row | _apart(example, thinking)


def _apart(example: Example, thinking: Thinking) -> dict[str, Json]:
    return {"thinking": example.thinking} if thinking is Thinking.FIELD else {}


_SHAPES = {
    Shape.MESSAGES: _messages,
    Shape.PROMPT_COMPLETION: _prompt_completion,
    Shape.SHAREGPT: _sharegpt,
    Shape.ALPACA: _alpaca,
}
