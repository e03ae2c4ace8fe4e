"""One life of a server: its supervisor started, asked whether it is ready, and ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.serving import supervisor
from gradatim.serving.commands import HOST
from gradatim.serving.remains import sweep

if TYPE_CHECKING:
    from pathlib import Path

_WAIT_BEYOND_GRACE = 30.0


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Life:
    """A server that was started. Its methods may be called from any thread."""

    def __init__(self, command: list[str], port: int, *, log: Path, grace: float) -> None:
        """Start it. `grace`: seconds that it gets to end by itself when it is told to.

        Raises `SetupError` where its log cannot be written.
        """
        self.port = port
        self._log = log.absolute()
        self._grace = grace
        self._how: dict[str, Any] | None = None
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.open("ab").close()
        except OSError as error:
            raise SetupError(
                f"the server's log cannot be written ({error}): put that right, or move the library"
            ) from error
        sweep(self._log)
        environment = os.environ | {supervisor.MARK: secrets.token_hex(8), "PYTHONUNBUFFERED": "1"}
        # A key of another vLLM's: this one would ask for it.
        environment.pop("VLLM_API_KEY", None)
        order = {"command": command, "log": str(self._log), "parent": os.getpid(), "grace": grace}
        self._process = subprocess.Popen(  # noqa: S603 - our own file, no shell
            # -I and -S: nothing of the user's environment decides what this program is.
            [sys.executable, "-I", "-S", supervisor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # that it is gone shows in `running`
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def end(self) -> None:
        """Tell it to end, and return when nothing of it is left. May be called again."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(self._grace + _WAIT_BEYOND_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self.how()

    def how(self) -> str:
        """Say how it ended, once it has."""
        if self._how is None:
            said = b"" if self._process.stdout is None else self._process.stdout.read()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            try:
                self._how = json.loads(said)
            except ValueError:
                # The supervisor was killed: what it would have ended is found by its record.
                sweep(self._log)
                self._how = {"error": f"its supervisor ended ({said.decode('utf-8', 'replace')[-200:].strip()})"}
        return _in_words(self._how)

    def says(self, path: str, *, timeout: float) -> tuple[int, bytes]:
        """Return status and body of a GET, 0 where there is no answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read(1 << 20)
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()


def _in_words(how: dict[str, Any]) -> str:
    if "error" in how:
        return str(how["error"])
    status = how["status"]
    if status is None or status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-status).name}"
    return f"ended by signal {-status}"
