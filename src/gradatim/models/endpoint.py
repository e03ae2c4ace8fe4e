"""Any server that answers OpenAI's `/chat/completions`: hosted ones, vLLM, SGLang, llama.cpp, `transformers serve`.

`Endpoint.ask` is a single try; `engine` decides how many at once and how often. The timeout is idle, never total: a
reasoning model may write for an hour as long as bytes arrive, and a keep-alive line is bytes. The key is read from the
environment when the endpoint is made; it is in no `repr`, note, fault or file.

Left out: completions without a chat, answers that call tools. `batch_api` asks in batches, over `opened`.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gradatim.errors import SetupError, UsageError
from gradatim.models.auditing import audited
from gradatim.models.chat import CONTINUES, CONTINUING, Collector, body_of, encoded
from gradatim.models.faults import ModelFault, Refused, Retry, Stop
from gradatim.models.statuses import fault_of, retry_after, unsupported_field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from gradatim.models.capabilities import Capabilities
    from gradatim.types import Reply, Request, Sampling

AGENT = "gradatim"
_BEARER = re.compile(r"Bearer\s+\S+", re.IGNORECASE)
_ERROR_BODY_LIMIT = 1 << 20
_READ_BUFFER = 1 << 20
"""Bytes: more than the 256 KiB that asyncio allocates for every read of a socket."""
_CLOSING_SECONDS = 1.0
"""How long a server may take to end a response after `[DONE]`; after that the connection is dropped, not the answer."""


def checked_url(base_url: str) -> str:
    """Return `base_url` without a slash at its end. Raises `UsageError` where it cannot be one, saying what to type.

    A password or query in a URL would reach logs and libraries, so both are refused, and not repeated in the error.
    """
    url = base_url.strip().rstrip("/")
    if "@" in url or "?" in url or "#" in url:
        raise UsageError(
            "base_url holds a password, query or fragment: leave it out, "
            "and name the environment variable that holds the key with api_key_env"
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(
            f"base_url {base_url!r} has no valid host and port ({error}): write http://host:8000/v1"
        ) from error
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"base_url {base_url!r} has no http:// or https:// in front: write http://localhost:8000/v1")
    if not host or re.search(r"\s", url):
        raise UsageError(f"base_url {base_url!r} names no host: write http://localhost:8000/v1")
    for ending in ("/chat/completions", "/completions", "/models"):
        if url.endswith(ending):
            raise UsageError(f"base_url {base_url!r} ends in {ending}: leave that off ({url.removesuffix(ending)})")
    return url


def key_from(variable: str) -> str:
    """Return the key that an environment variable holds. Raises `SetupError`, naming the variable, not the value."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SetupError(f"the environment variable {variable} is not set: export {variable}=... with the server's key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SetupError(f"the environment variable {variable} holds blanks or odd characters: export the key alone")
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A response as it came; the key is taken out, should a server echo it."""

    status: int
    body: bytes
    date: str = ""
    """When the server says it was sent."""


class Endpoint:
    """One model on one OpenAI-compatible server. A `Model`."""

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key_env: str | None = None,
        model: str | None = None,
        stream: bool = True,
        idle_timeout: float = 300.0,
        connect_timeout: float = 30.0,
        key_header: str = "Authorization",
        probe: bool = True,
        continues: str | None = None,
    ) -> None:
        """Check the settings and read the key; nothing is sent yet.

        Args:
            name: by which attempts and grades are kept.
            base_url: up to and without `/chat/completions`: `http://localhost:8000/v1`.
            api_key_env: the environment variable that holds the key; None sends none.
            model: the model name to send; None sends `name`.
            stream: ask for the answer in pieces, so that silence can be told from slowness.
            idle_timeout: seconds without a byte after which a try is given up.
            connect_timeout: seconds to reach the server.
            key_header: `Authorization` sends `Bearer KEY`; any other name (`api-key`) sends the key alone.
            probe: ask the server what it can do, in a few tiny requests, before a run asks it anything.
            continues: how the server is asked to go on with an answer that was cut off: `vllm`, `prefix`, `mistral`, or
                None.

        Raises `UsageError` for a setting that cannot be right and `SetupError` for a key that is not there.
        """
        if not name:
            raise UsageError("the model has no name: set name")
        if not (idle_timeout > 0 and connect_timeout > 0):
            raise UsageError("idle_timeout and connect_timeout are seconds above 0")
        self.name = name
        self.base_url = checked_url(base_url)
        if continues not in (None, *CONTINUES):
            raise UsageError(f"continues is {continues!r}: write one of {', '.join(CONTINUES)}, or leave it out")
        self.model = model or name
        self.continues = continues
        self.notes: list[str] = []
        """What was found out about the server and concerns the user, each once, oldest first."""
        self.known: dict[Sampling, Capabilities] = {}
        """What the server does, asked with these settings."""
        self.probe = probe
        self.agent = AGENT
        """What requests say of who sends them."""
        self.stream = stream
        self._idle_timeout = idle_timeout
        self._connect_timeout = connect_timeout
        self._key_env = api_key_env
        self._key = key_from(api_key_env) if api_key_env else ""
        self._key_header = key_header
        self.dropped: frozenset[str] = frozenset()
        """Fields of ours that the server does not take."""
        self._noted: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self._chat_url: Any = None

    def __repr__(self) -> str:
        return f"Endpoint(name={self.name!r}, base_url={self.base_url!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to be pickled: the key would be in the bytes."""
        raise TypeError("an Endpoint holds a key and cannot be pickled: make one where it is used")

    async def ask(self, request: Request) -> Reply:
        """Try once to get an answer.

        A field of ours that the server does not know is left out and the request sent again at once; that is
        remembered for this endpoint and said in `notes`. Raises the errors of `gradatim.models.faults`.
        """
        dropped = self.dropped
        while True:
            body = body_of(request, model=self.model, stream=self.stream, dropped=dropped, continues=self.continues)
            # Asked without what makes it go on, a server would begin anew.
            answer = await self._try(encoded(body), frozenset(body) - (CONTINUING if request.begun else set()))
            if not isinstance(answer, str):
                break
            dropped |= {answer}
        for field in sorted(dropped - self.dropped):
            # Only now: an error that blamed the wrong field must not stay.
            self.drop(field)
        return self.held(answer, request)

    def held(self, answer: Reply, request: Request) -> Reply:
        """Return an answer as it was asked for, and note what was wrong with it."""
        held, found = audited(answer, request, self.model)
        for topic, text in found:
            self.note(topic, text)
        return held

    def body(self, request: Request) -> dict[str, Any]:
        """Return a request's body as a batch has it: in one piece, without what the server was found not to take."""
        return body_of(request, model=self.model, stream=False, dropped=self.dropped)

    def drop(self, field: str) -> None:
        """Leave a field of ours out from now on: the server said that it does not know it."""
        self.dropped |= {field}
        self.note(f"dropped:{field}", f"does not take {field}; asked without it")

    @asynccontextmanager
    async def opened(self, method: str, path: str, **sent: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send another request of the API, once; `path` comes after the base URL, `sent` is aiohttp's.

        Raises the errors of `gradatim.models.faults` for every answer but 200 and 201, and for none.
        """
        import aiohttp  # noqa: PLC0415 - importing gradatim must stay cheap

        if self._session is None:
            self._session = self._new_session()
        try:
            async with self._session.request(
                method, f"{self.base_url}{path}", proxy=self._proxy, allow_redirects=False, **sent
            ) as response:
                if response.status not in {200, 201}:
                    await self._field_to_drop(response, frozenset())
                yield response
        except ModelFault as fault:
            raise self._clean(fault) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._clean(self._transport_fault(error)) from None

    async def check(self) -> None:
        """Ask for `/models`, which costs nothing. Raises `SetupError` where the server or the key will not do."""
        try:
            # Anything else, 404 included, is a server that answers: not all of them list their models.
            answer = await self.plain("/models", seconds=self._connect_timeout + 30)
            if answer.status in {401, 403}:
                raise SetupError(self.fault_of(answer).fault.message)
        except Retry as fault:
            if fault.fault.reason == "no_connection":
                raise SetupError(f"{self.name}: {fault.fault.message}: is the server running?") from None
            raise SetupError(f"{self.name}: cannot use {fault.fault.message}: is the server running?") from None
        except Stop as fault:
            raise SetupError(fault.fault.message) from None
        finally:
            await self.close()

    async def plain(self, path: str, body: dict[str, Any] | None = None, *, seconds: float) -> Plain:
        """Send one request and return what comes, whatever its status: a POST where there is a body, else a GET.

        `path` is what stands behind the base URL; `seconds` limits the whole. Raises `Retry` or `Stop` where
        nothing came.
        """
        import aiohttp  # noqa: PLC0415 - importing gradatim must stay cheap

        if self._session is None:
            self._session = self._new_session()
        try:
            async with self._session.request(
                "GET" if body is None else "POST",
                f"{self.base_url}{path}",
                data=None if body is None else encoded(body),
                proxy=self._proxy,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=self._connect_timeout),
            ) as response:
                found = await self._error_body(response)
                return Plain(status=response.status, body=found, date=response.headers.get("Date", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._clean(self._transport_fault(error)) from None

    def fault_of(self, answer: Plain) -> ModelFault:
        """Return the fault that a response is; 403 counts as a key that was not accepted."""
        status = 401 if answer.status == 403 else answer.status
        return self._clean(fault_of(status, answer.body, key_hint=self._key_hint()))

    async def close(self) -> None:
        """End the connections. A later `ask` opens new ones, so that one endpoint serves several runs."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _try(self, data: bytes, fields: frozenset[str]) -> Reply | str:
        """Send one request. Returns the answer, or the name of a field that the server wants left out."""
        import aiohttp  # noqa: PLC0415 - importing gradatim must stay cheap

        if self._session is None:
            self._session = self._new_session()
        collector = Collector(self.redacted)
        start = time.monotonic()
        try:
            async with self._session.post(
                self._chat_url,
                data=data if len(data) < 1 << 20 else io.BytesIO(data),
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return await self._field_to_drop(response, fields)
                await _read(response, collector)
            reply = collector.reply(time.monotonic() - start)
        except ModelFault as fault:
            raise self._clean(fault) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if collector.finished:
                # Only the goodbye was lost; the answer is whole and paid for.
                return collector.reply(time.monotonic() - start)
            # `from None`: the repr of some of these holds the request's headers, and so the key.
            raise self._clean(self._transport_fault(error)) from None
        if collector.more:
            self.note("choices", "gave several answers to a request for one; the first is kept")
        return reply

    async def _field_to_drop(self, response: aiohttp.ClientResponse, fields: frozenset[str]) -> str:
        """Return the field that an error answer blames. Raises the fault that it is otherwise."""
        body = await self._error_body(response)
        if response.status in {400, 422} and (field := unsupported_field(body, fields)):
            return field
        if 300 <= response.status < 400:
            body = f"to {response.headers.get('Location', 'nowhere')}".encode()
        wait = retry_after(response.headers.get("Retry-After"))
        raise fault_of(response.status, body, wait=wait, key_hint=self._key_hint())

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        """Read an error answer, up to a length that no honest one has, without the key that it may echo."""
        parts, size = [], 0
        while size < _ERROR_BODY_LIMIT and (part := await response.content.readany()):
            parts.append(part)
            size += len(part)
        return self.redacted(b"".join(parts).decode("utf-8", "replace")).encode()

    def _new_session(self) -> aiohttp.ClientSession:
        """Open a session on the running loop. The engine bounds how many requests run, so the connector does not."""
        import aiohttp  # noqa: PLC0415 - importing gradatim must stay cheap
        from yarl import URL  # noqa: PLC0415 - slow to load

        headers = {"Content-Type": "application/json", "User-Agent": self.agent}
        if self._key:
            bearer = self._key_header.lower() == "authorization"
            headers[self._key_header] = f"Bearer {self._key}" if bearer else self._key
        self._proxy = _proxy_for(self.base_url)
        self._chat_url = URL(f"{self.base_url}/chat/completions")
        # glibc maps and unmaps memory for each block of that size, until it has once seen a larger one freed: two page
        # faults per answer, and 10 to 20 % of all CPU time against an instant server.
        bytes(_READ_BUFFER)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=self._idle_timeout),
        )

    def _transport_fault(self, error: Exception) -> ModelFault:
        """Return the fault that an error of the connection is. What was never sent cannot have been billed."""
        import aiohttp  # noqa: PLC0415 - importing gradatim must stay cheap

        said = f"{self.base_url}: {_reason(error)}"
        if isinstance(error, aiohttp.SocketTimeoutError):
            return Retry("idle_timeout", f"{said}: no byte for {self._idle_timeout:g} s", billed=True)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return Stop(
                "certificate", f"{said}: the server's certificate is not trusted; set SSL_CERT_FILE, or base_url"
            )
        if isinstance(error, (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)):
            return Retry("no_connection", f"cannot reach {said}")
        if isinstance(error, aiohttp.ClientResponseError):
            return Retry("bad_http", f"{self.base_url}: not HTTP: {error.message}", billed=True)
        return Retry("disconnected", said, billed=True)

    def _clean(self, fault: ModelFault) -> ModelFault:
        """Return the fault with the key taken out, and the model named where the message goes to a person as it is."""
        message = self.redacted(fault.fault.message)
        if isinstance(fault, (Stop, Refused)) and not message.startswith(self.name):
            message = f"{self.name}: {message}"
        return type(fault)(fault.fault.reason, message, billed=fault.billed, retry_after=fault.retry_after)

    def redacted(self, text: str) -> str:
        """Return a text of the server without the key that it may echo."""
        return _BEARER.sub("Bearer [key]", text.replace(self._key, "[key]") if self._key else text)

    def _key_hint(self) -> str:
        if self._key_env:
            return f"set the environment variable {self._key_env} to a valid key for {self.base_url}"
        return f"no key was sent to {self.base_url}: name the environment variable that holds it with api_key_env"

    def note(self, topic: str, text: str) -> None:
        """Keep what the server did, or does not do, for the user; once for each topic."""
        if topic not in self._noted:
            self._noted.add(topic)
            self.notes.append(f"{self.name}: the server at {self.base_url} {text}")


def _reason(error: Exception) -> str:
    """Return what an error of the connection says, without what aiohttp says around it."""
    inner = getattr(error, "os_error", None)
    if isinstance(inner, OSError) and inner.errno is not None:
        return os.strerror(inner.errno) if inner.errno > 0 else inner.strerror or str(error)
    return str(error) or type(error).__name__


async def _read(response: aiohttp.ClientResponse, collector: Collector) -> None:
    """Feed the body to the collector until it ends, or the answer says that it has."""
    content = response.content
    while not collector.done:
        data = await content.readany()
        if not data:
            return
        collector.feed(data)
    if not content.at_eof():
        # A connection is used again only if its response was read to the end.
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                while await content.readany():
                    pass
        except TimeoutError:
            response.close()


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for this URL; none for this machine itself.

    Once per session: aiohttp would read the environment for every request.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - importing gradatim must stay cheap

    parts = urlsplit(url)
    if parts.hostname in {"localhost", "127.0.0.1", "::1"} or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)
