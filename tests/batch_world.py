"""A client of the batch API in a process that can be killed, at any moment or at a chosen one."""

import multiprocessing
import os
import random
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gradatim as gr
from gradatim.library.store import Library
from gradatim.models.batch_api import BatchEndpoint
from gradatim.models.endpoint import Endpoint
from gradatim.models.mock_counts import MockStats
from gradatim.work import sending
from pools import drawn_library, pool_library

DONE, LEFT, FAILED = 0, 1, 2
"""Exit codes of a client: nothing is under way; batches go on; an error, whose sentence stands in `error.txt`."""
SAMPLES = 2
PRICE = gr.Price(input=1.5, cached_input=0.5, output=6.0)
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["batch_world", "gradatim.stages.attempt", "gradatim.stages.teach", "aiohttp"])
WANTED = (
    "SELECT q.pk, s.value FROM question q, json_each('[0,1]') s WHERE NOT EXISTS (SELECT 1 FROM attempt a "
    "WHERE a.question = q.pk AND a.sample = s.value)"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a client does."""

    library: str
    url: str
    stage: str = "attempt"
    model: dict = field(default_factory=dict)
    settle: float = 0.3
    die_at: int = 0
    """The client kills itself at this event; see `_armed`."""
    blind: bool = False
    """A broken client, which looks for nothing before it makes a batch."""


def run_client(plan: Plan) -> None:
    """Be the client: ask what is missing, and exit with how it ended."""
    sending.SETTLE, sending._BETWEEN = plan.settle, 0.02
    if plan.die_at:
        _armed(plan.die_at)
    if plan.blind:
        sending.Sender._sought = lambda *_, **__: None
    endpoint = Endpoint(name="m", base_url=plan.url, probe=False)
    settings = {"poll": 0.02, "requests": 9} | plan.model
    model = BatchEndpoint(endpoint, **settings) if plan.model.get("batch", True) else endpoint
    engine = gr.EngineSettings(tries=3, backoff=0.01, patience=2.0, concurrency=4)
    try:
        with Library(plan.library, write=True) as library:
            if plan.stage == "teach":
                wanted = gr.TeachSettings(temperature=1.0, tries=3)
                curate = gr.CurateSettings(max_repetition=1)
                result = gr.teach(library, "d", model, wanted, engine=engine, curate=curate, price=PRICE)
            else:
                wanted = gr.AttemptSettings(samples=SAMPLES, temperature=1.0)
                result = gr.attempt(library, model, wanted, engine=engine, price=PRICE)
        code = LEFT if result.under_way else DONE
    except gr.GradatimError as error:
        Path(plan.library).with_name("error.txt").write_text(str(error))
        code = FAILED
    os._exit(code)


def _armed(number: int) -> None:
    """Have this process killed at its nth event: before or after a commit, or a call that makes or takes something."""
    left = [number]

    def event() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    opened, transaction = Endpoint.opened, Library.transaction

    @asynccontextmanager
    async def counted_call(self, method, path, **sent):
        counts = method != "GET" or path.endswith("/content")
        if counts:
            event()
        async with opened(self, method, path, **sent) as response:
            if counts:
                event()
            yield response

    @contextmanager
    def counted_commit(self):
        event()
        with transaction(self) as connection:
            yield connection
        event()

    Endpoint.opened, Library.transaction = counted_call, counted_commit


def start(plan: Plan):
    """Start a client."""
    process = FORKING.Process(target=run_client, args=(plan,), daemon=True)
    process.start()
    return process


def ended(plan: Plan, seconds: float = 30.0) -> int:
    """Run a client to its end; return its exit code, which is negative where it was killed."""
    process = start(plan)
    process.join(seconds)
    assert process.exitcode is not None, "the client does not end"
    return process.exitcode


def killed(plan: Plan, after: float) -> int | None:
    """Run a client, and kill it after so many seconds; return its exit code."""
    process = start(plan)
    process.join(after)
    process.kill()
    process.join()
    return process.exitcode


def made(folder: Path, count: int = 12) -> str:
    """Make a library with a pool, and return its path."""
    with pool_library(folder, count) as library:
        return str(library.path)


def drawn(folder: Path) -> str:
    """Make a library with a draw named `d`, and return its path."""
    with drawn_library(folder, 40, size=6) as library:
        return str(library.path)


def left_open(path: str) -> list[tuple]:
    """Batches that are open, and items of others that have no outcome."""
    with Library(path) as library:
        return library.all(
            "SELECT b.state, i.question FROM batch b LEFT JOIN batch_item i ON i.batch = b.pk AND i.outcome = '' "
            "WHERE b.state IN ('prepared', 'uploaded', 'submitted') OR i.question IS NOT NULL"
        )


def check_ended(path: str, stats: MockStats, stage: str = "attempt") -> int:
    """Hold a library whose clients have ended to the promise; return how many answers are missing.

    Every request is answered once, as the server answered it, or listed with its reason; nothing that was answered
    was submitted again; nothing that the server answered is lost. The ledger has what the server billed, and nothing
    stays reserved.
    """
    with Library(path) as library:
        attempts = library.all("SELECT question, sample, count(*) FROM attempt WHERE server_model <> '' GROUP BY 1, 2")
        assert all(count == 1 for _, _, count in attempts)
        if stage == "attempt":
            answers = library.all("SELECT reference, content FROM attempts a JOIN questions q ON q.id = a.question")
            assert all(f"\\boxed{{{reference}}}" in content for reference, content in answers), "a mixed-up answer"
        missing = library.all(WANTED) if stage == "attempt" else []
        reasons = set(library.all("SELECT question, sample FROM fault WHERE reason <> '' AND message <> ''"))
        assert set(missing) <= reasons, "a request is neither answered nor listed"
        assert stats.batch_again == 0, "a request that was answered, or under way, was submitted again"
        assert len(attempts) == stats.batch_answered + stats.bodies_answered
        booked = library.value("SELECT coalesce(sum(pico), 0) FROM payment WHERE why = 'answer'")
        assert library.value("SELECT count(*) FROM reservation") == 0
    billed = stats.billed["m"]
    assert booked == PRICE.pico(billed.prompt, billed.completion, billed.cached), "the books and the bill differ"
    assert left_open(path) == []
    return len(missing)


def random_faults(random_: random.Random) -> tuple[tuple[str, float], ...]:
    """Choose faults and how often they are met: some of them, so that runs come to an end."""
    of_batches = {"failed": 0.2, "failed_line": 0.2, "crowded": 0.2, "expired": 0.4, "cancelled": 0.2, "late": 0.5}
    of_lines = {"line_429": 0.3, "line_500": 0.3, "line_400": 0.1, "missing": 0.1, "twice": 0.5, "stranger": 0.5}
    of_calls = {"torn": 0.7, "not_there": 0.5, "call_500": 0.1, "call_429": 0.1, "lost": 0.3}
    kinds = {}
    for group, most in ((of_batches, 2), (of_lines, 3), (of_calls, 3)):
        for kind in random_.sample(sorted(group), random_.randint(0, most)):
            kinds[kind] = group[kind]
    return tuple(kinds.items())
