"""Models and a PRM whose servers Gradatim runs, through the command: what the library holds, and what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid

import pytest

from cli_process import MAIN, SRC, write_pool
from gradatim.library.store import Library
from serving_world import WORD, left, linux, nameless, nothing_left, others, starts, write_settings

pytestmark = linux
QUESTIONS = 40
ATTEMPTS = (
    "SELECT question, sample, model, content, finish_reason, prompt_tokens, completion_tokens FROM attempts "
    "ORDER BY question, sample"
)
SCORES = "SELECT attempt, model, prm, mean, reason, steps, version FROM scores ORDER BY attempt"


@pytest.fixture
def word(monkeypatch):
    """A word in the environment of everything that the test starts."""
    made = uuid.uuid4().hex
    monkeypatch.setenv(WORD, made)
    return made


@pytest.fixture
def folder(tmp_path):
    """A folder with a pool of questions."""
    write_pool(tmp_path / "pool.jsonl", QUESTIONS)
    return tmp_path


def start(folder, *words, **more) -> subprocess.Popen:
    """Start the command."""
    paths = os.pathsep.join(filter(None, (SRC, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def run(folder, *words, code=0) -> str:
    """Run the command to its end, and return what it wrote to stderr."""
    process = start(folder, *words)
    _, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    return err


def rows(folder, sql=ATTEMPTS):
    """Return what the library holds."""
    with Library(folder / "library.db") as library:
        return library.all(sql)


def wait_for(condition, seconds=30.0):
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def count(folder) -> int:
    """Return how many attempts are there, beside a writer."""
    return rows(folder, "SELECT count(*) FROM attempt")[0][0] if (folder / "library.db").exists() else 0


def test_base_and_prm_share_the_machine_in_turn(folder, word):
    """`run` starts the base model's server, ends it, and only then starts the PRM's; both logs are kept."""
    write_settings(folder)
    assert run(folder, "run", "--until", "grade") == ""
    assert left(word) == {}
    assert len(rows(folder)) == QUESTIONS
    assert [len(starts(folder / name)) for name in ("base", "prm")] == [1, 1]
    assert others(folder / "prm") == others(folder / "base") == [""]
    assert rows(folder, "SELECT count(*) FROM grades WHERE level BETWEEN 1 AND 5")[0][0] > 0
    for name in ("base", "prm"):
        assert "# gradatim: ended: as asked" in (folder / "servers" / f"{name}.log").read_text()
    assert "--runner pooling --pooler-config" in (folder / "servers" / "prm.log").read_text()


def test_nothing_is_started_where_nothing_is_to_do(folder):
    """A second run, and a dry one, start no server."""
    write_settings(folder)
    run(folder, "run", "--until", "grade", "--dry-run")
    assert starts(folder / "base") == []
    run(folder, "run", "--until", "grade")
    run(folder, "run", "--until", "grade")
    assert [len(starts(folder / name)) for name in ("base", "prm")] == [1, 1]


def test_a_server_is_asked_what_it_can_do_before_the_run_is(folder, word):
    """What the probe finds of a server that was started for it ends the run before a question is asked, or is noted."""
    write_settings(folder, base=("--context", "64"))
    err = run(folder, "run", "--until", "attempt", code=2)
    assert "takes 64 tokens of prompt and answer together, and max_tokens = 4096 leaves no room" in err
    assert left(word) == {}
    assert rows(folder) == []
    write_settings(folder, base=("--ignore", "seed"))
    assert "does not hold seeds" in run(folder, "run", "--until", "attempt")
    assert len(rows(folder)) == QUESTIONS
    assert len(starts(folder / "base")) == 2


def test_a_stage_that_runs_set_after_set_starts_its_server_once(folder, word):
    """`evaluate` of two sets asks the same server, which is ended after the second."""
    write_pool(folder / "first.jsonl", 6, seed=1)
    write_pool(folder / "second.jsonl", 6, seed=2)
    write_settings(folder)
    for name in ("first", "second"):
        run(folder, "ingest", f"{name}.jsonl", "--eval", "--set", name)
    run(folder, "evaluate", "--samples", "2")
    assert rows(folder, "SELECT count(*) FROM attempt") == [(24,)]
    assert len(starts(folder / "base")) == 1
    assert left(word) == {}


@pytest.mark.slow
def test_servers_killed_in_mid_stage_cost_no_row(folder, tmp_path_factory, word):
    """A base model's and a PRM's server that are killed in mid-stage change no row, and are no fault."""
    calm = tmp_path_factory.mktemp("calm")
    (calm / "pool.jsonl").write_bytes((folder / "pool.jsonl").read_bytes())
    write_settings(calm)
    run(calm, "run", "--until", "grade")
    write_settings(folder, base=("--latency", "0.15"), prm=("--latency", "0.15"))
    process = start(folder, "run", "--until", "grade")
    wait_for(lambda: count(folder) > 5)
    os.kill(starts(folder / "base")[-1], signal.SIGKILL)
    wait_for(lambda: len(starts(folder / "base")) == 2 and count(folder) > 20)
    os.kill(starts(folder / "base")[-1], signal.SIGKILL)
    wait_for(lambda: starts(folder / "prm"), 60)
    wait_for(lambda: "listening" in (folder / "servers" / "prm.log").read_text())
    time.sleep(0.3)
    os.kill(starts(folder / "prm")[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert left(word) == {}
    assert rows(folder) == rows(calm)
    assert rows(folder, SCORES) == rows(calm, SCORES)
    assert rows(folder, "SELECT count(*) FROM fault") == [(0,)]
    assert [len(starts(folder / name)) for name in ("base", "prm")] == [3, 2]
    assert err.count("gradatim: org/base: its server died (ended by SIGKILL) and was started again") == 2
    assert err.count("gradatim: org/prm: its server died (ended by SIGKILL) and was started again") == 1


@pytest.mark.slow
def test_a_server_that_keeps_dying_ends_the_run(folder, word):
    """Beyond the limit the run ends with exit code 4 and the last lines; what was answered is there, and it goes on."""
    write_settings(folder, base=("--latency", "0.2", "--do", "die-later=3"))
    text = (folder / "gradatim.toml").read_text()
    (folder / "gradatim.toml").write_text(
        text.replace("concurrency = 4\n[prm]", "concurrency = 1\nserve_restarts = 1\nprobe = false\n[prm]")
    )
    err = run(folder, "run", "--until", "attempt", code=4)
    assert "The server of org/base died 2 times, the last time ended by SIGKILL: " in err
    assert "Its last lines: listening on http://127.0.0.1:" in err
    assert "Traceback" not in err
    assert left(word) == {}
    before = rows(folder)
    assert 0 < len(before) < QUESTIONS
    write_settings(folder)
    run(folder, "run", "--until", "attempt")
    assert set(before) < set(rows(folder))
    assert len(rows(folder)) == QUESTIONS


@pytest.mark.parametrize("stage", ["attempt", "grade"])
def test_a_server_that_does_not_start_ends_the_run(folder, word, stage):
    """A server that cannot start ends the run with exit code 4 and one sentence: its cause and its log."""
    broken = ("--do", "orphans", "--do", "die=CUDA out of memory. Tried to allocate 20.00 GiB.")
    write_settings(folder, base=broken if stage == "attempt" else (), prm=broken if stage == "grade" else ())
    err = run(folder, "run", "--until", "grade", code=4)
    name = "base" if stage == "attempt" else "prm"
    assert err.startswith(
        f"gradatim: The server of org/{name} did not start (exit status 3): RuntimeError: CUDA out of "
    )
    assert err.rstrip().endswith(f"Its log is servers/{name}.log")
    assert err.count("\n") == 1
    assert left(word) == {}


ENDS = {
    "Ctrl-C, to all": (signal.SIGINT, True, 130),
    "Ctrl-C, to the command alone": (signal.SIGINT, False, 130),
    "SIGTERM": (signal.SIGTERM, False, -signal.SIGTERM),
    "SIGKILL": (signal.SIGKILL, False, -signal.SIGKILL),
    "the terminal closed": (signal.SIGHUP, True, -signal.SIGHUP),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "when"),
    [
        *((end, "attempt") for end in ENDS),
        *((end, when) for end in ("Ctrl-C, to all", "SIGKILL") for when in ("starting", "grade")),
    ],
)
def test_nothing_is_left_whatever_ends_the_run(folder, word, end, when):
    """However a run ends, in whatever it does, no process is left: not those that ignore SIGTERM, nor their orphans."""
    hard = ("--do", "orphans", "--do", "ignore-term", "--latency", "0.2")
    bases = {"starting": (*hard, "--do", "never-ready"), "attempt": hard, "grade": ()}
    write_settings(folder, base=bases[when], prm=hard)
    process = start(folder, "run", "--until", "grade", start_new_session=True)
    wait_for(lambda: starts(folder / ("prm" if when == "grade" else "base")), 60)
    if when == "attempt":
        wait_for(lambda: count(folder) > 2)
    time.sleep(0.3)
    number, to_all, code = ENDS[end]
    began = time.monotonic()
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    nothing_left(word)
    assert time.monotonic() - began < 25
    if code == 130:
        assert "Everything that was done is saved" in err


def test_what_a_run_left_that_was_killed_with_its_supervisor_is_ended_by_the_next(folder, word):
    """Where Gradatim and the supervisor are killed at once, the next run ends what is left of the server."""
    write_settings(folder, base=("--latency", "0.2", "--do", "nameless"))
    process = start(folder, "run", "--until", "attempt")
    wait_for(lambda: count(folder) > 2)
    (guard,) = [pid for pid, command in left(word).items() if "supervisor.py" in command]
    os.kill(guard, signal.SIGSTOP)  # so that it does not see the end of the command
    process.kill()
    process.communicate()
    os.kill(guard, signal.SIGKILL)
    nothing_left(word)
    assert len(nameless(folder / "base")) == 1
    write_settings(folder)
    run(folder, "run", "--until", "attempt")
    assert nameless(folder / "base") == []
    assert len(rows(folder)) == QUESTIONS


def test_ctrl_c_while_a_server_starts_ends_at_once(folder, word):
    """Nothing is under way while the server loads, so the seconds that answers get are not waited for."""
    write_settings(folder, base=("--do", "never-ready"))
    process = start(folder, "run", "--until", "attempt", start_new_session=True)
    wait_for(lambda: starts(folder / "base"))
    time.sleep(0.5)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, time.monotonic() - began < 5) == (130, True), err
    assert left(word) == {}
