"""The command line when all is well: shapes of output, where it goes, exit codes, and the order of commands."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest

import gradatim
from cli_world import COMMAND, SOURCE, called, make_libraries, started, write_pool
from gradatim.cli import main
from gradatim.cli.output import print_rows
from gradatim.pipeline import STAGES


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a library per stage, and the URL of the server that made them."""
    folder = tmp_path_factory.mktemp("world")
    write_pool(folder / "pool.jsonl")
    settings = gradatim.MockSettings(
        models=("small", "big", "quiet"), accuracies=(("small", 0.4), ("big", 0.9)), answers=str(folder / "pool.jsonl")
    )
    with gradatim.MockServer(settings) as server:
        make_libraries(folder, server.url)
        yield folder, server.url


@pytest.fixture
def folder(world, tmp_path, monkeypatch):
    """A folder of one's own to work in, with the pool and a finished `library.db`."""
    shutil.copy(world[0] / "pool.jsonl", tmp_path / "pool.jsonl")
    shutil.copy(world[0] / "curated.db", tmp_path / "library.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(url: str, more: str = "") -> str:
    return f"""
[[ingest]]
path = "pool.jsonl"
[models.base]
model = "small"
base_url = "{url}"
[models.teacher]
model = "big"
base_url = "{url}"
price = {{ input = 1.0, output = 2.0 }}
[attempt]
samples = 4
[grade]
rule = "rate"
[sample]
name = "d"
size = 6
mix = "explicit:3,2,1,1,1"
when_dry = "nearest"
{more}"""


LISTINGS = [
    ("status",),
    ("levels",),
    ("levels", "--all"),
    ("levels", "--compare", "small", "small"),
    ("show", "--dropped"),
    ("show", "--excluded"),
    ("show", "--faults"),
    ("run", "--dry-run"),
    ("query", "select * from questions"),
    ("query", "select * from attempts"),
    ("query", "select * from verdicts"),
    ("query", "select * from scores"),
    ("query", "select * from grades"),
    ("query", "select * from draws"),
    ("query", "select * from chains"),
    ("query", "select * from faults"),
    ("query", "select * from drops"),
    ("query", "select 1 as a where 0"),
]


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_listings_have_four_shapes_of_the_same_rows(folder, world, words):
    """--json, --csv and --nl parse, and hold the same columns and as many rows; the table has a line for each."""
    (folder / "gradatim.toml").write_text(settings(world[1]))
    ends = {shape: called(*words, *([f"--{shape}"] if shape else [])) for shape in ("json", "csv", "nl", "")}
    assert {ended.code for ended in ends.values()} == {0}, ends
    listed = json.loads(ends["json"].out)
    lines = [json.loads(line) for line in ends["nl"].out.splitlines()]
    table = list(csv.reader(io.StringIO(ends["csv"].out)))
    assert listed == lines
    assert len(table) == len(listed) + 1
    assert len(ends[""].out.splitlines()) == len(listed) + 1
    for row, cells in zip(listed, table[1:], strict=True):
        assert list(row) == table[0]
        assert cells == ["" if value is None else str(value) for value in row.values()]


@pytest.mark.usefixtures("folder")
def test_stages_print_their_record_as_json(world):
    """--json gives each stage's result as one JSON document, and nothing else stands on stdout."""
    server = ("--base-url", world[1], "--model", "small", "--samples", "4")
    commands = {
        ("ingest", "pool.jsonl"): "already",
        ("attempt", *server): "wanted",
        ("verify",): "judged",
        ("grade", "--rule", "rate"): "levels",
        ("sample", "--name", "d", "--size", "6", "--mix", "explicit:3,2,1,1,1", "--when-dry", "nearest"): "drawn",
        ("teach", "d", "--base-url", world[1], "--model", "big"): "lines",
        ("curate", "d"): "kept",
        ("export", "d"): "files",
    }
    for words, key in commands.items():
        ended = called(*words, "--json")
        assert ended.code == 0, ended
        result = json.loads(ended.out)
        assert key in (result[0] if isinstance(result, list) else result)


def test_the_whole_loop_by_run(folder, world):
    """`run` from settings makes the set, a second run changes no file and buys nothing, and --dry-run agrees."""
    (folder / "library.db").unlink()
    (folder / "gradatim.toml").write_text(settings(world[1]))
    dry = json.loads(called("run", "--dry-run", "--json").out)
    assert [row["stage"] for row in dry] == list(STAGES)
    assert not (folder / "library.db").exists()
    first = called("run")
    assert (first.code, first.err.replace("\n", "")[:9]) == (0, "gradatim:"), first
    assert [line.split()[0].rstrip(":") for line in first.out.splitlines() if not line.startswith(" ")] == list(STAGES)
    made = {path.name: path.read_bytes() for path in folder.glob("chains.*")}
    assert sorted(made) == ["chains.card.md", "chains.jsonl", "chains.manifest.json"]
    assert len(made["chains.jsonl"].splitlines()) == 6
    again = called("run")
    assert again.code == 0
    assert "attempt small: 0 answers" in again.out
    assert "teach d: 0 answers" in again.out
    assert {path.name: path.read_bytes() for path in folder.glob("chains.*")} == made
    until = json.loads(called("run", "--dry-run", "--until", "grade", "--json").out)
    assert [(row["stage"], row["to do"]) for row in until] == [
        ("ingest", None),
        ("attempt", 0),
        ("verify", 0),
        ("grade", None),
    ]


def test_exit_codes_are_as_documented(folder, world):
    """0 done, 1 something left, 2 wrong use, 3 library, 4 machine, 5 limit, as `cli/main.py` says."""
    url = world[1]
    (folder / "gradatim.toml").write_text(settings(url))
    assert called("status").code == 0
    assert called("status", "--nope").code == 2
    assert called("--library", "pool.jsonl", "status").code == 3
    assert called("attempt", "--api-key-env", "NOT_SET_HERE").code == 4
    assert called("sample", "--name", "x", "--size", "100000", "--when-dry", "fail").code == 5
    with gradatim.MockServer(gradatim.MockSettings(faults=(("malformed", 1.0),))) as server:
        one = settings(server.url).replace("[models.teacher]", "tries = 1\n[models.teacher]")
        (folder / "gradatim.toml").write_text(one)
        ended = called("attempt", "--temperature", "0.5", "--limit", "2")
    assert ended.code == 1
    assert "8 requests got no answer (bad_json 8; the last one: " in ended.err
    documented = (Path(main.__file__)).read_text(encoding="utf-8").split('"""')[1]
    for error in (gradatim.GradatimError, gradatim.UsageError, gradatim.LibraryError, gradatim.SetupError):
        assert f"{error.exit_code} " in documented


@pytest.mark.usefixtures("folder")
def test_a_bug_gets_a_sentence_and_a_code(monkeypatch):
    """An exception that nobody foresaw ends with code 70 and how to see where it was."""
    monkeypatch.setattr("gradatim.cli.looking.summary", lambda _: 1 / 0)
    ended = called("status")
    assert ended.code == 70
    assert ended.err.startswith("gradatim: A bug in Gradatim: ZeroDivisionError: division by zero. ")
    assert "GRADATIM_TRACEBACK=1" in ended.err
    monkeypatch.setenv("GRADATIM_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        called("status")


def test_commands_stand_in_the_order_of_the_stages():
    """`gradatim --help` lists what a user does first first, and every stage is a command."""
    listed = main.cli.list_commands(click.Context(main.cli))
    assert [name for name in listed if name in STAGES] == list(STAGES)
    assert listed[0] == "init"
    assert set(STAGES) < set(listed)
    shown = called("--help").out.split("Commands:")[1]
    assert [line.split()[0] for line in shown.strip().splitlines()] == listed


@pytest.mark.parametrize("command", [(), *((name,) for name in main.cli.commands)], ids=" ".join)
def test_every_command_has_help_without_a_library(tmp_path, monkeypatch, command):
    """--help and -h answer in any folder, name every option with a sentence, and write nothing."""
    monkeypatch.chdir(tmp_path)
    ended = called(*command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == called(*command, "-h").out
    assert ended.out.startswith(f"Usage: gradatim {' '.join(command)}".rstrip())
    assert not list(tmp_path.iterdir())


def test_version_and_nothing():
    """--version prints it to stdout; `gradatim` alone prints the help to stderr, as a wrong use."""
    assert called("--version").out == f"gradatim, version {gradatim.__version__}\n"
    ended = called()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: gradatim [OPTIONS] COMMAND")


@pytest.mark.usefixtures("folder")
def test_show_a_question_and_one_attempt():
    """`show` takes a question's id, its beginning or an attempt's id; of an attempt it shows that one alone."""
    ids = [row["id"] for row in json.loads(called("query", "select id from attempts where sample = 2", "--json").out)]
    attempt, question = ids[0], ids[0].partition("-")[0]
    everything = json.loads(called("show", question, "--json").out)
    kinds = [row["what"].strip() for row in everything]
    assert kinds[0] == "id"
    assert kinds.count("attempt") >= 4
    assert {"prompt", "reference", "answer", "verdict", "grade"} <= set(kinds)
    assert called("show", question[:10].upper(), "--json").out == called("show", question, "--json").out
    one = json.loads(called("show", attempt, "--json").out)
    assert [row["value"].split()[0] for row in one if row["what"] == "attempt"] == [attempt]
    setting = attempt.rpartition("-")[0]
    assert [row["what"] for row in json.loads(called("show", setting, "--json").out)].count("attempt") == 4
    wrong = called("show", f"{question}-nope-1")
    assert wrong.code == 2
    assert wrong.err.endswith(f"begins with the id '{question}-nope-1'. See: gradatim show {question}\n")


@pytest.mark.usefixtures("folder")
def test_levels_compare_counts_moves(world):
    """The table of moves holds every question both models were graded on, and the sentence counts those that moved."""
    server = ("--base-url", world[1], "--concurrency", "8")
    assert called("attempt", *server, "--model", "big", "--samples", "4").code == 0
    assert called("verify").code == 0
    assert called("grade", "--rule", "rate", "--model", "big").code == 0
    ended = called("levels", "--compare", "small", "big", "--json")
    rows = json.loads(ended.out)
    names = [str(level) for level in range(6)]
    table = [[row[name] for name in names] for row in rows]
    assert [row["level for small | big"] for row in rows] == [f"small {level}" for level in names]
    assert sum(map(sum, table)) == 24
    moved = 24 - sum(table[level][level] for level in range(6))
    assert ended.err == f"{moved} of 24 questions ({moved / 24:.1%}) change level from small to big.\n"
    levels = json.loads(called("levels", "--json").out)
    assert [[row[name] for name in names] for row in levels if row["model"] == "small"] == [list(map(sum, table))]
    assert [[row[name] for name in names] for row in levels if row["model"] == "big"] == [
        list(map(sum, zip(*table, strict=True)))
    ]


@pytest.mark.usefixtures("folder")
def test_query_takes_comments_and_brackets():
    """What only reads is run however it is written."""
    for sql in (
        "SELECT 1 AS a",
        "  select 1 as a ;",
        " -- all\nselect 1 as a",
        "/* all */ select 1 as a",
        "values (1)",
    ):
        assert called("query", sql, "--nl").code == 0, sql


def test_progress_stands_on_stderr_and_on_a_terminal_only(folder, world):
    """Without a terminal stderr is empty; on one, bars with counts and rates are drawn there and stdout stays clean."""
    words = ["attempt", "--base-url", world[1], "--concurrency", "1"]
    quiet = started(*words, "--model", "quiet", folder=folder)
    assert (quiet.code, quiet.err) == (0, "")
    ours, theirs = pty.openpty()
    drawn = bytearray()

    def read() -> None:
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:
                return
            if not more:
                return
            drawn.extend(more)

    reader = threading.Thread(target=read)
    reader.start()
    with gradatim.MockServer(gradatim.MockSettings(latency=0.05, answers=str(folder / "pool.jsonl"))) as server:
        done = subprocess.run(
            [*COMMAND, "attempt", "--base-url", server.url, "--concurrency", "1", "--model", "seen"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm-256color", "COLUMNS": "120"},
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=60,
        )
    os.close(theirs)
    reader.join()
    os.close(ours)
    shown = drawn.decode()
    assert done.stdout.startswith(b"attempt seen: 24 answers in ")
    assert b"\x1b" not in done.stdout
    for word in ("attempt", "/24", "/s", "in flight", "tokens"):
        assert word in shown
    assert "answers in" not in shown


def test_init_makes_settings_that_run(tmp_path, monkeypatch):
    """`init` makes a folder with settings that load, says what to do next, and leaves what is there alone."""
    monkeypatch.chdir(tmp_path)
    made = called("init", "deep/math")
    assert made.code == 0
    assert made.out.startswith("Made deep/math/gradatim.toml. ")
    assert called("--config", "deep/math/gradatim.toml", "run", "--dry-run").code == 0
    before = Path("deep/math/gradatim.toml").read_bytes()
    again = called("init", "deep/math")
    assert again.code == 2
    assert Path("deep/math/gradatim.toml").read_bytes() == before


def test_the_last_library_named_wins(folder):
    """--library stands above what the settings say."""
    (folder / "gradatim.toml").write_text('library = "nowhere.db"\n')
    assert called("status").code == 3
    assert called("--library", "library.db", "status").code == 0


def test_a_terminal_shows_ids_and_notes_uncut(monkeypatch):
    """Long texts are cut on a terminal, but neither the id that `batches --cancel` takes nor a sentence with advice."""
    long = "batch_68f2b7c1d2e48190a1b2c3d4e5f60718"
    monkeypatch.setattr(sys, "stdout", shown := io.StringIO())
    shown.isatty = lambda: True
    print_rows([*"abcdefg", "id"], [[*([long] * 7), long]], None, whole=("id",))
    assert shown.getvalue().splitlines()[1] == "  ".join([*([long[:19] + "…"] * 7), long])


@pytest.mark.usefixtures("folder")
def test_texts_move_nobodys_cursor():
    """Control characters of a model's text are escaped in tables and sentences; JSON holds them as JSON does."""
    sql = "select 'a' || char(27) || '[31mb' || char(155) || char(8238) as x"
    assert called("query", sql).out == "x\na\\x1b[31mb\\x9b\\u202e\n"
    assert json.loads(called("query", sql, "--json").out) == [{"x": "a\x1b[31mb\x9b\u202e"}]
    assert called("show", "no\x1b[2Jsuch").err.count("\x1b") == 0


@pytest.mark.usefixtures("folder")
def test_rows_of_a_query_are_json_whatever_they_hold():
    """Columns of one name, numbers without end and bytes all have a form in JSON, and no value is lost."""
    ended = called("query", "select 1 as a, 2 as a, 3 as a, 9e999 as b, x'0011' as c", "--json")
    assert json.loads(ended.out, parse_constant=pytest.fail) == [
        {"a": 1, "a_2": 2, "a_3": 3, "b": None, "c": "<2 bytes>"}
    ]


def test_a_source_of_which_nothing_is_kept_is_no_success(tmp_path, monkeypatch):
    """Where every row was dropped, ingest says so with exit code 1, and the rows are listed with their reasons."""
    monkeypatch.chdir(tmp_path)
    Path("pool.jsonl").write_text('{"question": "What is one?", "answer": ""}\n' * 2)
    ended = called("ingest", "pool.jsonl", "--field", "prompt=question", "--field", "reference=answer")
    assert ended.code == 1
    assert "gradatim: No row of the set 'pool' became a question (no_reference 2)." in ended.err
    assert called("show", "--dropped", "--csv").out.count("no_reference") == 2
