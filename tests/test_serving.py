"""Servers that Gradatim runs: started, brought back, bounded, and ended with everything that they started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from gradatim.errors import SetupError
from gradatim.serving import supervisor
from gradatim.serving.commands import Engines
from gradatim.serving.remains import sweep
from gradatim.serving.server import StoppedError
from gradatim.serving.tail import last_lines, telling_line
from serving_world import ENGINE, WORD, left, linux, nameless, nothing_left, server, starts

CASES = json.loads((Path(__file__).parent / "cases" / "server_logs.json").read_text(encoding="utf-8"))


@pytest.fixture
def word(monkeypatch):
    """A word in the environment of everything that the test starts."""
    made = uuid.uuid4().hex
    monkeypatch.setenv(WORD, made)
    return made


@linux
@pytest.mark.parametrize(
    "does",
    [(), ("ignore-term",), ("orphans",), ("orphans", "ignore-term"), ("chatter=1",)],
    ids=lambda does: "+".join(does) or "well-behaved",
)
def test_a_server_is_used_and_then_gone(tmp_path, word, does):
    """A server answers from `up` to `stop`; then no process of it is left, those in sessions of their own included."""
    one = server(tmp_path, *(part for what in does for part in ("--do", what)), grace=1.0)
    place = one.up()
    assert one.up() == place == one.here
    assert not one.gone(place)
    assert len(left(word)) == 2 + 2 * ("orphans" in does)  # the supervisor, the engine, its children
    one.stop()
    assert left(word) == {}
    assert one.here is None
    one.stop()


@linux
@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (
            ("--do", "die=CUDA out of memory."),
            {},
            r"did not start \(exit status 3\): RuntimeError: CUDA out of memory\. Its",
        ),
        (
            ("--do", "never-ready"),
            {"timeout": 1.0},
            r"was not ready within 1 seconds: loading weights\. Its .*start_timeout$",
        ),
        (
            ("--max-modle-len", "5"),
            {},
            r"did not start \(exit status 2\): .*unrecognized arguments: --max-modle-len 5\. ",
        ),
        (
            (),
            {"program": ("/nowhere/vllm", "serve")},
            r"did not start \(.*No such file or directory: '/nowhere/vllm'\): ",
        ),
        (
            ("--do", "renamed=x"),
            {"timeout": 1.5},
            r"cannot be used: it lists x, not org/base: serve_args ",
        ),
        (("--do", "orphans", "--do", "die=bad"), {}, r"did not start \(exit status 3\): RuntimeError: bad\. "),
    ],
    ids=[
        "dies",
        "never ready",
        "wrong argument",
        "no such program",
        "another name",
        "dies, leaving children",
    ],
)
def test_a_server_that_does_not_start_is_said_in_one_sentence(tmp_path, word, words, changes, said):
    """What the log says of the cause is in the error, with the log's path; nothing is left."""
    one = server(tmp_path, *words, **changes)
    with pytest.raises(SetupError, match=said) as raised:
        one.up()
    assert str(raised.value).startswith("the server of org/base ")
    assert "renamed" in str(words) or str(tmp_path / "base.log") in str(raised.value)
    assert "\n" not in str(raised.value)
    nothing_left(word, 1.0)


@linux
def test_a_server_that_was_killed_is_started_again_within_the_limit(tmp_path, word):
    """Each death is noted with how it died; the one beyond the limit ends in an error with the last lines."""
    one = server(tmp_path, restarts=1)
    first = one.up()
    os.kill(starts(tmp_path)[-1], signal.SIGKILL)
    assert one.gone(first)
    second = one.up()
    assert second.life == first.life + 1
    assert not one.gone(second)
    assert one.gone(first)
    assert "died (ended by SIGKILL) and was started again (1 of 1 times at most)" in one.notes[0]
    os.kill(starts(tmp_path)[-1], signal.SIGKILL)
    assert one.gone(second)
    with pytest.raises(
        SetupError, match=r"died 2 times, the last time ended by SIGKILL: .*Its last lines: listening on"
    ):
        one.up()
    assert left(word) == {}
    assert one.up().life == second.life + 1  # a later stage begins to count anew
    one.stop()


