"""Bytes out of a file, compressed or not, and lines out of bytes.

Memory is bounded whatever the file holds: a line beyond `MAX_LINE` is skipped, not kept. A compressed file that
ends early or is damaged is an error, never a shorter file.
"""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from gradatim.errors import SetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gradatim.zstd import ZstdDecompressor

Stream: TypeAlias = "io.BufferedReader[Any]"
"""Uncompressed bytes, buffered, with `peek`."""

MAX_LINE = 128 * 2**20
"""Bytes. Only a code question with many large tests comes near; a line beyond is usually a whole file without line
ends."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BUFFER = 256 * 1024
# A block of 128 KiB takes 4 bytes at least, so 1 KiB unfolds to 32 MiB at most: a bomb stays affordable. Reading runs
# at 290 MB/s with it, 425 with 4 KiB; decoding the JSON is slower than either.
_ZSTD_CHUNK = 1024


class _ZstdFile(io.RawIOBase):
    """Reads zstd frames one after the other and, unlike the library's own reader, notices a missing end."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame = self._new_frame()
        self._between = True
        self._ready = memoryview(b"")

    @staticmethod
    def _new_frame() -> ZstdDecompressor:
        from gradatim.zstd import ZstdDecompressor  # noqa: PLC0415 - loaded only for a .zst file

        return ZstdDecompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._raw.read(_ZSTD_CHUNK)
            if not chunk:
                if not self._between:
                    raise EOFError("the last zstd frame has no end")
                return 0
            self._ready = memoryview(self._unfold(chunk))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _unfold(self, chunk: bytes) -> bytes:
        parts = []
        while chunk:
            parts.append(self._frame.decompress(chunk))
            self._between = self._frame.eof
            if not self._between:
                break
            chunk = self._frame.unused_data
            self._frame = self._new_frame()
        return b"".join(parts)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _GzipFile(gzip.GzipFile):
    """Closes the file below it too, which `GzipFile` leaves to whoever opened it."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw)
        self._raw = raw

    def close(self) -> None:
        super().close()
        self._raw.close()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a file as a whole into one sentence.

    Raises:
        UsageError: the file is missing, may not be read, is damaged, or its compressed data ends early.
        SetupError: the machine's disk failed.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}; check the name.") from error
    except PermissionError as error:
        raise UsageError(f"{path} may not be read by this user; change its permissions.") from error
    except EOFError as error:
        raise UsageError(f"{path} is cut off: its compressed data ends early; fetch or write it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} is damaged: its gzip data cannot be read ({error}).") from error
    except OSError as error:
        raise SetupError(f"{path} could not be read: {error.strerror or error}.") from error
    except Exception as error:
        # Named by hand, because importing zstd only to name its error costs every start of the program.
        if type(error).__name__ != "ZstdError":
            raise
        raise UsageError(f"{path} is damaged: its zstd data cannot be read ({error}).") from error


def open_bytes(path: Path) -> Stream:
    """Open a file for reading its uncompressed bytes; the first bytes decide whether it is compressed.

    Works on pipes too, since nothing is read twice. Reads of what it returns belong inside `readable(path)`.

    Raises:
        UsageError: missing, a folder, empty, or compressed by its name and not by its bytes.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder where a file is needed.")
    with readable(path):
        raw = path.open("rb")
        head = raw.peek(4)[:4]
    if head.startswith(_GZIP):
        # The buffer around it makes `readline` faster than gzip's own, which is Python.
        return io.BufferedReader(_GzipFile(raw), _BUFFER)
    if head == _ZSTD:
        return io.BufferedReader(_ZstdFile(raw), _BUFFER)
    if not head:
        raw.close()
        raise UsageError(f"{path} is empty.")
    for suffix, name in ((".gz", "gzip"), (".zst", "zstd")):
        if path.name.lower().endswith(suffix):
            raw.close()
            raise UsageError(f"{path} is not {name} data, whatever its name says; rename it without {suffix}.")
    return raw


def refuse_wide_text(path: Path, head: bytes) -> None:
    """Raise `UsageError` where the first bytes are those of UTF-16 or UTF-32."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:4] == b"\x00\x00\xfe\xff":
        raise UsageError(f"{path} is UTF-16 text; turn it into UTF-8: iconv -f UTF-16 -t UTF-8 {path.name} > new.")


def lines(stream: Stream) -> Iterator[tuple[int, bytes | None]]:
    """Give each line's number, from 1, and its bytes with the line end, or None where it is beyond `MAX_LINE`.

    A byte order mark before the first line is dropped.
    """
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            del line
            while (more := stream.readline(_BUFFER)) and not more.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line
