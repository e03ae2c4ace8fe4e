"""Do levels mean something? Grades of the tiny base model against 16 fresh answers to the same questions.

    python benchmarks/bench_levels.py [--questions 1500] [--seed 0]

Both rules: `paper` (one greedy answer, PRM mean, quintiles) and `rate` (eight sampled answers). The pass rate of fresh
samples must fall from level to level, 0 to 5; beside it stands the rank correlation over questions. And adaptivity: how
many questions the second base model puts on another level. Takes about six minutes of one core. Exits with 1 where a
pass rate does not fall.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import islice, pairwise
from pathlib import Path

import gradatim as gr
from gradatim.tiny import world
from gradatim.tiny.weights import folder
from gradatim.types import Role

FRESH = 16
RATE_SAMPLES = 8
SHARED = {"max_tokens": 160, "system": ""}


def main() -> int:
    """Grade by both rules, answer afresh, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, gr.Library(Path(place) / "library.db", write=True) as library:
        _ingest(library, Path(place) / "pool.jsonl", options.questions, options.seed)
        base, second = (gr.LocalModel(name=name, path=folder(name), threads=1) for name in ("base", "second"))
        engine = gr.EngineSettings(concurrency=256)
        greedy = gr.AttemptSettings(temperature=0.0, **SHARED)
        sampled = gr.AttemptSettings(temperature=1.0, samples=RATE_SAMPLES, **SHARED)
        fresh = gr.AttemptSettings(temperature=1.0, samples=FRESH, seed=1000, **SHARED)
        for model in (base, second):
            gr.attempt(library, model, greedy, engine=engine)
        gr.attempt(library, base, sampled, engine=engine)
        gr.attempt(library, base, fresh, role=Role.EVAL, engine=engine)
        gr.verify(library)
        prm = gr.QwenLocalPRM(path=folder("prm"), device="cpu")
        gr.grade(library, gr.GradeSettings(rule="paper", cuts="quintiles"), prm=prm, text="thinking")
        fell = [_table(library, "paper")]
        gr.grade(library, gr.GradeSettings(rule="rate"), model="base")
        fell.append(_table(library, "rate"))
        _disagreement(library)
    return 0 if all(fell) else 1
