"""A library with something in every section of a report: real stages on the mock server, and a made-up training."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import gradatim as gr
from cli_world import called
from gradatim.library import verdicts
from gradatim.types import StepScores

ROOT = Path(__file__).parents[1]
HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u202eesrever\u2028\u2029 &lt;b&gt; \x07"
"""What no page should take for anything but text."""
TRAINED = "student-trained"

SETTINGS = """\
library = "library.db"

[[ingest]]
path = "eval.jsonl"
set = "eval"
purpose = "eval"

[[ingest]]
path = "more.jsonl"
set = "eval"
purpose = "eval"

[[ingest]]
path = "pool.jsonl"
ngram = 0

{models}
[prm]
model = "mock-prm"
base_url = "{url}"

[grade]
rule = "paper"

[teach]
budget = {{ money = 0.05 }}
"""
MODEL = '[models.{name}]\nmodel = "{name}"\nbase_url = "{url}"\nprice = {{ input = 0.28, output = 0.42 }}\n\n'
ACCURACIES = (("student", 0.45), ("other", 0.35), ("teacher", 0.9), (TRAINED, 0.62))


def make_library(folder: Path, *, pool: int = 300, held_out: int = 120) -> Path:
    """Go through the whole loop in the folder, and give the library's file."""
    for name, count, seed in (("pool", pool, 1), ("eval", held_out * 2 // 3, 2), ("more", held_out // 3, 3)):
        recipe = [sys.executable, str(ROOT / "recipes" / "pool.py"), str(folder / f"{name}.jsonl")]
        subprocess.run([*recipe, "--questions", str(count), "--seed", str(seed)], check=True)
    texts = [(folder / f"{name}.jsonl").read_text() for name in ("pool", "eval", "more")]
    (folder / "answers.jsonl").write_text("".join(texts))
    settings = gr.MockSettings(
        models=(*(name for name, _ in ACCURACIES), "mock-prm"),
        accuracies=ACCURACIES,
        answers=str(folder / "answers.jsonl"),
        reasoning="field",
    )
    config = folder / "gradatim.toml"
    with gr.MockServer(settings) as server:
        models = "".join(MODEL.format(name=name, url=server.url) for name, _ in ACCURACIES)
        config.write_text(SETTINGS.format(models=models, url=server.url))
        for words in COMMANDS:
            ended = called("--config", str(config), *words.split())
            assert ended.code in (0, 5), ended
    path = folder / "library.db"
    with gr.Library(path, write=True) as library:
        add_training(library, TRAINED, "student", "math-60", steps=330)
        score_correct(library)
    return path


COMMANDS = (
    "ingest eval.jsonl --set eval --eval",
    "ingest more.jsonl --set eval --eval",
    "ingest pool.jsonl --ngram 0",
    "attempt --model student",
    "attempt --model other",
    "verify",
    "grade --rule paper",
    "sample --name math-60 --size 60 --mix curriculum:5,4,3,2,1 --model student",
    "sample --name flat --size 40 --mix observed:eval --model student --when-dry nearest",
    "teach math-60 --model teacher",
    "curate math-60",
    "evaluate --model student --set eval --samples 2",
    f"evaluate --model {TRAINED} --set eval --samples 2",
    f"evaluate --model {TRAINED} --set pool --samples 1 --allow-overlap",
)


def add_training(library: gr.Library, model: str, base: str, draw: str, *, steps: int) -> None:
    """Put a training with a falling loss into the library."""
    with library.transaction() as connection:
        key = connection.execute(
            "INSERT INTO training (id, model, base, draw, settings, chains, replayed, steps, folder, made_at) "
            "VALUES (?, ?, ?, (SELECT pk FROM draw WHERE name = ?), '{}', 60, 40, ?, 'somewhere', 1700000000.0)",
            (f"id-{model}", model, base, draw, steps),
        ).lastrowid
        connection.executemany(
            "INSERT INTO training_step VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (key, n, 3 * n / steps, 0.2 + math.exp(-n / 60) + 0.03 * math.sin(n), 5e-3 * (1 - n / steps), 90 * n, n)
                for n in range(1, steps + 1)
            ],
        )


def score_correct(library: gr.Library) -> None:
    """Score some correct attempts too, as somebody does who asks whether the PRM tells right from wrong."""
    rows = library.all(
        "SELECT a.pk FROM attempt a JOIN setting s ON s.pk = a.setting WHERE s.role = 'base' AND s.model = 'student' "
        "AND (SELECT outcome FROM verdict v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1) = 'correct' "
        "ORDER BY a.pk LIMIT 80"
    )
    prm = library.value("SELECT pk FROM prm")
    with library.transaction() as connection:
        for (pk,) in rows:
            mean = 0.55 + (pk * 7 % 43) / 100
            verdicts.write_scores(connection, pk, prm, StepScores(steps=("whole",), scores=(mean,)))
