"""Score steps on a vLLM server that runs a PRM, by its `/pooling`.

The text is sent as the family writes it, control tokens and all, since the base install has no tokenizer; whether the
server is to add tokens of its own, the family says. A fault of the server or the way to it is never a score.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gradatim.errors import SetupError, UsageError
from gradatim.prm.families import family_of
from gradatim.prm.family import Prepared, prepare, refusal, version_of
from gradatim.prm.pooling_reply import Asked, error_text, model_names, read_pooling, says_no_such_task, says_too_long
from gradatim.prm.thread import LoopThread
from gradatim.types import Boundary, Fault, StepScores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from gradatim.prm import Solution

_TASKS = ("token_classify", None, "encode", "reward")
"""What the task has been called: since vLLM 0.11; left to the server; 0.10; before. The first that is taken is kept."""
_LONGEST_PAUSE = 60.0
"""Seconds; a server that asks for more is tried again by the next run instead."""

_Out = tuple[int, "StepScores | Fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """An answer that need not be asked for again, good or bad."""

    status: int
    body: bytes


class PoolingPRM:
    """Scores steps with the PRM that a server runs under the name `model`.

    `kind`: its family, as `[prm] kind` names them. `base_url`: `http://host:8000`, with or without `/v1`.
    `api_key_env`: the environment variable that holds the key. `concurrency`: the most requests at once.
    `idle_timeout`: seconds without a byte from the server. `context`: the most tokens of a solution that is scored,
    whatever the server takes; None is what the family reads. `tries`: requests for one solution; between two there is a
    random pause of up to `backoff` seconds, twice as much each time, or what the server's Retry-After says.

    Raises `UsageError` for a wrong setting, `SetupError` where the key's variable is not set.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        kind: str = "qwen",
        api_key_env: str | None = None,
        concurrency: int = 16,
        idle_timeout: float = 300.0,
        context: int | None = None,
        tries: int = 4,
        backoff: float = 0.5,
    ) -> None:
        family = family_of(kind)
        if family.served is None:
            raise UsageError(f'no server gives the scores of kind = "{kind}"; set backend = "local"')
        context = family.context if context is None else context
        for name, value in (("concurrency", concurrency), ("context", context), ("tries", tries)):
            if value < 1:
                raise UsageError(f"{name} of the PRM is {value}; 1 or more was expected")
        if idle_timeout <= 0 or backoff < 0:
            raise UsageError(
                "idle_timeout and backoff of the PRM are seconds; more than 0, and 0 or more, were expected"
            )
        self._family = family
        self._served = family.served
        self._base = _base(base_url)
        self._key = _key(api_key_env)
        self._key_env = api_key_env
        self._concurrency = concurrency
        self._idle_timeout = idle_timeout
        self._context = context
        self._tries = tries
        self._backoff = backoff
        self._task = 0
        self._checked = False
        self._thread: LoopThread | None = None
        self._session: Any = None
        self.aggregation = family.aggregation
        self.name = model
        self.version = version_of(family, "vllm-pooling", model, f"context={context}")

    def score(self, solutions: Iterable[Solution]) -> Iterator[_Out]:
        """Give each solution's key with its scores, or with a fault: `timeout`, `connection`, `http_500`, ...

        Streams, as answers come: holds at most `concurrency` solutions. Raises `SetupError` where the server cannot be
        reached, does not have the model, or is set up so that no answer of its can be right.
        """
        thread = self._open()
        if not self._checked:
            thread.submit(self._check_server()).result()
            self._checked = True
        done: SimpleQueue[Future[_Out]] = SimpleQueue()
        under_way: set[Future[_Out]] = set()
        try:
            for solution in solutions:
                prepared = prepare(self._family, solution)
                if isinstance(prepared, StepScores):
                    yield solution.key, prepared
                    continue
                future = thread.submit(self._score_one(prepared))
                under_way.add(future)
                future.add_done_callback(done.put)
                while under_way and (len(under_way) >= self._concurrency or not done.empty()):
                    yield _next(done, under_way)
            while under_way:
                yield _next(done, under_way)
        finally:
            for future in under_way:
                future.cancel()

    def close(self) -> None:
        """End the connections; a later `score` opens new ones."""
        if self._thread is not None:
            self._thread.submit(self._session.close()).result()
            self._thread.close()
            self._thread = self._session = None

    def _open(self) -> LoopThread:
        if self._thread is None:
            self._thread = LoopThread()
            self._session = self._thread.submit(self._new_session()).result()
        return self._thread

    async def _new_session(self) -> Any:
        import aiohttp  # noqa: PLC0415 - a tenth of a second, and not needed to know what a PRM is

        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=self._idle_timeout),
            connector=aiohttp.TCPConnector(limit=self._concurrency),
        )

    async def _check_server(self) -> None:
        """Hold the server to its list of models. Raises `SetupError`."""
        answer = await self._request("GET", "/v1/models")
        if isinstance(answer, Fault):
            raise SetupError(
                f"the PRM server {self._base} cannot be used ({answer.reason}: {answer.message}); start it, or correct "
                "base_url"
            )
        names = model_names(answer.body) if answer.status == 200 else None
        if names is None:
            self._refuse_status(answer, "/v1/models")
            raise SetupError(f"{self._base}/v1/models gave no list of models; is base_url that of a vLLM server?")
        if self.name not in names:
            there = ", ".join(map(repr, names)) or "none"
            raise SetupError(f"the PRM server {self._base} does not have {self.name!r}; it has {there}: correct model")

    async def _score_one(self, prepared: Prepared) -> _Out:
        while True:
            task = self._task
            if task == len(_TASKS):
                raise SetupError(f"{self._base}/pooling takes none of the tasks it could be asked for; {_UPGRADE}")
            body: dict[str, object] = {"model": self.name, **self._served.body(prepared.prompt, prepared.steps)}
            if (name := _TASKS[task]) is not None:
                body["task"] = name
            answer = await self._request("POST", "/pooling", body)
            if isinstance(answer, Fault):
                return prepared.key, answer
            if answer.status == 200:
                server = Asked(name=f"the PRM server {self._base}", served=self._served, context=self._context)
                return prepared.key, read_pooling(answer.body, prepared, server)
            self._refuse_status(answer, "/pooling")
            message = self._clean(error_text(answer.body))
            if says_too_long(message):
                return prepared.key, refusal(prepared.steps, "too_long")
            if not says_no_such_task(message):
                return prepared.key, _fault(f"http_{answer.status}", message)
            # Requests beside this one may have learned the same by now.
            self._task = max(self._task, task + 1)

    async def _request(self, method: str, path: str, body: dict[str, object] | None = None) -> _Answer | Fault:
        """Ask until there is an answer worth keeping, or all tries are spent; then give the last fault."""
        fault = _fault("connection", "not tried")
        for number in range(self._tries):
            tried, pause = await self._try(method, path, body)
            if isinstance(tried, _Answer):
                return tried
            fault = tried
            if pause > _LONGEST_PAUSE or number + 1 == self._tries:
                break
            # Random, so that the requests that a busy server turned away do not come back all at once.
            await asyncio.sleep(pause or random.uniform(0, self._backoff * 2**number))  # noqa: S311 - not a secret
        return fault

    async def _try(self, method: str, path: str, body: dict[str, object] | None) -> tuple[_Answer | Fault, float]:
        """Ask once. With a fault comes the pause that the server asked for, in seconds, 0 where it asked for none."""
        import aiohttp  # noqa: PLC0415 - as above

        try:
            async with self._session.request(method, self._base + path, json=body) as response:
                content = await response.read()
        except TimeoutError:
            return _fault("timeout", f"no byte from {self._base}{path} for {self._idle_timeout:g} s"), 0.0
        except (aiohttp.ClientError, OSError) as error:
            return _fault("connection", self._clean(f"{type(error).__name__}: {error}")), 0.0
        if response.status in (408, 409, 425, 429) or response.status >= 500:
            pause = _seconds(response.headers.get("Retry-After", ""))
            return _fault(f"http_{response.status}", self._clean(error_text(content))), pause
        if response.status == 200 and not content.lstrip().startswith(b"{"):
            return _fault("bad_json", f"{self._base}{path} sent no JSON object"), 0.0
        return _Answer(status=response.status, body=content), 0.0

    def _refuse_status(self, answer: _Answer, path: str) -> None:
        """Raise `SetupError` for a status that every request would get."""
        said = self._clean(error_text(answer.body))
        if answer.status in (401, 403):
            key = (
                f"set {self._key_env} to a key it takes" if self._key_env else "name its key's variable in api_key_env"
            )
            raise SetupError(f"the PRM server {self._base} asks for a key ({answer.status}: {said}); {key}")
        if answer.status in (404, 405):
            raise SetupError(f"{self._base}{path} is not there ({answer.status}: {said}); {_UPGRADE}")

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


_UPGRADE = "serve the PRM with vLLM 0.8.3 or later, as `vllm serve MODEL --runner pooling`"


def _next(done: SimpleQueue[Future[_Out]], under_way: set[Future[_Out]]) -> _Out:
    future = done.get()
    under_way.discard(future)
    return future.result()


def _fault(reason: str, message: str) -> Fault:
    return Fault(boundary=Boundary.PRM, reason=reason, message=message[:500])


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
