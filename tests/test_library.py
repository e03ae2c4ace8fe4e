"""The library file: one writer and many readers, refusals that change nothing, and answers that are durable at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradatim
from cli_world import SOURCE, called
from gradatim.errors import GradatimError, LibraryError, SetupError, UsageError
from gradatim.library import attempts, schema, store
from gradatim.library.attempts import NewAttempt
from gradatim.library.journal import Journal
from gradatim.library.store import Library, select
from gradatim.library.text import pack, unpack
from gradatim.types import Reply, Role

if TYPE_CHECKING:
    from pathlib import Path

ODD_TEXTS = ("", "a\ud800b", "nul\0here", "\udfff" * 300, "x" * 10_000_000, "\u6c34\U0001f600 \r\n\t" * 50)


def python(code: str, *words: object) -> subprocess.Popen[str]:
    """Start a Python process that knows this package."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )


def add_set(library: Library, name: str) -> None:
    with library.transaction() as connection:
        connection.execute("INSERT INTO question_set (name, purpose) VALUES (?, 'pool')", (name,))


def state(folder: Path) -> dict[str, bytes]:
    """Each file of a folder with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.db"


def test_readers_work_while_a_writer_writes(path):
    """In WAL mode, an open transaction keeps neither our readers nor another program's SQL waiting."""
    other = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(c.execute('pragma journal_mode').fetchone()[0], c.execute('select name from question_set').fetchall())"
    )
    with Library(path, write=True) as writer:
        add_set(writer, "before")
        with writer.transaction() as connection:
            connection.execute("INSERT INTO question_set (name, purpose) VALUES ('open', 'pool')")
            with Library(path) as reader:
                assert reader.all("SELECT name FROM question_set") == [("before",)]
            with python(other, path) as process:
                assert process.communicate()[0] == "wal [('before',)]\n"
        with Library(path) as reader:
            assert reader.value("SELECT count(*) FROM question_set") == 2


def test_a_closed_library_is_one_file(path):
    """After the last writer there is nothing beside the file, also when a statement was left half read."""
    with Library(path, write=True) as library:
        for number in range(100):
            add_set(library, f"s{number}")
        assert next(library.rows("SELECT name FROM question_set")) == ("s0",)
        half_read = library.rows("SELECT name FROM question_set")
        next(half_read)
        columns, rows = select(library, "SELECT name FROM question_set")
        assert (columns, next(rows)) == (["name"], ("s0",))
    assert list(path.parent.iterdir()) == [path]
    del half_read, rows


def test_closing(path):
    """Closing twice is no error; a closed library, and one for reading, say what to open to go on."""
    library = Library(path, write=True)
    library.close()
    library.close()
    with pytest.raises(LibraryError, match=r"is closed\. Open it with Library\(path\)"):
        library.all("SELECT 1")
    with Library(path) as reader, pytest.raises(LibraryError, match=r"Library\(path, write=True\)"):
        add_set(reader, "x")


def test_a_failed_transaction_writes_nothing(path):
    """What a transaction wrote before an error is gone, and the next one works."""
    with Library(path, write=True) as library:
        with pytest.raises(sqlite3.ProgrammingError), library.transaction() as connection:
            connection.executemany("INSERT INTO question_set (name, purpose) VALUES (?, 'pool')", [("x",), ()])
        assert library.value("SELECT count(*) FROM question_set") == 0
        add_set(library, "y")
        assert library.all("SELECT name FROM question_set") == [("y",)]


@given(st.text(st.characters(), max_size=400))
def test_texts_come_back_as_they_were(text):
    """Packing and unpacking gives the same text, whatever is in it."""
    assert unpack(pack(text)) == text


@pytest.mark.parametrize("text", ODD_TEXTS, ids=["empty", "surrogate", "nul", "surrogates", "10 MB", "wide"])
def test_odd_texts_come_back_as_they_were(text):
    """Texts that SQLite or zstd could trip over come back whole; long ones are smaller in the file."""
    stored = pack(text)
    assert unpack(stored) == text
    assert len(stored) <= max(len(text.encode("utf-8", "surrogatepass")), 20)


@pytest.fixture
def answered(path: Path) -> Path:
    """A library with one question and the odd texts as answers to it."""
    pool = path.with_name("pool.jsonl")
    pool.write_text('{"question": "What is one and one?", "answer": "2"}\n')
    with Library(path, write=True) as library:
        gradatim.ingest(library, gradatim.IngestSettings(path=str(pool)))
        setting = attempts.ensure_setting(library, Role.BASE, "m", "{}")
        with library.transaction() as connection:
            attempts.write(connection, [new_attempt(setting.pk, n, text) for n, text in enumerate(ODD_TEXTS)])
    return path


