"""The whole method, live, on real tiny models: what `make demo` runs.

    python recipes/demo.py [--folder .demo] [--seed 0] [--pool 5000] [--test 1500] [--chains 1200] [--mix MIX]

Nothing is scripted. A language model of 0.46 million parameters answers questions that were made for this seed, a
checker decides, a process reward model grades, a curriculum is drawn, a teacher writes chains over HTTP, the model is
trained on them, and questions that it has never seen show the gain. Every command is the real one, printed as you would
type it in the folder. Killed anywhere and started again, it goes on; a demo that was finished, or had another seed, is
made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "made-by-recipes-demo.json"
"""A file that says that the folder is ours to delete, and for what it was made."""
CLI = (sys.executable, "-c", "import sys; sys.argv[0] = 'gradatim'; from gradatim.cli.main import main; main()")
"""The command line of the Python that runs this, whether or not its folder is on the PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a demo works on. Another size is another demo."""

    seed: int = 0
    pool: int = 5000
    test: int = 1500
    chains: int = 1200
    mix: str = "curriculum:5,4,3,2,1"


SETTINGS = """\
library = "library.db"

[[ingest]]
path = "tiny:test?size={test}&seed={seed}"      # questions made by a program: gradatim tiny questions
set = "test"
purpose = "eval"

[[ingest]]
path = "tiny:pool?size={pool}&seed={seed}"

[models.base]
kind = "local"
model = "tiny-base"
path = "tiny:base"                            # a Hugging Face folder: gradatim tiny models

[models.trained]
kind = "local"
model = "tiny-trained"
path = "trained"

[models.teacher]
model = "tiny-teacher"
base_url = "tiny:teacher?error_rate=0.08&seed={seed}"     # served on loopback: gradatim tiny teacher

[attempt]
temperature = 0.0
max_tokens = 160
system = ""                                   # the tiny model was brought up without one

[prm]
model = "tiny:prm"
backend = "local"
text = "thinking"                             # the tiny model's steps stand in its reasoning

[grade]
rule = "paper"
cuts = "quintiles"                            # five levels of equal size among the wrong answers

[sample]
name = "demo"
size = {chains}
mix = "{mix}"
seed = {seed}
when_dry = "nearest"

[teach]
max_tokens = 400
seed = {seed}

[train]
name = "tiny-trained"
epochs = 3
batch_size = 16
optimizer = "muon"
learning_rate = 2e-3
replay = 1.0                                  # as many of its own right answers as chains: else it forgets
seed = {seed}

[evaluate]
sets = ["test"]
samples = 1
temperature = 0.0
max_tokens = 160
system = ""
"""

STAGES = (
    ("Held-out questions first: the pool is checked against them.", "ingest {test} --set test --eval"),
    ("The pool, from the same twelve families and five sizes.", "ingest {pool}"),
    ("The base model answers every question once.", "attempt"),
    ("A checker decides each answer.", "verify"),
    ("The process reward model scores the wrong ones; scores become levels, for this model.", "grade"),
    ("The histogram of levels.", "levels"),
    ("A draw by curriculum weights.", "sample"),
    ("The teacher writes until each level has its quota of verified chains.", "teach demo"),
    ("Which chains are kept, and why not the others?", "curate demo"),
    ("How good is the base model on questions that nobody trains on?", "evaluate --model base --by family"),
    ("Train it on the chains, and on as many right answers of its own.", "train demo"),
    ("How good is it now, question by question?", "evaluate --model trained --against tiny-base --levels-of tiny-base"),
    ("All of it on one page.", "report -o report.html"),
    ("What the library holds now.", "status"),
)


def prepare(folder: Path, size: Size) -> None:
    """Go on in a folder where the same demo was begun; else make it anew, but delete only what a demo made."""
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        sys.exit(f"{folder} holds something else; name another folder with --folder, or remove it.")
    if mark.exists() and mark.read_text(encoding="utf-8") == json.dumps(asdict(size)):
        print(f"# Going on with what an earlier run began in {folder}")
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.write_text(json.dumps(asdict(size)), encoding="utf-8")


def finish(folder: Path) -> None:
    """Let the next run begin anew."""
    (folder / MARK).write_text("finished", encoding="utf-8")


def step(folder: Path, why: str, command: str) -> None:
    """Print a command and run it; end with its exit code where it fails."""
    print(f"\n# {why}\n$ gradatim {command}", flush=True)
    began = time.monotonic()
    done = subprocess.run([*CLI, *shlex.split(command)], cwd=folder, env=environment(command), check=False)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"  ({time.monotonic() - began:.1f} s)", flush=True)


def environment(command: str) -> dict[str, str]:
    """Return this process's environment with one thread for matrices, and two for training's.

    Small matrices run slower on two; those of training are larger, and give the same weights to the bit.
    """
    threads = "2" if command.startswith("train ") else "1"
    return {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo")
    for word, text in (
        ("seed", "Another seed: other questions, draw, chains and order."),
        ("pool", "Questions to draw from."),
        ("test", "Held-out questions."),
        ("chains", "How many the teacher is to write."),
        ("mix", "Another mix: explicit:1,1,1,1,1, say."),
    ):
        default = getattr(Size(), word)
        parser.add_argument(f"--{word}", type=type(default), default=default, help=f"{text}  [default: {default}]")
    options = vars(parser.parse_args())
    folder = options.pop("folder").absolute()
    size = Size(**options)
    began = time.monotonic()
    prepare(folder, size)
    (folder / "gradatim.toml").write_text(SETTINGS.format(**asdict(size)), encoding="utf-8")
    print(f"$ cd {folder}")
    places = {split: f"'tiny:{split}?size={getattr(size, split)}&seed={size.seed}'" for split in ("test", "pool")}
    for why, command in STAGES:
        step(folder, why, command.format(**places))
    finish(folder)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\nDone in {time.monotonic() - began:.0f} s, with {most:,.0f} MB of memory at most.")
    print(f"The report, to be opened in a browser: {folder / 'report.html'}")


if __name__ == "__main__":
    main()
