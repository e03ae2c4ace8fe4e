"""Train the tiny process reward model: how likely the base model is to get there from each of its own steps.

A step's label is the share of the base model's own roll-outs from that step on that end in the right answer (Monte
Carlo labels, as Math-Shepherd and Qwen2.5-Math-PRM make them). Labels of that kind say how hard a question still is
for this model, which labels of a step's own correctness do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from generate import continued, is_right
from muon import Muon
from tokenizer import CONTEXT, START, STEP, STOP, SYSTEM, chat
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel

from gradatim.tiny.world import questions

if TYPE_CHECKING:
    from pathlib import Path

_LABELS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many roll-outs, and how long to train on them."""

    questions: int = 1000
    solutions: int = 2
    continuations: int = 4
    epochs: int = 4
    batch: int = 32
    rate: float = 5e-3
    adam_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One solution of the base model with a label for each step."""

    prompt: str
    steps: list[str]
    labels: list[float]
    right: bool


def labelled(model: Any, tokenizer: Any, plan: Plan) -> list[Labelled]:
    """Have the base model solve questions of the split `prm`, and go on from each step of each solution."""
    asked = list(islice(questions("prm", seed=plan.seed), plan.questions))
    asked = [one for one in asked for _ in range(plan.solutions)]
    texts, _ = continued(model, tokenizer, [chat(one.prompt) for one in asked], temperature=1.0, seed=plan.seed)
    steps = [_steps(text) for text in texts]
    prefixes = {
        (one.prompt, tuple(lines[: at + 1])): one.reference
        for one, lines in zip(asked, steps, strict=True)
        for at in range(len(lines))
    }
    starts = [f"{chat(prompt)}<think>\n" + "\n".join(lines) + "\n" for prompt, lines in prefixes]
    right = dict.fromkeys(prefixes, 0)
    for continuation in range(plan.continuations):
        ends, _ = continued(model, tokenizer, starts, temperature=1.0, seed=plan.seed + 1 + continuation)
        for prefix, end in zip(prefixes, ends, strict=True):
            right[prefix] += is_right(end, prefixes[prefix])
    return [
        Labelled(
            prompt=one.prompt,
            steps=lines,
            labels=[right[one.prompt, tuple(lines[: at + 1])] / plan.continuations for at in range(len(lines))],
            right=is_right(text, one.reference),
        )
        for one, lines, text in zip(asked, steps, texts, strict=True)
        if lines
    ]


def _steps(text: str) -> list[str]:
    """Return the lines of the reasoning, as Gradatim splits them."""
    thinking = text.partition("</think>")[0].replace("<think>", "")
    return [line for line in thinking.split("\n") if line.strip()]


def new_prm(base: Any) -> Any:
    """Return the base model's body with a head of two labels, under the published checkpoint's names."""

    class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
        """The architecture of Qwen2.5-Math-PRM."""

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            width = config.hidden_size
            self.model = Qwen2Model(config)
            self.score = torch.nn.Sequential(
                torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, _LABELS)
            )
            self.post_init()

    torch.manual_seed(0)
    ours = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    ours += ("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "pad_token_id", "eos_token_id")
    prm = Qwen2ForProcessRewardModel(Qwen2Config(**{name: getattr(base.config, name) for name in ours}))
    # A Qwen2 is a Llama with biases on queries, keys and values: they begin at nothing.
    missing = prm.model.load_state_dict(base.model.state_dict(), strict=False).missing_keys
    for name, parameter in prm.model.named_parameters():
        if name in missing:
            torch.nn.init.zeros_(parameter)
    return prm


def encoded(tokenizer: Any, one: Labelled) -> list[int]:
    """Return a solution as a PRM of the Qwen format reads it."""
    steps = "".join(step.strip() + STEP for step in one.steps)
    turns = (("system", SYSTEM), ("user", one.prompt), ("assistant", steps))
    text = "".join(f"{START}{role}\n{content}{STOP}\n" for role, content in turns)
    return tokenizer.encode(text, add_special_tokens=False)[:CONTEXT]


def train_prm(prm: Any, tokenizer: Any, rows: list[Labelled], plan: Plan) -> float:
    """Train on soft labels and return the mean loss of the last epoch."""
    tag = tokenizer.convert_tokens_to_ids(STEP)
    matrices = [p for name, p in prm.named_parameters() if p.ndim == 2 and name.startswith("model.layers")]
    chosen = {id(p) for p in matrices}
    made = [
        Muon(matrices, lr=plan.rate),
        torch.optim.AdamW([p for p in prm.parameters() if id(p) not in chosen], lr=plan.adam_rate, weight_decay=0.0),
    ]
    rng, items = Random(plan.seed), [(encoded(tokenizer, one), one.labels) for one in rows]
    total, losses = plan.epochs * math.ceil(len(items) / plan.batch), []
    prm.train()
    for step, batch in enumerate(_batches(items, plan, rng)):
        fraction = min(1.0, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / total))
        for optimizer, rate in zip(made, (plan.rate, plan.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * fraction
        labels = torch.tensor([label for _, found in batch for label in found])
        logits = _logits(prm, [ids for ids, _ in batch], tag)
        margin = logits[:, 1] - logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(margin, labels)
        loss.backward()
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    last = losses[-math.ceil(len(items) / plan.batch) :]
    return sum(last) / len(last)


def _batches(items: list[Any], plan: Plan, rng: Random) -> Any:
    for _ in range(plan.epochs):
        # Of like length together: a batch's width is its longest row's.
        order = sorted(items, key=lambda item: (len(item[0]), rng.random()))
        batches = [order[at : at + plan.batch] for at in range(0, len(order), plan.batch)]
        rng.shuffle(batches)
        yield from batches


def _logits(prm: Any, rows: list[list[int]], tag: int) -> Any:
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    hidden = prm.model(input_ids=ids, use_cache=False).last_hidden_state
    return prm.score(hidden[ids == tag])


def save_prm(prm: Any, folder: Path) -> None:
    """Write the weights in half precision, with the published checkpoint's architecture in the config."""
    prm.config.architectures = ["Qwen2ForProcessRewardModel"]
    prm.half().save_pretrained(folder)


def said_of(rows: list[Labelled]) -> dict[str, float]:
    """Return what the labels say in sum."""
    labels = [label for one in rows for label in one.labels]
    return {
        "solutions": len(rows),
        "steps": len(labels),
        "mean_label": round(sum(labels) / len(labels), 4),
        "right": round(sum(one.right for one in rows) / len(rows), 4),
    }
