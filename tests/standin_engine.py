"""A program that stands where an engine would, so that what becomes of servers can be tried: it takes vLLM's arguments.

It is our mock server behind them, a real process on a real socket. `--do` makes it behave as engines do on bad days.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

say = partial(print, flush=True)
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def main() -> None:
    """Behave as told, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--do", action="append", default=[])
    parser.add_argument("--answers")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--context", type=int)
    parser.add_argument("--ignore", action="append", default=[])
    parser.add_argument("--runner")
    parser.add_argument("--pooler-config")
    asked = parser.parse_args()
    asked.dies = ""
    beside = engines_beside()
    with Path(asked.model, "starts").open("a") as file:
        file.write(f"{os.getpid()} {beside}\n")
    for what in asked.do:
        name, _, value = what.partition("=")
        globals()[name.replace("-", "_")](asked, value)
    serve(asked)


def engines_beside() -> str:
    """Say which other engines of the same test run now; they have its word in their environment."""
    word = f"GRADATIM_TEST={os.environ.get('GRADATIM_TEST')}".encode()
    found = []
    for entry in os.scandir("/proc") if Path("/proc/self/environ").exists() else ():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit() or word not in Path(entry.path, "environ").read_bytes().split(b"\0"):
                continue
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            if int(entry.name) != os.getpid() and any(one.endswith(b"standin_engine.py") for one in words):
                found.append(words[words.index(b"--model") + 1].decode())
    return " ".join(found)


def serve(asked) -> None:
    """Serve until told to end."""
    from gradatim.models.mock_server import MockSettings, serve_forever

    settings = MockSettings(
        host=asked.host,
        port=asked.port,
        models=(asked.served_model_name,),
        answers=asked.answers,
        latency=asked.latency,
        context=asked.context,
        ignores=tuple(asked.ignore),
    )

    def listening(url):
        say(f"listening on {url}")
        if asked.dies:
            subprocess.Popen([sys.executable, "-c", asked.dies])

    serve_forever(settings, listening)


def die(_, why) -> None:
    """Die before listening."""
    say("(EngineCore pid=7) ERROR 11-26 04:48:24 [core.py:15] Traceback (most recent call last):")
    say(f"(EngineCore pid=7) ERROR 11-26 04:48:24 [core.py:15] RuntimeError: {why}")
    say("RuntimeError: Engine core initialization failed. See root cause above.", end="")
    sys.exit(3)


def die_later(asked, seconds) -> None:
    """Be killed some seconds after listening, whatever is under way, as by the kernel when memory is short."""
    asked.dies = f"import os, time; time.sleep({seconds}); os.kill({os.getpid()}, 9)"


def never_ready(_, __) -> None:
    """Load for ever."""
    say("loading weights")
    time.sleep(600)


def ignore_term(_, __) -> None:
    """End by SIGKILL only."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def orphans(_, __) -> None:
    """Start children that ignore SIGTERM, in sessions of their own, one of them given up by its parent."""
    subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
    lost = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
    subprocess.run([sys.executable, "-c", lost], check=True)


def nameless(asked, _) -> None:
    """Start a child without any environment, as one looks that gave itself a name; its number goes into a file."""
    child = subprocess.Popen([sys.executable, "-c", SLEEPER], env={})
    with Path(asked.model, "nameless").open("a") as file:
        file.write(f"{child.pid}\n")


def chatter(_, megabytes) -> None:
    """Print a lot."""
    line = "x" * 1023 + "\n"
    for _ in range(int(megabytes) * 1024):
        sys.stdout.write(line)
    sys.stdout.flush()


def renamed(asked, name) -> None:
    """Serve under another name, as with `--served-model-name` in serve_args."""
    asked.served_model_name = name


def taken(asked, _) -> None:
    """Find the port taken, the first time."""
    if len(Path(asked.model, "starts").read_text().splitlines()) == 1:
        say(f"OSError: [Errno 98] Address already in use: {asked.port}")
        sys.exit(1)


if __name__ == "__main__":
    main()
