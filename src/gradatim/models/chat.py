"""The wire format of `/chat/completions`: the body that is sent, and the answers that come back, whole or streamed.

Lenient in what it reads, because an answer has been paid for by the time it is read: only what makes an answer one
(JSON, a choice) is required; texts and counts of an unexpected type count as absent. Fields of answers are decoded into
typed records; what servers disagree about (`content`, reasoning, `usage`) stays untyped until `text_of` and `usage_of`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from gradatim.errors import UsageError
from gradatim.models.faults import Overloaded, Retry
from gradatim.models.statuses import fault_of
from gradatim.reasoning import unfinished
from gradatim.types import Reply, Request, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.types import Sampling

_OURS = frozenset(
    {"model", "messages", "stream", "stream_options", "seed", "n"}
    | {"temperature", "top_p", "max_tokens", "max_completion_tokens"}
)
_INTERRUPTED = frozenset({"error", "abort"})
"""Finish reasons of OpenRouter, vLLM and SGLang for a generation that the server gave up."""


class _Text(msgspec.Struct, gc=False):
    """A message, or a delta of one."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Text | None = None
    delta: _Text | None = None
    finish_reason: Any = None
    error: Any = None
    index: Any = None


class _Answer(msgspec.Struct, gc=False):
    """A whole answer, or one event of a stream."""

    choices: list[_Choice] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None
    object: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=64)
def _settings(sampling: Sampling) -> dict[str, Any]:
    """Return the fields that all requests with this sampling share. Cached: one run has one sampling or a few."""
    try:
        extra = json.loads(sampling.extra_body)
    except ValueError as error:
        raise UsageError(f"extra_body is not JSON ({error}): write a JSON object such as {{}}") from error
    if not isinstance(extra, dict):
        raise UsageError(f"extra_body is not a JSON object: {sampling.extra_body[:80]}")
    if taken := sorted(_OURS & extra.keys()):
        raise UsageError(f"extra_body sets {', '.join(taken)}, which Gradatim sets itself: leave it out")
    fields: dict[str, Any] = {"max_tokens": sampling.max_tokens}
    if sampling.temperature is not None:
        fields["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        fields["top_p"] = sampling.top_p
    return fields | extra


@lru_cache(maxsize=64)
def stops_of(sampling: Sampling) -> tuple[str, ...]:
    """Return the texts at which an answer is to end, as `extra_body` names them."""
    stop = json.loads(sampling.extra_body).get("stop")
    return tuple(one for one in ([stop] if isinstance(stop, str) else stop or ()) if isinstance(one, str) and one)


CONTINUES = ("vllm", "prefix", "mistral")
"""The ways in which servers are asked to go on with an answer."""
CONTINUING = frozenset({"continue_final_message", "add_generation_prompt", "messages"})
"""Fields that ask a server to go on with an answer. One that does not take them must not be asked without them."""


def _messages(request: Request, continues: str | None) -> list[dict[str, Any]]:
    """Return the chat as it is sent; of an answer that is to be continued, what is there of it comes last."""
    messages: list[dict[str, Any]] = [{"role": one.role, "content": one.content} for one in request.messages]
    begun = request.begun
    if begun is not None:
        last: dict[str, Any] = {"role": "assistant", "content": unfinished(begun.content)}
        if begun.reasoning:
            last["reasoning_content"] = begun.reasoning
        if continues in ("prefix", "mistral"):
            last["prefix"] = True
        messages.append(last)
    return messages


def body_of(
    request: Request, *, model: str, stream: bool, dropped: frozenset[str], continues: str | None = None
) -> dict[str, Any]:
    """Return the fields of a request's body. `continues` is the server's way to go on with an answer that has begun.

    One answer per request: servers ignore `n`, and every answer has a seed of its own. `dropped` names fields that the
    server does not know; `max_tokens` among them is sent as `max_completion_tokens`. Raises `UsageError` for an
    `extra_body` that is not a JSON object, or sets what is set here.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(request, continues),
        **_settings(request.sampling),
        "seed": request.seed,
    }
    if request.begun is not None and continues == "vllm":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    for field in dropped:
        value = body.pop(field, None)
        if field == "max_tokens" and value is not None:
            body["max_completion_tokens"] = value
    if "stream" not in body:
        body.pop("stream_options", None)
    return body


def encoded(body: dict[str, Any]) -> bytes:
    """Return a body as it goes over the wire; lone surrogates in a prompt become question marks."""
    try:
        return _encode(body)
    except UnicodeEncodeError:
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def text_of(value: Any) -> str:
    """Return the text of a message field: a string, null, or (nested) parts with `text`, `thinking` or `summary`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, dict):
        for name in ("text", "thinking", "summary", "content"):
            if value.get(name):
                return text_of(value[name])
    return ""


