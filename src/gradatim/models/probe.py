"""Asks an endpoint what it really does, in a handful of tiny requests, before a run spends anything on it.

Servers answer 200 to what they do not do: they give one choice for n = 2, and ignore seeds, stop texts and limits. So
each is tried and its answer looked at. The first request is asked as the run will ask, with few tokens: it finds what
the run would meet (a wrong URL, key, model or setting), and its settings are the first that the server sees, since
`transformers serve --continuous-batching` keeps those of its first request for all that follow. Most of the others then
go out at once. Nothing is decided here: `needs` says what a run cannot do without.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from gradatim.errors import SetupError, UsageError
from gradatim.models import capabilities as found
from gradatim.models.auditing import same_model
from gradatim.models.budget import prompt_bound
from gradatim.models.capabilities import Capabilities, Finding, Found, Tried, tried
from gradatim.models.chat import body_of
from gradatim.models.faults import ModelFault, Overloaded, Refused, Retry, Stop
from gradatim.models.statuses import error_text
from gradatim.types import Message, Reply, Request, Usage

if TYPE_CHECKING:
    from gradatim.models.endpoint import Endpoint
    from gradatim.types import Sampling

AGENT = "gradatim-probe"
"""The `User-Agent` of the probe's requests, by which a server's log tells them from a run's."""
PROMPT = "Invent ten unusual words."
"""Asks for an answer that differs from sample to sample, and is longer than the limit."""
TOKENS = 16
"""`max_tokens` of a request."""
REQUESTS = 12
"""The most that a probe sends."""
_MORE_SEEDS = (15, 16, 17, 18)
"""Asked for where three answers were alike."""
_LONG = 1500
"""Characters of a system message and template that are too long to be sent for a probe."""
_PATIENCE = 60.0
"""Seconds for one of the later requests."""
_LISTING = 20.0
"""Seconds for the list of models."""
_NO_CHAT = frozenset({"bad_json", "no_choice", "empty_body", "bad_http"})
"""Faults of something that is no chat server."""
_LIMITED = re.compile(r"max_(completion_|new_)?tokens|min_tokens|budget", re.IGNORECASE)
"""An error about these may be one about the probe's few tokens, and not about the run's settings."""
_PAGE = re.compile(r"<(!doctype|html)", re.IGNORECASE)
_UNASKED = ("min_tokens", "stop", "logprobs", "top_logprobs")
"""Fields of `extra_body` that would change what is being tried."""


@dataclass(slots=True)
class Tally:
    """What a probe has spent so far."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    """The part of `prompt` that came from the server's cache, by its count."""
    unknown: int = 0
    """The part of `prompt` that no server counted."""
    completion: int = 0
    assumed: int = 0
    """The part of both that no server counted."""

    def add(self, request: Request, usage: Usage | None, *, choices: int = 1) -> None:
        """Count one request; None is the worst case, as for a count that the server did not give."""
        usage = usage or Usage()
        self.requests += 1
        prompt, completion = prompt_bound(request.messages), request.sampling.max_tokens * choices
        self.assumed += (prompt if usage.prompt is None else 0) + (completion if usage.completion is None else 0)
        self.prompt += prompt if usage.prompt is None else usage.prompt
        self.unknown += prompt if usage.prompt is None else 0
        self.cached += 0 if usage.prompt is None else min(usage.cached or 0, usage.prompt)
        self.completion += completion if usage.completion is None else usage.completion


def worst_case(sampling: Sampling) -> tuple[int, int]:
    """Return the most prompt and completion tokens that a probe can take, if the server holds `max_tokens`."""
    first, other = prompt_bound(_as_run(sampling).messages), prompt_bound(_bare(sampling, 0).messages)
    return first * 2 + other * (REQUESTS - 2), TOKENS * REQUESTS


async def probe(
    endpoint: Endpoint, sampling: Sampling, *, at_once: int = REQUESTS, tally: Tally | None = None
) -> Capabilities:
    """Return what the endpoint does, asked with these settings.

    What it does not take is left out of later requests, as `Endpoint.ask` does. `tally` counts what is spent, also
    where this raises. Raises `SetupError` where it is no server that can be asked, saying what to do; `UsageError`
    where it refuses the settings.
    """
    before, endpoint.agent = endpoint.agent, AGENT
    try:
        return await _Probe(endpoint, sampling, at_once, tally or Tally()).run()
    finally:
        await endpoint.close()
        endpoint.agent = before


