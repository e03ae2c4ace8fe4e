"""Answers per second, and CPU time per 1,000 of them, against an instant server on this machine.

python benchmarks/bench_attempts.py [--rows 4000] [--rounds 3] [--profile FILE]

What is measured: `gradatim.attempt` into a library, every answer synced to the disk, beside a bare aiohttp client that
sends the same bodies and throws the answers away; 64 requests at once; a fresh process per round, in turns. The clock
and the CPU time (user and system, all threads) run from the call to its return, not over imports. The server is a
process of its own and shares the machine's cores with whatever is measured.

`with books` is the same with a price and a budget: each request waits until its worst case is durable in the ledger.

Peers, by the same script, where an interpreter that has them is named:

    CURATOR_PYTHON      that of an environment with `pip install bespokelabs-curator`
    DISTILABEL_PYTHON   that of an environment with `pip install 'distilabel[openai]' requests`

Targets: at least half of the bare client's answers per second, and at most 0.5 s of CPU per 1,000.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CONCURRENT = 64
MODEL = "mock"
SHAPES = ("plain", "stream")
RATIO, CPU = 0.5, 0.5
SOURCE = str(Path(__file__).resolve().parents[1] / "src")
PEERS = {"curator": "CURATOR_PYTHON", "distilabel": "DISTILABEL_PYTHON"}


def prompts(count: int) -> list[str]:
    """Return questions of some 40 words that differ enough to be no near duplicates."""
    random_ = random.Random(0)  # seeded: every process asks the same
    words = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no", "pa", "ri") for b in ("bel", "dor", "kin", "lum")]
    return [
        " ".join([f"Question {number}:", *random_.choices(words, k=random_.randint(20, 50)), "How many are there?"])
        for number in range(count)
    ]


def make_library(folder: Path, count: int) -> None:
    """Make a library that has the questions."""
    import gradatim as gr

    pool = folder / "pool.jsonl"
    pool.write_text("".join(json.dumps({"question": text, "answer": "7"}) + "\n" for text in prompts(count)))
    with gr.Library(folder / "questions.db", write=True) as library:
        added = gr.ingest(library, gr.IngestSettings(path=str(pool), near=0)).added
    assert added == count, f"{added} of {count} questions were added"


def attempt(
    url: str, count: int, shape: str, folder: Path, *, books: bool = False
) -> tuple[Callable[[], None], Callable[[], int]]:
    """Gradatim, with everything that a user gets; with `books`, a price and a budget as well."""
    import gradatim as gr
    from gradatim.models.budget import Budget

    path = folder / "work" / "library.db"
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    shutil.copy(folder / "questions.db", path)
    library = gr.Library(path, write=True)
    endpoint = gr.Endpoint(name=MODEL, base_url=url, stream=shape == "stream")
    engine = gr.EngineSettings(concurrency=CONCURRENT)
    price = gr.Price(input=0.28, cached_input=0.028, output=0.42) if books else None
    budget = Budget(money=1e6, price=price) if books else None
    money: dict[str, Any] = {"price": price, "budget": budget}
    # What is imported late is imported now.
    gr.attempt(library, endpoint, gr.AttemptSettings(limit=1), engine=engine, **money)

    def done() -> int:
        assert library.value("SELECT count(*) FROM attempt_text") == count
        assert library.value("SELECT count(*) FROM ledger WHERE why = 'answer'") == (count if books else 0)
        library.close()
        return count - 1

    return lambda: gr.attempt(library, endpoint, engine=engine, **money), done


def bare(url: str, count: int, shape: str, folder: Path) -> tuple[Callable[[], None], Callable[[], int]]:
    """Send the same bodies, made beforehand; read each answer to its end, and forget it."""
    import aiohttp

    del folder
    extra = {"stream": True, "stream_options": {"include_usage": True}} if shape == "stream" else {}
    bodies = [
        json.dumps(
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": text}],
                "max_tokens": 4096,
                "seed": number,
                **extra,
            }
        ).encode()
        for number, text in enumerate(prompts(count))
    ]
    answered = 0

    async def worker(session: aiohttp.ClientSession, waiting: list[bytes]) -> None:
        nonlocal answered
        while waiting:
            async with session.post(f"{url}/chat/completions", data=waiting.pop()) as response:
                await response.read()
                answered += response.status == 200

    async def main() -> None:
        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            await asyncio.gather(*(worker(session, bodies) for _ in range(CONCURRENT)))

    return lambda: asyncio.run(main()), lambda: answered


def curator(url: str, count: int, shape: str, folder: Path) -> tuple[Callable[[], None], Callable[[], int]]:
    """Curator's online OpenAI backend, with its limits out of the way and its cache new."""
    os.environ |= {"TELEMETRY_ENABLED": "false", "CURATOR_VIEWER": "0", "OPENAI_API_KEY": "none"}
    os.environ |= {"CURATOR_CACHE_DIR": str(folder / "curator"), "HF_HUB_OFFLINE": "1"}
    shutil.rmtree(folder / "curator", ignore_errors=True)
    if spec := importlib.util.find_spec("litellm"):
        # Curator counts tokens with a file that tiktoken downloads; litellm, which it brings, has a copy.
        os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(spec.origin).parent / "litellm_core_utils" / "tokenizers")
    from bespokelabs import curator as library

    del shape
    limits = {"max_requests_per_minute": 10**7, "max_tokens_per_minute": 10**10, "max_concurrent_requests": CONCURRENT}
    llm = library.LLM(model_name=MODEL, backend="openai", backend_params={"base_url": url, "api_key": "none", **limits})
    found: list[object] = []

    def call() -> None:
        answer = llm(prompts(count))
        found.extend(getattr(answer, "dataset", answer))

    return call, lambda: len(found)


