"""A chat server on this machine that makes its answers up: `gradatim mock-server`.

For trying the whole loop without a model, and for proving that a pipeline loses nothing and buys nothing twice: it
counts requests, and fails them on purpose, by a seed. **Its answers are invented, and so are the step scores that its
`/pooling` gives**: a run against it shows that the machinery works and nothing about any model.

    POST /v1/chat/completions   plain or streamed; a label with its log probabilities where one token is asked for
    POST /pooling               step scores in vLLM's shape, for text or messages with step tags
    GET  /v1/models, /health, /stats
    /v1/files, /v1/batches      the batch API
    POST /reset                 sets the counts of /stats to nothing

It listens on the loopback interface only.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from gradatim.errors import GradatimError, SetupError, UsageError
from gradatim.models.mock_answers import Answers
from gradatim.models.mock_batches import MockBatches, check_shares
from gradatim.models.mock_choices import IGNORED
from gradatim.models.mock_counts import MockStats, State
from gradatim.models.mock_faults import Injection
from gradatim.models.mock_http import Connection
from gradatim.models.mock_usage import USAGES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gradatim.models.mock_answers import Speaker

_CONTINUES = ("honest", "echo", "ignore")
_REASONING = ("none", "field", "reasoning", "think")


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """How the mock server answers."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free one."""
    models: tuple[str, ...] = ("mock",)
    """The names that `/v1/models` lists; any name is answered."""
    accuracy: float = 0.6
    """How often an answer is right, over all questions; each question has its own chance."""
    accuracies: tuple[tuple[str, float], ...] = ()
    """The same for single models, by name: a teacher is better than its pupil."""
    answers: str | None = None
    """A JSONL file of questions with references, and solutions where it has them."""
    reasoning: str = "none"
    """`field` (reasoning_content), `reasoning`, `think` (tags in the text), or `none`."""
    continues: str = "honest"
    """What it does when it is asked to go on with an answer: `honest` goes on, `echo` repeats what it was sent before
    it does, as Mistral's server does, and `ignore` begins anew, as one does that does not know the field."""
    usage: str = "counted"
    """`counted`: four characters are a token. `random`: up to `max_tokens`, to try a budget. `untold`: the same, and
    one answer in ten does not say it."""
    faults: tuple[tuple[str, float], ...] = ()
    """Kinds of `mock_faults.KINDS` with their probabilities."""
    ignores: tuple[str, ...] = ()
    """Which of `mock_choices.IGNORED` it does not know, and answers 200 all the same."""
    context: int | None = None
    """Tokens of prompt and answer together; listed, and a longer request is refused. None: no limit."""
    seed: int = 0
    """Decides the faults."""
    latency: float = 0.0
    """Seconds before each answer."""
    retry_after: float = 1.0
    """Seconds that a 429 asks for."""
    drip: float = 0.05
    """Seconds between the parts of a slow answer."""
    deltas: int = 8
    """Events in which a streamed answer comes."""
    batch_seconds: float = 2.0
    """What a batch takes, give or take a half."""
    batch_faults: tuple[tuple[str, float], ...] = ()
    """Kinds of `mock_batches.BATCH_KINDS` with their probabilities, each by itself."""

    def __post_init__(self) -> None:
        """Refuse what is wrong, and any address that another machine can reach."""
        if not _is_loopback(self.host):
            raise UsageError(
                f"the mock server does not listen on {self.host}: it is for this machine alone, on 127.0.0.1 or ::1"
            )
        for word, known in (("reasoning", _REASONING), ("continues", _CONTINUES), ("usage", USAGES)):
            if getattr(self, word) not in known:
                raise UsageError(f"--{word} {getattr(self, word)}: write one of {', '.join(known)}")
        if not 0 <= self.port < 65536:
            raise UsageError(f"--port {self.port}: write a number from 0 to 65535")
        for word in ("latency", "retry_after", "drip", "batch_seconds"):
            if not 0 <= getattr(self, word) < float("inf"):
                raise UsageError(f"{word} is {getattr(self, word)}: write seconds, 0 or more")
        if unknown := set(self.ignores) - IGNORED.keys():
            raise UsageError(f"--ignore {', '.join(sorted(unknown))}: write one of {', '.join(IGNORED)}")
        if self.context is not None and self.context < 1:
            raise UsageError(f"--context {self.context}: write 1 or more")
        if self.deltas < 1:
            raise UsageError(f"deltas is {self.deltas}: write 1 or more")
        Injection(shares=self.faults, seed=self.seed)
        check_shares(self.batch_faults)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve_forever(
    settings: MockSettings, on_ready: Callable[[str], None] = lambda _: None, *, speaker: Speaker | None = None
) -> None:
    """Serve until the process is interrupted. `on_ready` gets the base URL: `http://127.0.0.1:8123/v1`.

    `speaker` answers in place of the settings' made-up answers. Raises `SetupError` where the port is taken.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings, on_ready, asyncio.Event(), speaker))


async def _serve(
    settings: MockSettings,
    on_ready: Callable[[str], None],
    stopping: asyncio.Event,
    speaker: Speaker | None = None,
) -> None:
    answers = speaker or Answers(accuracy=settings.accuracy, accuracies=settings.accuracies, path=settings.answers)
    batches = MockBatches(
        lambda body: Connection(state).chat_body(body),
        faults=settings.batch_faults,
        seed=settings.seed,
        seconds=settings.batch_seconds,
    )
    injection = Injection(shares=settings.faults, seed=settings.seed)
    state = State(settings=settings, answers=answers, batches=batches, injection=injection)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Connection(state), settings.host, settings.port, backlog=2048)
    except OSError as error:
        raise SetupError(
            f"the mock server cannot listen on {settings.host}:{settings.port} ({error.strerror}): "
            "choose another --port, or 0 for any"
        ) from error
    port = server.sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    on_ready(f"http://{host}:{port}/v1")
    try:
        await stopping.wait()
    finally:
        server.close()
        for connection in list(state.open):
            connection.abort()


class MockServer:
    """A mock server for the length of a `with` block, in a thread, or in a process where speed is measured."""

    def __init__(
        self, settings: MockSettings | None = None, *, process: bool = False, speaker: Speaker | None = None
    ) -> None:
        """Nothing listens before the block is entered. Raises `UsageError` for a `speaker` with `process`."""
        if speaker is not None and process:
            raise UsageError("a speaker lives in this process: leave process=True out")
        self._settings = settings or MockSettings()
        self._speaker = speaker
        self._in_process = process
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stop: Callable[[], None] = lambda: None
        self.url = ""
        """The base URL, `/v1` included."""

    def __enter__(self) -> Self:
        """Start, and wait until the server listens. Raises what kept it from that."""
        self.url = self._start_process() if self._in_process else self._start_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop()

    def stats(self) -> MockStats:
        """Return what the server has seen."""
        return msgspec.json.decode(self._call("GET", "/stats"), type=MockStats)

    def reset(self) -> None:
        """Set the counts to nothing."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str) -> bytes:
        address = self.url.removeprefix("http://").removesuffix("/v1")
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def _start_thread(self) -> str:
        ready = threading.Event()
        found: list[str] = []
        failed: list[BaseException] = []

        def on_ready(url: str) -> None:
            found.append(url)
            ready.set()

        async def body() -> None:
            stopping, loop = asyncio.Event(), asyncio.get_running_loop()

            def stop() -> None:
                loop.call_soon_threadsafe(stopping.set)

            self._stop = stop
            await _serve(self._settings, on_ready, stopping, self._speaker)

        def run() -> None:
            try:
                asyncio.run(body())
            except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits for the server
                failed.append(error)
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="gradatim-mock-server", daemon=True)
        self._thread.start()
        ready.wait()
        if failed:
            raise failed[0]
        stop_loop, thread = self._stop, self._thread

        def stop() -> None:
            stop_loop()
            thread.join()

        self._stop = stop
        return found[0]

    def _start_process(self) -> str:
        """Start a child that serves until its standard input ends, which it does when this process does."""
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(self._settings) + b"\n")
        process.stdin.flush()
        line = process.stdout.readline().decode().strip()

        def stop() -> None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._stop = stop
        if not line.startswith("http"):
            stop()
            raise SetupError(line or "the mock server's process ended before it listened")
        return line


def _child() -> None:
    """Serve in a child process: settings on the first line of standard input, the URL on standard output."""
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=MockSettings)

    async def body() -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()

        def wait_for_end() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stopping.set)

        threading.Thread(target=wait_for_end, daemon=True).start()
        await _serve(settings, lambda url: print(url, flush=True), stopping)  # noqa: T201 - the parent reads it

    try:
        asyncio.run(body())
    except GradatimError as error:
        print(error, flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    _child()
