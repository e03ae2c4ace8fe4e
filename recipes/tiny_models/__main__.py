"""Train the tiny models from nothing.

    make tiny-models
    python recipes/tiny_models [--out FOLDER]

Two base models, then a PRM from the first one's roll-outs; fixed seeds, one thread a process. Writes `base`, `second`,
`prm` and `figures.json`, and prints the figures beside those of the models that are shipped.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mixtures
import torch
from build import base_model, prm_model, second_model
from pretrain import Plan
from tokenizer import make_tokenizer

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src" / "gradatim" / "tiny" / "weights"


def main() -> None:
    """Train all three, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / ".tiny-models")
    parser.add_argument("--steps", type=int, default=Plan().steps, help="Of each base model.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    began, tokenizer, plan = time.process_time(), make_tokenizer(), Plan(steps=options.steps)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as beside:
        second = beside.submit(second_model, options.out, plan)
        base, base_figures = base_model("base", mixtures.BASE, tokenizer, options.out, plan)
        prm_found = prm_model(base, tokenizer, options.out)
        second_figures = second.result()
    figures = {"base": base_figures, "second": second_figures, "prm": prm_found}
    figures["cpu_seconds"] = round(time.process_time() - began) + second_figures["cpu_seconds"]
    (options.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    compare(figures)


def compare(figures: dict[str, Any]) -> None:
    """Print the figures beside those of the shipped models."""
    file = SHIPPED / "figures.json"
    shipped = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for model in ("base", "second", "prm"):
        for name, value in figures[model].items():
            if isinstance(value, float | int):
                print(f"{model:8}{name:24}{value:>12}{shipped.get(model, {}).get(name, '-'):>12} shipped")
    print(f"{figures['cpu_seconds']} CPU-seconds in all")


if __name__ == "__main__":
    main()