@linux
def test_a_server_that_hangs_is_ended(tmp_path, word):
    """A server that does not answer /health after a request failed counts as dead."""
    one = server(tmp_path, health_timeout=0.3, grace=0.5)
    place = one.up()
    os.kill(starts(tmp_path)[-1], signal.SIGSTOP)
    assert one.gone(place)
    assert left(word) == {}
    one.stop()


@linux
@pytest.mark.parametrize("does", [(), ("--do", "orphans")], ids=["alone", "with children"])
def test_a_killed_supervisor_takes_its_server_along(tmp_path, word, does):
    """Where the supervisor itself is killed, the server dies with it and its children are found by their mark."""
    one = server(tmp_path, *does)
    place = one.up()
    (guard,) = [pid for pid, command in left(word).items() if "supervisor.py" in command]
    os.kill(guard, signal.SIGKILL)
    end = time.monotonic() + 10
    while one.here is not None:
        assert time.monotonic() < end
    assert one.gone(place)
    assert one.up().life == place.life + 1
    assert len(left(word)) == 2 + (2 if does else 0)
    one.stop()
    assert left(word) == {}


@linux
def test_what_a_killed_supervisor_left_is_ended_before_the_next_life(tmp_path, word):
    """A child without the mark, which engines write over, is found by its pipe; no record of it stays behind."""
    one = server(tmp_path, "--do", "nameless")
    one.up()
    (guard,) = [pid for pid, command in left(word).items() if "supervisor.py" in command]
    os.kill(guard, signal.SIGKILL)
    nothing_left(word)
    assert len(nameless(tmp_path)) == 1
    two = server(tmp_path)
    two.up()
    assert nameless(tmp_path) == []
    assert len(list(tmp_path.glob("*.run"))) == 1
    one.stop()
    two.stop()
    assert list(tmp_path.glob("*.run")) == []


@linux
def test_a_record_of_an_earlier_boot_ends_nobody(tmp_path):
    """Numbers begin anew when the machine does: what has the pipe's number now is somebody else's."""
    reading, writing = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=writing)
    record = {"guard": 2**22, "guard_started": "1", "boot": "other", "pipe": os.fstat(reading).st_ino, "mark": "x"}
    file = tmp_path / "base.log.7.run"
    file.write_text(json.dumps(record))
    sweep(tmp_path / "base.log")
    assert child.poll() is None
    assert not file.exists()
    file.write_text(json.dumps(record | {"boot": supervisor.boot()}))
    sweep(tmp_path / "base.log")
    assert child.wait(10) == -signal.SIGKILL
    os.close(reading)
    os.close(writing)


@linux
def test_a_server_that_is_watched_is_left_alone(tmp_path, word):
    """Two servers with one log, of two runs beside each other, do not end one another."""
    one, two = server(tmp_path), server(tmp_path)
    first = one.up()
    two.up()
    assert not one.gone(first)
    two.stop()
    assert not one.gone(first)
    one.stop()
    assert left(word) == {}


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    """Where the log's folder is a file, the error says so and nothing is started."""
    (tmp_path / "servers").write_text("")
    with pytest.raises(SetupError, match=r"the server's log cannot be written \(.*servers"):
        server(tmp_path, log=tmp_path / "servers" / "base.log").up()
    assert starts(tmp_path) == []


def test_a_port_that_was_taken_meanwhile_is_not_the_end(tmp_path):
    """Where something else took the port, another one is tried, and that counts as no death."""
    one = server(tmp_path, "--do", "taken")
    assert one.up().life == 2
    assert one.notes == []
    one.stop()


