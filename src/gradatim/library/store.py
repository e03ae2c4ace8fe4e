"""Opening, checking and holding the library file.

Covered: one writer and any number of readers at once (SQLite in WAL mode); a file that is not ours or is newer is
refused before a byte of it changes; a commit survives a killed process and, with `synchronous = FULL`, a power loss.
Not covered: network file systems without working locks.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import weakref
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gradatim.errors import LibraryError, SetupError, UsageError
from gradatim.library.ledger import declare_lost
from gradatim.library.lock import WriterLock
from gradatim.library.schema import APPLICATION_ID, MIGRATIONS
from gradatim.library.scores import aggregated_steps
from gradatim.library.text import pack, unpack
from gradatim.reasoning import joined, split_reasoning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Row = tuple[Any, ...]
_MAGIC = b"SQLite format 3\x00"

_READS = re.compile(
    r"(\s|--[^\n]*\n|/\*.*?\*/)*(select|with|values|explain|pragma\s+table_info)\b", re.IGNORECASE | re.DOTALL
)
"""How a statement that reads begins. A courtesy: that nothing is written is held by opening the file for reading."""

_open_files: Counter[tuple[int, int]] = Counter()
"""Device and inode of the libraries that this process has open, with how often."""
_opening = threading.RLock()


class Library:
    """One library file. `Library(path)` reads; `Library(path, write=True)` makes it where there is none, and writes.

    A file of an older Gradatim is brought up to date, also by a reader. A library that was made and left empty by a
    `with` block that failed is removed again: a wrong name leaves nothing behind.

    Raises `LibraryError` for a file that is not a library, is newer than this Gradatim, or has another writer.
    """

    def __init__(self, path: str | Path, *, write: bool = False) -> None:
        self.path = Path(path)
        self.writable = write
        self._lock: WriterLock | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()
        self._turn = threading.Lock()
        self._made = self._discard = False
        self._file: tuple[int, int] | None = None
        version = _checked_version(self.path)
        if version is None and not write:
            raise LibraryError(
                f"There is no library at {self.path}. Make one with: gradatim --library {self.path} ingest POOL"
            )
        if write:
            self._open_writer()
        elif version != len(MIGRATIONS):
            self._bring_up_to_date()
        self._reader = self._opened(_open_reader)

    def _register(self) -> None:
        """Note that this process has the file open, before it has."""
        with _opening:
            if self._file is None:
                self._file = _identity(self.path)
                _open_files[self._file] += 1

    def _bring_up_to_date(self) -> None:
        """Give a reader's file what it lacks. Raises `LibraryError` saying that this is what failed."""
        try:
            self._open_writer()
        except LibraryError as error:
            # That reading works beside a writer does not hold here.
            why = str(error).partition("; reading")[0].rstrip(".")
            raise LibraryError(
                f"{self.path} was made by an older Gradatim and is brought up to date when it is first opened, also "
                f"for reading. That failed: {why}. Or read a copy of it, in a folder that can be written."
            ) from error
        self._close_writer()

    def _open_writer(self) -> None:
        """Take the lock, make the file if there is none, and bring it up to date."""
        if not self.path.parent.is_dir():
            raise UsageError(
                f"There is no folder {self.path.parent} to keep the library in. Make it first: mkdir "
                f"-p {self.path.parent}"
            )
        try:
            self._lock = WriterLock(self.path)
            # Again, now that nobody else can make it.
            version = _checked_version(self.path)
            if version is None:
                _make(self.path)
                self._made = True
            self._register()
            self._writer = _open_writer(self.path)
            _migrate(self._writer, len(MIGRATIONS) if version is None else version)
            declare_lost(self._writer)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise environment_error(error, self.path) from error
        except LibraryError:
            self.close()
            raise

    def _opened(self, open_: Callable[[Path], sqlite3.Connection]) -> sqlite3.Connection:
        try:
            self._register()
            return open_(self.path)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise environment_error(error, self.path) from error

    def close(self) -> None:
        """Close the file and let the next writer in."""
        # A statement that somebody stopped reading would keep the file open, and its log from being folded back.
        for cursor in list(self._reading):
            cursor.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._close_writer()
        with _opening:
            if self._file is not None:
                _open_files[self._file] -= 1
                self._file = None

    def _close_writer(self) -> None:
        # After the reader: only a writer that closes last folds the write-ahead log back into the file.
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._discard:
            self._discard = False
            for file in (self.path, _beside(self.path, "-wal"), _beside(self.path, "-shm")):
                with contextlib.suppress(OSError):
                    file.unlink()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._discard = kind is not None and self._made and not (self._writer and self._writer.total_changes)
        self.close()

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """Run one reading statement and give its rows as they come. Raises `LibraryError` for a damaged file."""
        cursor = self._run(sql, values)
        self._reading.add(cursor)
        return _reported(cursor, self.path)

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one reading statement and give all its rows; holds no snapshot afterwards."""
        try:
            return self._run(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _told(error, self.path) from error

    def value(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Give the first column of the first row, or None."""
        # The reader's statements end here: one that is left open would hold its snapshot.
        rows = self.all(sql, values)
        return rows[0][0] if rows else None

    def _run(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        if self._reader is None:
            raise LibraryError(f"{self.path} is closed. Open it with Library(path).")
        try:
            return self._reader.execute(sql, values)
        except sqlite3.DatabaseError as error:
            raise _told(error, self.path) from error

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
                if isinstance(error, sqlite3.DatabaseError):
                    raise _told(error, self.path) from error
                raise


def select(library: Library, sql: str) -> tuple[list[str], Iterator[Row]]:
    """Run a user's SELECT: column names and rows. Raises `UsageError` for SQL that is wrong or would write."""
    if not _READS.match(sql):
        raise UsageError(
            "gradatim query only reads: start with SELECT or WITH. The views are questions, "
            "attempts, verdicts, scores, grades, draws, chains, faults, drops, ledger, batches."
        )
    reader = library._reader  # noqa: SLF001 - the one other reader of the connection, in the same file
    assert reader is not None
    # Called now and then, so that Ctrl-C ends a query that does not end by itself.
    reader.set_progress_handler(lambda: 0, 1_000_000)
    try:
        cursor = reader.execute(sql)
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
        raise _refused(error) from error
    library._reading.add(cursor)  # noqa: SLF001 - as above
    names = [column[0] for column in cursor.description or ()]
    # JSON has each name once: the second `id` of a join becomes `id_2`.
    before = [names[:place].count(name) for place, name in enumerate(names)]
    columns = [f"{name}_{count + 1}" if count else name for name, count in zip(names, before, strict=True)]
    return columns, _selected(cursor)


def _selected(cursor: sqlite3.Cursor) -> Iterator[Row]:
    try:
        for row in cursor:  # noqa: UP028 - as `yield from` also closes the cursor, after its library was closed
            yield row
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> BaseException:
    if str(error) == "interrupted":
        return KeyboardInterrupt()
    return UsageError(
        f"The query was refused by SQLite: {str(error).rstrip('.')}. The views are questions, attempts, "
        "verdicts, scores, grades, draws, chains, faults, drops, ledger, batches."
    )


def _reported(cursor: sqlite3.Cursor, path: Path) -> Iterator[Row]:
    try:
        for row in cursor:  # noqa: UP028 - as `yield from` also closes the cursor, after its library was closed
            yield row
    except sqlite3.DatabaseError as error:
        raise _told(error, path) from error


def _told(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """Return the sentence for a fault of the file or the machine, and a mistake of ours as it is."""
    ours = (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.NotSupportedError)
    return error if isinstance(error, ours) else environment_error(error, path)


def environment_error(error: Exception, path: Path) -> LibraryError | SetupError:
    """Say in a sentence what the machine or the file denied."""
    words = str(error)
    if "disk is full" in words or "No space left" in words or "disk I/O error" in words:
        return SetupError(
            f"No space (or a disk error) where {path} lies: {words}. Everything committed before "
            "is kept; free some space and run the same command again."
        )
    if "readonly" in words or "read-only" in words.lower() or "Permission denied" in words or "unable to open" in words:
        return LibraryError(
            f"{path} cannot be opened or written: {words}. Check the permissions of the file and its folder."
        )
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
        with _opening:
            if _open_files[_identity(path)] > 0:
                # Ours, and checked. Closing a file of our own would take the locks away that SQLite holds on it in
                # this process (POSIX), and another program could then fold and delete the log below us.
                return _version_told(path)
            with path.open("rb") as file:
                header = file.read(100)
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror}.") from error
    if len(header) < 100 or header[:16] != _MAGIC or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise LibraryError(f"{path} is not a Gradatim library; it was left as it is. Name another file with --library.")
    version = int.from_bytes(header[60:64], "big")
    if version <= len(MIGRATIONS) and _beside(path, "-wal").exists():
        # The log may hold a later number than the file. SQLite would leave such files beside one that we refuse.
        version = _version_told(path)
    if version > len(MIGRATIONS):
        raise LibraryError(
            f"{path} was made by a newer Gradatim (tables {version}, this one knows "
            f"{len(MIGRATIONS)}); it was left as it is. "
            "Upgrade: pip install -U gradatim"
        )
    if version < 1:
        raise environment_error(sqlite3.DatabaseError("it holds no tables"), path)
    return version


def _version_told(path: Path) -> int:
    """Return the number of migrations as SQLite reads it, the log included."""
    try:
        with closing(_open_reader(path)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise environment_error(error, path) from error


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _open_reader(path: Path) -> sqlite3.Connection:
    """Open for reading, also where nothing can be written beside the file."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _connected(uri)
    except sqlite3.OperationalError:
        log = _beside(path, "-wal")
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise
        # On a read-only disk nobody writes, and the log is empty: the file is the whole of it.
        return _connected(f"{uri}&immutable=1")


def _open_writer(path: Path) -> sqlite3.Connection:
    connection = _connected(f"{path.absolute().as_uri()}?mode=rw")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA schema_version")
    except sqlite3.Error:
        connection.close()
        raise
    _add_functions(connection)
    return connection


def _make(path: Path) -> None:
    """Make an empty library that appears whole: under another name, then renamed. The caller holds the lock."""
    unfinished = _beside(path, ".new")
    for leftover in (unfinished, _beside(path, ".new-journal"), _beside(path, "-wal"), _beside(path, "-shm")):
        # A log whose library was deleted would be taken for the new one's.
        leftover.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        _add_functions(connection)
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, 0)
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA "
            f"user_version = {number};\nCOMMIT;"
        )


def _add_functions(connection: sqlite3.Connection) -> None:
    """Give SQL the words that the views use."""
    connection.create_function("unpack", 1, _unpacked, deterministic=True)
    connection.create_function("thinking_of", 2, _thinking_of, deterministic=True)
    connection.create_function("answer_of", 2, _answer_of, deterministic=True)
    connection.create_function("whole_content", 5, _whole_content, deterministic=True)
    connection.create_function("whole_reasoning", 5, _whole_reasoning, deterministic=True)
    connection.create_function("aggregated", 2, aggregated_steps, deterministic=True)


def _unpacked(stored: str | bytes | None) -> str:
    return _for_sql(unpack(stored))


def _thinking_of(content: str | bytes, reasoning: str | bytes) -> str:
    return _for_sql(split_reasoning(unpack(content), unpack(reasoning))[0])


def _answer_of(content: str | bytes, reasoning: str | bytes) -> str:
    return _for_sql(split_reasoning(unpack(content), unpack(reasoning))[1])


_Stored = str | bytes


def _whole_content(kind: str, content: _Stored, reasoning: _Stored, *further: _Stored) -> _Stored:
    return pack(_whole(kind, content, reasoning, *further)[0])


def _whole_reasoning(kind: str, content: _Stored, reasoning: _Stored, *further: _Stored) -> _Stored:
    return pack(_whole(kind, content, reasoning, *further)[1])


def _whole(kind: str, *stored: _Stored) -> tuple[str, str]:
    """Return content and reasoning of an answer that has a further one."""
    content, reasoning, *further = map(unpack, stored)
    more = further[0], further[1]
    return joined((content, reasoning), more) if kind == "continued" else more


def _for_sql(text: str) -> str:
    """Return text as SQL can hold it: a lone surrogate, which models do write, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