class _Probe:
    """One probe."""

    def __init__(self, endpoint: Endpoint, sampling: Sampling, at_once: int, tally: Tally) -> None:
        self._endpoint = endpoint
        self._sampling = sampling
        self._gate = asyncio.Semaphore(max(1, at_once))
        self._tally = tally
        self._listing: Any = None
        self._clock: float | None = None
        self._stop_refused = ""

    async def run(self) -> Capabilities:
        """Ask everything."""
        start = time.monotonic()
        self._listing = await self._list()
        names = _names(self._listing)
        first, answer = await self._first(names)
        done = Capabilities(
            model=self._endpoint.model,
            server=self._endpoint.base_url,
            listed=names,
            clock=self._clock,
            context=found.context_of(_entry(self._listing, self._endpoint.model)),
        )
        if answer is not None:
            done = replace(done, prompt=answer.usage.prompt, model_name=self._model_name(names, answer.server_model))
            done = await self._rest(done, first)
        return replace(
            done,
            requests=self._tally.requests,
            tokens=self._tally.prompt + self._tally.completion,
            seconds=time.monotonic() - start,
        )

    async def _list(self) -> Any:
        """Return the server's list of models, decoded; None where it gives none. Costs nothing."""
        endpoint, before = self._endpoint, time.time()
        try:
            answer = await endpoint.plain("/models", seconds=_LISTING)
        except Stop as fault:
            raise SetupError(fault.fault.message) from None
        except Retry as fault:
            if fault.fault.reason == "no_connection":
                raise SetupError(
                    f"{endpoint.name}: {fault.fault.message}. Start the server, or correct base_url."
                ) from None
            return None
        self._clock = _ahead(answer.date, before, time.time())
        if answer.status == 401:
            raise SetupError(endpoint.fault_of(answer).fault.message)
        if answer.status != 200:
            # A server that failed may close the connection just when the next request is sent on it.
            await endpoint.close()
        try:
            return msgspec.json.decode(answer.body) if answer.status == 200 else None
        except (msgspec.DecodeError, RecursionError):
            return None

    async def _first(self, names: tuple[str, ...]) -> tuple[Tried, Reply | None]:
        """Ask as the run will ask. None in place of an answer where there may be one another time."""
        request = _as_run(self._sampling)
        reply: Reply | None = None
        fault: ModelFault = Retry("unknown", "not asked")
        for _ in range(2):
            try:
                reply = await self._endpoint.ask(request)
            except ModelFault as raised:
                fault = raised
                self._tally.add(request, None if fault.billed else Usage(prompt=0, completion=0))
                if isinstance(fault, Overloaded) or fault.fault.reason == "idle_timeout":
                    break
                await self._refuse(fault, names)
                if fault.fault.reason in {"http_500", "http_400", "http_422"} and "stop" in request.sampling.extra_body:
                    # Perhaps it is the stop text that it cannot bear: answers can be cut here as well.
                    self._stop_refused = fault.fault.message
                    self._endpoint.dropped |= {"stop"}
            else:
                break
        if reply is None:
            if fault.fault.reason in _NO_CHAT:
                raise SetupError(self._no_chat(fault))
            said = f"{fault.fault.reason}: {fault.fault.message}"
            self._endpoint.note("probe", f"could not be asked what it can do ({said[:160]})")
            return Tried(limit=TOKENS, said=said), None
        self._tally.add(request, reply.usage)
        message = {"content": reply.content, "reasoning": reply.reasoning}
        choice = {"message": message, "finish_reason": reply.finish_reason or None}
        return Tried(limit=TOKENS, status=200, choices=(choice,), usage=reply.usage), reply

    async def _rest(self, done: Capabilities, first: Tried) -> Capabilities:
        """Ask for each thing, all at once; then, alone, for what hangs on an answer or came out in doubt."""
        asked: dict[str, asyncio.Task[Tried]] = {}
        async with asyncio.TaskGroup() as group:
            for name, seed in (("seed", 11), ("again", 11), ("other", 12)):
                asked[name] = group.create_task(self._ask(seed))
            asked["n"] = group.create_task(self._ask(13, 2, n=2))
            asked["logprobs"] = group.create_task(self._ask(14, logprobs=True, top_logprobs=2))
        got = {name: task.result() for name, task in asked.items()}
        seeds = [got["seed"], got["again"], got["other"]]
        alone: list[Tried] = []
        texts = [one.text for one in seeds]
        if all(texts) and texts[0] != texts[1]:
            alone = [await self._ask(11), await self._ask(11)]
        elif all(texts) and texts[0] == texts[2]:
            seeds += await asyncio.gather(*(self._ask(seed) for seed in _MORE_SEEDS))
        # The same seed as before, so that a server which knows both comes upon the text again.
        stop = _frequent(got["seed"].text)
        stopped = await self._ask(11, stop=[stop]) if stop and not self._stop_refused else None
        answers = [*got.values(), first, *alone, *seeds[3:], *([stopped] if stopped else [])]
        return replace(
            done,
            sampling=found.sampling_finding(seeds, got["logprobs"]),
            seed=found.seed_finding(seeds[0], seeds[1], seeds[2:], alone),
            stop=self._stop(stopped, stop),
            max_tokens=found.max_tokens_finding(answers),
            finish_reason=found.finish_finding(answers),
            usage=found.usage_finding(answers),
            reasoning=found.reasoning_finding(answers),
            n=found.n_finding(got["n"]),
            logprobs=found.logprobs_finding(got["logprobs"]),
        )

    async def _ask(self, seed: int, limit: int = TOKENS, **more: Any) -> Tried:
        """Ask once, without a stream, and return whatever came."""
        request = _bare(self._sampling, seed, limit)
        endpoint = self._endpoint
        body = body_of(request, model=endpoint.model, stream=False, dropped=endpoint.dropped) | more
        async with self._gate:
            try:
                answer = await endpoint.plain("/chat/completions", body, seconds=_PATIENCE)
            except ModelFault as fault:
                self._tally.add(request, None if fault.billed else Usage(prompt=0, completion=0))
                return Tried(limit=limit, said=fault.fault.message[:120])
        try:
            decoded = json.loads(answer.body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            decoded = None
        one = tried(limit, answer.status, decoded, " ".join(error_text(answer.body).split())[:120])
        spent = one.usage if answer.status == 200 else Usage(prompt=0, completion=0)
        self._tally.add(request, spent, choices=more.get("n", 1))
        return one

    def _stop(self, answer: Tried | None, stop: str) -> Finding:
        if self._stop_refused:
            return Finding(found=Found.NO, how=self._stop_refused[:120])
        if answer is None:
            return Finding(how="no text in so few tokens")
        finding = found.stop_finding(answer, stop)
        if finding.found is Found.NO and not answer.answered:
            self._endpoint.dropped |= {"stop"}
        return finding

    def _model_name(self, names: tuple[str, ...], served: str) -> Finding:
        """Judge whether the model that was asked for is the one that answers."""
        asked = self._endpoint.model
        if not same_model(asked, served):
            return Finding(found=Found.NO, how=f"the answer says that it is {served}")
        if not names:
            return Finding(how="the server lists no models")
        if asked in names:
            return Finding(found=Found.YES, how="listed")
        return Finding(how=f"not among those it lists ({_some(names)}); answered all the same")

    async def _refuse(self, fault: ModelFault, names: tuple[str, ...]) -> None:
        """Raise what keeps every request of the run from an answer; return where another try may get one."""
        endpoint, reason, said = self._endpoint, fault.fault.reason, fault.fault.message
        if isinstance(fault, Stop):
            raise SetupError(said) from None
        if reason == "no_connection":
            raise SetupError(f"{endpoint.name}: {said}. Start the server, or correct base_url.") from None
        if reason == "bad_json" and said.lstrip().startswith("<"):
            raise SetupError(self._no_chat(fault)) from None
        if not isinstance(fault, Refused):
            return
        if reason in {"http_404", "http_405", "http_501"} or _PAGE.search(said):
            raise SetupError(await self._nowhere(fault, names)) from None
        if reason == "context_overflow":
            raise SetupError(
                f"{said}. Not even a short prompt fits: serve the model with a larger context, "
                "or shorten the system message."
            ) from None
        if not _LIMITED.search(said) and "stop" not in said:
            raise UsageError(
                f"{said}. The server at {endpoint.base_url} refuses what the run would send: change "
                "temperature, top_p or extra_body."
            ) from None

    async def _nowhere(self, fault: ModelFault, names: tuple[str, ...]) -> str:
        """Say what a 404 is: no such model, or no such place."""
        endpoint, said = self._endpoint, fault.fault.message.removeprefix(f"{self._endpoint.name}: ")
        if page := _PAGE.search(said):
            said = f"{said[: page.start()].strip()} a web page"
        if "model" in said.lower() and (names or endpoint.model in said):
            there = f" It lists {_some(names)}: set served_as to one of them." if names else ""
            return f"{endpoint.name}: the server at {endpoint.base_url} has no model {endpoint.model} ({said}).{there}"
        hint = "base_url usually ends in /v1."
        if not endpoint.base_url.endswith("/v1"):
            try:
                answer = await endpoint.plain("/v1/models", seconds=_LISTING)
            except ModelFault:
                answer = None
            if answer is not None and answer.status == 200 and answer.body.lstrip().startswith(b"{"):
                hint = f"set base_url to {endpoint.base_url}/v1"
        return f"{endpoint.name}: there is no chat server at {endpoint.base_url} ({said}): {hint}"

    def _no_chat(self, fault: ModelFault) -> str:
        endpoint, said = self._endpoint, fault.fault.message
        what = "a web page" if said.lstrip().startswith("<") else f"what is no chat answer ({said[:80]})"
        return (
            f"{endpoint.name}: {endpoint.base_url} answers with {what}: is base_url that of an OpenAI-compatible "
            "server? It usually ends in /v1."
        )


def _as_run(sampling: Sampling) -> Request:
    """Return a short request with the run's settings, and its system message and template unless they are long."""
    if len(sampling.system) + len(sampling.template) > _LONG:
        sampling = replace(sampling, system="", template="{prompt}")
    extra = json.loads(sampling.extra_body)
    extra.pop("min_tokens", None)
    sampling = replace(sampling, max_tokens=TOKENS, extra_body=json.dumps(extra))
    return Request(key=0, messages=sampling.messages(PROMPT), sampling=sampling, seed=10)


def _bare(sampling: Sampling, seed: int, limit: int = TOKENS) -> Request:
    """Return a request that samples: at the run's temperature, or at 1 where that is 0."""
    extra = {name: value for name, value in json.loads(sampling.extra_body).items() if name not in _UNASKED}
    temperature = 1.0 if sampling.temperature == 0 else sampling.temperature
    sampling = replace(sampling, max_tokens=limit, temperature=temperature, extra_body=json.dumps(extra))
    return Request(key=0, messages=(Message(role="user", content=PROMPT),), sampling=sampling, seed=seed)


def _frequent(text: str) -> str:
    """Return the letter or digit that is most frequent in a text; empty where it has none."""
    counted = Counter(one for one in text[1:] if one.isascii() and one.isalnum())
    return counted.most_common(1)[0][0] if counted else ""


def _names(listing: Any) -> tuple[str, ...]:
    """Return the models of a list, in the server's order."""
    rows = listing.get("data") if isinstance(listing, dict) else listing
    ids = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(one for one in ids if isinstance(one, str))


def _entry(listing: Any, model: str) -> Any:
    """Return a model's entry in a list; the only one, where there is no other."""
    rows = listing.get("data") if isinstance(listing, dict) else listing
    if not isinstance(rows, list):
        return None
    own = [row for row in rows if isinstance(row, dict) and row.get("id") == model]
    return own[0] if own else rows[0] if len(rows) == 1 else None


def _ahead(date: str, before: float, after: float) -> float | None:
    """Return by how many seconds a `Date` header is ahead of our clock, 0 within the time that the request took."""
    try:
        then = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    # The header has whole seconds.
    return 0.0 if before - 1 <= then <= after + 1 else then - (before if then < before else after)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
