"""The command line as users run it: a process of its own, in a folder with a gradatim.toml and a pool of questions."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from gradatim.library.store import Library
from gradatim.models.mock_server import MockSettings

ROOT = Path(__file__).parents[1]
SRC = str(ROOT / "src")
MAIN = "import sys; sys.argv[0] = 'gradatim'; from gradatim.cli.main import main; main()"
ALL_FAULTS = (
    *((kind, 0.012) for kind in ("429", "429_bare", "500", "drop", "empty", "malformed", "error_200")),
    ("truncated", 0.04),
    ("slow", 0.02),
    ("hang", 0.01),
)
FOR_GOOD = frozenset({"truncated", "slow"})
"""Kinds that are answers."""
ANSWERS = (
    "SELECT question, sample, role, model, sampling, content, reasoning, finish_reason, prompt_tokens, "
    "completion_tokens, reasoning_tokens, cached_tokens, server_model FROM attempts ORDER BY question, sample, model"
)
SETTINGS = """
library = "library.db"
[[ingest]]
path = "pool.jsonl"
set = "pool"
[models.base]
model = "base"
base_url = "{url}"
concurrency = {concurrency}
idle_timeout = 0.4
tries = 12
stream = {stream}
[models.teacher]
model = "teacher"
base_url = "{url}"
concurrency = {concurrency}
idle_timeout = 0.4
tries = 12
stream = {stream}
[attempt]
samples = {samples}
[grade]
rule = "rate"
[sample]
name = "draw"
size = {size}
mix = "explicit:1,1,1,1,1"
when_dry = "nearest"
[teach]
tries = {tries}
"""


def faulty(pool, **changes):
    """Return settings of a server with every fault there is, quick enough for a test."""
    settings = {
        "answers": str(pool),
        "accuracies": (("base", 0.4), ("teacher", 0.7)),
        "reasoning": "field",
        "faults": ALL_FAULTS,
        "latency": 0.02,
        "retry_after": 0.05,
        "drip": 0.01,
        "seed": 5,
    }
    return MockSettings(**settings | changes)


def write_pool(path, count, seed=0):
    """Write questions that no near-duplicate filter takes for one another."""
    random_ = random.Random(seed)
    things = [f"{a}{b}" for a in ("red ", "old ", "tin ", "wax ") for b in ("jars", "keys", "bells", "maps", "nails")]
    rows = []
    for _ in range(count):
        words, have = [f"{random_.randint(10, 9999)} {random_.choice(things)} stand in row {len(rows)}."], 0
        have = int(words[0].split()[0])
        for _ in range(random_.randint(2, 5)):
            more, thing = random_.randint(2, 99999), random_.choice(things)
            words.append(f"Cart {random_.randint(1, 10**6)} brings {more} {thing}.")
            have += more
        rows.append({"question": " ".join([*words, "How many are there?"]), "answer": f"{have} in all.\n#### {have}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


class Folder:
    """A folder in which the command runs."""

    def __init__(self, path, url, *, concurrency=16, samples=1, size=50, tries=4, stream=True):
        self.path = path
        self.library = path / "library.db"
        path.mkdir(exist_ok=True)
        (path / "gradatim.toml").write_text(
            SETTINGS.format(
                url=url, concurrency=concurrency, samples=samples, size=size, tries=tries, stream=str(stream).lower()
            )
        )

    def start(self, *words, program=MAIN):
        """Start the command, and return its process."""
        paths = os.pathsep.join(filter(None, (SRC, os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words, program=MAIN, code=0):
        """Run the command to its end. Returns what it printed: stdout and stderr."""
        process = self.start(*words, program=program)
        out, err = process.communicate(timeout=100)
        assert process.returncode == code, (words, process.returncode, out, err)
        return out, err

    def rows(self, sql):
        """Return the rows of a SELECT over the library's tables and views."""
        with Library(self.library) as library:
            return library.all(sql)

    def count(self, table):
        """Return how many rows a table has; works beside a writer and after its death."""
        connection = sqlite3.connect(f"{self.library.as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        finally:
            connection.close()


def wait_until(condition, seconds=30.0):
    """Wait for a condition, looking every 3 ms."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.003)


def kill(process, server):
    """Kill a process with SIGKILL; return when, and the server's counts once it has noticed."""
    at = time.time()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: server.stats().in_flight == 0)
    return at, server.stats()


def lost_to_us(stats):
    """Return how many requests the faults kept from an answer."""
    return sum(count for kind, count in stats.faults.items() if kind not in FOR_GOOD)
