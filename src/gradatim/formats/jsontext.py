"""JSON in and out: fast on the common path, tolerant of what real files hold.

`msgspec` decodes several times faster than the standard library and keeps whole numbers of any size exact. What it
refuses is tried again with `json`, which also takes NaN, Infinity and numbers beyond a float's range.
Of a name that stands twice in one object the last value holds, as in both libraries.
"""

from __future__ import annotations

import json

import msgspec


def decode(raw: bytes | memoryview) -> object:
    """Return what the JSON text holds.

    Raises:
        ValueError: it is not JSON, nested beyond the parser's depth, or holds half a surrogate pair, which no
            database, server or file could take.
        UnicodeDecodeError: it is not UTF-8 (a subclass of ValueError).
    """
    try:
        return msgspec.json.decode(raw)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_tolerantly(bytes(raw))


def _decode_tolerantly(raw: bytes) -> object:
    text = raw.decode("utf-8")
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("half a surrogate pair") from error
    return value


def encode(value: object) -> bytes:
    """Return compact UTF-8 JSON in the order the names stand in; NaN and Infinity become null.

    Raises:
        ValueError: a text holds half a surrogate pair.
    """
    return msgspec.json.encode(value)