def new_attempt(setting: int, sample: int, text: str) -> NewAttempt:
    reply = Reply(content=text)
    return NewAttempt(setting=setting, question=1, sample=sample, reply=reply, cost=None, made_at=0.0)


def test_long_texts_are_compressed_and_readable(answered):
    """SQL and `show` give texts readable, lone surrogates as escapes; the file is far smaller than they are."""
    with Library(answered) as library:
        _, rows = select(library, "SELECT content FROM attempts ORDER BY sample")
        assert [row[0] for row in rows] == [text.encode("utf-8", "backslashreplace").decode() for text in ODD_TEXTS]
        id_ = library.value("SELECT id FROM attempts WHERE sample = 1")
    assert answered.stat().st_size < 1_000_000
    shown = called("--library", str(answered), "show", id_, "--csv")
    assert (shown.code, shown.err) == (0, "")
    assert "a\\ud800b" in shown.out
    json_ = called("--library", str(answered), "query", "select content from attempts where sample = 1", "--json")
    assert json_.out == '[{"content": "a\\\\ud800b"}]\n'


def test_an_older_file_is_brought_up_to_date(answered, monkeypatch):
    """A reader or a writer gives a file of an older Gradatim the migrations that it lacks, once, and keeps its rows."""
    before = answered.read_bytes()
    monkeypatch.setattr(
        store, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x); INSERT INTO later VALUES (7);")
    )
    for write in (False, True):
        answered.write_bytes(before)
        with Library(answered, write=write) as library:
            assert library.value("PRAGMA user_version") == len(schema.MIGRATIONS) + 1
            assert library.all("SELECT x FROM later") == [(7,)]
            assert library.value("SELECT count(*) FROM attempt") == len(ODD_TEXTS)
    with Library(answered) as library:
        assert library.all("SELECT x FROM later") == [(7,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(answered, monkeypatch):
    """Half a migration is none: the file keeps its number and its rows, and the sentence says what failed."""
    monkeypatch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x); SELECT nonsense;"))
    with pytest.raises(LibraryError, match="nonsense"):
        Library(answered)
    monkeypatch.undo()
    with Library(answered) as library:
        assert library.value("SELECT count(*) FROM attempt") == len(ODD_TEXTS)
        assert library.value("SELECT count(*) FROM sqlite_master WHERE name = 'later'") == 0


def test_an_older_file_waits_for_its_writer(answered, monkeypatch):
    """An older file that another process writes is not migrated below it; the reader is told of the writer."""
    with Library(answered, write=True):
        monkeypatch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x);"))
        with pytest.raises(LibraryError, match=f"is being written by process {os.getpid()} ") as refused:
            Library(answered)
    assert "made by an older Gradatim" in str(refused.value)
    assert "works meanwhile" not in str(refused.value)


def test_an_older_file_that_cannot_be_written_says_why_it_is_to_be(answered, monkeypatch):
    """Where nothing can be written, a reader learns that the file is an older one, and how to read it all the same."""

    def denied(path):
        raise PermissionError(13, "Permission denied", f"{path}.writer")

    monkeypatch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x);"))
    monkeypatch.setattr(store, "WriterLock", denied)
    with pytest.raises(LibraryError, match=r"made by an older Gradatim .* Permission denied.* Or read a copy of it"):
        Library(answered)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("kind", ["text", "torn", "foreign", "foreign_open", "newer", "newer_open", "no_tables"])
def test_a_file_that_is_not_ours_is_refused_untouched(tmp_path, kind, write):
    """Not a byte of the file and no file beside it changes, also where another program has it open in WAL mode."""
    file = tmp_path / "file.db"
    with contextlib.ExitStack() as stack:
        if kind in ("text", "torn"):
            file.write_bytes(b"just text" if kind == "text" else b"SQLite format 3\0" + bytes(40))
        else:
            other = stack.enter_context(contextlib.closing(sqlite3.connect(file, isolation_level=None)))
            mark = 0 if kind.startswith("foreign") else schema.APPLICATION_ID
            number = 0 if kind == "no_tables" else 99
            other.executescript(
                f"PRAGMA application_id = {mark}; PRAGMA user_version = {number}; CREATE TABLE t (x); "
                "PRAGMA journal_mode = WAL; INSERT INTO t VALUES (1);"
            )
            if not kind.endswith("_open"):
                other.close()
        before = state(tmp_path)
        with pytest.raises(LibraryError, match="newer" if kind.startswith("newer") else "not a Gradatim|no tables"):
            Library(file, write=write)
        assert state(tmp_path) == before


