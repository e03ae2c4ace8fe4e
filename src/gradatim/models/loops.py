"""Runs asynchronous work for callers who are not asynchronous, in a program or in a notebook."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T], *, on_interrupt: Callable[[], None] | None = None) -> T:
    """Run a coroutine on a new event loop and return what it returns, or raise what it raises.

    Where this thread runs a loop already (a notebook), the new one gets a thread of its own while this one waits;
    `on_interrupt` is then called on Ctrl-C, from this thread, and the coroutine is waited for.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner() as runner:
            return runner.run(main)
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            with asyncio.Runner() as runner:
                results.append(runner.run(main))
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body, name="gradatim-loop")
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        if on_interrupt is not None:
            on_interrupt()
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]


def sigint_is_free() -> bool:
    """Whether SIGINT may be handled here: on the main thread, unless the caller has a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        return False
    # asyncio.Runner has put its own in place of Python's default; anything else is the caller's.
    handler = signal.getsignal(signal.SIGINT)
    return getattr(getattr(handler, "func", None), "__qualname__", "") == "Runner._on_sigint"
