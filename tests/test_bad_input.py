"""Wrong uses, each with the sentence it gets and its exit code; none ends in a traceback or changes a library."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

import gradatim
from cli_world import COMMAND, SOURCE, called, content, make_libraries, started, write_pool
from gradatim.library.schema import APPLICATION_ID
from scripted_server import Answer, Scripted

CASES = json.loads((Path(__file__).parent / "cases" / "bad_input.json").read_text(encoding="utf-8"))
KEY = "sk-Yq8vT2mP4nR6"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a library per stage, and the URLs of servers, right and wrong ones."""
    folder = tmp_path_factory.mktemp("world")
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    with contextlib.ExitStack() as stack:
        write_pool(folder / "pool.jsonl")
        settings = gradatim.MockSettings(
            models=("small", "big"), accuracies=(("small", 0.4), ("big", 0.9)), answers=str(folder / "pool.jsonl")
        )
        mock = stack.enter_context(gradatim.MockServer(settings))
        servers = {
            "denied": Answer(parts=[said], status=401),
            "missing": Answer(parts=[b"<html>not here</html>"], status=404),
            "html": Answer(parts=[b"<html>Welcome</html>"]),
            "object": Answer(parts=[b"{}"]),
        }
        urls = {name: stack.enter_context(Scripted(answer)).url for name, answer in servers.items()}
        with socket.create_server(("127.0.0.1", 0)) as closed:
            urls["dead"] = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        make_libraries(folder, mock.url)
        shutil.copy(folder / "graded.db", folder / "two_models.db")
        with contextlib.closing(sqlite3.connect(folder / "two_models.db")) as library, library:
            columns = "(id, model, setting, prm, rule, rule_settings, turn)"
            values = "'other', 'other', setting, prm, rule, '{}', turn + 1"
            library.execute(f"INSERT INTO grading {columns} SELECT {values} FROM grading")
        (folder / "wrong").mkdir()
        _lay_out(folder / "wrong", folder)
        yield folder, {"mock": mock.url, **urls}


def _lay_out(folder: Path, world: Path) -> None:
    """Put files that are wrong in many ways into a folder."""
    shutil.copy(world / "pool.jsonl", folder / "pool.jsonl")
    row = b'{"question": "What is 1 + 1?", "answer": "2"}\n'
    (folder / "empty.jsonl").touch()
    (folder / "folder").mkdir()
    (folder / "folder.md").mkdir()
    (folder / "full.jsonl").mkdir()
    (folder / "fake.jsonl.gz").write_text("hello, this is plain text")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(row * 1000)[:60])
    (folder / "binary.jsonl").write_bytes(random.Random(1).randbytes(3000))
    (folder / "wide.csv").write_bytes("question,answer\na,1\n".encode("utf-16"))
    (folder / "words.xyz").write_text("some words\n")
    (folder / "torn.jsonl").write_bytes(row + row[:20])
    (folder / "columns.jsonl").write_text('{"a": 1}\n')
    (folder / "latin.toml").write_bytes(b"system =\xe4")
    for name, mark, version in (("foreign.db", 0, 1), ("newer.db", APPLICATION_ID, 999)):
        with contextlib.closing(sqlite3.connect(folder / name)) as other:
            other.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA application_id = {mark}; PRAGMA user_version = {version}; "
                "CREATE TABLE t (x);"
            )
    whole = (world / "curated.db").read_bytes()
    (folder / "damaged.db").write_bytes(whole[:4096] + random.Random(2).randbytes(len(whole) - 4096))


