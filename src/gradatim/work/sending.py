"""Calls of the batch API that must have happened once, and no more: each is looked for before it is tried again.

A call that was lost may have been executed. So before a batch is created anew, the server's batches are searched for
our marker for as long as a call may still be on its way (`SETTLE`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from gradatim.errors import GradatimError, SetupError
from gradatim.models.batch_api import MARK
from gradatim.models.faults import ModelFault, Overloaded, Refused, Stop
from gradatim.models.loops import run_async
from gradatim.models.pace import Tries

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import IO, Any

    from gradatim.library.batches import Batch
    from gradatim.models.batch_api import BatchEndpoint, ServerBatch
    from gradatim.models.pace import EngineSettings

SETTLE = 60.0
"""Seconds after a lost call for which a batch may still appear among the server's."""
_BETWEEN = 2.0
"""Seconds between two looks for it, at most."""
T = TypeVar("T")


class Sender:
    """The server's side of batches, with patience."""

    def __init__(self, model: BatchEndpoint, settings: EngineSettings) -> None:
        self._model = model
        self._settings = settings

    def once(self, call: Coroutine[Any, Any, T]) -> T:
        """Make one call. Raises a `ModelFault`, and `SetupError` where none can succeed."""
        return run_async(self._closed(call))

    async def _closed(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await call
        except Stop as stop:
            raise SetupError(stop.fault.message) from stop
        finally:
            await self._model.close()

    def patiently(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a call that may be repeated. Raises `Refused`, or `GradatimError` where the server stays away."""
        tries = Tries(settings=self._settings)
        while True:
            sent_at = time.monotonic()
            try:
                return self.once(call())
            except ModelFault as fault:
                self._wait(tries, fault, sent_at)

    def _wait(self, tries: Tries, fault: ModelFault, sent_at: float) -> None:
        """Wait for the next try; raise where there is none."""
        if isinstance(fault, Refused):
            raise fault
        wait = tries.wait_after(fault, sent_at=sent_at)
        if wait is None:
            raise GradatimError(
                f"{self._model.name}: its server could not be asked about batches ({fault.fault.message}), and trying "
                "again did not help. What is in batches is written down, and what the server has of it goes on there: "
                "run the same command again, which takes it up."
            ) from fault
        time.sleep(wait)

    def uploaded(self, batch: Batch) -> str | None:
        """Return the id of the batch's file, where the server has it."""
        try:
            return self.patiently(lambda: self._model.find_file(file_name(batch)))
        except Refused:
            # Some do not list their files. One that is never used costs nothing.
            return None

    def upload(self, batch: Batch, file: IO[bytes]) -> str:
        """Upload a batch's file. Raises `Refused`, and as `patiently`."""
        tries = Tries(settings=self._settings)
        while True:
            sent_at = time.monotonic()
            try:
                return self.once(self._model.upload(file, file_name(batch)))
            except ModelFault as fault:
                self._wait(tries, fault, sent_at)
            if (there := self.uploaded(batch)) is not None:
                return there

    def create(self, batch: Batch, *, unclear: bool) -> ServerBatch:
        """Have a batch made of its file, once. `unclear`: an earlier process may have had it made.

        Raises `Refused`, and as `patiently`.
        """
        tries, lost_at = Tries(settings=self._settings), batch.changed_at
        while True:
            if unclear and (found := self._sought(batch, until=lost_at + SETTLE)) is not None:
                return found
            sent_at = time.monotonic()
            try:
                return self.once(self._model.create(batch.input_file, batch.marker))
            except ModelFault as fault:
                # Who was turned away, or did not get there, was not served.
                lost_at = time.time()
                unclear = not isinstance(fault, Overloaded) and fault.fault.reason != "no_connection"
                self._wait(tries, fault, sent_at)

    def _sought(self, batch: Batch, *, until: float) -> ServerBatch | None:
        """Look for a batch among the server's, until a lost call can no longer make it appear."""
        while True:
            last = time.time() >= until
            try:
                found = self.patiently(lambda: self._model.find(batch.input_file, batch.marker, batch.made_at))
            except Refused as fault:
                raise SetupError(
                    f"{self._model.name}: the server cannot list its batches ({fault.fault.message}), so it is not "
                    f"known whether it made the batch {batch.marker}. Look there for one of the file "
                    f"{file_name(batch)}; if there is none: gradatim batches --forget {batch.marker}"
                ) from fault
            if found is not None or last:
                return found
            time.sleep(min(_BETWEEN, max(0.0, until - time.time())))


def file_name(batch: Batch) -> str:
    """Return the name under which a batch's file is uploaded; unique, so that it can be found again."""
    return f"{MARK}-{batch.marker}.jsonl"
