"""A server that is started when it is first needed, brought back when it dies, and ended when it is told to.

Its methods block, and may be called from any thread; `interrupt` ends an `up` that is waiting in another.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import GradatimError, SetupError
from gradatim.serving.commands import HOST
from gradatim.serving.life import Life, free_port
from gradatim.serving.tail import last_lines, telling_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_SECONDS = 0.2
_PORTS = 3
"""How many ports are tried where something else took the one that was free a moment ago."""
_LAST_LINES = 5
_ODD_SECONDS = 20.0
"""How long something else may answer in the server's place, before that counts as an error."""


class StoppedError(GradatimError):
    """The server was stopped while somebody waited for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a server is run."""

    name: str
    """What messages call it: `base`."""
    command: Callable[[int], list[str]]
    """The command line that serves on a port."""
    log: Path
    model: str = ""
    """The name that `/v1/models` must list before the server counts as ours and ready; empty asks for none."""
    timeout: float = 1800.0
    """Seconds from its start until it must be ready."""
    restarts: int = 3
    """How often it is started again after it died, from one `stop` to the next."""
    grace: float = 5.0
    """Seconds that it gets to end by itself when it is told to."""
    health_timeout: float = 30.0
    """Seconds without an answer to `/health` after which a server that has failed a request counts as hanging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server is, in one of its lives."""

    url: str
    """Without `/v1`."""
    life: int
    """A server that was started again may be at the same address."""


class Server:
    """A server that runs while it is needed."""

    def __init__(self, serving: Serving) -> None:
        """Nothing is started."""
        self.serving = serving
        self.starting = False
        self.notes: list[str] = []
        """A sentence for the user about each death that was got over."""
        self._life: Life | None = None
        self._lives = 0
        self._deaths = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def died(self) -> bool:
        """Whether it has died since it was first started."""
        return self._deaths > 0

    @property
    def here(self) -> Place | None:
        """Where it is, or None while it is not up. Does not block."""
        life = self._life
        if life is None or self.starting or not life.running:
            return None
        return Place(url=f"http://{HOST}:{life.port}", life=self._lives)

    def up(self) -> Place:
        """Return where it is, as soon as it is ready: it is started, or started again.

        Raises `SetupError` where it cannot be started or has died too often, `StoppedError` after `interrupt`.
        """
        with self._lock:
            if self._stopping.is_set():
                raise self._stopped()
            if here := self.here:
                return here
            self.starting = True
            try:
                if self._life is not None:
                    self._bury(self._life)
                port = self._start()
            except BaseException:
                life, self._life = self._life, None
                if life is not None:
                    life.end()
                raise
            finally:
                self.starting = False
            return Place(url=f"http://{HOST}:{port}", life=self._lives)

    def gone(self, place: Place) -> bool:
        """Whether the server that was there has died, or does not answer any more; what is left of it is ended.

        To be asked after a request to it failed. False: it is well, and the fault was the request's.
        """
        if self._lives != place.life:
            return True
        with self._lock:
            life = self._life
            if life is None or self.here != place:
                return True
            status, _ = life.says("/health", timeout=self.serving.health_timeout)
            if status and status != 503:
                return False
            # 503 is vLLM's word for an engine that died under it; no answer is a server that is going or hangs.
            life.end()
            return True

    def interrupt(self) -> None:
        """Have every `up` raise `StoppedError`, until `stop` was called. Does not block."""
        self._stopping.set()

    def stop(self) -> None:
        """End it, and return when nothing of it is left. A later `up` starts it again."""
        self.interrupt()
        with self._lock:
            life, self._life = self._life, None
            self._deaths = 0
            try:
                if life is not None:
                    life.end()
            finally:
                self._stopping.clear()

    def _start(self) -> int:
        """Start it, wait until it is ready, and return its port."""
        for left in reversed(range(_PORTS)):
            port = free_port()
            command = self.serving.command(port)
            self._life = life = Life(command, port, log=self.serving.log, grace=self.serving.grace)
            self._lives += 1
            if self._ready(life):
                return port
            how, why = life.how(), telling_line(self.serving.log)
            if not (left and "address already in use" in why.lower()):
                break
        raise SetupError(f"{self._server} did not start ({how}): {self._said(why)}")

    def _ready(self, life: Life) -> bool:
        """Wait until it answers; False: it ended before it did. Raises `SetupError` when its time is over."""
        until = time.monotonic() + self.serving.timeout
        odd, odd_until = "", 0.0
        while life.running:
            if self._stopping.wait(_LOOK_SECONDS):
                raise self._stopped()
            if life.says("/health", timeout=2.0)[0] == 200:
                if not (odd := self._is_other(life)):
                    return True
                odd_until = odd_until or time.monotonic() + _ODD_SECONDS
            if time.monotonic() > (min(until, odd_until) if odd else until):
                life.end()
                raise SetupError(f"{self._server} {f'cannot be used: {odd}' if odd else self._late()}")
        return False

    def _late(self) -> str:
        return (
            f"was not ready within {self.serving.timeout:g} seconds: {self._said(telling_line(self.serving.log))}. "
            "Where it only needs longer, raise start_timeout"
        )

    def _is_other(self, life: Life) -> str:
        """Say what answers in its place: something that took the port, or a server with another name or a key."""
        if not self.serving.model:
            return ""
        status, body = life.says("/v1/models", timeout=10.0)
        if status in {401, 403}:
            return "it asks for a key, and has no need of one on this machine: leave that out of serve_args"
        try:
            listed = [str(one["id"]) for one in json.loads(body)["data"]]
        except (ValueError, KeyError, TypeError):
            return "what answers on its port lists no models"
        if self.serving.model in listed:
            return ""
        return f"it lists {', '.join(listed[:3]) or 'no model'}, not {self.serving.model}: serve_args must not name it"

    def _bury(self, life: Life) -> None:
        """Count a death. Raises `SetupError` where there were too many."""
        life.end()
        self._deaths += 1
        how, why = life.how(), telling_line(self.serving.log)
        if self._deaths > self.serving.restarts:
            times = "once" if self._deaths == 1 else f"{self._deaths} times"
            last = " | ".join(line.strip()[:160] for line in last_lines(self.serving.log, _LAST_LINES))
            raise SetupError(
                f"{self._server} died {times}, the last time {how}: {self._said(why)}. Its last lines: {last or 'none'}"
            )
        self.notes.append(
            f"its server died ({how}) and was started again ({self._deaths} of {self.serving.restarts} times at most); "
            f"it had said: {self._said(why)}"
        )

    def _stopped(self) -> StoppedError:
        return StoppedError(f"{self._server} was stopped")

    @property
    def _server(self) -> str:
        return f"the server of {self.serving.name}"

    def _said(self, why: str) -> str:
        return f"{why.rstrip('.') or 'it printed nothing'}. Its log is {self.serving.log}"