def test_a_newer_number_in_the_log_counts(path):
    """A file whose newer number is still in the write-ahead log is refused as newer."""
    Library(path, write=True).close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
        assert path.with_name(path.name + "-wal").stat().st_size
        with pytest.raises(LibraryError, match=r"newer Gradatim \(tables 99"):
            Library(path)


_HOLD = """
import gradatim, sys, time
with gradatim.Library(sys.argv[1], write=True) as library:
    with library.transaction() as connection:
        connection.execute("INSERT INTO question_set (name, purpose) VALUES ('kept', 'pool')")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_keeps_nobody_out_and_loses_nothing(path):
    """After SIGKILL the next reader sees every commit, and the next writer gets the lock at once."""
    with python(_HOLD, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(LibraryError, match=f"is being written by process {process.pid} "):
            Library(path, write=True)
        process.send_signal(signal.SIGKILL)
    with Library(path) as reader:
        assert reader.all("SELECT name FROM question_set") == [("kept",)]
    with Library(path, write=True) as writer:
        add_set(writer, "next")
        assert writer.value("SELECT count(*) FROM question_set") == 2


def test_writers_that_come_and_go_never_overlap(path):
    """Eight processes that open and close the library as fast as they can lose no row: the lock is on one file."""
    code = """
import gradatim, sys
done = 0
while done < 15:
    try:
        with gradatim.Library(sys.argv[1], write=True) as library:
            many = library.value("SELECT count(*) FROM question_set")
            with library.transaction() as connection:
                connection.execute("INSERT INTO question_set (name, purpose) VALUES (?, 'pool')", (f"n{many}",))
            done += 1
    except gradatim.LibraryError:
        pass
print(done)
"""
    processes = [python(code, path) for _ in range(8)]
    assert [process.communicate()[0] for process in processes] == ["15\n"] * 8
    with Library(path) as library:
        names = {row[0] for row in library.rows("SELECT name FROM question_set")}
    assert names == {f"n{number}" for number in range(120)}


def test_a_library_killed_while_it_is_made_leaves_nothing_half_made(path):
    """Killed at any moment of its making, the library is whole or not there, and can be made again."""
    code = "import gradatim, sys; print('go', flush=True); gradatim.Library(sys.argv[1], write=True); print('made')"
    for step in range(12):
        for file in path.parent.iterdir():
            file.unlink()
        with python(code, path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(step * 0.002)
            process.send_signal(signal.SIGKILL)
        if path.exists():
            Library(path).close()
        with Library(path, write=True) as library:
            add_set(library, "x")
        assert list(path.parent.iterdir()) == [path]


def test_a_log_without_its_library_is_not_taken_for_a_new_one(path):
    """Where a library was deleted and the log of its killed writer was not, a new library starts empty."""
    with python(_HOLD, path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    path.unlink()
    with Library(path, write=True) as library:
        assert library.value("SELECT count(*) FROM question_set") == 0
        assert library.value("PRAGMA integrity_check") == "ok"


def _add_and_fail(library):
    add_set(library, "x")
    raise UsageError("later")


def test_a_failed_block_leaves_no_empty_library(path):
    """A library that a failing block made and wrote nothing into is gone; one that was there, or has a row, stays."""
    with pytest.raises(UsageError), Library(path, write=True):
        raise UsageError("a wrong name")
    assert not list(path.parent.iterdir())
    with pytest.raises(UsageError), Library(path, write=True) as library:
        _add_and_fail(library)
    with pytest.raises(UsageError), Library(path, write=True):
        raise UsageError("again")
    with Library(path) as library:
        assert library.all("SELECT name FROM question_set") == [("x",)]


def test_a_damaged_page_is_said_in_a_sentence(answered):
    """Reading a damaged page raises `LibraryError` with the file's name, whichever way it is read."""
    with contextlib.closing(sqlite3.connect(answered)) as other:
        page = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'attempt_text'").fetchone()[0]
    with answered.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with Library(answered) as library:
        for read in (library.all, library.value, lambda sql: list(library.rows(sql))):
            with pytest.raises(LibraryError, match=r"library\.db cannot be used: database disk image is malformed"):
                read("SELECT * FROM attempt_text")