def _reasoning_of(text: _Text) -> str:
    """Return the reasoning. Servers that give it under two names give the same twice, so the first is taken."""
    if text.reasoning_content:
        return text_of(text.reasoning_content)
    if text.reasoning:
        return text_of(text.reasoning)
    return text_of(text.reasoning_details) if text.reasoning_details else ""


def _content_of(text: _Text) -> tuple[str, str]:
    """Return a message's reasoning and its content; parts of the type `thinking` inside content are reasoning."""
    content = text.content
    if isinstance(content, str):
        return _reasoning_of(text), content
    if not isinstance(content, list):
        return _reasoning_of(text), text_of(content)
    thinking = [part for part in content if isinstance(part, dict) and part.get("type") == "thinking"]
    return _reasoning_of(text) + text_of(thinking), text_of([part for part in content if part not in thinking])


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def usage_of(raw: Any) -> Usage:
    """Return the token counts of a `usage` object, in OpenAI's names or DeepSeek's; None for each that is not given."""
    if not isinstance(raw, dict):
        return Usage()
    written, read = raw.get("completion_tokens_details"), raw.get("prompt_tokens_details")
    cached = _count(read.get("cached_tokens")) if isinstance(read, dict) else None
    prompt, completion = _count(raw.get("prompt_tokens")), _count(raw.get("completion_tokens"))
    total = _count(raw.get("total_tokens"))
    if prompt is not None and completion is not None and total is not None:
        # xAI and Gemini leave the reasoning out of completion_tokens, but not out of the total, nor out of the bill.
        completion = max(completion, total - prompt)
    return Usage(
        prompt=prompt,
        completion=completion,
        reasoning=_count(written.get("reasoning_tokens")) if isinstance(written, dict) else None,
        cached=_count(raw.get("prompt_cache_hit_tokens")) if cached is None else cached,
    )


def _whole(text: str) -> str:
    """Join surrogate pairs that a stream cut in two; what stays unpaired becomes U+FFFD, so that it can be stored."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _decoded(data: bytes) -> _Answer | None:
    """Decode an answer or event; None where it is no JSON object of an answer's shape."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # What Python's json accepts and msgspec does not: NaN among log probabilities, lone surrogates, bad UTF-8.
        return msgspec.convert(json.loads(data.decode("utf-8", "replace")), _Answer)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None


