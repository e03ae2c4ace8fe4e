"""Programs per second in a box, beside a fresh interpreter for each program, with two workers on two cores.

    python benchmarks/bench_sandbox.py [--programs 200] [--rounds 5] [--growth 2000]

Two programs, the sum of three numbers with and without the usual imports before it. `plain` runs `python -I -S` for
each, without any sandbox; `bubblewrap` puts bubblewrap around each such interpreter. All take turns within a round,
so that what else the machine does falls on all alike; the ratio is the median of the rounds. The last part runs one box
for long, and looks at its memory and at the processes that it has. Returns 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.checkers.sandbox import Ending, Job, Limits, SandboxError, Tier, open_box
from gradatim.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS = 2
LIMITS = Limits(seconds=10.0)
STDIN = b"1 2 3\n"
TINY = "print(sum(map(int, input().split())))\n"
PRELUDE = (
    "import array, bisect, collections, copy, datetime, decimal, fractions, functools, heapq, io, itertools, json\n"
    "import math, operator, os, queue, random, re, statistics, string, sys, threading, time, typing\n"
)
TARGETS = {"tiny": 2.0, "prelude": 5.0}
"""Times the programs per second of `plain`, in the default tier."""
GROWTH_KB = 1024


def plain(program: str) -> Callable[[], None]:
    """Return what runs a program in an interpreter of its own."""
    return interpreter([], program)


def interpreter(before: list[str], program: str) -> Callable[[], None]:
    """Return what starts an interpreter below a command."""
    command = [*before, os.path.realpath(sys.executable), "-I", "-S", "-c", program]

    def run() -> None:
        done = subprocess.run(command, input=STDIN, capture_output=True, check=True)
        assert done.stdout == b"6\n"

    return run


def bubblewrap(program: str) -> Callable[[], None]:
    """Return what runs a program in bubblewrap and an interpreter of its own."""
    before = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--proc", "/proc"]
    return interpreter([*before, "--dev", "/dev"], program)


class Boxed:
    """Runs a program in a box, one per worker."""

    def __init__(self, tier: Tier, program: str) -> None:
        self.box = open_box(tier)
        self.job = Job(style="stdio", program=program, stdin=STDIN)

    def __call__(self) -> None:
        """Run it once."""
        run = self.box.run(self.job, LIMITS)
        assert run.ending is Ending.FINISHED, run
        assert run.stdout == b"6\n"

    def close(self) -> None:
        """End the box."""
        self.box.close()


def rate(workers: list[Callable[[], None]], programs: int) -> float:
    """Run so many programs, shared out over the workers' threads; return how many there were per second."""

    def work(run: Callable[[], None]) -> None:
        for _ in range(programs // len(workers)):
            run()

    threads = [threading.Thread(target=work, args=(run,)) for run in workers]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return programs // len(workers) * len(workers) / (time.perf_counter() - start)


def compare(name: str, program: str, programs: int, rounds: int) -> bool:
    """Print one program's table; return whether the target is met."""
    contenders: dict[str, list[Callable[[], None]]] = {"plain": [plain(program)] * WORKERS}
    if shutil.which("bwrap"):
        contenders["bubblewrap"] = [bubblewrap(program)] * WORKERS
    for tier in Tier:
        try:
            contenders[tier.value] = [Boxed(tier, program) for _ in range(WORKERS)]
        except SetupError as error:
            print(f"  {tier.value}: {error}")
    rates: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, workers in contenders.items():
            rates[contender].append(rate(workers, programs))
    for workers in contenders.values():
        for worker in workers:
            if isinstance(worker, Boxed):
                worker.close()
    print(f"{name}: {rounds} rounds of {programs} programs, {WORKERS} workers")
    ratios = {}
    for contender, found in rates.items():
        each = [one / base for one, base in zip(found, rates["plain"], strict=True)]
        ratios[contender] = statistics.median(each)
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"  {contender:10} {statistics.median(found):7.0f} per s   x {ratios[contender]:.2f}   ({spread})")
    met = ratios.get("default", 0.0) >= TARGETS[name]
    print(f"  target: default x {TARGETS[name]:.0f}: {'met' if met else 'MISSED'}")
    return met


def below(pid: int) -> list[int]:
    """Return the processes below one, itself not."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def resident(pids: list[int]) -> int:
    """Return the KiB that these processes have resident, what they share counted once."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total


def state() -> tuple[int, int, int]:
    """Return the KiB and the number of the processes below this one, and the number of descriptors."""
    return resident(below(os.getpid())), len(below(os.getpid())), len(list(Path("/proc/self/fd").iterdir()))


def growth(count: int) -> bool:
    """Run one box for long; print its memory before and after. Return whether it stayed as it was."""
    boxed = Boxed(Tier.DEFAULT, TINY)
    messy = Job(
        style="stdio", program="open('x', 'w').write('y' * 100000)\nraise ValueError('z' * 5000)", stdin=b"x" * 100000
    )
    for _ in range(200):
        boxed()
    before = state()
    for number in range(count):
        if number % 10 == 0:
            boxed.box.run(messy, LIMITS)
        boxed()
    after = state()
    boxed.close()
    met = after[0] - before[0] <= GROWTH_KB and after[1:] == before[1:] and below(os.getpid()) == []
    print(f"one box, {count} programs: {before[0]} KiB, then {after[0]} KiB; {after[1]} processes, then none")
    print(
        f"  target: no more than {GROWTH_KB} KiB more, no process and no descriptor left: {'met' if met else 'MISSED'}"
    )
    return met


def main() -> int:
    """Pin to two cores, run all parts. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200, help="programs per round and contender")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", type=int, default=2000, help="programs of the part that looks at memory")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    print(f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}, {WORKERS} cores")
    try:
        met = [
            compare("tiny", TINY, chosen.programs, chosen.rounds),
            compare("prelude", PRELUDE + TINY, chosen.programs, chosen.rounds),
            growth(chosen.growth),
        ]
    except (SandboxError, SetupError) as error:
        print(f"not measured: {error}")
        return 1
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