def test_rows_stream(path):
    """A million rows pass through `rows` in a few kilobytes."""
    sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i, 'text' FROM n"
    with Library(path, write=True) as library:
        tracemalloc.start()
        total = sum(row[0] for row in library.rows(sql))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert total == 500_000_500_000
    assert peak < 100_000


def test_a_query_without_end_can_be_interrupted(path):
    """Ctrl-C ends a query that SQLite alone would run for ever."""
    Library(path, write=True).close()
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with Library(path) as library:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            list(select(library, endless)[1])


def test_opening_it_twice_takes_no_lock_away(path):
    """A reader beside a writer in one process leaves SQLite's locks alone, so no program folds the log below it."""
    with Library(path, write=True) as writer:
        for number in range(5):
            add_set(writer, f"n{number}")
            with Library(path) as reader:
                assert reader.value("SELECT count(*) FROM question_set") == number + 1
                with python("import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('select 1 from grade')", path):
                    pass
                assert path.with_name(path.name + "-wal").exists()
    assert list(path.parent.iterdir()) == [path]


@dataclass(frozen=True)
class Item:
    name: str


def write_items(connection: sqlite3.Connection, batch: list[Item]) -> None:
    for item in batch:
        connection.execute("INSERT INTO question_set (name, purpose) VALUES (?, 'pool')", (item.name,))


def test_journal_keeps_the_order_and_is_durable_within_100_ms(path):
    """Items are committed in the order they were put, each within 100 ms, as another process's connection sees it."""
    with Library(path, write=True) as library, contextlib.closing(sqlite3.connect(path)) as other:
        journal = Journal(library, write_items)
        waits = []
        for number in range(20):
            journal.put(Item(f"n{number}"))
            start = time.monotonic()
            while other.execute("SELECT count(*) FROM question_set").fetchone()[0] <= number:
                time.sleep(0.002)
            waits.append(time.monotonic() - start)
        for number in range(20, 2000):
            journal.put(Item(f"n{number}"))
        journal.close()
        names = [row[0] for row in library.rows("SELECT name FROM question_set ORDER BY pk")]
    assert names == [f"n{number}" for number in range(2000)]
    # The second slowest, for a machine that is busy with other tests.
    assert sorted(waits)[-2] < 0.1


class Failing:
    """A write that the disk refuses so many times, as SQLite says it."""

    def __init__(self, times: float) -> None:
        self.left = times

    def __call__(self, connection: sqlite3.Connection, batch: list[Item]) -> None:
        if self.left > 0:
            self.left -= 1
            raise sqlite3.OperationalError("database or disk is full")
        write_items(connection, batch)


def test_journal_survives_a_failing_commit(path):
    """A commit that fails is told to the caller and tried again with all that came since; nothing is lost."""
    with Library(path, write=True) as library:
        committed: list[Item] = []
        journal = Journal(library, Failing(2), committed.extend)
        told = 0
        for number in range(40):
            try:
                journal.put(Item(f"n{number}"))
            except SetupError:
                told += 1
            time.sleep(0.02)
        journal.close()
        assert told > 0
        assert [item.name for item in committed] == [f"n{number}" for number in range(40)]
        assert [row[0] for row in library.rows("SELECT name FROM question_set ORDER BY pk")] == [
            f"n{number}" for number in range(40)
        ]


def test_journal_says_what_could_not_be_written(path):
    """Where a commit never works, `close` raises with the number of items, and the library holds none of them."""
    with Library(path, write=True) as library:
        journal = Journal(library, Failing(float("inf")))
        for number in range(3):
            with contextlib.suppress(GradatimError):
                journal.put(Item(f"n{number}"))
        with pytest.raises(SetupError, match=r"^3 answers could not be written\. No space"):
            journal.close()
        assert library.value("SELECT count(*) FROM question_set") == 0


def test_journal_raises_a_fault_of_its_own(path):
    """An exception that is no fault of the machine reaches the caller as it is."""

    def broken(_connection, _batch):
        raise ZeroDivisionError("ours")

    with Library(path, write=True) as library:
        journal = Journal(library, broken)
        journal.put(Item("x"))
        with pytest.raises(ZeroDivisionError, match="ours"):
            journal.close()
