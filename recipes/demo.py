"""The whole loop in a minute, against the shipped mock server: what `make demo` runs.

    python recipes/demo.py [--folder .demo]

Every command is the real one, printed as you would type it in the folder. The demo starts clean: a folder that an
earlier demo left, finished or killed, is deleted and made anew. The mock server's answers and its PRM scores are made
up, so the levels below say nothing about any model; what is real is everything else.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from gradatim import MockServer, MockSettings

ROOT = Path(__file__).parents[1]
MARK = "made-by-recipes-demo"
"""A file that says that the folder is ours to delete."""
CLI = (sys.executable, "-c", "import sys; sys.argv[0] = 'gradatim'; from gradatim.cli.main import main; main()")
"""The command line of the Python that runs this, whether or not its folder is on the PATH."""

SETTINGS = """\
library = "library.db"

[[ingest]]
path = "eval.jsonl"
set = "eval"
purpose = "eval"

[[ingest]]
path = "pool.jsonl"

[models.base]
model = "student"
base_url = "{url}"

[models.teacher]
model = "teacher"
base_url = "{url}"
price = {{ input = 0.28, output = 0.42 }}

[prm]
model = "mock-prm"
base_url = "{url}"

[grade]
rule = "paper"

[sample]
name = "math-60"
size = 60
mix = "curriculum:5,4,3,2,1"

[teach]
budget = {{ money = 0.05 }}

[export]
out = "math-60.jsonl"
"""

STAGES = (
    ("An evaluation set first: pools are checked against it.", "ingest eval.jsonl --set eval --eval"),
    (
        "The pool. Questions that share 13 words with the evaluation set are excluded, as these templates do.",
        "ingest pool.jsonl",
    ),
    ("What is to do, and about what it costs?", "run --dry-run"),
    ("The base model answers every question once.", "attempt"),
    ("A checker decides each answer.", "verify"),
    ("The PRM scores the wrong ones; scores become levels.", "grade"),
    ("The histogram of levels.", "levels"),
    ("A draw of 60 by the paper's curriculum weights.", "sample --name math-60 --size 60 --mix curriculum:5,4,3,2,1"),
    ("The teacher writes until each level has its quota of verified chains.", "teach math-60"),
    ("Which chains are kept, and why not the others?", "curate math-60"),
    ("The training file, with card and manifest.", "export math-60"),
    ("What the library holds now.", "status"),
)


def clean_folder(folder: Path) -> None:
    """Make an empty folder; delete an old one only where a demo made it."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        sys.exit(f"{folder} holds something else; name another folder with --folder, or remove it.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def write_questions(folder: Path) -> None:
    """Write the pool, an evaluation set, and both together as what the mock server knows the answers of."""
    pool = [sys.executable, str(ROOT / "recipes" / "pool.py")]
    subprocess.run([*pool, str(folder / "pool.jsonl"), "--questions", "400", "--seed", "1"], check=True)
    subprocess.run([*pool, str(folder / "eval.jsonl"), "--questions", "80", "--seed", "2"], check=True)
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("pool.jsonl", "eval.jsonl")]
    (folder / "answers.jsonl").write_text("".join(texts), encoding="utf-8")


def step(folder: Path, why: str, command: str) -> None:
    """Print a command and run it; end with its exit code where it fails."""
    print(f"\n# {why}\n$ gradatim {command}", flush=True)
    done = subprocess.run([*CLI, *shlex.split(command)], cwd=folder, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def a_hard_question(folder: Path) -> str:
    """Return the id of a question with a kept chain, of the hardest level."""
    sql = "select question from chains where kept order by level desc limit 1"
    found = subprocess.run([*CLI, "query", sql, "--csv"], cwd=folder, check=True, capture_output=True, text=True)
    return list(csv.reader(found.stdout.splitlines()))[1][0]


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo")
    folder = parser.parse_args().folder.absolute()
    began = time.monotonic()
    clean_folder(folder)
    write_questions(folder)
    settings = MockSettings(
        models=("student", "teacher", "mock-prm"),
        accuracies=(("student", 0.45), ("teacher", 0.9)),
        answers=str(folder / "answers.jsonl"),
        reasoning="field",
    )
    with MockServer(settings) as server:
        (folder / "gradatim.toml").write_text(SETTINGS.format(url=server.url), encoding="utf-8")
        print(f"# The mock server runs at {server.url}: made-up answers, right for 45 % of the student's questions")
        print("# and 90 % of the teacher's, and made-up PRM scores. Alone it is: gradatim mock-server --help")
        print(f"$ cd {folder}")
        for why, command in STAGES:
            step(folder, why, command)
        step(folder, "One question, with all that is known of it.", f"show {a_hard_question(folder)}")
        before = server.stats().requests
        step(folder, "All stages again, from gradatim.toml: what is done is skipped.", "run")
        after = server.stats().requests
    print(f"\nThe server was asked {before} times before the last command and {after - before} times by it.")
    print(f"Done in {time.monotonic() - began:.0f} s. The files are in {folder}:")
    for name in ("gradatim.toml", "library.db", "math-60.jsonl", "math-60.card.md", "math-60.manifest.json"):
        print(f"  {name:22} {(folder / name).stat().st_size:>9,} bytes")
    print("The mock server's answers and PRM scores are made up: these levels and chains say nothing about any model.")


if __name__ == "__main__":
    main()
