"""The lines of a batch: requests as they are uploaded, and what came back, one JSON object a line. Pure functions.

Lenient as `chat` is, for the same reason: lines come in any order, twice, torn, for requests that nobody made, and in
the output file as in the error file (vLLM's `run-batch` writes both kinds into one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gradatim.models.chat import Collector, encoded
from gradatim.models.faults import ModelFault, Retry
from gradatim.models.statuses import fault_of, unsupported_field

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.types import Reply

ENDPOINT = "/v1/chat/completions"
"""What every line and every batch asks for, whatever stands before `/v1` in the base URL."""
NOT_RUN = {"batch_expired", "batch_cancelled"}
"""Codes of requests that the server never sent to the model."""


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str = ""
    response: _Response | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one request."""

    custom_id: str
    reply: Reply | None = None
    fault: ModelFault | None = None
    unsupported: str | None = None
    """The field of ours that the server does not know, where that is the fault."""


def request_line(custom_id: str, body: dict[str, Any]) -> bytes:
    """Return a request as a line of the input file, its end included."""
    return encoded({"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}) + b"\n"


def result_of(line: bytes, *, fields: frozenset[str], redact: Callable[[str], str] = str) -> Result | None:
    """Return what a line says, or None where it is none: torn, empty, without an id.

    `fields` are those that requests were sent with, so that one that the server does not know is recognised.
    """
    try:
        read = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not read.custom_id:
        return None
    response = read.response
    if response is None or not response.status_code:
        return Result(custom_id=read.custom_id, fault=_error(read.error, redact))
    body = bytes(response.body)
    if response.status_code == 200:
        try:
            if body == b"null":
                raise Retry("empty_body", "the server sent no answer", billed=True)
            collector = Collector(redact)
            collector.feed(body)
            return Result(custom_id=read.custom_id, reply=collector.reply(0.0))
        except ModelFault as fault:
            return Result(custom_id=read.custom_id, fault=fault)
    if body == b"null":
        body = msgspec.json.encode({"error": read.error})
    said = redact(body.decode("utf-8", "replace")).encode()
    unsupported = unsupported_field(said, fields) if response.status_code in {400, 422} else None
    return Result(custom_id=read.custom_id, fault=fault_of(response.status_code, said), unsupported=unsupported)


def _error(error: Any, redact: Callable[[str], str]) -> ModelFault:
    """Return the fault of a line without a response."""
    code = error.get("code") if isinstance(error, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    reason = code if isinstance(code, str) and code.replace("_", "").isalnum() else "batch_error"
    # What never reached the model is not billed; of anything else nobody knows.
    return Retry(reason[:60], redact(str(said or "the server gave no reason")), billed=reason not in NOT_RUN)
