"""Writing files that appear complete or not at all, and are the same bytes for the same rows.

A file is written under a temporary name beside its target, flushed to the disk, and renamed. Nothing in it tells
the time, the machine or the folder. The same bytes are promised for the same version of zlib, zstd or pyarrow.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, cast

from gradatim.errors import GradatimError, SetupError, UsageError
from gradatim.formats.columnar import write_parquet
from gradatim.formats.jsontext import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gradatim.formats.row import Json

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
"""What `write_rows` can write."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_BUFFER = 2**20
_ZSTD_LEVEL = 10
_GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file that was written."""

    name: str
    """Without its folder."""
    sha256: str
    size: int
    """Bytes."""
    rows: int | None = None
    """None for a file that holds no rows."""


def suffix_of(path: Path) -> str:
    """Return which of `SUFFIXES` the file has.

    Raises:
        UsageError: none of them.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return suffix
    raise UsageError(f"{path} names no format that can be written; end the name in {', '.join(SUFFIXES)}.")


def beside(path: Path, ending: str) -> Path:
    """Return the name of a file that belongs to `path`: for `math-2k.jsonl.gz` and `card.md`, `math-2k.card.md`."""
    return path.with_name(f"{path.name[: -len(suffix_of(path))]}.{ending}")


def write_rows(path: Path, rows: Iterable[Mapping[str, Json]], *, typical: Mapping[str, Json]) -> Written:
    """Write rows as JSON Lines (plain, .gz, .zst) or Parquet, as the name says; streaming.

    Args:
        path: is replaced if it exists.
        rows: names are written in the order they stand in; for Parquet all rows have the first ones' columns.
        typical: a row with a value of the right type in every column; decides Parquet types where rows do not.

    Raises:
        UsageError: the name's ending, or a folder that is missing or may not be written.
        SetupError: the disk is full, or an extra is missing. Nothing is left behind.
    """
    suffix = suffix_of(path)
    with _appearing(path) as stream:
        if suffix == ".parquet":
            count = write_parquet(cast("IO[bytes]", stream), rows, typical)
        else:
            count = _write_jsonl(stream, rows, suffix)
    return stream.written(count)


def write_text(path: Path, text: str) -> Written:
    """Write a text file as UTF-8; raises as `write_rows` does."""
    with _appearing(path) as stream:
        stream.write(text.encode())
    return stream.written(None)


def _write_jsonl(stream: _HashedFile, rows: Iterable[Mapping[str, Json]], suffix: str) -> int:
    count = 0
    with _compressed(stream, suffix) as out:
        for row in rows:
            out.write(encode(row) + b"\n")
            count += 1
    return count


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


@contextmanager
def _compressed(stream: _HashedFile, suffix: str) -> Iterator[_Sink]:
    if suffix == ".jsonl.gz":
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=cast("IO[bytes]", stream), mtime=0
        ) as out:
            yield out
    elif suffix == ".jsonl.zst":
        from gradatim.zstd import CompressionParameter, ZstdFile  # noqa: PLC0415 - loaded only for a .zst file

        options = {CompressionParameter.compression_level: _ZSTD_LEVEL, CompressionParameter.checksum_flag: 1}
        with ZstdFile(cast("IO[bytes]", stream), "wb", options=cast("dict[int, int]", options)) as out:
            yield out
    else:
        yield stream


class _HashedFile:
    """A file for writing that counts and hashes what goes through it, and says in our words what goes wrong."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self._raw = raw
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self.closed = False  # asked for by pyarrow

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._digest.update(data)
        self._size += memoryview(data).nbytes
        try:
            return self._raw.write(data)
        except OSError as error:
            raise _said(self._path, error) from error

    def flush(self) -> None:
        """Do nothing: the file is flushed once, before it is renamed."""

    def written(self, rows: int | None) -> Written:
        """Return what was written so far."""
        return Written(name=self._path.name, sha256=self._digest.hexdigest(), size=self._size, rows=rows)


@contextmanager
def _appearing(path: Path) -> Iterator[_HashedFile]:
    """Open a temporary file that takes the name `path` when the block ends well, and is removed when it does not."""
    # A link stays a link: what it points to is replaced.
    target = path.resolve()
    if target.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it.")
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write {path.name} in; make it first.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with _writable(path):
        raw = temporary.open("wb", buffering=_BUFFER)
    try:
        yield _HashedFile(raw, path)
        with _writable(path):
            raw.flush()
            os.fsync(raw.fileno())
            raw.close()
            temporary.replace(target)
            _sync_folder(target.parent)
    except BaseException:
        # Closing a file on a full disk fails too, and the first error is the one to tell.
        with suppress(OSError):
            raw.close()
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the file system can do that for folders."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one sentence."""
    try:
        yield
    except OSError as error:
        raise _said(path, error) from error


def _said(path: Path, error: OSError) -> GradatimError:
    """Return the error in one sentence: the machine's fault where it lacks room, else the target's."""
    if error.errno in _FULL:
        return SetupError(
            f"{path} could not be written: {error.strerror}; nothing of it was kept. "
            "Make room or choose another disk, and run it again."
        )
    return UsageError(f"{path} may not be written: {error.strerror or error}; choose another folder.")
