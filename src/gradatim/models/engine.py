"""The one sampling engine: takes requests from a feed, asks a model, and hands over every answer and every fault.

A bounded pool of workers runs on one event loop; nothing is held per prompt. The engine decides how many requests run
at once (`limiter`), how often one is tried, what may be spent (`budget`) and when to stop; it knows nothing of where
requests come from or where answers go. `feed` and both callbacks are called on the thread that called `run`, or, where
that thread has an event loop running already (a notebook), on a thread of their own while the caller waits.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.errors import GradatimError, ItemFault, LimitError, SetupError
from gradatim.models.budget import prompt_bound
from gradatim.models.faults import ModelFault, Overloaded, Stop
from gradatim.models.limiter import Limiter
from gradatim.models.loops import run_async, sigint_is_free
from gradatim.models.pace import Counts, EngineSettings, EngineStats, Tries, bug

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.models import Model
    from gradatim.models.budget import Budget, Reservation
    from gradatim.types import Fault, Reply, Request, Spent

_LOOK_AGAIN_SECONDS = 1.0
"""How often an idle engine asks its feed unprompted, should a feed forget to call `wake`."""


class Feed(Protocol):
    """Where requests come from."""

    def take(self) -> Request | None:
        """Give the next request, or None: nothing to send now."""
        ...

    def open(self) -> bool:
        """Whether `take` may still give something. The engine ends when it may not and nothing is under way."""
        ...


class Books(Protocol):
    """Where reservations are kept beyond the life of this process. One is open per request: that of its latest try."""

    async def reserved(self, request: Request, reservation: Reservation) -> None:
        """Return when the reservation is durable. Raises `GradatimError` where it cannot be; it is void then."""
        ...

    def answered(self, request: Request, spent: Spent) -> None:
        """Take note of what an answer cost; `on_reply` gets the answer itself right after."""
        ...

    def failed(self, request: Request, spent: Spent) -> None:
        """Take note of a try that gave no answer and may have been billed."""
        ...

    def released(self, request: Request) -> None:
        """Take note of a reservation that cost nothing."""
        ...


class Engine:
    """One run of a feed against a model."""

    def __init__(
        self,
        model: Model,
        feed: Feed,
        *,
        on_reply: Callable[[Request, Reply], None],
        on_fault: Callable[[Request, Fault], None],
        settings: EngineSettings | None = None,
        budget: Budget | None = None,
        books: Books | None = None,
    ) -> None:
        """Nothing is sent before `run`; with `books`, no request before its reservation is durable there.

        `on_reply` gets each answer, in the order of arrival; `on_fault` gets each request that is given up, with its
        last fault. A request that was taken but neither answered nor given up when a run ends early gets no call.
        """
        self._model = model
        self._feed = feed
        self._on_reply = on_reply
        self._on_fault = on_fault
        self._settings = settings or EngineSettings()
        self._budget = budget
        self._books = books
        self._limiter = Limiter(most=self._settings.concurrency)
        self._counts = Counts()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._asking: set[asyncio.Task[Any]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._unfunded: list[asyncio.Future[None]] = []
        self._busy = 0
        self._faults_in_a_row = 0
        self._wake_asked = False
        self._stop_asked = False
        self._ending = asyncio.Event()
        self._interrupted = False
        self._error: BaseException | None = None

    @property
    def stats(self) -> EngineStats:
        """The counts so far. May be read from any thread."""
        cost = self._budget.spent_money - self._counts.cost_before if self._budget else 0.0
        limiter = self._limiter
        return self._counts.snapshot(
            in_flight=len(self._asking), limit=limiter.limit, paused=limiter.paused_for, cost=cost
        )

    def run(self) -> EngineStats:
        """Run until the feed is closed and everything is answered or given up. Returns the final counts. Once only.

        Raises:
            SetupError: no request can succeed before a person has done something (a wrong key, no credit left).
            LimitError: the budget is spent, or `max_consecutive_faults` requests in a row were given up.
            KeyboardInterrupt: SIGINT came; answers that arrived within `grace` seconds were handed over.

        What a callback or the feed raises is raised here. Whatever ends a run, answers under way are waited for and
        handed over before it does, `stop`, SIGINT and the end of the time excepted, which wait a limited time.
        """
        return run_async(self._main(), on_interrupt=self.stop)

    def wake(self) -> None:
        """Say that `take` may have something again. From any thread."""
        loop = self._loop
        if loop is not None and not self._wake_asked:
            self._wake_asked = True
            _call(loop, self._woken)

    def stop(self) -> None:
        """Take nothing more, wait up to `grace` seconds for what is under way, and let `run` return. Any thread."""
        self._stop_asked = True
        loop = self._loop
        if loop is not None:
            _call(loop, self._stopped)

    async def _main(self) -> EngineStats:
        loop = self._loop = asyncio.get_running_loop()
        self._counts.start(self._budget.spent_money if self._budget else 0.0)
        handles_sigint = sigint_is_free()
        if handles_sigint:
            loop.add_signal_handler(signal.SIGINT, self._sigint)
        self._workers = [loop.create_task(self._worker()) for _ in range(self._settings.concurrency)]
        timers = [loop.create_task(self._look_again())]
        if self._budget is not None and self._budget.seconds is not None:
            timers.append(loop.create_task(self._watch_time(self._budget)))
        if self._stop_asked:
            self._stopped()
        try:
            await asyncio.wait(self._workers)
        finally:
            for task in (*self._workers, *timers):
                task.cancel()
            outcomes = await asyncio.gather(*self._workers, *timers, return_exceptions=True)
            self._limiter.close()
            self._loop = None
            self._counts.stop()
            await self._model.close()
            if handles_sigint:
                loop.remove_signal_handler(signal.SIGINT)
        if self._interrupted:
            raise KeyboardInterrupt
        if self._error is not None:
            raise self._error
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return self.stats

    async def _worker(self) -> None:
        while (request := await self._next()) is not None:
            self._busy += 1
            try:
                await self._serve(request)
            except Exception as error:  # noqa: BLE001 - raised by `run`: a feed would wait for this request for ever
                self._end(error)
            finally:
                self._busy -= 1

    async def _next(self) -> Request | None:
        """Wait for a slot and a request to fill it; None ends the worker. The slot is taken on return."""
        while not self._ending.is_set():
            await self._limiter.acquire()
            request = self._take()
            if request is not None:
                # Where there was one there may be more: each idle worker that finds one wakes the next.
                self._woken()
                return request
            self._limiter.release()
            if not self._busy and not self._ending.is_set() and not self._open():
                self._end()
            if not self._ending.is_set():
                await self._wait_in(self._idle)
        return None

    async def _serve(self, request: Request) -> None:
        """Ask until there is an answer or the request is given up. Takes over the slot, and gives it back."""
        tries = Tries(settings=self._settings)
        while True:
            reservation = await self._reserve(request)
            if self._ending.is_set():
                self._limiter.release()
                self._close(request, reservation, billed=False)
                return
            sent_at = time.monotonic()
            result = await self._ask(request, reservation)
            if self._ending.is_set() and not isinstance(result, Stop):
                return
            if result is None:
                return
            if isinstance(result, Stop):
                self._end(SetupError(result.fault.message), cause=result)
                return
            if isinstance(result, Overloaded):
                self._limiter.overloaded(sent_at=sent_at, pause=tries.pause_for_all(result))
                self._counts.overloads += 1
            wait = tries.wait_after(result, sent_at=sent_at)
            if wait is None:
                self._give_up(request, result.fault)
                return
            self._counts.retries += 1
            await asyncio.sleep(wait)
            await self._limiter.acquire()

    async def _ask(self, request: Request, reservation: Reservation | None) -> ItemFault | None:
        """Try once, hand over the answer, settle the budget. Returns the fault, if that is what came."""
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        self._counts.sent += 1
        billed = True
        try:
            reply = await self._model.ask(request)
        except ItemFault as fault:
            billed = isinstance(fault, ModelFault) and fault.billed
            return fault
        except GradatimError as error:
            billed = False
            self._end(error)
            return None
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            return bug(error)
        except Exception as error:  # noqa: BLE001 - the item boundary: a bug in a parser costs one item, not the run
            return bug(error)
        else:
            self._settle(request, reservation, reply)
            reservation = None
            self._deliver(request, reply)
            return None
        finally:
            self._asking.discard(task)
            self._limiter.release()
            self._close(request, reservation, billed=billed)

    def _settle(self, request: Request, reservation: Reservation | None, reply: Reply) -> None:
        self._counts.add(reply.usage)
        if reservation is None or self._budget is None:
            return
        spent = self._budget.settle(reservation, reply.usage)
        if self._books is not None:
            self._books.answered(request, spent)
        self._funds_changed()

    def _close(self, request: Request, reservation: Reservation | None, *, billed: bool) -> None:
        """Close the reservation of a try that gave no answer."""
        if reservation is None or self._budget is None:
            return
        if billed:
            spent = self._budget.assume_worst(reservation)
            if self._books is not None:
                self._books.failed(request, spent)
        else:
            self._budget.release(reservation)
            if self._books is not None:
                self._books.released(request)
        self._funds_changed()

    def _deliver(self, request: Request, reply: Reply) -> None:
        self._limiter.succeeded()
        self._counts.replies += 1
        self._faults_in_a_row = 0
        try:
            self._on_reply(request, reply)
        except Exception as error:  # noqa: BLE001 - raised by `run`, after answers under way were handed over as well
            self._end(error)

    def _give_up(self, request: Request, fault: Fault) -> None:
        self._counts.faults += 1
        self._faults_in_a_row += 1
        try:
            self._on_fault(request, fault)
        except Exception as error:  # noqa: BLE001 - raised by `run`, after answers under way were handed over as well
            self._end(error)
        if self._faults_in_a_row >= self._settings.max_consecutive_faults:
            self._end(
                LimitError(
                    f"{self._model.name}: {self._faults_in_a_row} requests in a row got no answer, "
                    f"the last for {fault.reason} ({fault.message}); put that right and run again, "
                    "which asks for nothing that was answered"
                )
            )

    def _take(self) -> Request | None:
        if self._ending.is_set():
            return None
        try:
            return self._feed.take()
        except Exception as error:  # noqa: BLE001 - raised by `run`, after answers under way were handed over
            self._end(error)
            return None

    def _open(self) -> bool:
        try:
            return self._feed.open()
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._end(error)
            return False

    async def _reserve(self, request: Request) -> Reservation | None:
        """Reserve the request's worst case; wait for answers under way where it does not fit beside theirs."""
        if self._budget is None:
            return None
        prompt = prompt_bound(request.sent)
        while not self._ending.is_set():
            reservation = self._budget.reserve(prompt, request.sampling.max_tokens)
            if reservation is not None:
                return await self._booked(request, reservation, self._budget)
            if not self._budget.open:
                self._end(
                    LimitError(
                        f"{self._model.name}: the budget is used up ({self._budget.describe()}); "
                        "what was answered is kept; set a higher limit to go on"
                    )
                )
                return None
            self._limiter.release()
            await self._wait_in(self._unfunded)
            await self._limiter.acquire()
        return None

    async def _booked(self, request: Request, reservation: Reservation, budget: Budget) -> Reservation | None:
        """Wait until the books have the reservation; None where they cannot be kept, which ends the run."""
        if self._books is None:
            return reservation
        try:
            await self._books.reserved(request, reservation)
        except BaseException as error:
            budget.release(reservation)
            if not isinstance(error, GradatimError):
                raise
            self._end(error)
            return None
        return reservation

    def _funds_changed(self) -> None:
        waiting, self._unfunded = self._unfunded, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait_in(self, queue: deque[asyncio.Future[None]] | list[asyncio.Future[None]]) -> None:
        waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        await waiter

    def _woken(self) -> None:
        """Let one idle worker look at the feed again."""
        self._wake_asked = False
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            self._woken()

    async def _watch_time(self, budget: Budget) -> None:
        """End the run in time: the last tenth, `grace` seconds at most, is kept for answers under way."""
        budget.start()
        kept = min(self._settings.grace, (budget.seconds or 0.0) / 10)
        await asyncio.sleep(max(0.0, budget.seconds_left - kept))
        self._end(
            LimitError(
                f"{self._model.name}: the time is over ({budget.seconds:g} seconds); "
                "what was answered is kept; set a higher limit to go on"
            ),
            grace=max(0.0, budget.seconds_left),
        )

    def _sigint(self) -> None:
        """End as `stop` does; a second time, end at once."""
        self._end(grace=0.0 if self._interrupted else self._settings.grace)
        self._interrupted = True

    def _stopped(self) -> None:
        self._end(grace=self._settings.grace)

    def _end(
        self, error: BaseException | None = None, *, cause: BaseException | None = None, grace: float | None = None
    ) -> None:
        """Take nothing more. The first error is the one that `run` raises; `grace` limits the wait for answers."""
        if error is not None and self._error is None:
            self._error = error
            if cause is not None:
                error.__cause__ = cause
        if not self._ending.is_set():
            self._ending.set()
            current = asyncio.current_task()
            for worker in self._workers:
                # What is not asking waits for a slot, a request, money or its next try: nothing is lost there.
                if worker not in self._asking and worker is not current:
                    worker.cancel()
        if grace is not None and self._loop is not None:
            # A model whose server is only being started has no answers under way.
            self._loop.call_later(0.0 if getattr(self._model, "state", "") else grace, self._cancel_all)

    def _cancel_all(self) -> None:
        for worker in self._workers:
            worker.cancel()


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
