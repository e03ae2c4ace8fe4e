"""From an HTTP error answer to the fault that says what to do next. Pure functions on status, headers and body.

What servers do is kept in `tests/cases/responses.json`, one row per shape, each with its source.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from gradatim.models.faults import ModelFault, Overloaded, Refused, Retry, Stop

OPTIONAL_FIELDS = ("stream_options", "stream", "seed", "top_p", "stop")
"""Fields that a request can do without, in the order in which they are blamed; answers are cut here where `stop` is."""

_OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size)|maximum model length|prompt is too long|reduce the length"
    r"|`?inputs`? tokens \+ `?max_new_tokens`?|max_seq_len|max_model_len"
    r"|exceeds? the (model's )?max(imum)? (sequence|input|context)",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|extra (inputs|fields)|not permitted|not allowed"
    r"|forbidden|not available|additional propert",
    re.IGNORECASE,
)
_GATEWAY_GAVE_UP = frozenset({408, 502, 504, 520, 522, 524})
"""Something between us and the model stopped waiting; the model may have written, and billed, the whole answer."""


def retry_after(value: str | None, *, now: float | None = None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, from seconds or an HTTP date; None if it says neither.

    A time that has passed is 0. `now` is seconds since 1970, for tests.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def error_text(body: bytes) -> str:
    """Return the message of an error body: the `message`, `detail` or `error` of its JSON, or its text as it is."""
    try:
        found = _message(msgspec.json.decode(body))
    except msgspec.MsgspecError:
        found = ""
    return found or body.decode("utf-8", "replace")


def _message(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_message, value)))
    if isinstance(value, dict):
        for name in ("message", "msg", "detail", "error"):
            if value.get(name):
                place = ".".join(map(str, value["loc"])) + ": " if isinstance(value.get("loc"), list) else ""
                return place + _message(value[name])
    return ""


def unsupported_field(body: bytes, sent: frozenset[str]) -> str | None:
    """Return which of our fields a 400 or 422 answer says it does not know, or None.

    `sent` are the top-level fields of the request. `max_tokens` is named where `max_completion_tokens` is wanted
    instead. An error about a field's value is not one about the field.
    """
    text = error_text(body)
    if not _UNSUPPORTED.search(text) or _OVERFLOW.search(text):
        return None
    if "max_completion_tokens" in text and "max_tokens" in sent:
        return "max_tokens"
    for field in OPTIONAL_FIELDS:
        if field in sent and re.search(rf"\b{field}\b", text):
            return field
    return None


def fault_of(status: int, body: bytes, *, wait: float | None = None, key_hint: str = "") -> ModelFault:
    """Return the fault that an answer with this status and body is.

    Args:
        status: the HTTP status, or the code inside an error that came with status 200.
        body: the answer's body; its message goes into the fault's.
        wait: seconds from `Retry-After`.
        key_hint: what the user can do about the key, for 401, 402 and 403.
    """
    text = " ".join(error_text(body).split())
    reason, said = f"http_{status}", f"HTTP {status}: {text[:240]}"
    lower = text.lower()
    fault: ModelFault
    if status == 403 and ("flagged" in lower or "moderation" in lower):
        fault = Refused("moderation", said)
    elif status in {401, 403}:
        fault = Stop(reason, f"the server did not accept the key ({said}); {key_hint}")
    elif status == 402 or (status == 429 and b"insufficient_quota" in body):
        fault = Stop(reason, f"the account has no credit left ({said}); add credit, or {key_hint}")
    elif _OVERFLOW.search(text) and (400 <= status < 429 or status == 500):
        fault = Refused("context_overflow", said)
    elif status in {429, 503, 529}:
        fault = Overloaded(reason, said, retry_after=wait)
    elif status in {408, 409, 425} or (status >= 500 and status != 501):
        fault = Retry(reason, said, billed=status in _GATEWAY_GAVE_UP, retry_after=wait)
    elif 300 <= status < 400:
        fault = Stop(reason, f"the server redirects ({said}); set base_url to where it redirects to")
    else:
        fault = Refused(reason, said)
    return fault
