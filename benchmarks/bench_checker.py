r"""Pairs per second of the math checker beside math-verify, on one core, in one run.

    GRADATIM_DATA=../shared/data python benchmarks/bench_checker.py [--limit N]

math-verify is called as its README recommends: `verify(parse("$reference$"), parse(answer))`. Two tasks:

* `gsm8k`: the recorded answers of four models to the GSM8K test questions, whole texts (published labels known);
* `math500`: each MATH-500 reference against itself, two other writings of it, and three wrong answers.

Both are warmed up first; starting our worker (about 1.5 s, once) is not counted. Ratios mean more than rates: both
sides share the machine's mood. `cached` is another pass over the same pairs by the same checker.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import re
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

from gradatim.checkers import Item
from gradatim.checkers.math import MathChecker
from gradatim.types import Outcome

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
Pair = tuple[str, str, bool | None]


def rows(name: str) -> list[dict]:
    """Read a JSONL file of the data folder."""
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def gsm8k() -> list[Pair]:
    """Reference, whole answer, label."""
    return [
        (row["ground_truth"].rpartition("A: ")[2].strip(), row[model]["solution"], row[model]["is_correct"])
        for row in rows("gsm8k_solutions.jsonl")
        for model in MODELS
    ]


def reformatted(text: str, chance: random.Random) -> str:
    """Write an answer as another model would."""
    ways = [lambda t: t.replace(" ", ""), lambda t: rf"x = {t}" if "=" not in t else t, lambda t: rf"{t}."]
    if re.search(r"\\d?frac\{", text):
        ways += [
            lambda t: t.replace(r"\frac", r"\dfrac"),
            lambda t: re.sub(r"\\frac\{(-?\w+)\}\{(\w+)\}", r"(\1/\2)", t),
        ]
    if re.fullmatch(r"-?\d+", text):
        ways += [
            lambda t: f"{t}.0",
            lambda t: rf"{t}\text{{ units}}",
            lambda t: f"{int(t):,}",
            lambda t: rf"\frac{{{2 * int(t)}}}{{2}}",
        ]
    if re.search(r"\d\s*\\sqrt\{(\d+)\}", text):
        ways += [lambda t: re.sub(r"(\d+)\s*\\sqrt\{(\d+)\}", lambda m: rf"\sqrt{{{int(m[1]) ** 2 * int(m[2])}}}", t)]
    if text.startswith("("):
        ways += [lambda t: t.replace("(", r"\left(").replace(")", r"\right)"), lambda t: t.replace(",", ", ")]
    if re.fullmatch(r"[\w^]+(?: ?\+ ?[\w^\\]+)+", text):
        ways += [lambda t: "+".join(reversed(t.split("+")))]
    return chance.choice(ways)(text)


def wrong(text: str, chance: random.Random) -> str:
    """Change one number, sign or bracket."""
    digits = [match.start() for match in re.finditer(r"\d", text)]
    if not digits:
        return text + " + 1" if chance.random() < 0.5 else "-" + text
    place = chance.choice(digits)
    return text[:place] + str((int(text[place]) + chance.randint(1, 8)) % 10) + text[place + 1 :]


def math500() -> list[Pair]:
    """Reference, short answer, and no label: a changed digit may leave a value as it was."""
    chance = random.Random(500)
    references = [row["answer"] for row in rows("math500.jsonl")]
    pairs: list[Pair] = []
    for text in references:
        answers = [text, reformatted(text, chance), reformatted(text, chance)]
        answers += [wrong(text, chance), wrong(text, chance), chance.choice(references)]
        pairs += [(text, answer, None) for answer in answers]
    return pairs


def theirs(pairs: list[Pair], *, short: bool) -> tuple[float, list[bool]]:
    """Return seconds and verdicts of math-verify."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    verify(parse(r"$\sin^2 x+\cos^2 x$"), parse("$1$"))
    start = time.perf_counter()
    found = [
        verify(parse(f"${reference}$"), parse(f"${answer}$" if short else answer)) for reference, answer, _ in pairs
    ]
    return time.perf_counter() - start, found


def ours(pairs: list[Pair], checker: MathChecker, *, short: bool) -> tuple[float, list[Outcome]]:
    """Return seconds and verdicts of ours."""
    items = (
        Item(key=key, answer=rf"\boxed{{{answer}}}" if short else answer, reference=reference)
        for key, (reference, answer, _) in enumerate(pairs)
    )
    start = time.perf_counter()
    results = dict(checker.check(items))
    seconds = time.perf_counter() - start
    return seconds, [getattr(results[key], "outcome", Outcome.UNDECIDED) for key in range(len(pairs))]


def run(name: str, pairs: list[Pair], *, short: bool, target: float) -> bool:
    """Time both sides on one task, print their rates and ratios; return whether ours without a cache is fast enough."""
    plain, cached = MathChecker(workers=1, cache=0), MathChecker(workers=1)
    for checker in (plain, cached):
        checker.compare(r"\tan^2(y)+1", r"\sec^2(y)")
    their_seconds, their_verdicts = theirs(pairs, short=short)
    our_seconds, our_verdicts = ours(pairs, plain, short=short)
    first, _ = ours(pairs, cached, short=short)
    if first < 1.0:
        # Tenths of a second are told apart by the median only.
        our_seconds = statistics.median(ours(pairs, plain, short=short)[0] for _ in range(9))
    second = statistics.median(ours(pairs, cached, short=short)[0] for _ in range(9))
    count = len(pairs)
    print(f"\n{name}: {count} pairs")
    lines = (("math-verify", their_seconds), ("no cache", our_seconds), ("cache, first", first), ("cached", second))
    for label, seconds in lines:
        print(f"  {label:12} {count / seconds:10,.0f} pairs/s   {their_seconds / seconds:8.1f} x math-verify")
    if pairs[0][2] is not None:
        labels = [label for _, _, label in pairs]
        agree = [
            sum(verdict == label for verdict, label in zip(verdicts, labels, strict=True))
            for verdicts in (their_verdicts, [verdict is Outcome.CORRECT for verdict in our_verdicts])
        ]
        print(f"  agreement with labels: math-verify {agree[0] / count:.2%}, ours {agree[1] / count:.2%}")
    else:
        same = sum(a == (b is Outcome.CORRECT) for a, b in zip(their_verdicts, our_verdicts, strict=True))
        undecided = our_verdicts.count(Outcome.UNDECIDED)
        print(f"  verdicts as math-verify's: {same / count:.2%}; undecided: {undecided}")
    for checker in (plain, cached):
        checker.close()
    met = their_seconds / our_seconds >= target
    print(f"  target: {target:.0f} x math-verify without a cache: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    """Pin to one core, run both tasks, print the table. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=None, help="pairs per task (default: all)")
    limit = parser.parse_args().limit
    if not DATA.is_dir():
        raise SystemExit(f"no data in {DATA}: set GRADATIM_DATA to the folder that holds gsm8k_solutions.jsonl")
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # workers inherit it: one core for all
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("math-verify", "sympy"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {packages}, one core")
    met = [
        run("gsm8k", gsm8k()[:limit], short=False, target=30),
        run("math500", math500()[:limit], short=True, target=4),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
