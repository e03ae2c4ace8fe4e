"""What tests of the command line start from: the command itself, in this process or its own, and libraries to try.

The libraries are made by the commands, one copy per stage, against the mock server.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import gradatim
from gradatim.cli import main

SOURCE = Path(gradatim.__file__).parent.parent
COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'gradatim'; from gradatim.cli.main import main; main()"]
STAGES = ("ingested", "attempted", "verified", "graded", "drawn", "taught", "curated")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def called(*words: str) -> Ended:
    """Run a command in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["gradatim", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main._run()
    finally:
        sys.argv = before
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def started(*words: str | bytes, folder: Path, before: tuple[str, ...] = (), **environment: str) -> Ended:
    """Run a command in a process of its own; `before` are the words of a program that starts it."""
    # Without the empty argv[0], a `-c` program's first word would be taken for it.
    done = subprocess.run(
        [*before, *COMMAND, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return Ended(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


def write_pool(path: Path, count: int = 24) -> None:
    """Write questions that the mock server can answer and no near-duplicate filter drops."""
    random_ = random.Random(5)
    words = [f"{first}{second}" for first in ("ba", "ko", "mi", "tu", "re") for second in ("lon", "dar", "fip", "sut")]
    with path.open("w") as file:
        for number in range(count):
            thing, other = random_.sample(words, 2)
            many, more = random_.randint(2, 99), random_.randint(2, 99)
            question = (
                f"There are {many} of {thing} and {more} of {other} number {number}: how many are there together?"
            )
            file.write(json.dumps({"question": question, "answer": str(many + more)}) + "\n")


def make_libraries(folder: Path, url: str) -> None:
    """Go through the loop with the folder's `pool.jsonl`, and keep the library after each stage as `STAGE.db`."""
    pool, work = folder / "pool.jsonl", folder / "work.db"
    server = ("--base-url", url, "--concurrency", "8")
    commands = (
        ("ingest", str(pool)),
        ("attempt", *server, "--model", "small", "--samples", "4"),
        ("verify",),
        ("grade", "--rule", "rate"),
        ("sample", "--name", "d", "--size", "6", "--mix", "explicit:3,2,1,1,1", "--when-dry", "nearest"),
        ("teach", "d", *server, "--model", "big"),
        ("curate", "d"),
    )
    for stage, command in zip(STAGES, commands, strict=True):
        ended = called("--library", str(work), *command)
        assert ended.code == 0, ended
        with contextlib.closing(sqlite3.connect(work)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(work, folder / f"{stage}.db")


def content(path: Path, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return everything a library holds as SQL, save for some tables."""
    left_out = tuple(f'INSERT INTO "{name}"' for name in without)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if not line.startswith(left_out or ("\0",))]
