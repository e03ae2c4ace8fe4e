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
from cli_world import COMMAND, SOURCE, called, content, make_libraries, started, write_pool
from scripted_server import Answer, Scripted

import gradatim
from gradatim.library.schema import APPLICATION_ID

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
            library.execute("INSERT INTO grading SELECT NULL, 'other', 'other', setting, prm, rule, '{}' FROM grading")
        yield folder, {"mock": mock.url, **urls}


def _lay_out(folder: Path, world: Path) -> None:
    """Put files that are wrong in many ways into a folder."""
    shutil.copy(world / "pool.jsonl", folder / "pool.jsonl")
    row = b'{"question": "What is 1 + 1?", "answer": "2"}\n'
    (folder / "empty.jsonl").touch()
    (folder / "folder").mkdir()
    (folder / "folder.jsonl").mkdir()
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

    _lay_out(tmp_path, made)
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


def _is_unchanged(folder: Path, there: dict[Path, bytes], made: Path, *, asks: bool) -> None:
    """Hold the folder to what it held. A library that was read may have its empty log beside it."""
    now = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("lib.db-")}
    assert now == there.keys()
    for path, before in there.items():
        if path.name == "lib.db":
            left_out = ("fault", "setting", "prm") if asks else ()
            assert content(path, without=left_out) == content(made, without=left_out)
        else:
            assert path.read_bytes() == before, path.name
