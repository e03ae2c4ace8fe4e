"""What tests of servers that Gradatim runs start from: settings with a stand-in engine, and a search for what is left.

All processes of a test carry a word of its own in their environment, whatever session they are in.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from gradatim.serving.commands import Engines
from gradatim.serving.server import Server, Serving
from gradatim.serving.supervisor import processes

ENGINE = (sys.executable, str(Path(__file__).with_name("standin_engine.py")))
WORD = "GRADATIM_TEST"
linux = pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked for in /proc")

SETTINGS = """
[[ingest]]
path = "pool.jsonl"
[models.base]
model = "org/base"
path = "base"
serve = "vllm"
serve_command = {engine}
serve_args = {base}
concurrency = 4
[prm]
model = "org/prm"
path = "prm"
serve = "vllm"
serve_command = {engine}
serve_args = {prm}
concurrency = 4
[attempt]
temperature = 1.0
[grade]
rule = "paper"
"""


def write_settings(folder: Path, *, base=(), prm=()) -> None:
    """Write gradatim.toml and the two models' folders; the words are further arguments of their engines."""
    for name in ("base", "prm"):
        (folder / name).mkdir(exist_ok=True)
    answers = ("--answers", str(folder / "pool.jsonl"))
    text = SETTINGS.format(engine=list(ENGINE), base=[*answers, *base], prm=list(prm))
    (folder / "gradatim.toml").write_text(text.replace("'", '"'))


def server(folder: Path, *extra: str, program=ENGINE, **changes) -> Server:
    """Return a server of the stand-in engine; `extra` are further arguments."""
    engines = Engines(engine="vllm", path=str(folder), name="org/base", program=tuple(program), extra=extra)
    settings = {"name": "org/base", "command": engines.command, "log": folder / "base.log", "model": "org/base"}
    return Server(Serving(**settings | changes))


def left(word: str) -> dict[int, str]:
    """Return the processes that carry the word, this one aside, with their command lines."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"{WORD}={word}".encode() in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    command = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100]
                    found[int(entry.name)] = command
            except OSError:
                continue
    return found


def nothing_left(word: str, seconds: float = 20.0) -> None:
    """Wait until nothing is left; fail with what is."""
    end = time.monotonic() + seconds
    while found := left(word):
        assert time.monotonic() < end, found
        time.sleep(0.05)


def starts(folder: Path) -> list[int]:
    """Return the process ids of the engine's lives so far, oldest first."""
    try:
        return [int(line.split()[0]) for line in (folder / "starts").read_text().splitlines()]
    except FileNotFoundError:
        return []


def nameless(folder: Path) -> list[int]:
    """Return the engine's children without an environment that still live."""
    numbers = [int(line) for line in (folder / "nameless").read_text().splitlines()]
    return [pid for pid in numbers if pid in processes()]


def others(folder: Path) -> list[str]:
    """Return what other engines ran when each life of this one began."""
    return [line.partition(" ")[2] for line in (folder / "starts").read_text().splitlines()]
