"""A server that is asked for scores: connections, tries again, faults, and many solutions at once.

What is asked, and what an answer means, the backends know: `pooling` and `chat`. A fault of the server or the way to it
is never a score. The key is read from the environment; it is in no fault and no message.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gradatim.errors import SetupError, UsageError
from gradatim.prm.pooling_reply import error_text, model_names
from gradatim.prm.thread import LoopThread
from gradatim.types import Boundary, Fault, StepScores

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from concurrent.futures import Future

    from gradatim.prm import Solution

_LONGEST_PAUSE = 60.0
"""Seconds; a server that asks for more is tried again by the next run instead."""

P = TypeVar("P")
_Out = tuple[int, "StepScores | Fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that need not be asked for again, good or bad."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a server is reached and how often it is asked.

    `base_url`: `http://host:8000`, with or without `/v1`. `api_key_env`: the environment variable that holds the key.
    `concurrency`: the most solutions at once. `idle_timeout`: seconds without a byte from the server. `tries`: requests
    for one answer; between two there is a random pause of up to `backoff` seconds, twice as much each time, or what the
    server's Retry-After says.
    """

    base_url: str
    api_key_env: str | None = None
    concurrency: int = 16
    idle_timeout: float = 300.0
    tries: int = 4
    backoff: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("concurrency", "tries"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of the PRM is {getattr(self, name)}; 1 or more was expected")
        if self.idle_timeout <= 0 or self.backoff < 0:
            raise UsageError(
                "idle_timeout and backoff of the PRM are seconds; more than 0, and 0 or more, were expected"
            )


class Server:
    """A server that runs a PRM under the name `model`. Opens its connections when it is first asked.

    `upgrade`: what to do where the server lacks a path, for a sentence. `listed`: whether the model must stand in the
    server's list; chat servers have been seen that list none, or others than they answer for.

    Raises `UsageError` for a URL that is none, `SetupError` where the key's variable is not set.
    """

    def __init__(self, way: Way, *, model: str, upgrade: str, listed: bool = True) -> None:
        self.base = _base(way.base_url)
        self._way = way
        self._key = _key(way.api_key_env)
        self._model = model
        self._upgrade = upgrade
        self._listed = listed
        self._checked = False
        self._thread: LoopThread | None = None
        self._session: Any = None

    def stream(
        self,
        solutions: Iterable[Solution],
        prepare: Callable[[Solution], P | StepScores],
        score: Callable[[P], Coroutine[object, object, StepScores | Fault]],
    ) -> Iterator[_Out]:
        """Give each solution's key with what it came to, as answers come; holds at most `concurrency` solutions.

        What `prepare` refuses is not asked for. Raises `SetupError` where the server cannot be reached or does not have
        the model.
        """
        thread = self._open()
        if not self._checked:
            thread.submit(self._check()).result()
            self._checked = True
        done: SimpleQueue[Future[_Out]] = SimpleQueue()
        under_way: set[Future[_Out]] = set()
        try:
            for solution in solutions:
                prepared = prepare(solution)
                if isinstance(prepared, StepScores):
                    yield solution.key, prepared
                    continue
                future = thread.submit(_keyed(solution.key, score(prepared)))
                under_way.add(future)
                future.add_done_callback(done.put)
                while under_way and (len(under_way) >= self._way.concurrency or not done.empty()):
                    yield _next(done, under_way)
            while under_way:
                yield _next(done, under_way)
        finally:
            for future in under_way:
                future.cancel()

    async def request(self, method: str, path: str, body: dict[str, object] | None = None) -> Answer | Fault:
        """Ask until there is an answer worth keeping, or all tries are spent; then give the last fault."""
        fault = fault_of("connection", "not tried")
        for number in range(self._way.tries):
            tried, pause = await self._try(method, path, body)
            if isinstance(tried, Answer):
                return tried
            fault = tried
            if pause > _LONGEST_PAUSE or number + 1 == self._way.tries:
                break
            # Random, so that the requests that a busy server turned away do not come back all at once.
            await asyncio.sleep(pause or random.uniform(0, self._way.backoff * 2**number))  # noqa: S311 - not a secret
        return fault

    def refuse_status(self, answer: Answer, path: str) -> None:
        """Raise `SetupError` for a status that every request would get."""
        said = error_text(answer.body)
        if answer.status in (401, 403):
            variable = self._way.api_key_env
            key = f"set {variable} to a key it takes" if variable else "name its key's variable in api_key_env"
            raise SetupError(f"the PRM server {self.base} asks for a key ({answer.status}: {said}); {key}")
        if answer.status in (402, 429):
            raise SetupError(f"the account at {self.base} has no credit left ({answer.status}: {said}); add credit")
        if answer.status in (404, 405):
            raise SetupError(f"{self.base}{path} is not there ({answer.status}: {said}); {self._upgrade}")

    def _cleaned(self, body: bytes) -> bytes:
        """Return a server's answer without the key that it may echo."""
        return body.replace(self._key.encode(), b"[key]") if self._key else body

    def close(self) -> None:
        """End the connections; a later `stream` opens new ones."""
        thread, session = self._thread, self._session
        self._thread = self._session = None
        if session is not None and thread is not None:
            thread.submit(session.close()).result()
        if thread is not None:
            # Without a session where Ctrl-C came before there was one.
            thread.close()

    def _open(self) -> LoopThread:
        if self._thread is None:
            self._thread = LoopThread()
            self._session = self._thread.submit(self._new_session()).result()
        return self._thread

    async def _new_session(self) -> Any:
        import aiohttp  # noqa: PLC0415 - a tenth of a second, and not needed to know what a PRM is

        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=self._way.idle_timeout),
            connector=aiohttp.TCPConnector(limit=self._way.concurrency),
        )

    async def _check(self) -> None:
        """Hold the server to its list of models, where it must have one. Raises `SetupError`."""
        answer = await self.request("GET", "/v1/models")
        if isinstance(answer, Fault) and (self._listed or answer.reason in ("connection", "timeout")):
            raise SetupError(
                f"the PRM server {self.base} cannot be used ({answer.reason}: {answer.message}); start it, or correct "
                "base_url"
            )
        if isinstance(answer, Fault) or not self._listed:
            # `transformers serve` answers 500 where it has no cache of the hub to list.
            if isinstance(answer, Answer) and answer.status not in (404, 405):
                self.refuse_status(answer, "/v1/models")
            return
        names = model_names(answer.body) if answer.status == 200 else None
        if names is None:
            self.refuse_status(answer, "/v1/models")
            raise SetupError(f"{self.base}/v1/models gave no list of models; is base_url that of a vLLM server?")
        if self._model not in names:
            there = ", ".join(map(repr, names)) or "none"
            raise SetupError(f"the PRM server {self.base} does not have {self._model!r}; it has {there}: correct model")

    async def _try(self, method: str, path: str, body: dict[str, object] | None) -> tuple[Answer | Fault, float]:
        """Ask once. With a fault comes the pause that the server asked for, in seconds, 0 where it asked for none."""
        import aiohttp  # noqa: PLC0415 - as above

        try:
            async with self._session.request(method, self.base + path, json=body) as response:
                content = self._cleaned(await response.read())
        except TimeoutError:
            return fault_of("timeout", f"no byte from {self.base}{path} for {self._way.idle_timeout:g} s"), 0.0
        except (aiohttp.ClientError, OSError) as error:
            return fault_of("connection", self._cleaned(f"{type(error).__name__}: {error}".encode()).decode()), 0.0
        out_of_credit = response.status == 429 and b"insufficient_quota" in content
        if not out_of_credit and (response.status in (408, 409, 425, 429) or response.status >= 500):
            pause = _seconds(response.headers.get("Retry-After", ""))
            return fault_of(f"http_{response.status}", error_text(content)), pause
        if response.status == 200 and not content.lstrip().startswith(b"{"):
            return fault_of("bad_json", f"{self.base}{path} sent no JSON object"), 0.0
        return Answer(status=response.status, body=content), 0.0


def fault_of(reason: str, message: str) -> Fault:
    """Return a fault of a PRM."""
    return Fault(boundary=Boundary.PRM, reason=reason, message=message[:500])


async def _keyed(key: int, work: Coroutine[object, object, StepScores | Fault]) -> _Out:
    return key, await work


def _next(done: SimpleQueue[Future[_Out]], under_way: set[Future[_Out]]) -> _Out:
    future = done.get()
    under_way.discard(future)
    return future.result()


def _seconds(retry_after: str) -> float:
    """Return what a Retry-After header asks for, as seconds from now; it may be a date."""
    from datetime import UTC, datetime  # noqa: PLC0415 - rare
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - rare

    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _base(url: str) -> str:
    """Return a server's URL without the `/v1` that chat clients want."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or parts.query or parts.fragment:
        raise UsageError(f"base_url of the PRM is {url!r}; a URL such as http://localhost:8000 was expected")
    if parts.username or parts.password:
        raise UsageError(
            "base_url of the PRM holds a user or password; put the key in a variable and name it in api_key_env"
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SetupError(f"the environment variable {variable} is not set; the PRM server's key is to be in it")
    return key
