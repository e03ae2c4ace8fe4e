"""The tiny models one by one: trained, written to their folders, read back and measured."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import mixtures
import prm as prm_training
import torch
from generate import continued, is_right
from measure import prm_figures
from pretrain import Plan, batches, documents, new_model, train
from tokenizer import chat, make_tokenizer, save_tokenizer

from gradatim.tiny.families import FAMILIES, SIZES
from gradatim.tiny.world import questions

if TYPE_CHECKING:
    from pathlib import Path

    from gradatim.tiny.world import TinyQuestion

MEASURED = 3000
"""Questions of the pool that a base model's accuracy is measured on."""

CARD = """\
---
license: apache-2.0
library_name: transformers
---
# {title}

{text}

Trained from nothing by `make tiny-models` ({seconds:.0f} CPU-seconds where this folder was made), on questions that
a program of this project makes. It knows nothing else, and is of no use outside Gradatim's demo and tests.
"""
TEXTS = {
    "base": (
        "Gradatim's tiny base model",
        "A Llama of 0.46 million parameters that solves some kinds of the tiny world's questions and not others.",
    ),
    "second": (
        "Gradatim's second tiny base model",
        "The same architecture, brought up on another mixture: it fails at other questions.",
    ),
    "prm": (
        "Gradatim's tiny process reward model",
        "A PRM in the format of Qwen2.5-Math-PRM, trained on Monte Carlo labels from roll-outs of the tiny base model.",
    ),
}


def save(name: str, model: Any, tokenizer: Any, out: Path, seconds: float) -> None:
    """Write a model's folder: weights in half precision, tokenizer, chat template, a card."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    if name == "prm":
        prm_training.save_prm(model, folder)
    else:
        model.half().save_pretrained(folder)
        model.float()
    save_tokenizer(tokenizer, folder)
    title, text = TEXTS[name]
    (folder / "README.md").write_text(CARD.format(title=title, text=text, seconds=seconds), encoding="utf-8")


def base_model(name: str, mixture: dict[str, float], tokenizer: Any, out: Path, plan: Plan) -> tuple[Any, Any]:
    """Train and save one base model; return it as it is read back from its folder, with its figures."""
    print(f"{name}: {plan.steps} steps", flush=True)
    began = time.process_time()
    model = new_model(len(tokenizer), plan.seed, tokenizer)
    stream = batches(documents(tokenizer, mixtures.weights(mixture), plan), plan.tokens, plan.seed)
    loss = train(model, stream, plan, say=lambda text: print(text, flush=True))
    seconds = time.process_time() - began
    save(name, model, tokenizer, out, seconds)
    model = type(model).from_pretrained(out / name, dtype=torch.float32).eval()
    asked = list(islice(questions("pool", seed=0), MEASURED))
    texts, _ = continued(model, tokenizer, [chat(one.prompt) for one in asked])
    figures = {"loss": round(loss, 4), **accuracies(asked, texts), "cpu_seconds": round(seconds)}
    print(json.dumps(figures), flush=True)
    return model, figures


def accuracies(asked: list[TinyQuestion], texts: list[str]) -> dict[str, Any]:
    """Return the accuracy over all, and by family and size."""
    right, total = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for one, text in zip(asked, texts, strict=True):
        total[one.family, one.size] += 1
        right[one.family, one.size] += is_right(text, one.reference)
    by = {name: [round(right[name, size] / total[name, size], 2) for size in SIZES] for name in FAMILIES}
    return {"accuracy": round(sum(right.values()) / len(asked), 4), "by_family_and_size": by}


def second_model(out: Path, plan: Plan) -> dict[str, Any]:
    """Train the second base model, in a process of its own."""
    torch.set_num_threads(1)
    return base_model("second", mixtures.SECOND, make_tokenizer(), out, plan)[1]


def prm_model(base: Any, tokenizer: Any, out: Path) -> dict[str, Any]:
    """Train and save the PRM, and return its figures."""
    start = time.process_time()
    continuations = prm_training.Plan()
    rows = prm_training.labelled(base, tokenizer, continuations)
    print(f"prm: {json.dumps(prm_training.said_of(rows))}, {time.process_time() - start:.0f} CPU-s", flush=True)
    model = prm_training.new_prm(base)
    loss = prm_training.train_prm(model, tokenizer, rows, continuations)
    save("prm", model, tokenizer, out, time.process_time() - start)
    found = {"loss": round(loss, 4), **prm_training.said_of(rows), **prm_figures(base, tokenizer, out / "prm")}
    return {**found, "cpu_seconds": round(time.process_time() - start)}
