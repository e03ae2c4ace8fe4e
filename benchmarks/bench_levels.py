"""Do levels mean something? Grades of the tiny base model against 16 fresh answers to the same questions.

    python benchmarks/bench_levels.py [--questions 2000] [--seed 0]

Both rules: `paper` (one greedy answer, and cuts of its PRM mean that were calibrated on as many questions of another
seed) and `rate` (eight sampled answers). The pass rate of fresh samples must fall from level to level, 0 to 5; beside
it stands the rank correlation over questions, and what quintiles would have given. And adaptivity: how many questions
the second base model puts on another level. Takes about ten minutes of one core. Exits with 1 where a pass rate does
not fall.
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
SHARED = {"max_tokens": 160, "system": ""}
GREEDY = gr.AttemptSettings(temperature=0.0, **SHARED)


def main() -> int:
    """Calibrate, grade by both rules, answer afresh, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prm = gr.LocalPRM(path=folder("prm"), device="cpu")
    with tempfile.TemporaryDirectory() as place:
        cuts = _calibrated(Path(place) / "calibration", prm, options.questions, options.seed + 1)
        with _library(Path(place) / "levels", options.questions, options.seed) as library:
            return _levels(library, prm, cuts)


def _library(place: Path, questions: int, seed: int) -> gr.Library:
    """Return a library with so many questions."""
    place.mkdir()
    rows = [one.row() for one in islice(world.questions("pool", seed=seed), questions)]
    write_rows(place / "pool.jsonl", rows, typical=rows[0])
    library = gr.Library(place / "library.db", write=True)
    gr.ingest(library, gr.IngestSettings(path=str(place / "pool.jsonl")))
    return library


def _calibrated(place: Path, prm: gr.LocalPRM, questions: int, seed: int) -> tuple[float, ...]:
    """Return cuts from questions of their own: one greedy answer is scored, eight sampled ones give the pass rate."""
    with _library(place, questions, seed) as library:
        _answer(library, "base", GREEDY)
        rates = _answer(library, SAMPLED, gr.AttemptSettings(temperature=1.0, samples=RATE_SAMPLES, **SHARED))
        gr.verify(library)
        found = gr.calibrate(library, gr.CalibrateSettings(model="base", rates=rates), prm=prm, text="thinking")
    print(f"calibrated on {found.questions:,} other questions: {', '.join(f'{cut:.3f}' for cut in found.cuts)}")
    for words, one in (("all", found.correlation), ("wrong", found.correlation_wrong)):
        print(f"  PRM score and pass rate, {words}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f})")
    if not found.cuts:
        sys.exit(found.says)
    return found.cuts


def _levels(library: gr.Library, prm: gr.LocalPRM, cuts: tuple[float, ...]) -> int:
    """Grade, answer afresh, print; return the exit code."""
    _answer(library, "base", GREEDY)
    _answer(library, "second", GREEDY, weights="second")
    _answer(library, SAMPLED, gr.AttemptSettings(temperature=1.0, samples=RATE_SAMPLES, **SHARED))
    fresh = gr.AttemptSettings(temperature=1.0, samples=FRESH, seed=1000, **SHARED)
    _answer(library, "fresh", fresh, role=Role.EVAL)
    gr.verify(library)
    graded = {}
    for name, how in (("base", list(cuts)), ("base", "quintiles"), ("second", "quintiles")):
        settings = gr.GradeSettings(rule="paper", cuts=how)
        graded[name, str(how)] = gr.grade(library, settings, prm=prm, model=name, text="thinking")[0].grading
    by_rate = gr.grade(library, gr.GradeSettings(rule="rate"), model=SAMPLED)[0].grading
    total = library.value("SELECT count(*) FROM questions")
    print(f"\n{total:,} questions, {FRESH} fresh answers to each at temperature 1")
    calibrated = _table(library, "paper, calibrated cuts", graded["base", str(list(cuts))])
    _table(library, "paper, quintiles", graded["base", "quintiles"])
    rated = _table(library, "rate", by_rate)
    _disagreement(library, graded["base", "quintiles"], graded["second", "quintiles"])
    return 0 if calibrated and rated else 1


def _answer(
    library: gr.Library, name: str, settings: gr.AttemptSettings, *, weights: str = "base", role: Role = Role.BASE
) -> str:
    """Have a tiny model answer every question; return the setting's id."""
    engine = gr.EngineSettings(concurrency=256)
    model = gr.LocalModel(name=name, path=folder(weights), threads=1)
    return gr.attempt(library, model, settings, role=role, engine=engine).setting


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
