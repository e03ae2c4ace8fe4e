"""The judge of programs: HumanEval as a whole, memory over many programs, and verdicts on a machine that is busy.

    GRADATIM_DATA=../shared/data python benchmarks/bench_code.py [--programs 5000] [--tier default] [--workers N]

Three parts, each with a target; the exit code is 1 where one is missed.

* `humaneval`: the 164 references as answers with talk around them, twice: seconds, programs per second, all 164 right;
  and the same with bodies that return None, none right.
* `memory`: programs of one to three cases, thousands of them: how much this process grows after the first thousand, and
  that no process is left.
* `loaded`: the references again beside two busy processes per core: none may be judged wrong, or be a fault.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker, Rules
from gradatim.suite import Case, Suite

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
MOST_GROWTH_MB = 16.0


def humaneval() -> list[tuple[str, str, str]]:
    """Prompt, body and tests of each question."""
    found = []
    with gzip.open(DATA / "humaneval.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            name = row["entry_point"]
            code = f"{row['test']}\ncheck({name})\n"
            suite = Suite(style="assert", code=code, setup=row["prompt"], entries=(name,))
            found.append((row["prompt"], row["canonical_solution"], suite.encoded()))
    return found


def fenced(program: str) -> str:
    """A program as a model gives it."""
    return f"We go through the list once.\n\n```python\n{program}\n```\n\nThis takes linear time.\n"


def judged(checker: CodeChecker, items: list[Item]) -> tuple[float, Counter[str]]:
    """Seconds, and how many items have which reason."""
    start = time.perf_counter()
    reasons = Counter(result.reason for _, result in checker.check(items))
    return time.perf_counter() - start, reasons


def references(rows: list[tuple[str, str, str]], *, empty: bool = False) -> list[Item]:
    """An answer per question."""
    return [
        Item(key=key, answer=fenced(prompt + ("    return None\n" if empty else body)), reference="", tests=tests)
        for key, (prompt, body, tests) in enumerate(rows)
    ]


def whole(checker: CodeChecker, rows: list[tuple[str, str, str]]) -> bool:
    """Judge HumanEval."""
    ok = True
    for round_ in (1, 2):
        seconds, reasons = judged(checker, references(rows))
        rate = len(rows) / seconds
        print(f"humaneval  references, round {round_}: {seconds:6.1f} s, {rate:5.1f} programs/s, {dict(reasons)}")
        ok &= reasons == {"tests_passed": len(rows)}
    seconds, reasons = judged(checker, references(rows, empty=True))
    print(f"humaneval  `return None`:        {seconds:6.1f} s, {len(rows) / seconds:5.1f} programs/s, {dict(reasons)}")
    return ok and reasons["tests_passed"] == 0


def resident() -> float:
    """This process's memory, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def children() -> int:
    """How many processes this one has, dead ones included."""
    mine = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            mine += int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid()
        except OSError:
            continue
    return mine


def memory(checker: CodeChecker, programs: int) -> bool:
    """Judge many small programs."""
    tests = [
        Suite(style="stdio", cases=tuple(Case(input=f"{i} {n}", output=f"{i + n}") for i in range(1 + n % 3))).encoded()
        for n in range(100)
    ]

    def run(first: int, count: int) -> Counter[str]:
        text = "a, b = map(int, input().split())\nprint(a + b)"
        items = (
            Item(key=key, answer=fenced(f"{text}  # {key}"), reference="", tests=tests[key % 100])
            for key in range(first, first + count)
        )
        return Counter(result.reason for _, result in checker.check(items))

    run(0, 1000)
    before, processes = resident(), children()
    start = time.perf_counter()
    reasons = run(1000, programs)
    seconds = time.perf_counter() - start
    grown, more = resident() - before, children() - processes
    took = f"{seconds:.1f} s ({programs / seconds:.1f}/s)"
    print(f"memory     {programs} programs in {took}: {grown:+.1f} MiB, {more:+d} processes")
    return grown < MOST_GROWTH_MB and more <= 0 and reasons == {"tests_passed": programs}


def loaded(checker: CodeChecker, rows: list[tuple[str, str, str]]) -> bool:
    """Judge HumanEval beside other work."""
    count = 2 * len(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        seconds, reasons = judged(checker, references(rows))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print(f"loaded     {count} busy processes beside: {seconds:6.1f} s, {dict(reasons)}")
    return reasons == {"tests_passed": len(rows)}


def main() -> int:
    """Run the parts; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=5000)
    parser.add_argument("--tier", choices=["default", "strict", "limits"], default="default")
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    if not (DATA / "humaneval.jsonl.gz").exists():
        raise SystemExit(f"no data in {DATA}: set GRADATIM_DATA to the folder that holds humaneval.jsonl.gz")
    rules = Rules(sandbox=asked.tier, workers=asked.workers)
    python, load = platform.python_version(), os.getloadavg()[0]
    print(f"{platform.machine()}, Python {python}, {rules.threads} workers, load {load:.1f}")
    rows = humaneval()
    checker = CodeChecker(rules)
    try:
        parts = [whole(checker, rows), memory(checker, asked.programs), loaded(checker, rows)]
    finally:
        checker.close()
    missed = [name for name, ok in zip(("humaneval", "memory", "loaded"), parts, strict=True) if not ok]
    print(f"missed: {', '.join(missed)}" if missed else "all targets met")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
