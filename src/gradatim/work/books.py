"""The engine's books: a reservation is committed before its request is sent, and closed with the answer it paid for.

Many requests wait for one commit. It begins as soon as the one before has ended, so a request waits for two of them at
most, which is some milliseconds; answers are committed in the same transactions. Blocks of money, reserved ahead so
that no request has to wait, were refused: docs/design/0023-ledger.md has the measurement.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gradatim.library import attempts, furthers, ledger
from gradatim.library.attempts import NewAttempt, NewFault
from gradatim.library.furthers import NewFurther

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from gradatim.errors import GradatimError
    from gradatim.models.budget import Reservation
    from gradatim.types import Request, Spent

GATHER = 0.005
"""Seconds to gather before a commit that requests wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A reservation that a request waits for."""

    entry: ledger.Entry
    waiter: asyncio.Future[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The end of a reservation that got no answer."""

    entry: ledger.Entry
    spent: Spent | None
    """None: it cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """An answer with the reservation that it closes and what it cost: one transaction has all of it, or nothing."""

    entry: ledger.Entry
    spent: Spent
    item: NewAttempt | NewFurther


Stored: TypeAlias = NewAttempt | NewFurther | NewFault
"""What is kept beside the books."""
Item: TypeAlias = Stored | Opened | Closed | Paid


def write(connection: sqlite3.Connection, batch: Sequence[Item]) -> None:
    """Put what the engine gave and what it cost into the open transaction."""
    # What is opened and closed in one batch is opened first, and no entry is opened twice: so the order holds.
    if opened := [item.entry for item in batch if isinstance(item, Opened)]:
        ledger.reserve(connection, *opened)
    closed = [item for item in batch if isinstance(item, Closed)]
    if released := [item.entry for item in closed if item.spent is None]:
        ledger.release(connection, *released)
    if failed := [(item.entry, ledger.FAILED, item.spent) for item in closed if item.spent is not None]:
        ledger.pay_all(connection, failed)
    paid = [item for item in batch if isinstance(item, Paid)]
    keys = ledger.pay_all(connection, [(item.entry, ledger.ANSWER, item.spent) for item in paid]) if paid else []
    for item, payment in zip(paid, keys, strict=True):
        _keep(connection, item.item, payment)
    attempts.write(connection, [item for item in batch if isinstance(item, NewAttempt | NewFault)])
    for further in [item for item in batch if isinstance(item, NewFurther)]:
        furthers.write(connection, further)


def _keep(connection: sqlite3.Connection, item: Stored, payment: int | None) -> None:
    """Put one answer or fault into the open transaction; a further answer finds the first one there."""
    if isinstance(item, NewFurther):
        furthers.write(connection, item, payment=payment)
    else:
        attempts.write(connection, (item,), payment=payment)


def committed(batch: Sequence[Item]) -> list[Stored]:
    """Let the requests go whose reservations are durable now. Returns the answers and faults. On any thread."""
    _end_waiting([item.waiter for item in batch if isinstance(item, Opened)], None)
    results = (item.item if isinstance(item, Paid) else item for item in batch)
    return [item for item in results if isinstance(item, NewAttempt | NewFurther | NewFault)]


def not_committed(batch: Sequence[Item], error: GradatimError) -> None:
    """Let no request go whose reservation could not be written. On any thread."""
    _end_waiting([item.waiter for item in batch if isinstance(item, Opened)], error)


def _end_waiting(waiters: list[asyncio.Future[None]], error: GradatimError | None) -> None:
    def end() -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    if waiters:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            waiters[0].get_loop().call_soon_threadsafe(end)


class Books:
    """What one run reserves and pays, on its way to the journal."""

    def __init__(
        self,
        put: Callable[[Item], None],
        account: int,
        *,
        priced: bool,
        about: Callable[[Request], tuple[int, int | None]],
    ) -> None:
        """`put` hands an item to the journal; `about` says which question a request asks, and its level."""
        self._put = put
        self._account = account
        self._priced = priced
        self._about = about
        self._open: dict[int, ledger.Entry] = {}
        self._paid: dict[int, tuple[ledger.Entry, Spent]] = {}

    async def reserved(self, request: Request, reservation: Reservation) -> None:
        """Return when the reservation is durable. Raises `GradatimError` where the library cannot be written."""
        question, level = self._about(request)
        entry = ledger.Entry(
            account=self._account,
            question=question,
            level=level,
            prompt=reservation.prompt,
            completion=reservation.completion,
            pico=reservation.pico if self._priced else None,
        )
        self._open[request.key] = entry
        waiter = asyncio.get_running_loop().create_future()
        try:
            self._put(Opened(entry=entry, waiter=waiter))
            await waiter
        except BaseException:
            self.released(request)
            raise

    def answered(self, request: Request, spent: Spent) -> None:
        """Keep what an answer cost until the answer is handed over."""
        self._paid[request.key] = self._open.pop(request.key), spent

    def paid(self, request: Request, item: NewAttempt | NewFurther) -> Paid:
        """Return an answer that is handed over now, with what it cost."""
        entry, spent = self._paid.pop(request.key)
        return Paid(entry=entry, spent=spent, item=item)

    def failed(self, request: Request, spent: Spent) -> None:
        """Book the worst case of a try that gave no answer."""
        self._close(request, spent)

    def released(self, request: Request) -> None:
        """Take back what cost nothing."""
        self._close(request, None)

    def _close(self, request: Request, spent: Spent | None) -> None:
        closed = Closed(entry=self._open.pop(request.key), spent=spent)
        with suppress(Exception):  # it is in the queue; what keeps the journal from committing is raised by its owner
            self._put(closed)
