"""The mock server's side of HTTP/1.1: a protocol on a socket.

Written on `asyncio.Protocol`, because the server must not be what a benchmark of a client measures. It reads requests
with a Content-Length and answers one at a time per connection, which is what HTTP clients do.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import msgspec

from gradatim.models.mock_answers import Said, continued, halved, step_scores
from gradatim.models.mock_choices import MOST_CHOICES, logprobs, stopped, together
from gradatim.models.mock_labels import label
from gradatim.models.mock_usage import UNBILLED, Used, used
from gradatim.models.probe import AGENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.models.mock_counts import State

_LARGEST_BODY = 64 << 20
_LARGEST_HEAD = 64 << 10
_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 413: b"Payload Too Large", 429: b"Too Many Requests"}
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_PROBES = b"\r\nuser-agent: " + AGENT.encode()
_quoted = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct):
    role: str = ""
    content: Any = ""
    prefix: bool = False
    reasoning_content: str | None = None


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Ask(msgspec.Struct):
    """The fields of a chat request that change its answer."""

    messages: list[_Turn]
    model: str = ""
    stream: bool = False
    stream_options: _Options | None = None
    seed: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: Any = None
    logprobs: Any = None
    top_logprobs: Any = None

    continue_final_message: bool = False
    add_generation_prompt: bool = True

    def goes_on(self) -> bool:
        """Whether it asks to go on with its last message, in vLLM's words or in DeepSeek's."""
        return self.messages[-1].role == "assistant" and (self.continue_final_message or self.messages[-1].prefix)

    @property
    def limit(self) -> int | None:
        """The most tokens of an answer."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


_decode_ask = msgspec.json.Decoder(_Ask).decode


def response(status: int, body: bytes, *headers: bytes) -> bytes:
    """Return a whole JSON response."""
    reason = _REASONS.get(status, b"Internal Server Error")
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        reason,
        len(body),
        lines,
        body,
    )


