"""Whether a budget holds: runs against a server that bills at random, fails at random and outlives its killed clients.

python benchmarks/bench_budget.py [--runs 200] [--first 0]

Each run has a seed, which decides its stage, questions, limits, price, faults and the moments at which its process is
killed (SIGKILL nine times in ten, else SIGTERM) and started again. It fails where the server has billed more than the
budget, or than the books say; where an answer that was sent is missing, those of the last 0.3 s before a kill aside; or
where an answer is not in the ledger exactly once with its own counts. `tests/money_runs.py` is the run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print what came of the runs. Returns 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    import money_runs

    begin, totals, failed = time.monotonic(), Counter[str](), 0
    for seed in range(options.first, options.first + options.runs):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = money_runs.run(seed, Path(folder))
            except AssertionError as error:
                failed += 1
                print(f"seed {seed}: {error}", flush=True)
                continue
        made = money_runs.make(seed)
        totals.update({key: round(value) for key, value in found.items() if key not in ("money", "limit")})
        totals["kills"] += made.kills
        totals["close"] += made.tokens is not None and found["booked"] > 0.9 * made.tokens
    keys = ("kills", "requests", "answers", "why answer", "why failed", "why lost", "billed", "booked")
    said = {key: f"{totals[key]:,}" for key in keys}
    print(
        f"{options.runs} runs, {said['kills']} kills, {said['requests']} requests, {said['answers']} answers; "
        f"payments: {said['why answer']} answer, {said['why failed']} failed, {said['why lost']} lost; "
        f"{said['billed']} tokens billed, {said['booked']} in the books; {totals['close']} runs came within a "
        f"tenth of their limit on tokens; {failed} runs failed; {time.monotonic() - begin:.0f} s"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
