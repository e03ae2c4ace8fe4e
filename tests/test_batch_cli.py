"""The command line with a model that is asked in batches: stopped, taken up, listed, cancelled and given up."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import gradatim as gr
from cli_world import COMMAND, SOURCE, called, started, write_pool

pytestmark = pytest.mark.timeout(100)
SETTINGS = """
library = "{folder}/library.db"
[[ingest]]
path = "{folder}/pool.jsonl"
[models.base]
model = "m"
base_url = "{url}"
batch = {{ poll = 0.05 }}
[models.teacher]
model = "plain"
base_url = "{url}"
[grade]
rule = "rate"
"""
# A shell may have started the tests with SIGINT ignored, which is inherited.
INTERRUPTED = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {COMMAND[2]}"


@pytest.fixture
def server(tmp_path):
    write_pool(tmp_path / "pool.jsonl", 10)
    with gr.MockServer(gr.MockSettings(batch_seconds=4.0)) as running:
        (tmp_path / "gradatim.toml").write_text(SETTINGS.format(folder=tmp_path, url=running.url))
        assert run(tmp_path, "ingest").code == 0
        yield running


def run(folder, *words):
    """Run a command with the folder's settings."""
    return called("--config", str(folder / "gradatim.toml"), *words)


def marker(folder) -> str:
    return re.search(r'"marker": "(\w+)"', run(folder, "batches", "--json").out)[1]


def test_ctrl_c_leaves_the_batch_and_the_same_command_takes_it_up(tmp_path, server):
    """An interrupt ends with 130 and names the batch that goes on; the next run gets its answers and sends nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, "attempt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stderr.readline()
    assert first == "gradatim: m: the batch batch_0001 with 10 requests is at the server\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "The batch batch_0001 with 10 requests goes on at the server: run the same command again" in err
    assert "Traceback" not in err
    done = run(tmp_path, "attempt")
    assert (done.code, server.stats().batches, server.stats().batch_again) == (0, 1, 0)
    assert "10 of 10 are there" in done.out
    assert "batch_0001 completed: 10 answered of 10 requests" in done.err


def test_no_wait_ends_with_what_is_to_do_next(tmp_path, server):
    """`--no-wait` ends with 1 and says to run again; `run` goes no further; a plain model knows no such option."""
    sent = run(tmp_path, "attempt", "--no-wait")
    assert sent.code == 1
    assert "run the same command again to take its answers. See: gradatim batches" in sent.err
    (tmp_path / "gradatim.toml").write_text(
        (tmp_path / "gradatim.toml").read_text().replace("poll", "wait = false, poll")
    )
    whole = run(tmp_path, "run")
    assert whole.code == 1
    assert "10 attempts of m are missing. The batch batch_0001 with 10 requests goes on at the server" in whole.err
    assert "verify" not in whole.out
    listed = run(tmp_path, "batches")
    assert re.search(r"batch_0001 +\w+ +m +attempt +submitted +\w+ +10 +0 +0 ", listed.out)
    refused = run(tmp_path, "attempt", "--model", "teacher", "--no-wait")
    assert (refused.code, "set batch = true there" in refused.err) == (2, True)
    assert server.stats().batches == 1


def test_cancel_keeps_what_was_answered(tmp_path, server):
    """A cancelled batch is collected by the command that made it; what it had not answered is asked by the next run."""
    run(tmp_path, "attempt", "--no-wait")
    cancelled = run(tmp_path, "batches", "--cancel", "batch_0001")
    assert cancelled.code == 0
    assert "batch_0001 is cancelling" in cancelled.err
    taken = run(tmp_path, "attempt")
    assert (taken.code, "requests got no answer (batch_cancelled" in taken.err) == (1, True)
    assert run(tmp_path, "batches", "--cancel", "batch_0001").err.endswith("nothing of it is under way.\n")
    assert run(tmp_path, "attempt").code == 0
    stats = server.stats()
    assert (stats.batches, stats.batch_again, stats.batch_answered) == (2, 0, 10)


def test_forget_frees_the_requests(tmp_path, server):
    """A batch that is given up keeps nobody from asking its questions, and the command says what that may cost."""
    run(tmp_path, "attempt", "--no-wait")
    given_up = run(tmp_path, "batches", "--forget", marker(tmp_path))
    assert given_up.code == 0
    assert "its 10 requests without an answer may be asked anew" in given_up.err
    assert run(tmp_path, "attempt").code == 0
    assert server.stats().batches == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("batches", "--cancel", "nothing"), "The library has no batch 'nothing'"),
        (("batches", "--cancel", "a", "--forget", "b"), "exclude each other"),
    ],
)
def test_wrong_use_is_said(tmp_path, server, words, said):
    """A batch that there is not, and options that exclude each other, end with 2 and a sentence."""
    ended = run(tmp_path, *words)
    assert (ended.code, said in ended.err) == (2, True)
    assert server.stats().batches == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("batch = { requests = 0 }", "requests: a number from 1"),
        ("batch = { poll = 0 }", "poll: a number from 0.01"),
        ('batch = { window = "" }', "window: it is empty"),
        ("batch = { request = 5 }", "unknown key 'request'. Did you mean 'requests'?"),
        ('batch = "yes"', "batch"),
        ('batch = true\nkind = "local"\npath = "x"', "belongs to a server"),
        ("batch = true\nconcurrency = 0", "concurrency"),
        ("batch = true\ntries = true", "tries"),
    ],
)
def test_settings_of_batches_are_checked(tmp_path, changed, said):
    """What cannot be right is named with its table and key before anything is asked."""
    text = SETTINGS.format(folder=tmp_path, url="http://localhost:1/v1").replace("batch = { poll = 0.05 }", changed)
    (tmp_path / "gradatim.toml").write_text(text)
    ended = started("attempt", folder=tmp_path)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert "models.base" in ended.err
