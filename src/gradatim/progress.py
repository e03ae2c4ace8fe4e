"""What a stage tells of its progress while it works; the command line draws it, Python users may."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """How far a stage is."""

    done: int
    total: int | None
    """None where it cannot be known, as for a stream."""
    tokens: int = 0
    cost: float | None = None
    """None where no price is set."""
    faults: int = 0
    note: str = ""
    said: tuple[str, ...] = ()
    """What has happened so far that a log should hold, a sentence each: batches go on for hours."""


class Progress(Protocol):
    """Receives ticks, from any thread, as often as the stage likes."""

    def __call__(self, stage: str, tick: Tick) -> None:
        """Take note of a tick."""
        ...


def silent(stage: str, tick: Tick) -> None:
    """Show nothing."""


class Ticker:
    """Calls something a few times a second on a thread of its own, and once at the end."""

    def __init__(self, call: Callable[[], None], every: float = 0.25) -> None:
        self._call = call
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gradatim-ticker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._call()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._call()
