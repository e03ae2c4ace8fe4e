"""Over seeds of the demo: is the gain there each time, and does the curriculum beat random selection?

    python benchmarks/bench_demo.py [--seeds 10] [--jobs 2] [--folder FOLDER]

A seed is another pool, test set, teacher, draw and order of training. For each, the whole demo is run, and then, in the
same library, the same again from a draw by the levels of the test set. Where pool and test set are of one distribution,
as here, that is random selection: the same number of chains, replay, epochs and so steps. Printed per seed: accuracy
before and after, the gain with its 95 % interval over questions; then paired differences over seeds with Student's t.
About three minutes a seed and core. Exits with 1 where a gain is not positive, or more than one interval in ten holds
zero. Stopped, it goes on, where a folder is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gradatim.method.comparison import mean_over_seeds

ROOT = Path(__file__).resolve().parents[1]
CLI = (sys.executable, "-c", "import sys; sys.argv[0] = 'gradatim'; from gradatim.cli.main import main; main()")
RANDOM = """
[models.random]
kind = "local"
model = "tiny-random"
path = "random-model"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One seed."""

    seed: int
    before: float
    after: float
    low: float
    high: float
    """The 95 % interval of the gain, over questions."""
    random: float


def run(folder: Path, *words: str) -> str:
    """Run a command in the demo's folder; end with what it said where it fails."""
    done = subprocess.run([*CLI, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"gradatim {' '.join(words)} in {folder} ended with {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def one(folder: Path, seed: int) -> Outcome:
    """Run the demo and its random twin, or take what an earlier run found."""
    found = folder / "outcome.json"
    if not found.exists():
        demo = [sys.executable, str(ROOT / "recipes" / "demo.py"), "--folder", str(folder), "--seed", str(seed)]
        log = subprocess.run(demo, capture_output=True, text=True, check=False)
        if log.returncode:
            sys.exit(f"the demo of seed {seed} ended with {log.returncode}: {log.stdout[-1000:]}{log.stderr[-1000:]}")
        settings = (folder / "gradatim.toml").read_text(encoding="utf-8")
        if RANDOM not in settings:
            (folder / "gradatim.toml").write_text(settings + RANDOM, encoding="utf-8")
        run(folder, "sample", "--name", "random", "--mix", "observed:test")
        run(folder, "teach", "random")
        run(folder, "curate", "random")
        run(folder, "train", "random", "--name", "tiny-random", "--out", "random-model")
        trained, random = (_evaluated(folder, name) for name in ("trained", "random"))
        found.write_text(json.dumps([trained, random]), encoding="utf-8")
    trained, random = json.loads(found.read_text(encoding="utf-8"))
    return Outcome(
        seed=seed,
        before=trained[0],
        after=trained[0] + trained[1],
        low=trained[2],
        high=trained[3],
        random=random[0] + random[1],
    )


def _evaluated(folder: Path, name: str) -> tuple[float, float, float, float]:
    """Return the base model's accuracy, and the gain over it with its interval; undecided answers count as wrong."""
    words = ("evaluate", "--model", name, "--against", "tiny-base", "--levels-of", "tiny-base", "--json")
    found = json.loads(run(folder, *words))[0]
    gain = found["against"]["at_least"]
    return found["overall"]["at_least"]["value"] - gain["value"], gain["value"], gain["low"], gain["high"]


def main() -> int:
    """Run all seeds and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="Where the demos are kept; a temporary folder by default.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(options.jobs) as pool:
        folder = (options.folder or Path(place)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = []
        print("seed  before   after    gain  95 % interval      random selection", flush=True)
        for found in pool.map(lambda seed: one(folder / f"seed-{seed}", seed), range(options.seeds)):
            outcomes.append(found)
            print(
                f"{found.seed:>4}   {found.before:.3f}   {found.after:.3f}  {found.after - found.before:+.3f}  "
                f"{found.low:+.3f} to {found.high:+.3f}   {found.random:.3f}",
                flush=True,
            )
    return summary(outcomes)


def summary(outcomes: list[Outcome]) -> int:
    """Print means over seeds and tell whether the targets were met."""
    gains = [found.after - found.before for found in outcomes]
    clear = sum(found.low > 0 for found in outcomes)
    gain, over = mean_over_seeds(gains), mean_over_seeds([found.after - found.random for found in outcomes])
    print(
        f"\ngain: {gain.value:+.3f} on average, positive in {sum(one > 0 for one in gains)} of {len(gains)} seeds; the"
    )
    print(f"      interval over questions excludes zero in {clear}")
    print(
        f"curriculum against random selection, paired by seed: {over.value:+.4f}, "
        f"95 % interval {over.low:+.4f} to {over.high:+.4f}"
        if over.low is not None and over.high is not None
        else f"curriculum against random selection: {over.value:+.4f} (one seed)"
    )
    return 0 if min(gains) > 0 and clear >= 0.9 * len(gains) else 1


if __name__ == "__main__":
    sys.exit(main())
