"""Writes the demo's questions: word problems of one to five steps, made from a seed, with worked solutions.

python recipes/pool.py POOL.jsonl --questions 400 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

THINGS = ("apples", "books", "marbles", "stamps", "coins", "pencils", "shells", "cards", "beads", "tickets")
NAMES = ("Ada", "Bela", "Chidi", "Dana", "Emil", "Farah", "Goro", "Hana", "Ines", "Jonas")


def question(random_: random.Random) -> dict[str, str]:
    """Return one question whose solution has between one and five steps."""
    name, thing = random_.choice(NAMES), random_.choice(THINGS)
    have = random_.randint(11, 99)
    told, steps = [f"{name} has {have} {thing}."], []
    for _ in range(random_.randint(1, 5)):
        kind, number = random_.choice(("more", "less", "times")), random_.randint(2, 9)
        if kind == "more":
            told.append(f"Then {name} gets {number} more.")
            after = have + number
            steps.append(f"{name} gets {number} more: {have} + {number} = {after}.")
        elif kind == "less":
            told.append(f"Then {name} gives {number} away.")
            after = have - number
            steps.append(f"{name} gives {number} away: {have} - {number} = {after}.")
        else:
            told.append(f"Then the number of {thing} becomes {number} times as large.")
            after = have * number
            steps.append(f"It becomes {number} times as large: {have} * {number} = {after}.")
        have = after
    told.append(f"How many {thing} does {name} have now?")
    return {"question": " ".join(told), "answer": "\n".join([*steps, f"#### {have}"])}


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    rows = [question(random_) for _ in range(options.questions)]
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