def distilabel(url: str, count: int, shape: str, folder: Path) -> tuple[Callable[[], None], Callable[[], int]]:
    """A pipeline of distilabel that loads prompts and has one task, in batches of 64."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "DISTILABEL_LOG_LEVEL": "ERROR", "HOME": str(folder)}
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    del shape
    rows = [{"instruction": text} for text in prompts(count)]
    with Pipeline(name="bench", cache_dir=folder / "distilabel") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=CONCURRENT)
        llm = OpenAILLM(model=MODEL, base_url=url, api_key="none", generation_kwargs={"max_new_tokens": 4096})
        load >> TextGeneration(llm=llm, input_batch_size=CONCURRENT)
    found: list[object] = []

    def call() -> None:
        answer = pipeline.run(use_cache=False)["default"]["train"]
        found.extend(row for row in answer if row["generation"])

    return call, lambda: len(found)


CLIENTS = {
    "gradatim": attempt,
    "with books": partial(attempt, books=True),
    "bare": bare,
    "curator": curator,
    "distilabel": distilabel,
}


def cpu_seconds() -> float:
    """User and system time of this process, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure(name: str, url: str, count: int, shape: str, folder: Path, profile: str | None) -> dict[str, float]:
    """Run one client once, in this process."""
    call, done = CLIENTS[name](url, count, shape, folder)
    if profile:
        import cProfile

        cProfile.runctx("call()", {"call": call}, {}, profile)
        return {"rows": done(), "seconds": 1.0, "cpu": 0.0}
    clock, cpu = time.perf_counter(), cpu_seconds()
    call()
    seconds, cpu = time.perf_counter() - clock, cpu_seconds() - cpu
    return {"rows": done(), "seconds": seconds, "cpu": cpu}


def in_child(python: str, words: list[str]) -> dict[str, float] | str:
    """Run one client in a process of its own. Returns what it measured, or the last line it said."""
    env = os.environ | {"PYTHONPATH": SOURCE}
    command = [python, str(Path(__file__).resolve()), "--child", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    found: dict[str, float] = json.loads(lines[-1])
    return found


def line(name: str, shape: str, runs: list[dict[str, float]], bare_rates: list[float]) -> tuple[float, float]:
    """Print one line of the table: medians over the rounds. Returns the ratio to the bare client, and the CPU time."""
    rates = [run["rows"] / run["seconds"] for run in runs]
    ratio = statistics.median(rate / other for rate, other in zip(rates, bare_rates, strict=False))
    cpu = statistics.median(run["cpu"] / run["rows"] * 1000 for run in runs)
    print(
        f"{name:<13}{shape:<7}{statistics.median(rates):>10,.0f} rows/s{ratio:>8.2f} of bare{cpu:>8.3f} s CPU "
        f"per 1,000   ({len(runs)} rounds of {runs[0]['rows']:,.0f}: {min(rates):,.0f} to {max(rates):,.0f})",
        flush=True,
    )
    return ratio, cpu


def peers(url: str, rows: int, folder: Path, bare_rates: list[float]) -> None:
    """Measure the peers that are installed."""
    for name, variable in PEERS.items():
        python = os.environ.get(variable)
        if python is None:
            print(f"{name:<13}skipped: {variable} is not set")
            continue
        count = min(rows, 2000)
        found = in_child(python, [name, url, str(count), "plain", str(folder)])
        if isinstance(found, str):
            print(f"{name:<13}did not run: {found}")
        elif found["rows"] < count:
            print(f"{name:<13}gave {found['rows']:.0f} of {count} rows")
        else:
            line(name, "plain", [found], bare_rates)


def main() -> int:
    """Print the table. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", metavar="FILE", help="Profile one round instead.")
    parser.add_argument("--shape", choices=SHAPES, default="stream", help="Of the round to profile.")
    options = parser.parse_args()
    sys.path.insert(0, SOURCE)
    import gradatim as gr

    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as place, gr.MockServer(process=True) as server:
        folder = Path(place)
        make_library(folder, options.rows)
        if options.profile:
            measure("gradatim", server.url, options.rows, options.shape, folder, options.profile)
            return 0
        for _ in range(options.rounds):
            for shape in SHAPES:
                for name in ("bare", "gradatim", "with books"):
                    found = in_child(sys.executable, [name, server.url, str(options.rows), shape, place])
                    assert not isinstance(found, str), f"{name}: {found}"
                    runs.setdefault((name, shape), []).append(found)
        rates = {shape: [run["rows"] / run["seconds"] for run in runs["bare", shape]] for shape in SHAPES}
        missed = 0
        for shape in SHAPES:
            line("bare aiohttp", shape, runs["bare", shape], rates[shape])
            ratio, cpu = line("gradatim", shape, runs["gradatim", shape], rates[shape])
            missed += ratio < RATIO or cpu > CPU
            line("with books", shape, runs["with books", shape], rates[shape])
        peers(server.url, options.rows, folder, rates["plain"])
    print(f"targets: at least {RATIO} of bare and at most {CPU} s CPU per 1,000: {'missed' if missed else 'met'}")
    return int(missed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        which, where, how_many, how, home = sys.argv[2:]
        print(json.dumps(measure(which, where, int(how_many), how, Path(home), None)))
    else:
        sys.exit(main())
