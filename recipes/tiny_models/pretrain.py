"""Bring up a tiny base model from nothing: solutions in a lopsided mixture, and drill in all of the look-ups.

A third of what it reads is drill: single steps of all families, in no order and for no question. So it knows every
table, and what it lacks is the procedure of the families it has rarely seen. 0.45 million parameters, about five
minutes of one processor core.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import islice, product
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from muon import Muon
from tokenizer import CONTEXT, END, PAD, STOP, answer, chat
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from gradatim.tiny.families import FAMILIES, SIZES
from gradatim.tiny.world import split_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.tiny.families import Core

_IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to train, and how."""

    steps: int = 2000
    tokens: int = 2048
    """Of one step, padding included."""
    seed: int = 0
    drill: float = 0.33
    """Share of the documents that are drill."""
    rate: float = 2e-2
    """Of Muon, for the matrices; AdamW's for the rest is `adam_rate`. Both fall to nothing along a cosine."""
    adam_rate: float = 3e-3


def new_model(vocabulary: int, seed: int, tokenizer: Any) -> Any:
    """Return an untrained Llama of 0.45 million parameters.

    Not a Qwen2: transformers reads a Qwen2's tokenizer as Qwen's own, whatever the folder says.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(STOP),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def documents(tokenizer: Any, mixture: dict[tuple[str, int], float], plan: Plan) -> Iterator[tuple[list[int], int]]:
    """Give token ids, and from which place on they are trained on."""
    rng = Random(plan.seed)
    while True:
        if rng.random() < plan.drill:
            lines = [rng.choice(FAMILIES[family].steps(core)) for family, core, _ in islice(_asked(None, rng), 8)]
            ids = tokenizer.encode("\n".join(lines) + "\n" + END, add_special_tokens=False)
            yield ids, 1
            continue
        family, core, prompt = next(_asked(mixture, rng))
        text = answer(FAMILIES[family].steps(core), FAMILIES[family].answer(core), rng)
        start = tokenizer.encode(chat(prompt), add_special_tokens=False)
        yield start + tokenizer.encode(text, add_special_tokens=False), len(start)


def _asked(mixture: dict[tuple[str, int], float] | None, rng: Random) -> Iterator[tuple[str, Core, str]]:
    """Give questions of the split for pretraining, the same ones again where a family's small sizes are few."""
    cells = mixture or dict.fromkeys(product(FAMILIES, SIZES), 1.0)
    while True:
        ((family, size),) = rng.choices(list(cells), weights=list(cells.values()))
        core = FAMILIES[family].sample(rng, size)
        if split_of(family, core) == "pretraining":
            yield family, core, FAMILIES[family].prompt(core, rng)


def batches(stream: Iterator[tuple[list[int], int]], tokens: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Give input and label tensors, documents of like length together, in a seeded order."""
    rng = Random(seed)
    while True:
        window = sorted(islice(stream, 1024), key=lambda item: len(item[0]))
        found, batch = [], []
        for item in window:
            if batch and len(item[0]) * (len(batch) + 1) > tokens:
                found.append(batch)
                batch = []
            batch.append(item)
        rng.shuffle(found)
        yield from map(_padded, found)


def _padded(batch: list[tuple[list[int], int]]) -> tuple[Any, Any]:
    width = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), _IGNORED)
    for row, (document, start) in enumerate(batch):
        ids[row, : len(document)] = torch.tensor(document)
        labels[row, start : len(document)] = ids[row, start : len(document)]
    return ids, labels


def optimizers(model: Any, rate: float, adam_rate: float) -> list[Any]:
    """Return Muon for the matrices of the layers, and AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, lr=rate),
        torch.optim.AdamW(others, lr=adam_rate, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


def train(model: Any, stream: Iterator[tuple[Any, Any]], plan: Plan, *, say: Any = print) -> float:
    """Train for the plan's steps and return the mean loss of the last hundred."""
    steps = plan.steps
    made = optimizers(model, plan.rate, plan.adam_rate)
    began, losses = time.process_time(), []
    model.train()
    for step, (ids, labels) in enumerate(islice(stream, steps)):
        fraction = min(1.0, (step + 1) / 60) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for optimizer, rate in zip(made, (plan.rate, plan.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * fraction
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != _IGNORED
        logits = model.lm_head(hidden[:, :-1][wanted])
        loss = cross_entropy(logits, labels[:, 1:][wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 200 == 199:
            say(f"  step {step + 1}: loss {sum(losses[-100:]) / 100:.4f}, {time.process_time() - began:.0f} CPU-s")
    return sum(losses[-100:]) / min(100, len(losses))
