"""A vLLM server that Gradatim runs: killed in mid-stage, and after every end of a run, with nothing left of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_world import VLLM, VLLM_ARGS

from cli_process import write_pool
from gradatim.serving.supervisor import Seen, below, processes
from test_served import ATTEMPTS, count, rows, start
from tiny_lm import make_lm

if TYPE_CHECKING:
    import subprocess

SETTINGS = """
[[ingest]]
path = "pool.jsonl"
[models.base]
model = "tiny/base"
path = "{model}"
serve = "vllm"
serve_command = {command}
serve_args = {extra}
concurrency = 8
[attempt]
samples = 4
temperature = 1.0
max_tokens = 200
"""
QUESTIONS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model that writes until its limit."""
    return make_lm(tmp_path_factory.mktemp("lm") / "lm", width=128, eos=-50.0)


def folder_for(path: Path, model: Path) -> Path:
    """Make a folder to run in."""
    write_pool(path / "pool.jsonl", QUESTIONS)
    text = SETTINGS.format(model=model, command=list(VLLM), extra=list(VLLM_ARGS))
    (path / "gradatim.toml").write_text(text.replace("'", '"'))
    return path


def tree(process: subprocess.Popen) -> dict[int, Seen]:
    """Return a command's descendants. By their parents: vLLM's processes write over their environment."""
    known = processes()
    return {pid: known[pid] for pid in below(process.pid, known)}


def called(seen: dict[int, Seen], what: str) -> int:
    """Return the one that is called so: `api_server`, `VLLM::EngineCore`."""
    for pid in seen:
        if what.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError(f"no {what} in {seen}")


def gone(seen: dict[int, Seen], seconds: float = 20.0) -> None:
    """Wait until none of them is left."""
    end = time.monotonic() + seconds
    while left := {pid for pid, one in processes().items() if pid in seen and one.started == seen[pid].started}:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def wait_for_answers(folder: Path, number: int) -> None:
    """Wait until so many are there."""
    end = time.monotonic() + 300
    while count(folder) < number:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def calm(tmp_path_factory, model):
    """The rows of an undisturbed run."""
    folder = folder_for(tmp_path_factory.mktemp("calm"), model)
    process = start(folder, "run", "--until", "attempt")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return rows(folder, ATTEMPTS)


def test_killed_in_mid_stage_it_costs_no_row(tmp_path, model, calm):
    """Where the server is killed in mid-stage, and later its engine alone, the rows are those of a calm run."""
    folder = folder_for(tmp_path, model)
    process = start(folder, "run", "--until", "attempt")
    lives = []
    for answers, what in ((20, "api_server"), (100, "VLLM::EngineCore"), (180, "")):
        wait_for_answers(folder, answers)
        lives.append(tree(process))
        if what:
            os.kill(called(lives[-1], what), signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    for seen in lives:
        assert len(seen) >= 4  # supervisor, server, engine, worker
        gone(seen, 0.5)
    assert rows(folder, ATTEMPTS) == calm
    assert len(calm) == 4 * QUESTIONS
    assert rows(folder, "SELECT count(*) FROM fault") == [(0,)]
    assert err.count("its server died") == 2


@pytest.mark.parametrize(
    ("number", "to_all", "code"),
    [
        (signal.SIGINT, True, 130),
        (signal.SIGINT, False, 130),
        (signal.SIGTERM, False, -signal.SIGTERM),
        (signal.SIGKILL, False, -signal.SIGKILL),
    ],
    ids=["Ctrl-C, to all", "Ctrl-C, to the command alone", "SIGTERM", "SIGKILL"],
)
def test_nothing_is_left_whatever_ends_a_run(tmp_path, model, number, to_all, code):
    """However a run ends in mid-stage, no process of vLLM is left."""
    folder = folder_for(tmp_path, model)
    process = start(folder, "run", "--until", "attempt", start_new_session=True)
    wait_for_answers(folder, 5)
    seen = tree(process)
    assert called(seen, "VLLM::EngineCore")
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    gone(seen)


def test_what_is_left_of_a_run_that_was_killed_with_its_supervisor_is_ended_by_the_next(tmp_path, model):
    """VLLM's engine outlives both being killed at once, without its mark; the next run ends it, and goes on."""
    folder = folder_for(tmp_path, model)
    process = start(folder, "run", "--until", "attempt")
    wait_for_answers(folder, 5)
    seen = tree(process)
    engine = called(seen, "VLLM::EngineCore")
    guard = called(seen, "supervisor.py")
    os.kill(guard, signal.SIGSTOP)
    process.kill()
    process.communicate()
    os.kill(guard, signal.SIGKILL)
    time.sleep(5)
    assert engine in processes()
    (folder / "gradatim.toml").write_text((folder / "gradatim.toml").read_text().replace("samples = 4", "samples = 1"))
    again = start(folder, "run", "--until", "attempt")
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    gone(seen, 0.5)


def test_a_wrong_argument_is_said_in_one_sentence(tmp_path, model):
    """What vLLM says of a setting that cannot be is in the error."""
    folder = folder_for(tmp_path, model)
    wrong = '"--enforce-eager", "--max-model-len", "9999"'
    (folder / "gradatim.toml").write_text((folder / "gradatim.toml").read_text().replace('"--enforce-eager"', wrong))
    process = start(folder, "run", "--until", "attempt")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 4, err
    assert "The server of tiny/base did not start (exit status 1): " in err
    assert "max_model_len (9999) is greater than the derived max_model_len" in err
    assert err.count("\n") == 1
