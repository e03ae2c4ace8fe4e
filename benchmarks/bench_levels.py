"""Do levels mean something? Grades of the tiny base model against 16 fresh answers to the same questions.

    python benchmarks/bench_levels.py [--questions 1000] [--seed 0]

Both rules: `paper` (one greedy answer, PRM mean, quintiles) and `rate` (eight sampled answers). The pass rate of fresh
samples must fall from level to level, 0 to 5; beside it stands the rank correlation over questions. And adaptivity: how
many questions the second base model puts on another level. Takes about four minutes of one core. Exits with 1 where a
pass rate does not fall.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import islice, pairwise
from pathlib import Path
from statistics import correlation
from typing import TYPE_CHECKING

import gradatim as gr
from gradatim.formats.write import write_rows
from gradatim.tiny import world
from gradatim.tiny.weights import folder
from gradatim.types import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

FRESH = 16
RATE_SAMPLES = 8
SAMPLED = "base, eight samples"


def main() -> int:
    """Grade by both rules, answer afresh, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, gr.Library(Path(place) / "library.db", write=True) as library:
        pool = Path(place) / "pool.jsonl"
        rows = [one.row() for one in islice(world.questions("pool", seed=options.seed), options.questions)]
        write_rows(pool, rows, typical=rows[0])
        gr.ingest(library, gr.IngestSettings(path=str(pool)))
        _attempts(library)
        gr.verify(library)
        prm = gr.QwenLocalPRM(path=folder("prm"), device="cpu")
        paper = gr.GradeSettings(rule="paper", cuts="quintiles")
        graded = {}
        for name in ("base", "second"):
            graded[name] = gr.grade(library, paper, prm=prm, model=name, text="thinking")[0].grading
        graded[SAMPLED] = gr.grade(library, gr.GradeSettings(rule="rate"), model=SAMPLED)[0].grading
        print(f"{options.questions:,} questions, {FRESH} fresh answers to each at temperature 1")
        fell = [_table(library, rule, graded[name]) for rule, name in (("paper", "base"), ("rate", SAMPLED))]
        _disagreement(library, graded["base"], graded["second"])
    return 0 if all(fell) else 1


def _attempts(library: gr.Library) -> None:
    """Have both models answer greedily, and the first one again: eight samples to be graded, sixteen to judge by."""
    engine = gr.EngineSettings(concurrency=256)
    shared = {"max_tokens": 160, "system": ""}
    greedy = gr.AttemptSettings(temperature=0.0, **shared)
    for name in ("base", "second"):
        gr.attempt(library, gr.LocalModel(name=name, path=folder(name), threads=1), greedy, engine=engine)
    sampled = gr.AttemptSettings(temperature=1.0, samples=RATE_SAMPLES, **shared)
    fresh = gr.AttemptSettings(temperature=1.0, samples=FRESH, seed=1000, **shared)
    gr.attempt(library, gr.LocalModel(name=SAMPLED, path=folder("base"), threads=1), sampled, engine=engine)
    gr.attempt(
        library, gr.LocalModel(name="fresh", path=folder("base"), threads=1), fresh, role=Role.EVAL, engine=engine
    )


def _table(library: gr.Library, rule: str, grading: str) -> bool:
    """Print the pass rate of fresh answers by level, and tell whether it falls at every step."""
    rows = library.all(
        "SELECT g.level, avg(v.outcome = 'correct') FROM grades g JOIN verdicts v ON v.question = g.question "
        "WHERE g.grading = ? AND g.level IS NOT NULL AND v.role = 'eval' AND v.outcome <> 'undecided' "
        "GROUP BY g.question",
        (grading,),
    )
    rates = {level: [rate for one, rate in rows if one == level] for level in range(6)}
    means = {level: sum(found) / len(found) for level, found in rates.items() if found}
    falls = all(above > below for above, below in pairwise(means.values()))
    print(f"\n{rule}: rank correlation of level and pass rate {spearman(*zip(*rows, strict=True)):.3f}")
    for level, mean in means.items():
        print(f"  level {level}: {len(rates[level]):>5} questions, pass rate {mean:.3f}")
    print(f"  the pass rate {'falls' if falls else 'DOES NOT FALL'} from level to level")
    return falls


def _disagreement(library: gr.Library, first: str, second: str) -> None:
    """Print how many questions the two base models put on other levels, and how many only one of them solves."""
    total, other, solved = library.all(
        "SELECT count(*), avg(a.level <> b.level), avg((a.level = 0) <> (b.level = 0)) FROM grades a JOIN grades b ON "
        "b.question = a.question WHERE a.grading = ? AND b.grading = ? AND a.level IS NOT NULL AND b.level IS NOT NULL",
        (first, second),
    )[0]
    print(f"\ntwo base models: {other:.1%} of {total:,} questions on another level, {solved:.1%} solved by one only")


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation, ties sharing their mean rank."""
    return correlation(_ranks(a), _ranks(b))


def _ranks(values: Sequence[float]) -> list[float]:
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]


if __name__ == "__main__":
    sys.exit(main())
