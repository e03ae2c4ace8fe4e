"""Messages between the calling process and the fork server, and between the two processes of style `assert`.

    4 bytes: length of all that follows    4 bytes: length of the head    head: JSON    the blobs, one after another

The head's `blobs` says how long each is. Nothing here trusts the other side: too long, too short or no JSON is a
`ValueError`.
"""

from __future__ import annotations

import builtins
import json
import os
import select
import struct
import time
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

_LENGTHS = struct.Struct("<II")


def opening(head: dict[str, Any], sizes: list[int]) -> bytes:
    """Return the bytes of a message up to its blobs."""
    text = json.dumps({**head, "blobs": sizes}).encode()
    return _LENGTHS.pack(4 + len(text) + sum(sizes), len(text)) + text


def head(fd: int) -> dict[str, Any]:
    """Read a message up to its blobs. Raises `EOFError` at the end."""
    _, size = _LENGTHS.unpack(exactly(fd, 8))
    found: dict[str, Any] = json.loads(exactly(fd, size))
    return found


def move(source: int, target: int, count: int) -> None:
    """Have the kernel move bytes from a pipe to a file."""
    while count:
        moved = os.splice(source, target, count)
        if not moved:
            raise EOFError
        count -= moved


def packed(head: dict[str, Any], *blobs: bytes) -> bytes:
    """Return the bytes of a message."""
    return b"".join((opening(head, [len(blob) for blob in blobs]), *blobs))


def lengths(data: bytes, limit: int) -> int:
    """Return how many bytes follow the first eight."""
    size, head = _LENGTHS.unpack(data)
    if not 4 + head <= size <= limit:
        raise ValueError("a message of an impossible length")
    return int(size - 4)


def unpacked(prefix: bytes, data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return a message's head and blobs."""
    _, size = _LENGTHS.unpack(prefix)
    try:
        head = json.loads(data[:size])
        sizes = head["blobs"]
        if not all(type(one) is int and one >= 0 for one in sizes) or sum(sizes) != len(data) - size:
            raise ValueError("blobs of other lengths")  # noqa: TRY301 - handled as the others are, just below
    except (TypeError, LookupError, RecursionError, ValueError) as error:
        raise ValueError(f"no message: {error}") from error
    blobs, at = [], size
    for one in sizes:
        blobs.append(data[at : at + one])
        at += one
    return head, blobs


def exactly(fd: int, count: int, until: float | None = None) -> bytes:
    """Read so many bytes. Raises `EOFError` at the end, `TimeoutError` after the monotonic time `until`."""
    parts: list[bytes] = []
    while count:
        if until is not None:
            waiting = select.poll()
            waiting.register(fd, select.POLLIN)
            if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def receive(fd: int, limit: int, until: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message of at most `limit` bytes."""
    prefix = exactly(fd, 8, until)
    return unpacked(prefix, exactly(fd, lengths(prefix, limit), until))


def send(fd: int, message: bytes, until: float | None = None) -> None:
    """Write all of a message; where `fd` does not block, until the monotonic time `until`."""
    rest = memoryview(message)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            left = None if until is None else max(0.0, until - time.monotonic()) * 1000
            if not waiting.poll(left):
                raise TimeoutError from None
