"""Opening, checking and holding the library file.

Covered: one writer and any number of readers at once (SQLite in WAL mode); a file that is not ours or is newer is
refused before a byte of it changes; a commit survives a killed process and, with `synchronous = FULL`, a power loss.
Not covered: network file systems without working locks.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gradatim.errors import LibraryError, SetupError, UsageError
from gradatim.library.lock import WriterLock
from gradatim.library.schema import APPLICATION_ID, MIGRATIONS
from gradatim.library.text import unpack
from gradatim.reasoning import split_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row = tuple[Any, ...]
_MAGIC = b"SQLite format 3\x00"


class Library:
    """One library file. `Library(path)` reads; `Library(path, write=True)` makes it where there is none, and writes.

    Raises `LibraryError` for a file that is not a library, is newer than this Gradatim, or has another writer.
    """

    def __init__(self, path: str | Path, *, write: bool = False) -> None:
        self.path = Path(path)
        self.writable = write
        self._lock: WriterLock | None = None
        self._writer: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        version = _checked_version(self.path)
        if version is None and not write:
            raise LibraryError(
                f"There is no library at {self.path}. Make one with: gradatim ingest POOL --library {self.path}"
            )
        if write:
            self._open_writer(version)
        elif version is not None and version < len(MIGRATIONS):
            raise LibraryError(
                f"{self.path} was made by an older Gradatim. Run any writing command once (gradatim "
                "status --migrate) to bring it up to date."
            )
        self._reader = self._connect(read_only=True)

    def _open_writer(self, version: int | None) -> None:
        if not self.path.parent.is_dir():
            raise UsageError(
                f"There is no folder {self.path.parent} to keep the library in. Make it first: mkdir "
                f"-p {self.path.parent}"
            )
        try:
            self._lock = WriterLock(self.path)
            if version is None:
                _make(self.path)
            self._writer = self._connect(read_only=False)
            _migrate(self._writer, version or len(MIGRATIONS))
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise environment_error(error, self.path) from error
        except LibraryError:
            self.close()
            raise

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        mode = "ro" if read_only else "rwc"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA cache_size = -65536")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        _add_functions(connection)
        return connection

    def close(self) -> None:
        """Close the file and let the next writer in."""
        # The writer last: only it can fold the write-ahead log back into the file.
        for connection in (getattr(self, "_reader", None), self._writer):
            if connection is not None:
                connection.close()
        self._writer = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """Run one reading statement and give its rows as they come."""
        return iter(self._reader.execute(sql, values))

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one reading statement and give all its rows; holds no snapshot afterwards."""
        return self._reader.execute(sql, values).fetchall()

    def value(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Give the first column of the first row, or None."""
        row = self._reader.execute(sql, values).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything inside or nothing. Raises `LibraryError` where the library was opened for reading."""
        if self._writer is None:
            raise LibraryError(f"{self.path} was opened for reading. Open it with Library(path, write=True) to write.")
        with self._turn:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise environment_error(error, self.path) from error
                raise


def select(library: Library, sql: str) -> tuple[list[str], Iterator[Row]]:
    """Run a user's SELECT: column names and rows. Raises `UsageError` for SQL that is wrong or would write."""
    if not re.match(r"\s*(select|with|values|explain|pragma\s+table_info)\b", sql, re.IGNORECASE):
        raise UsageError(
            "gradatim query only reads: start with SELECT or WITH. The views are questions, "
            "attempts, verdicts, scores, grades, draws, chains, faults, drops."
        )
    try:
        cursor = library._reader.execute(sql)  # noqa: SLF001 - the one other reader of the connection, in the same file
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise UsageError(
            f"The query was refused by SQLite: {error}. The views are questions, attempts, "
            "verdicts, scores, grades, draws, chains, faults, drops."
        ) from error
    return [column[0] for column in cursor.description or ()], iter(cursor)


def environment_error(error: Exception, path: Path) -> LibraryError | SetupError:
    """Say in a sentence what the machine or the file denied."""
    words = str(error)
    if "disk is full" in words or "No space left" in words or "disk I/O error" in words:
        return SetupError(
            f"No space (or a disk error) where {path} lies: {words}. Everything committed before "
            "is kept; free some space and run the same command again."
        )
    if "readonly" in words or "read-only" in words.lower() or "Permission denied" in words or "unable to open" in words:
        return LibraryError(f"{path} cannot be written: {words}. Check the permissions of the file and its folder.")
    if "locked" in words or "busy" in words:
        return LibraryError(f"{path} is locked by another program. Close what has it open for writing and try again.")
    return LibraryError(
        f"{path} cannot be used: {words}. Keep a copy of it before anything else; `sqlite3 FILE .recover` may help."
    )


def _checked_version(path: Path) -> int | None:
    """Return how many migrations the file has had, or None where there is no file yet; changes nothing.

    The mark that a file is ours is in its first page from the moment it appears (`_make`), so it is read as bytes:
    SQLite would leave files beside a foreign database.
    """
    try:
        if not path.exists() or (path.is_file() and path.stat().st_size == 0):
            return None
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror}.") from error
    if len(header) < 100 or header[:16] != _MAGIC or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise LibraryError(f"{path} is not a Gradatim library; it was left as it is. Name another file with --library.")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with closing(connection):
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise environment_error(error, path) from error
    if version > len(MIGRATIONS):
        raise LibraryError(
            f"{path} was made by a newer Gradatim (tables {version}, this one knows "
            f"{len(MIGRATIONS)}); it was left as it is. "
            "Upgrade: pip install -U gradatim"
        )
    return version


def _make(path: Path) -> None:
    """Make an empty library that appears whole: under another name, then renamed."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        _add_functions(connection)
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, 0)
    unfinished.replace(path)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA "
            f"user_version = {number};\nCOMMIT;"
        )


def _add_functions(connection: sqlite3.Connection) -> None:
    """Give SQL the words that the views use."""
    connection.create_function("unpack", 1, unpack, deterministic=True)
    connection.create_function("thinking_of", 2, _thinking_of, deterministic=True)
    connection.create_function("answer_of", 2, _answer_of, deterministic=True)


def _thinking_of(content: str | bytes, reasoning: str | bytes) -> str:
    return split_reasoning(unpack(content), unpack(reasoning))[0]


def _answer_of(content: str | bytes, reasoning: str | bytes) -> str:
    return split_reasoning(unpack(content), unpack(reasoning))[1]
