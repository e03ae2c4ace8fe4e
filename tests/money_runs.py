"""Runs with a budget against a server that counts what it bills, killed and started again at random: one run a seed.

What a run is made of (stage, questions, limits, price, faults, moments of the kills) is decided by its seed. The server
makes up how many tokens each answer used, tells it or not, and bills every request at which its model wrote anything,
whether the client got the answer or was dead by then.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gradatim as gr
from gradatim.library.store import Library
from gradatim.models.mock_server import MockServer, MockSettings
from gradatim.types import Role
from gradatim.work.spending import spent
from pools import drawn_library, question, write_rows

if TYPE_CHECKING:
    from gradatim.models.mock_counts import MockStats

DURABLE_WITHIN = 0.3
"""Seconds from an answer's last byte until it must be in the library; 0.1 on a machine with nothing beside it."""
STAGES = {"attempt": Role.BASE, "evaluate": Role.EVAL, "teach": Role.TEACHER}
KINDS = ("429", "429_bare", "500", "drop", "empty", "malformed", "truncated", "slow", "hang", "error_200")


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a seed makes of a run."""

    seed: int
    stage: str
    questions: int
    concurrency: int
    max_tokens: int
    stream: bool
    price: gr.Price
    tokens: int | None
    money: float | None
    kills: int
    truncated: str
    """What becomes of answers that are cut off."""
    server: MockSettings


def make(seed: int) -> Made:
    """Return the run of a seed."""
    random_ = random.Random(seed)
    stage = random_.choice(("attempt", "attempt", "attempt", "evaluate", "teach"))
    questions, max_tokens = random_.randint(30, 80), random_.randint(20, 600)
    price = gr.Price(
        input=random_.uniform(0, 3),
        output=random_.uniform(0.1, 9),
        cached_input=random_.choice((None, random_.uniform(0, 1), random_.uniform(1, 5))),
    )
    worst = questions * (max_tokens + 700)
    share = random_.uniform(0.1, 1.5)
    kind = random_.choice(("tokens", "money", "both"))
    # Without faults and untold counts the books have no slack but the worst cases of what a kill caught in flight, and
    # with one kind of fault alone none but those and that fault's.
    sort = random_.choice(("clean", "one kind", "one kind", "all kinds", "all kinds"))
    count = {"clean": 0, "one kind": 1, "all kinds": random_.randint(2, len(KINDS))}[sort]
    most = 0.3 if sort == "one kind" else 0.08
    faults = {one: random_.uniform(most / 4, most) for one in random_.sample(KINDS, count)}
    truncated = random.Random(f"cut off {seed}").choice(("keep", "retry", "continue"))
    if truncated != "keep":
        faults["truncated"] = 0.4
    return Made(
        seed=seed,
        stage=stage,
        questions=questions,
        concurrency=random_.randint(1, 16),
        max_tokens=max_tokens,
        stream=random_.random() < 0.5,
        price=price,
        tokens=None if kind == "money" else int(worst * share),
        money=None if kind == "tokens" else price.worst(questions * 700, questions * max_tokens) / 1e12 * share,
        kills=random_.randint(1, 4),
        truncated=truncated,
        server=MockSettings(
            usage=random_.choice(("random", "untold")) if sort == "all kinds" else "random",
            accuracy=random_.uniform(0.3, 1),
            faults=tuple(faults.items()),
            latency=random_.choice((0.0, 0.01, 0.05, 0.1)),
            retry_after=0.02,
            drip=0.005,
            seed=seed,
        ),
    )


def _write(folder: Path, made: Made, url: str) -> None:
    """Make the folder: a library with what the stage needs, and the settings."""
    if made.stage == "teach":
        drawn_library(folder, 90, size=min(40, made.questions)).close()
    else:
        purpose = "eval" if made.stage == "evaluate" else "pool"
        pool = write_rows(folder / "pool.jsonl", map(question, range(made.questions)))
        with Library(folder / "library.db", write=True) as library:
            gr.ingest(library, gr.IngestSettings(path=str(pool), set="s", purpose=purpose))
    limits = {"tokens": made.tokens, "money": made.money}
    budget = [f"{key} = {value!r}" for key, value in limits.items() if value is not None]
    price = [f"input = {made.price.input!r}", f"output = {made.price.output!r}"]
    larger = f"truncated_max_tokens = {2 * made.max_tokens}"
    price += [] if made.price.cached_input is None else [f"cached_input = {made.price.cached_input!r}"]
    lines = [
        "[models.m]",
        'model = "m"',
        f"base_url = {json.dumps(url)}",
        f"concurrency = {made.concurrency}",
        "idle_timeout = 0.25",
        "tries = 3",
        f"stream = {str(made.stream).lower()}",
        f"price = {{ {', '.join(price)} }}",
        'continues = "vllm"',
        f"[{made.stage}]",
        'model = "m"',
        f"max_tokens = {made.max_tokens}",
        *([] if made.truncated == "keep" else [f'truncated = "{made.truncated}"', larger]),
        *(["samples = 2"] if made.stage == "evaluate" else []),
        f"budget = {{ {', '.join(budget)} }}",
    ]
    (folder / "gradatim.toml").write_text("\n".join(lines) + "\n")


def _command(folder: str, words: tuple[str, ...]) -> None:
    """Run the command line in this process, with retries that wait no whole seconds."""
    from gradatim.cli import main
    from gradatim.models.pace import EngineSettings

    EngineSettings.__init__.__kwdefaults__.update(backoff=0.01, longest_backoff=0.05, patience=3.0)
    os.chdir(folder)
    sys.argv = ["gradatim", *words]
    sys.stdout = sys.stderr = open("said.txt", "a")  # noqa: SIM115, PTH123 - until the process ends
    main.main()


def _started(folder: Path, made: Made) -> multiprocessing.process.BaseProcess:
    """Start the stage in a process of its own, forked from one that has imported all it takes."""
    # What the forking process imports beforehand it looks for by its environment alone.
    paths = (str(Path(gr.__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["money_runs", "gradatim.pipeline", "gradatim.cli.main", "aiohttp", "sympy"])
    words = (made.stage, "d") if made.stage == "teach" else (made.stage,)
    process = context.Process(target=_command, args=(str(folder), words))
    process.start()
    return process


def _kill(
    process: multiprocessing.process.BaseProcess, server: MockServer, made: Made, random_: random.Random
) -> float:
    """Kill the process: after some requests more, or at any moment of its start. Returns when."""
    if random_.random() < 0.2:
        time.sleep(random_.uniform(0, 0.3))
    else:
        goal, end = server.stats().requests + random_.randint(1, made.concurrency + 6), time.monotonic() + 20
        while server.stats().requests < goal and process.is_alive() and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(random_.uniform(0, 0.03))
    at = time.time()
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGTERM if random_.random() < 0.1 else signal.SIGKILL)
    process.join()
    return at


def run(seed: int, folder: Path) -> dict[str, float]:
    """Do one run. Returns what came of it; raises `AssertionError` where money or an answer went astray."""
    made, random_ = make(seed), random.Random(seed + 1)
    with MockServer(made.server, process=True) as server:
        _write(folder, made, server.url)
        lost = 0
        for _ in range(made.kills):
            at = _kill(_started(folder, made), server, made, random_)
            while server.stats().in_flight:
                time.sleep(0.002)
            stats = server.stats()
            lost += sum(moment > at - DURABLE_WITHIN for moment in stats.last_answered)
            _check_spending(folder, made, stats)
            _check_answers(folder, made, stats, lost)
        process = _started(folder, made)
        process.join(60)
        assert process.exitcode in (0, 1, 5), (process.exitcode, (folder / "said.txt").read_text()[-2000:])
        stats = server.stats()
        _check_answers(folder, made, stats, lost)
        found = _check_spending(folder, made, stats)
    return found | _check_books(folder, made, stats)


def billed(stats: MockStats, price: gr.Price) -> tuple[int, float]:
    """Return what the server has billed: tokens and money."""
    bill = stats.billed.get("m")
    if bill is None:
        return 0, 0.0
    return bill.prompt + bill.completion, price.pico(bill.prompt, bill.completion, bill.cached) / 1e12


def _check_spending(folder: Path, made: Made, stats: MockStats) -> dict[str, float]:
    """What was billed is within the budget, and no more than what the books say, which are within it too."""
    tokens, money = billed(stats, made.price)
    with Library(folder / "library.db") as library:
        booked, paid = spent(library, STAGES[made.stage], "m", "d" if made.stage == "teach" else None)
    assert tokens <= booked, f"seed {made.seed}: {tokens} tokens were billed, {booked} are in the books"
    assert money <= paid + 1e-12, f"seed {made.seed}: {money} was billed, {paid} is in the books"
    if made.tokens is not None:
        assert booked <= made.tokens, f"seed {made.seed}: {booked} of {made.tokens} tokens"
    if made.money is not None:
        assert paid <= made.money + 1e-12, f"seed {made.seed}: {paid} of {made.money} in money"
    return {"billed": tokens, "booked": booked, "limit": made.tokens or 0, "money": money}


def _check_answers(folder: Path, made: Made, stats: MockStats, fresh: int) -> None:
    """Of the answers that were sent, those of the last moments before a kill alone may be missing."""
    with Library(folder / "library.db") as library:
        there = _answers(library, made)
    assert stats.bodies_answered - there <= fresh, f"seed {made.seed}: {stats.bodies_answered} sent, {there} there"


def _answers(library: Library, made: Made) -> int:
    """Count the answers that are there, further ones for those that were cut off included."""
    views = ("attempts", "furthers")
    counts = (f"SELECT count(*) FROM {view} WHERE model = 'm' AND role = ?" for view in views)
    return sum(library.value(sql, (STAGES[made.stage],)) for sql in counts)


def _check_books(folder: Path, made: Made, stats: MockStats) -> dict[str, float]:
    """Each answer's usage is in the ledger once, with its own counts; nothing is open; nothing is there twice."""
    with Library(folder / "library.db") as library:
        why = dict(library.all("SELECT why, count(*) FROM ledger GROUP BY 1"))
        assert "open" not in why
        answers = _answers(library, made)
        linked, distinct, alike = library.all(
            "SELECT count(*), count(DISTINCT p.pk), count(*) FILTER (WHERE "
            "coalesce(a.prompt_tokens, p.prompt) = p.prompt AND coalesce(a.completion_tokens, p.completion) = "
            "p.completion AND p.why = 'answer' AND p.question = a.question) "
            "FROM (SELECT question, prompt_tokens, completion_tokens, payment FROM attempt UNION ALL SELECT "
            "b.question, f.prompt_tokens, f.completion_tokens, f.payment FROM further f "
            "JOIN attempt b ON b.pk = f.attempt) a "
            "JOIN payment p ON p.pk = a.payment"
        )[0]
    counts = (linked, distinct, alike, why.get("answer", 0))
    assert set(counts) == {answers}, f"seed {made.seed}: {answers} answers, payments {counts}"
    assert why.get("lost", 0) <= made.kills * made.concurrency, (made.seed, why)
    # Beyond the requests that the server saw, those alone that were reserved and not sent when a process died.
    assert sum(why.values()) <= stats.requests + made.kills * made.concurrency, (made.seed, why)
    return {"requests": stats.requests, "answers": answers} | {f"why {key}": count for key, count in why.items()}
