"""Makes answers durable while they come in: a thread that commits whatever has arrived, several times per 100 ms.

An answer is in the file, synced, about 20 ms after it was put where a sync is quick. A commit that fails (a full disk)
is tried again with everything that came since; nothing is given up before `close`.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from gradatim.errors import GradatimError, SetupError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from gradatim.library.store import Library

T = TypeVar("T")
_GATHER = 0.015
"""Seconds to gather before a commit: some 60 syncs a second at most, and far under the 100 ms that are promised."""


@dataclass(frozen=True, slots=True)
class _Close:
    """The end of the queue."""


class Journal(Generic[T]):
    """Writes items in the order they were put, in batches, on a thread of its own."""

    def __init__(
        self,
        library: Library,
        write: Callable[[sqlite3.Connection, Sequence[T]], None],
        committed: Callable[[Sequence[T]], None] | None = None,
        *,
        failed: Callable[[Sequence[T], GradatimError], None] | None = None,
        gather: float | None = None,
    ) -> None:
        """Start the thread.

        `write` puts a batch into the open transaction; `committed` is called after it is durable, on the thread;
        `failed` each time that a batch could not be committed, with why. `gather` are the seconds before a commit.
        """
        self._library = library
        self._write = write
        self._committed = committed
        self._failed = failed
        self._gather_seconds = _GATHER if gather is None else gather
        self._queue: queue.SimpleQueue[T | _Close] = queue.SimpleQueue()
        self._error: GradatimError | None = None
        self._crash: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gradatim-journal", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over one item. Raises what made the last commit fail; the item is kept for the next try all the same."""
        self._queue.put(item)
        self.check()

    def check(self) -> None:
        """Raise what made the last commit fail, for a caller that waits for a commit and puts nothing meanwhile."""
        if self._crash is not None:
            raise self._crash
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Commit what is left. Raises `SetupError` with the number of items that could not be written."""
        self._queue.put(_Close())
        self._thread.join()
        self.check()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as crash:  # noqa: BLE001 - a thread's fault is raised where the caller can see it
            self._crash = crash

    def _loop(self) -> None:
        batch: list[T] = []
        open_ = True
        while open_:
            open_ = self._gather(batch)
            while batch:
                try:
                    with self._library.transaction() as connection:
                        self._write(connection, batch)
                except GradatimError as error:
                    self._error = error
                    if self._failed is not None:
                        self._failed(batch, error)
                    if not open_:
                        self._error = SetupError(f"{len(batch)} answers could not be written. {error}")
                        return
                    time.sleep(0.2)
                    open_ = self._gather(batch)
                    continue
                self._error = None
                if self._committed is not None:
                    self._committed(batch)
                batch = []

    def _gather(self, batch: list[T]) -> bool:
        """Add what is waiting to the batch; False when the end has come."""
        if not batch:
            item = self._queue.get()
            if isinstance(item, _Close):
                return False
            batch.append(item)
            time.sleep(self._gather_seconds)
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return True
            if isinstance(item, _Close):
                return False
            batch.append(item)