def test_waiting_for_a_server_can_be_interrupted(tmp_path):
    """`interrupt` ends an `up` in another thread at once, and each further one, until `stop`."""
    one = server(tmp_path, "--do", "never-ready")
    ended = []

    def wait():
        try:
            one.up()
        except StoppedError as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not starts(tmp_path):
        time.sleep(0.01)
    one.interrupt()
    thread.join(10)
    wait()
    assert len(ended) == 2
    one.stop()


@linux
def test_a_server_that_prints_for_days_does_not_fill_the_disk(tmp_path):
    """A log keeps its newest part, and the lines that matter are still found."""
    one = server(tmp_path, "--do", "chatter=40", "--do", "die=out of paper")
    with pytest.raises(SetupError, match="RuntimeError: out of paper"):
        one.up()
    assert f"\n{supervisor.ENDED}: 3 " in (tmp_path / "base.log").read_text()
    sizes = [file.stat().st_size for file in tmp_path.glob("base.log*")]
    assert len(sizes) == 2
    assert sum(sizes) < 2 * supervisor.LOG_LIMIT + (1 << 20)


def test_the_log_names_the_command_and_keeps_earlier_lives(tmp_path):
    """Each life begins with its command line and the time, and ends with how it ended."""
    one = server(tmp_path)
    for _ in range(2):
        one.up()
        one.stop()
    text = (tmp_path / "base.log").read_text()
    assert text.count(f"{supervisor.STARTED}: {ENGINE[0]} {ENGINE[1]} --model {tmp_path}") == 2
    assert text.count(f"{supervisor.ENDED}: as asked 20") == 2
    assert [line.partition(" on ")[0] for line in last_lines(tmp_path / "base.log", 9)] == ["listening"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_telling_line_is_found(tmp_path, case):
    """From what engines really print when they fail, the line that says why."""
    log = tmp_path / "x.log"
    log.write_text("\n".join([f"{supervisor.STARTED}: x", *case["lines"], f"{supervisor.ENDED}: 1"]) + "\n")
    assert telling_line(log) == case["tells"]


def test_a_log_that_is_not_there_tells_nothing(tmp_path):
    """No log, or an empty one, is no error."""
    assert telling_line(tmp_path / "none.log") == ""
    assert last_lines(tmp_path / "none.log", 5) == []


def test_the_tree_is_the_same_by_ps(monkeypatch):
    """Where there is no /proc, `ps` tells whose child a process is, and when it was started."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        if supervisor.LINUX:
            assert child.pid in supervisor.below(os.getpid(), supervisor.processes())
            monkeypatch.setattr(supervisor, "LINUX", False)
        known = supervisor.processes()
        assert child.pid in supervisor.below(os.getpid(), known)
        assert known[child.pid].parent == os.getpid()
        assert known[child.pid].started
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("engine", "program", "begins"),
    [
        ("vllm", ("/opt/bin/vllm", "serve"), ["/opt/bin/vllm", "serve", "m", "--served-model-name", "n", "--host"]),
        ("vllm", ("/opt/bin/vllm",), ["/opt/bin/vllm", "serve", "m", "--served-model-name", "n", "--host"]),
        ("vllm", ("python", "-m", "x"), ["python", "-m", "x", "--model", "m", "--served-model-name", "n", "--host"]),
        ("transformers", ("/opt/bin/transformers",), ["/opt/bin/transformers", "serve", "m", "--host", "127.0.0.1"]),
    ],
)
def test_command_lines(engine, program, begins):
    """The model stands where the engine looks for it, on loopback, and the user's arguments come last."""
    made = Engines(engine=engine, path="m", name="n", program=program, extra=("--x", "1")).command(81)
    assert made[: len(begins)] == begins
    assert made[-4:] == ["--port", "81", "--x", "1"]


def test_an_engine_that_is_not_there_is_said(monkeypatch):
    """Without vLLM the error says where to install it and what to write."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SetupError, match=r"vllm is not on this machine's PATH: .*serve_command = \["):
        Engines(engine="vllm", path="m", name="n").command(81)