class Collector:
    """Takes the bytes of one answer as they come; knows when it is complete and what it says."""

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        """`redact` takes out of a text of the server what no fault may hold, before it is cut to length."""
        self._redact = redact
        self.streamed = False
        """Whether the answer came as server-sent events."""
        self.done = False
        """Whether `[DONE]` was read."""
        self._sniffed = False
        self._rest = b""
        self._torn = b""
        self._parts: list[bytes] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._finish = ""
        self._usage: Any = None
        self._model = ""
        self._choices = 0
        self._index: Any = None
        self.more = False
        """Whether there were further choices, which nobody asked for; they are no part of the answer."""

    @property
    def finished(self) -> bool:
        """Whether what was read is a complete answer even if nothing more comes."""
        return self.done or self._finish != ""

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises a fault where they carry an error."""
        if not self._sniffed:
            # Blank lines before the JSON are how DeepSeek keeps a connection alive.
            data = (self._rest + data).lstrip()
            self._rest = b""
            if not data:
                return
            self._sniffed = True
            # A server that ignores `stream`, or streams unasked, is taken as it is, whatever its content type says.
            self.streamed = not data.startswith((b"{", b"[", b"<", b'"'))
        if not self.streamed:
            self._parts.append(data)
            return
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if len(line) > 1:
                self._line(line)

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            if line.startswith(b"{"):
                # An error that interrupts a stream comes without `data:` from some servers.
                self._event(line)
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
        elif data:
            self._event(data)

    def _event(self, data: bytes) -> None:
        if self._torn:
            # An event may be spread over several `data:` lines.
            data = self._torn + b"\n" + data
        elif not data.startswith(b"{"):
            return
        answer = _decoded(data)
        if answer is None:
            if b"\n{" in data:
                # A new event began after one that is no JSON: going on would give an answer with a hole.
                raise Retry("bad_json", self._said(data), billed=True)
            self._torn = data
            return
        self._torn = b""
        self._take(answer, data)

    def _take(self, answer: _Answer, data: bytes) -> None:
        choice = self._ours(answer.choices)
        if answer.error or answer.object == "error" or (choice and (choice.error or choice.finish_reason)):
            self._raise_error(answer, choice, data)
        if answer.usage is not None:
            self._usage = answer.usage
        if not self._model and isinstance(answer.model, str):
            self._model = answer.model
        if choice is None:
            return
        text = choice.delta or choice.message
        if text is not None:
            self._choices += 1
            reasoning, content = _content_of(text)
            if reasoning:
                self._reasoning.append(reasoning)
            if content:
                self._content.append(content)
        if isinstance(choice.finish_reason, str):
            self._finish = choice.finish_reason

    def _ours(self, choices: list[_Choice] | None) -> _Choice | None:
        """Return the first choice. The events of a stream may bring others, between its pieces."""
        if not choices:
            return None
        self.more |= len(choices) > 1
        if self._index is None:
            self._index = choices[0].index
        if choices[0].index == self._index:
            return choices[0]
        self.more = True
        return next((one for one in choices if one.index == self._index), None)

    def _raise_error(self, answer: _Answer, choice: _Choice | None, data: bytes) -> None:
        """Raise the fault of an answer of status 200 that carries an error, or says that it was interrupted."""
        error = answer.error or (choice and choice.error)
        if error or answer.object == "error":
            code = error.get("code") if isinstance(error, dict) else None
            if isinstance(code, str) and code.isdigit():
                code = int(code)
            if isinstance(code, int) and 400 <= code < 600:
                raise fault_of(code, self._said(data).encode())
            raise Retry("error_200", self._said(data), billed=self._choices > 0)
        reason = choice.finish_reason if choice else None
        if isinstance(reason, str) and reason in _INTERRUPTED:
            raise Retry("interrupted", f"the server ended the answer with finish_reason={reason}", billed=True)
        if reason == "insufficient_system_resource":
            raise Overloaded("interrupted", "the server ran out of resources in mid-answer", billed=True)

    def _said(self, data: bytes) -> str:
        return self._redact(data.decode("utf-8", "replace"))

    def reply(self, latency: float) -> Reply:
        """Return the answer after the last byte. Raises `Retry` where there is none, or only part of one."""
        if not self.streamed:
            data = b"".join(self._parts)
            if not data:
                raise Retry("empty_body", "the server sent no answer", billed=True)
            answer = _decoded(data)
            if answer is None:
                raise Retry("bad_json", self._said(data), billed=True)
            self._take(answer, data)
        else:
            self._last_line()
            if not self.finished:
                raise Retry("torn_stream", "the stream ended without finish_reason or [DONE]", billed=True)
        if not self._choices:
            raise Retry("no_choice", "the answer holds no choice", billed=True)
        return Reply(
            content=_whole("".join(self._content)),
            reasoning=_whole("".join(self._reasoning)),
            finish_reason=self._finish,
            usage=usage_of(self._usage),
            latency=latency,
            server_model=self._model,
        )

    def _last_line(self) -> None:
        """Read a last line that came without a line end; an event that never became JSON is a fault."""
        if self._rest:
            line, self._rest = self._rest, b""
            self._line(line)
        if self._torn and not self.finished:
            raise Retry("bad_json", self._said(self._torn), billed=True)