def _is_one_sentence(err: str) -> None:
    assert err.startswith("gradatim: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert "bug in Gradatim" not in err


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_wrong_use_gets_its_sentence_and_code(case, world, tmp_path, monkeypatch):
    """Each wrong use ends with its exit code and one sentence, and leaves the folder and the library as they were."""
    made, urls = world
    monkeypatch.chdir(tmp_path)
    for name, value in case.get("env", {}).items():
        monkeypatch.setenv(name, value)

    def filled(text: str) -> str:
        for name, url in urls.items():
            text = text.replace(f"{{{name}}}", url)
        return text

    shutil.copytree(made / "wrong", tmp_path, dirs_exist_ok=True)
    if case["library"] is not None:
        shutil.copy(made / f"{case['library']}.db", "lib.db")
    if case.get("toml") is not None:
        Path("gradatim.toml").write_text(filled(case["toml"]))
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ended = called("--library", "lib.db", *map(filled, case["args"]))
    said = ended.out if case.get("stream") == "out" else ended.err
    assert case["says"] in said, ended
    assert ended.code == case["code"], ended
    if case["code"]:
        _is_one_sentence(ended.err)
        _is_unchanged(tmp_path, there, made / f"{case['library']}.db", asks=case.get("asks", False))
    if "secret" in case:
        assert case["secret"] not in ended.out + ended.err
        written = [path for path in tmp_path.iterdir() if path.is_file() and path.name != "gradatim.toml"]
        assert not any(case["secret"].encode() in path.read_bytes() for path in written)


def _is_unchanged(folder, there, made, *, asks):
    """Hold the folder to what it held. A library that was read may have its empty log beside it."""
    now = {
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(("lib.db-", "damaged.db-"))
    }
    assert now == there.keys()
    for path, before in there.items():
        if path.name == "lib.db" and path.read_bytes() != before:
            left_out = ("fault", "setting", "prm") if asks else ()
            assert content(path, without=left_out) == content(made, without=left_out)
        else:
            assert path.name == "lib.db" or path.read_bytes() == before, path.name


# What needs a machine that denies something: each in a process of its own, against the real thing.

_CAN_MOUNT = (
    subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode == 0
    if shutil.which("unshare")
    else False
)
needs_mounts = pytest.mark.skipif(not _CAN_MOUNT, reason="this machine lets nobody mount a file system of their own")


def _mounted(script: str) -> tuple[str, ...]:
    """Words that start a program in a mount namespace of its own, after a shell script has mounted something in it."""
    return ("unshare", "-Urm", "sh", "-c", f'{script}; exec "$@"', "sh")


def _unprivileged() -> tuple[str, ...]:
    """Words that start a program which permissions hold for, also where the tests run as root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("the tests run as root, and there is no setpriv to give its rights up")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


@pytest.fixture
def folder(world, tmp_path):
    """A folder with the pool and a finished library, `lib.db`."""
    for name, own in (("pool.jsonl", "pool.jsonl"), ("curated.db", "lib.db")):
        shutil.copy(world[0] / name, tmp_path / own)
    return tmp_path


@needs_mounts
def test_full_disk_under_the_library(folder, world):
    """On a full disk `ingest` says so with code 4, and what was committed before is whole."""
    (folder / "small").mkdir()
    (folder / "large.jsonl").write_text(
        "".join(
            json.dumps({"question": f"{random.Random(n).randbytes(600).hex()}?", "answer": str(n)}) + "\n"
            for n in range(1500)
        )
    )
    script = (
        "mount -t tmpfs -o size=800k tmpfs small; cp lib.db small/; trap 'cp small/lib.db* .' EXIT; "
        '"$@"; code=$?; rm -f lib.db; exit $code; true'
    )
    ended = started("--library", "small/lib.db", "ingest", "large.jsonl", folder=folder, before=_mounted(script))
    assert ended.code == 4, ended
    _is_one_sentence(ended.err)
    assert "No space (or a disk error) where small/lib.db lies: " in ended.err
    assert "free some space and run the same command again." in ended.err
    before, after = content(world[0] / "curated.db"), content(folder / "lib.db")
    assert set(before) <= set(after)


@needs_mounts
def test_full_disk_under_the_export(folder):
    """A training file that does not fit is not there at all, and the sentence says why, with code 4."""
    (folder / "small").mkdir()
    script = "mount -t tmpfs -o size=4k tmpfs small; trap 'ls small > left' EXIT; \"$@\"; exit $?; true"
    ended = started("--library", "lib.db", "export", "d", "-o", "small/x.jsonl", folder=folder, before=_mounted(script))
    assert ended.code == 4, ended
    _is_one_sentence(ended.err)
    assert "small/x" in ended.err
    left = (folder / "left").read_text().split()
    assert "x.manifest.json" not in left
    assert not [name for name in left if name.endswith((".tmp", ".part", ".new"))]


@needs_mounts
@pytest.mark.parametrize("state", ["closed", "killed"])
def test_read_only_disk_is_read_and_not_written(folder, state):
    """A library on a read-only disk answers `status`; a writer gets one sentence and code 3."""
    (folder / "disk").mkdir()
    (folder / "lib.db").rename(folder / "disk" / "lib.db")
    if state == "killed":
        _kill_a_writer(folder, "disk/lib.db")
    mounted = _mounted("mount --bind disk disk; mount -o remount,ro,bind disk")
    read = started("--library", "disk/lib.db", "levels", "--csv", folder=folder, before=mounted)
    assert (read.code, read.err) == (0, "")
    assert read.out.startswith("model,rule,grading,set,0,1,2,3,4,5,none\nsmall,rate,")
    wrote = started("--library", "disk/lib.db", "verify", folder=folder, before=mounted)
    assert wrote.code == 3, wrote
    _is_one_sentence(wrote.err)
    assert "disk/lib.db cannot be opened or written: " in wrote.err
    assert "Check the permissions of the file and its folder." in wrote.err


def test_folder_without_permission_to_write(folder):
    """Where the folder may not be written, `status` answers and a writer gets a sentence; nothing changes."""
    before = _unprivileged()
    (folder / "own").mkdir()
    (folder / "lib.db").rename(folder / "own" / "lib.db")
    (folder / "own").chmod(0o555)
    try:
        read = started("--library", "own/lib.db", "status", folder=folder, before=before)
        wrote = started("--library", "own/lib.db", "verify", folder=folder, before=before)
        made = started("--library", "own/new.db", "ingest", "pool.jsonl", folder=folder, before=before)
    finally:
        (folder / "own").chmod(0o755)
    assert (read.code, read.err) == (0, "")
    assert wrote.code == made.code == 3
    assert "own/lib.db cannot be opened or written: [Errno 13] Permission denied" in wrote.err
    assert "own/new.db cannot be opened or written: [Errno 13] Permission denied" in made.err
    assert [path.name for path in (folder / "own").iterdir()] == ["lib.db"]


def test_files_without_permission(folder):
    """A pool, settings or library that may not be read gets a sentence with its name."""
    before = _unprivileged()
    for name, words, code, says in (
        ("pool.jsonl", ("ingest", "pool.jsonl"), 2, "pool.jsonl may not be read by this user; change its permissions."),
        ("lib.db", ("status",), 3, "lib.db cannot be read: Permission denied."),
        ("other.toml", ("--config", "other.toml", "status"), 2, "other.toml cannot be read: Permission denied."),
    ):
        (folder / name).touch()
        (folder / name).chmod(0)
        ended = started("--library", "lib.db", *words, folder=folder, before=before)
        (folder / name).chmod(0o644)
        assert ended.code == code, ended
        assert ended.err == f"gradatim: {says}\n"


_WRITER = """
import gradatim, sys, time
with gradatim.Library(sys.argv[1], write=True) as library:
    with library.transaction() as connection:
        connection.execute("INSERT INTO question_set (name, purpose) VALUES ('written', 'pool')")
    print("ready", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def _writer(folder, name):
    """A process that has written to the library and holds it."""
    with subprocess.Popen(
        [COMMAND[0], "-c", _WRITER, name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def _kill_a_writer(folder, name):
    with _writer(folder, name):
        pass


def test_second_writer_is_told_of_the_first(folder):
    """While one process writes, another writer is refused with code 3 and the first one's number; reading works."""
    with _writer(folder, "lib.db") as first:
        ended = started("--library", "lib.db", "verify", folder=folder)
        assert ended.code == 3
        _is_one_sentence(ended.err)
        assert f"lib.db is being written by process {first.pid} on {socket.gethostname()} (" in ended.err
        assert "Wait for it to end, or stop it; reading (status, levels, show, query) works meanwhile." in ended.err
        read = started("--library", "lib.db", "query", "select name from question_set", "--csv", folder=folder)
        assert read.out == "name\npool\nwritten\n"
    assert started("--library", "lib.db", "verify", folder=folder).code == 0


def test_parquet_without_its_library(folder):
    """Where pyarrow is not installed, Parquet is refused with the line that installs it, and nothing is written."""
    blocker = "import sys; sys.modules['pyarrow'] = None; sys.argv[0] = 'gradatim'; "
    for words in (("export", "d", "-o", "x.parquet"), ("ingest", "pool.jsonl", "--format", "parquet")):
        done = subprocess.run(
            [COMMAND[0], "-c", blocker + "from gradatim.cli.main import main; main()", "--library", "lib.db", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 4, done
        _is_one_sentence(done.stderr)
        assert "pip install 'gradatim[parquet]'" in done.stderr
    assert not list(folder.glob("x.*"))


def test_arguments_that_are_no_text(folder):
    """Bytes that are no UTF-8 get a sentence, as names in a library are text."""
    (folder / os.fsdecode(b"\xff.jsonl")).write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    ended = started("--library", "lib.db", "ingest", b"\xff.jsonl", folder=folder)
    assert ended.code == 2
    assert ended.err == r"gradatim: '\udcff.jsonl' is not UTF-8 text; rename the file, or set a UTF-8 locale." + "\n"


def test_reader_that_goes_away(folder):
    """`gradatim ... | head -1` ends quietly."""
    many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 300000) select i from n"
    pipe = subprocess.run(
        ["sh", "-c", '"$@" 2>err | head -1; cat err', "sh", *COMMAND, "--library", "lib.db", "query", many, "--nl"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (pipe.stdout, pipe.stderr) == ('{"i": 1}\n', "")


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [(">&-", 0, ""), (">/dev/full", 4, "gradatim: The disk is full ([Errno 28] No space left on device). ")],
)
def test_output_that_nobody_takes(folder, end, code, says):
    """A closed stdout is no error, a full disk under it is one, and neither ends in a traceback."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {end}', "sh", *COMMAND, "--library", "lib.db", "status"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == bool(says)


@pytest.mark.parametrize("encoding", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}])
def test_a_terminal_without_unicode_or_home(folder, encoding):
    """In the C locale, and without HOME, results with any letters come out, at worst escaped."""
    words = ("query", "select '\u03c0 \u2260 3' as x", "--csv")
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [*COMMAND, "--library", "lib.db", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(SOURCE), **encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert done.stdout.decode() in ("x\n\u03c0 \u2260 3\n", "x\n\\u03c0 \\u2260 3\n")


def test_interrupted_while_it_asks(folder):
    """Ctrl-C during `attempt` ends with code 130 and says how to go on; nothing that was answered is lost."""
    with gradatim.MockServer(gradatim.MockSettings(latency=0.2, answers=str(folder / "pool.jsonl"))) as server:
        words = ("--base-url", server.url, "--model", "slow", "--concurrency", "2", "--samples", "4")
        with subprocess.Popen(
            [*COMMAND, "--library", "lib.db", "attempt", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while server.stats().answered < 6:
                time.sleep(0.02)
            process.send_signal(2)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert err.lstrip() == "gradatim: Stopped. Everything that was done is saved; run the same command to go on.\n"
        count = "select count(*) as n from attempts where model = 'slow'"
        kept = started("--library", "lib.db", "query", count, "--csv", folder=folder)
        assert int(kept.out.split()[1]) >= server.stats().answered - 2