def _error(message: str) -> bytes:
    return _quoted({"error": {"message": message, "type": "mock_server", "code": None}})


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._close_after = False
        self._chatting = False
        self._probing = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._state.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it was lost changes nothing
        """Count a request that its client gave up."""
        self._transport = None
        self._state.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._chatting:
            self._chatting = False
            self._state.in_flight -= 1
            self._state.aborted.append(time.time())

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer each request as soon as it is whole."""
        self._buffer = self._buffer + data if self._buffer else data
        while not self._busy and self._buffer and self._transport is not None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _LARGEST_HEAD:
                    self._refuse(400, "the head of the request is too long")
                return
            head = self._buffer[:end].lower()
            length = self._length(head)
            if length is None or len(self._buffer) < end + 4 + length:
                return
            body, raw = self._buffer[end + 4 : end + 4 + length], self._buffer[:end]
            words = raw.split(b" ", 2)
            self._buffer = self._buffer[end + 4 + length :]
            self._close_after = b"\r\nconnection: close" in head or b" http/1.0" in head
            self._busy = True
            self._probing = _PROBES in head
            target = words[1] if len(words) > 1 else b""
            path = target.partition(b"?")[0]
            if path.startswith((b"/v1/files", b"/v1/batches")):
                self._batch_call(words[0], target, raw, body)
            else:
                self._dispatch(words[0], path, body)

    def _length(self, head: bytes) -> int | None:
        """Return the body's length; None where the request was refused, or waits for a go-ahead."""
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            if b"\r\ntransfer-encoding:" in head:
                self._refuse(400, "send Content-Length, not Transfer-Encoding")
                return None
            return 0
        digits = head[at + 17 :].split(b"\r\n", 1)[0].strip()
        if not digits.isdigit() or int(digits) > _LARGEST_BODY:
            self._refuse(413, "Content-Length is no number, or too large")
            return None
        if b"\r\nexpect: 100-continue" in head and self._buffer.endswith(b"\r\n\r\n") and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return int(digits)

    def _refuse(self, status: int, message: str) -> None:
        self._buffer = b""
        if self._transport is not None:
            self._transport.write(response(status, _error(message), b"Connection: close"))
            self._transport.close()

    def _dispatch(self, method: bytes, path: bytes, body: bytes) -> None:
        if method == b"POST" and path.endswith(b"/chat/completions"):
            self._chat(body)
        elif method == b"POST" and path.endswith(b"/pooling"):
            self._later(lambda: self._finish(self._pooling(body)))
        elif method == b"GET" and path.endswith(b"/models"):
            self._finish(self._models())
        elif method == b"GET" and path == b"/stats":
            self._finish(response(200, _quoted(self._state.stats())))
        elif method == b"POST" and path == b"/reset":
            self._state.reset()
            self._finish(response(200, b"{}"))
        elif method == b"GET" and path == b"/health":
            self._finish(response(200, b"{}"))
        else:
            self._finish(response(404, _error(f"there is no {method.decode('latin-1')} {path.decode('latin-1')}")))

    def _batch_call(self, method: bytes, target: bytes, head: bytes, body: bytes) -> None:
        """Answer a call of the batch API, or close the connection once it was executed."""
        answer = self._state.batches.call(method.decode("latin-1"), target.decode("latin-1"), head, body)
        if answer is not None:
            self._finish(response(*answer))
            return
        self._done()
        if self._transport is not None:
            self._transport.close()

    def chat_body(self, body: bytes) -> bytes:
        """Return the body of the answer to a chat request, as a batch has it, and bill it."""
        asked = _decode_ask(body)
        written = self._written(asked, hashlib.blake2b(body, digest_size=8).digest(), "")
        assert written is not None
        return b"".join(self._pieces(asked, *written)).partition(b"\r\n\r\n")[2]

    def _models(self) -> bytes:
        settings = self._state.settings
        context = {} if settings.context is None else {"max_model_len": settings.context}
        models = [{"id": name, "object": "model", "owned_by": "mock", **context} for name in settings.models]
        date = b"Date: " + formatdate(usegmt=True).encode()
        return response(200, _quoted({"object": "list", "data": models}), date)

    def _pooling(self, body: bytes) -> bytes:
        self._state.pooling += 1
        try:
            asked = msgspec.json.decode(body)
            items = asked["input"] if "input" in asked else [_text(turn["content"]) for turn in asked["messages"]]
            if "input" not in asked:
                items = "".join(items)
            if isinstance(items, str) or (items and isinstance(items[0], int)):
                items = [items]
            scores = [step_scores(item) for item in items]
        except (msgspec.DecodeError, KeyError, TypeError, IndexError) as error:
            return response(400, _error(f"/pooling takes model and input: {error!r}"))
        data = [{"index": at, "object": "pooling", "data": rows} for at, rows in enumerate(scores)]
        usage = {"prompt_tokens": len(body) // 4, "total_tokens": len(body) // 4, "completion_tokens": 0}
        answer = {"id": "pool-mock", "object": "list", "created": 0, "model": asked.get("model"), "data": data}
        return response(200, _quoted(answer | {"usage": usage}))

    def _chat(self, body: bytes) -> None:
        try:
            asked = _decode_ask(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._finish(response(400, _error(f"not a chat request: {error}")))
            return
        if asked.continue_final_message and asked.add_generation_prompt:
            self._finish(response(400, _error("continue_final_message and add_generation_prompt exclude each other")))
            return
        if self._probing:
            # Not a part of the run: counted apart, answered at once and without faults.
            digest = self._state.probed(body)
            self._answer(asked, None, "", self._written(asked, digest, ""))
            return
        digest, kind = self._state.arrived(body)
        self._state.batches.asked_online(body)
        self._chatting = True
        written = self._written(asked, digest, kind)
        self._later(lambda: self._answer(asked, digest, kind, written))

    def _written(self, asked: _Ask, digest: bytes, kind: str) -> tuple[list[Said], Used] | None:
        """Return what the model writes, and bill it: who goes away before the answer comes pays for it all the same."""
        if self._too_long(asked) or kind in UNBILLED or (kind == "error_200" and not asked.stream):
            return None
        settings = self._state.settings
        count = 1 if "n" in settings.ignores else max(1, min(asked.n or 1, MOST_CHOICES))
        said = [self._said(asked, choice) for choice in range(count)]
        if kind == "truncated":
            said = [halved(one) for one in said]
        turns = [_text(turn.content) + (turn.reasoning_content or "") for turn in asked.messages]
        limit = None if asked.limit is None else asked.limit * count
        cost = used(settings.usage, turns, together(said), limit=limit, digest=digest)
        self._state.billed[asked.model].add(cost.prompt, cost.cached, cost.completion)
        return said, cost

    def _later(self, action: Callable[[], None]) -> None:
        """Act after the latency that was set."""
        if latency := self._state.settings.latency:
            self._timer = asyncio.get_running_loop().call_later(latency, action)
        else:
            action()

    def _answer(self, asked: _Ask, digest: bytes | None, kind: str, written: tuple[list[Said], Used] | None) -> None:
        settings = self._state.settings
        if refusal := self._too_long(asked):
            self._finish(response(400, _error(refusal)))
        elif kind in {"429", "429_bare"}:
            headers = (b"Retry-After: %g" % settings.retry_after,) if kind == "429" else ()
            self._finish(response(429, _error("Rate limit reached"), *headers))
        elif kind == "500":
            self._finish(response(500, _error("Internal server error")))
        elif kind == "empty":
            self._finish(response(200, b""))
        elif written is None:
            self._finish(response(200, _error("The upstream provider failed")))
        else:
            self._send(self._pieces(asked, *written), digest, kind)

    def _too_long(self, asked: _Ask) -> str:
        """Return what a server says that holds its context; empty where the request fits."""
        context, prompt = self._state.settings.context, _prompt_tokens(asked)
        if context is None or prompt + (asked.limit or 1) <= context:
            return ""
        return (
            f"This model's maximum context length is {context} tokens. However, you requested {asked.limit} output "
            f"tokens and your prompt contains {prompt} input tokens. Please reduce the length of either."
        )

    def _send(self, pieces: list[bytes], digest: bytes | None, kind: str) -> None:
        """Send an answer, or as much of it as the fault lets through."""
        assert self._transport is not None
        if digest is None:
            self._finish(b"".join(pieces))
            return
        if kind == "slow":
            self._drip(pieces, digest)
        elif kind == "hang":
            # Nothing at all, or a beginning: both were seen.
            self._transport.write(b"".join(pieces)[: 200 * (digest[0] % 2)])
        elif kind == "drop":
            if digest[0] % 2:
                half = b"".join(pieces)
                self._transport.write(half[: len(half) // 2])
            self._done()
            self._transport.close()
        elif kind == "error_200":
            self._finish(
                pieces[0] + _chunk(b"data: " + _error("The upstream provider failed") + b"\n\n") + b"0\r\n\r\n"
            )
        elif kind == "malformed":
            self._finish(self._malformed(pieces))
        else:
            self._finish(b"".join(pieces), digest)

    @staticmethod
    def _malformed(pieces: list[bytes]) -> bytes:
        if pieces[0].startswith(_STREAM_HEAD):
            return pieces[0] + _chunk(b'data: {"choices":[{"delta":{"content":"So\n\n') + b"0\r\n\r\n"
        body = pieces[0].partition(b"\r\n\r\n")[2]
        return response(200, body[: len(body) // 2])

    def _drip(self, pieces: list[bytes], digest: bytes) -> None:
        """Send keep-alive lines, as DeepSeek does, then the answer in eight parts."""
        head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
        if b"chunked" in head:
            parts = [_chunk(b": keep-alive\n\n"), _chunk(b": keep-alive\n\n")]
        else:
            parts = [b"\n", b"\n"]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d" % (len(body) + 2)
        size = len(body) // 8 + 1
        parts += [body[at : at + size] for at in range(0, len(body), size)]
        waiting = deque([head + b"\r\n\r\n", *parts])

        def next_part() -> None:
            if self._transport is None:
                return
            part = waiting.popleft()
            if not waiting:
                self._finish(part, digest)
                return
            self._transport.write(part)
            self._timer = asyncio.get_running_loop().call_later(self._state.settings.drip, next_part)

        next_part()

    def _said(self, asked: _Ask, choice: int) -> Said:
        settings = self._state.settings
        seed: Any = asked.seed
        if "seed" in settings.ignores:
            self._state.seeds += 1
            seed = f"own {self._state.seeds}"
        # Greedy decoding has no use for a seed.
        greedy = asked.temperature == 0 or "temperature" in settings.ignores
        goes_on = settings.continues != "ignore" and bool(asked.messages) and asked.goes_on()
        said = self._state.answers.say(
            model=self._model(asked),
            text=_question(asked),
            seed="" if greedy else f"{seed}/{asked.temperature}{f'/{choice}' if choice else ''}",
            max_tokens=None if goes_on or "max_tokens" in settings.ignores else asked.limit,
            thinks=settings.reasoning != "none",
        )
        if goes_on:
            begun = _text(asked.messages[-1].content)
            said = continued(said, begun, tags=settings.reasoning == "think", max_tokens=asked.limit)
            said = replace(said, content=begun + said.content) if settings.continues == "echo" else said
        return said if "stop" in settings.ignores else stopped(said, asked.stop)

    def _model(self, asked: _Ask) -> str:
        settings = self._state.settings
        return settings.models[0] if "model" in settings.ignores else asked.model

    def _parted(self, said: Said) -> tuple[tuple[str, str], str]:
        """Return the name and text of an answer's reasoning, and its content, as this server parts them."""
        field_name, content = self._state.settings.reasoning, said.content
        thinking = said.thinking
        if field_name == "think" and (thinking or not said.goes_on):
            closing = "\n</think>\n\n" if content or said.finish_reason == "stop" else ""
            thinking, content = "", f"<think>\n{thinking}{closing}{content}"
        return ("reasoning_content" if field_name == "field" else "reasoning", thinking), content

    def _pieces(self, asked: _Ask, said: list[Said], cost: Used) -> list[bytes]:
        """Return the whole response in the parts in which a server would write it."""
        usage = _quoted(None if "usage" in self._state.settings.ignores else cost.told_as())
        if asked.stream:
            return self._events(asked, said, usage)
        choices = [self._choice(asked, index, one) for index, one in enumerate(said)]
        body = b'{"id":"chatcmpl-mock","object":"chat.completion","created":0,"model":%b,"choices":%b,"usage":%b}' % (
            _quoted(self._model(asked)),
            _quoted(choices),
            usage,
        )
        return [response(200, body)]

    def _choice(self, asked: _Ask, index: int, said: Said) -> dict[str, Any]:
        (name, thinking), content = self._parted(said)
        message: dict[str, str | None] = {"role": "assistant", "content": content or None}
        if thinking:
            message[name] = thinking
        choice: dict[str, Any] = {"index": index, "message": message, "finish_reason": self._reason(said)}
        if asked.logprobs and "logprobs" not in self._state.settings.ignores:
            most = asked.top_logprobs if isinstance(asked.top_logprobs, int) else 0
            if asked.limit == 1:
                choice["logprobs"] = label(_question(asked), min(most, 20))
                choice["message"] = {"role": "assistant", "content": choice["logprobs"]["content"][0]["token"]}
            else:
                choice["logprobs"] = logprobs(content, min(most, 20))
        return choice

    def _reason(self, said: Said) -> str | None:
        return None if "finish_reason" in self._state.settings.ignores else said.finish_reason

    def _events(self, asked: _Ask, said: list[Said], usage: bytes) -> list[bytes]:
        count = self._state.settings.deltas
        start = b'data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":0,"model":%b,' % _quoted(
            self._model(asked)
        )
        pieces = [_STREAM_HEAD]
        for index, one in enumerate(said):
            delta = start + b'"choices":[{"index":%d,"delta":{"%%b":%%b},"finish_reason":null}]}\n\n' % index
            thinking, content = self._parted(one)
            pieces.append(_chunk(delta % (b"role", b'"assistant"')))
            for name, text in (thinking, ("content", content)):
                size = len(text) // count + 1
                pieces += [
                    _chunk(delta % (name.encode(), _quoted(text[at : at + size]))) for at in range(0, len(text), size)
                ]
            last = b'"choices":[{"index":%d,"delta":{},"finish_reason":%b}]}\n\n' % (index, _quoted(self._reason(one)))
            pieces.append(_chunk(start + last))
        # An error in mid-stream comes behind the first piece.
        pieces[:2] = [pieces[0] + pieces[1]]
        if asked.stream_options is not None and asked.stream_options.include_usage:
            pieces.append(_chunk(start + b'"choices":[],"usage":%b}\n\n' % usage))
        pieces.append(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return pieces

    def _finish(self, data: bytes, digest: bytes | None = None) -> None:
        """Write the end of a response, and go on with the next request; `digest` names the chat it answers."""
        if self._transport is None:
            return
        self._transport.write(data)
        if digest is not None:
            self._state.sent(digest)
        self._done()
        if self._close_after:
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self.data_received, b"")

    def _done(self) -> None:
        self._busy = False
        if self._chatting:
            self._chatting = False
            self._state.in_flight -= 1


def _prompt_tokens(asked: _Ask) -> int:
    return sum(len(_text(turn.content)) // 4 + 4 for turn in asked.messages)


def _question(asked: _Ask) -> str:
    """Return the text of the user's last message."""
    return next((_text(turn.content) for turn in reversed(asked.messages) if turn.role == "user"), "")


def _text(content: Any) -> str:
    """Return a message's text: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return ""
