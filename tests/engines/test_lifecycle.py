"""A vLLM server that Gradatim runs: killed in mid-stage, and after every end of a run, with nothing left of it."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from engine_world import VLLM, VLLM_ARGS

from cli_process import write_pool
from serving_world import WORD, left, nothing_left
from test_served import ATTEMPTS, count, rows, start
from tiny_lm import make_lm

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.fixture
def word(monkeypatch):
    """A word in the environment of everything that the test starts."""
    made = uuid.uuid4().hex
    monkeypatch.setenv(WORD, made)
    return made


def folder_for(path: Path, model: Path) -> Path:
    """Make a folder to run in."""
    write_pool(path / "pool.jsonl", QUESTIONS)
    text = SETTINGS.format(model=model, command=list(VLLM), extra=list(VLLM_ARGS))
    (path / "gradatim.toml").write_text(text.replace("'", '"'))
    return path


def process_of(word: str, what: str) -> int:
    """Return the process id of a part of the engine: `api_server`, or `VLLM::EngineCore`."""
    return next(pid for pid, command in left(word).items() if what in command and "supervisor.py" not in command)


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


def test_killed_in_mid_stage_it_costs_no_row(tmp_path, model, calm, word):
    """Where the server is killed in mid-stage, and later its engine alone, the rows are those of a calm run."""
    folder = folder_for(tmp_path, model)
    process = start(folder, "run", "--until", "attempt")
    wait_for_answers(folder, 20)
    os.kill(process_of(word, "api_server"), signal.SIGKILL)
    wait_for_answers(folder, 100)
    os.kill(process_of(word, "EngineCore"), signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert left(word) == {}
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
def test_nothing_is_left_whatever_ends_a_run(tmp_path, model, word, number, to_all, code):
    """However a run ends in mid-stage, no process of vLLM is left."""
    folder = folder_for(tmp_path, model)
    process = start(folder, "run", "--until", "attempt", start_new_session=True)
    wait_for_answers(folder, 5)
    assert len(left(word)) >= 5  # the command, the supervisor, vLLM's server, engine and worker
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    nothing_left(word)


def test_a_wrong_argument_is_said_in_one_sentence(tmp_path, model, word):
    """What vLLM says of a setting that cannot be is in the error, and nothing is left."""
    folder = folder_for(tmp_path, model)
    text = (folder / "gradatim.toml").read_text()
    (folder / "gradatim.toml").write_text(
        text.replace('"--enforce-eager"', '"--enforce-eager", "--max-model-len", "9999"')
    )
    process = start(folder, "run", "--until", "attempt")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 4, err
    assert "The server of tiny/base did not start (exit status 1): " in err
    assert "max_model_len (9999) is greater than the derived max_model_len" in err
    assert err.count("\n") == 1
    assert left(word) == {}
