"""Asks a feed's requests in batches: takes the place of `models.engine` for a model that has a batch API.

What the feed can give at the moment is one batch, or several where it is too much for one. Each is written down before
anything is sent, with a marker of its own, so that whoever comes after a crash finds it at the server (`sending`). An
answer is durable before its batch counts as collected, and until then nobody else asks its questions. What failed for a
reason that may pass goes into the next batch, up to `tries` times; nothing else does.

All happens on the caller's thread, one call of the server after the other; a run can end at any moment.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from gradatim.errors import LimitError, SetupError, UsageError
from gradatim.models.batch_api import FINAL, BatchError
from gradatim.models.budget import prompt_bound
from gradatim.models.engine import Feed
from gradatim.models.faults import ModelFault, Refused, Retry
from gradatim.models.pace import Counts, EngineSettings
from gradatim.types import Request
from gradatim.work.collecting import collect
from gradatim.work.drafting import Asked, Draft, UnderWay
from gradatim.work.sending import Sender
from gradatim.work.settling import Course, End, Settler, said_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.library.batches import Batch
    from gradatim.models.batch_api import BatchEndpoint, ServerBatch
    from gradatim.models.budget import Budget
    from gradatim.models.engine import Engine
    from gradatim.models.pace import EngineStats
    from gradatim.types import Reply
    from gradatim.work.shelving import Shelf

_LOOK_AGAIN_SECONDS = 1.0
"""How often a feed that gives nothing is asked unprompted, should it forget to call `wake`."""
_NO_SUCH_CALL = frozenset({"http_404", "http_405", "http_501"})
_LOOKS = 5
"""How often files are read that are not what the server says they are: it may still be writing them."""


class BatchFeed(Feed, Protocol):
    """A feed that knows what became of what it gave."""

    def waiting(self) -> int:
        """Return how many requests it gave, or was told to expect, whose results it has not taken note of yet."""
        ...

    def expect(self, keys: Sequence[int]) -> None:
        """Take note that an earlier run asked these, and that their results come now."""
        ...


class BatchEngine:
    """One run of a feed against a model that is asked in batches."""

    def __init__(
        self,
        model: BatchEndpoint,
        feed: BatchFeed,
        shelf: Shelf,
        *,
        online: Callable[[Feed], Engine],
        settings: EngineSettings | None = None,
        budget: Budget,
    ) -> None:
        """Nothing is sent before `run`. Answers and faults go to `shelf`; `online` gives what asks one by one."""
        self._model = model
        self._feed = feed
        self._shelf = shelf
        self._online = online
        self._settings = settings or EngineSettings()
        self._budget = budget
        self._sender = Sender(model, self._settings)
        self._counts = Counts()
        self._open: list[UnderWay] = []
        self._draft: Draft | None = None
        self._course = Course(most=model.requests)
        self._settler = Settler(model, self._course, self._settings.tries, budget)
        self._held: tuple[Request, int] | None = None
        """A request that was taken, and that the draft or the budget has no room for now."""
        self._stop_asked = False
        self._woken = threading.Event()
        self._next_look = 0.0
        self._away_since: float | None = None
        self.standing = ""
        """Why the run ended while batches go on at the server; empty where none does."""
        self.said: list[str] = []
        """What happened to batches, a sentence each."""

    @property
    def stats(self) -> EngineStats:
        """The counts so far. May be read from any thread."""
        cost = self._budget.spent_money - self._counts.cost_before
        open_ = list(self._open)
        return self._counts.snapshot(
            in_flight=sum(len(one.items) for one in open_), limit=self._course.most, paused=0.0, cost=cost
        )

    @property
    def where(self) -> str:
        """How the batches stand, in a few words."""
        told = [one.told for one in list(self._open) if one.told is not None]
        if len(told) == 1:
            return f"{told[0].id} {told[0].status} {told[0].completed:,}/{told[0].total:,}"
        done, total = sum(one.completed for one in told), sum(one.total for one in told)
        return f"{len(told)} batches {done:,}/{total:,}" if told else "no batch at the server"

    def run(self) -> EngineStats:
        """Run until the feed is closed and every batch is collected, or, where nobody waits, until all are sent.

        Raises what `Engine.run` raises. Whatever ends a run, its batches go on at the server, and the next run takes
        them up; `standing` says so where it ends without an error.
        """
        self._counts.start(self._budget.spent_money)
        self._budget.start()
        try:
            self._take_up()
            while self._turn():
                self._pause()
            self._give_up_rest()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._left()) from None
        finally:
            self._counts.stop()
            if self._draft is not None:
                self._draft.close()
        if self._course.error is not None:
            raise self._course.error
        return self.stats

    def wake(self) -> None:
        """Say that `take` may have something again. From any thread."""
        self._woken.set()

    def stop(self) -> None:
        """Let `run` return before its next call of the server. From any thread."""
        self._stop_asked = True
        self._woken.set()

    # --- turns ----------------------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Look at what is due, send what there is; False when nothing is left to wait for."""
        if self._stop_asked:
            self.standing = self._left()
            return False
        self._look()
        settled = self._fill()
        if self._course.error is not None:
            return False
        if self._open:
            if self._away_since is not None and time.monotonic() - self._away_since > self._settings.patience:
                self.standing = f"{self._model.name}: the server cannot be reached. {self._left()}"
                return False
            if settled and not self._model.wait:
                self.standing = self._left()
                return False
            return True
        if self._held is not None and settled:
            raise LimitError(
                f"{self._model.name}: the budget is used up ({self._budget.describe()}); "
                "what was answered is kept; set a higher limit to go on"
            )
        return self._course.taking and bool(self._course.again or self._draft or self._feed.open())

    def _pause(self) -> None:
        """Wait until something is due: a look, or a feed that may have more."""
        left = self._budget.seconds_left
        if left <= 0:
            raise LimitError(f"{self._model.name}: the time is over. {self._left()}")
        due = self._next_look - time.monotonic() if self._open else _LOOK_AGAIN_SECONDS
        self._woken.wait(max(0.0, min(due, left, _LOOK_AGAIN_SECONDS if self._draft else due)))
        self._woken.clear()

    def _left(self) -> str:
        """Say what goes on at the server."""
        if not self._open:
            return ""
        names = ", ".join(one.batch.called for one in self._open[:3]) + (", ..." if len(self._open) > 3 else "")
        requests = _requests(sum(len(one.items) for one in self._open))
        one = len(self._open) == 1
        return (
            f"{'The batch' if one else 'Batches'} {names} with {requests} {'goes' if one else 'go'} on at "
            f"the server: run the same command again to take {'its' if one else 'their'} answers. See: gradatim batches"
        )

    def _give_up_rest(self) -> None:
        """List what was to go into another batch, where there is none to come in this run."""
        if self.standing:
            return
        for key, _ in self._course.again:
            self._counts.faults += 1
            fault = Retry("not_sent", "its batch failed, and this run sends no other")
            self._shelf.give_up(key, fault.fault)
        self._course.again.clear()

    # --- taking up what an earlier run left -----------------------------------------------------------------------

    def _take_up(self) -> None:
        """Go on with the batches that are open, each from the state that it was left in."""
        there = self._shelf.opened()
        for batch in there:
            if batch.base_url != self._model.endpoint.base_url:
                raise UsageError(
                    f"{self._model.name}: the batch {batch.called} was sent to {batch.base_url}, and base_url is now "
                    f"{self._model.endpoint.base_url}. Set it back to take the answers, or give the batch up: "
                    f"gradatim batches --forget {batch.marker}"
                )
        runs = [self._known(batch) for batch in there]
        self._open += [run for run in runs if run.batch.state == "submitted"]
        for run in runs:
            if run.batch.state == "prepared":
                self._find_file(run)
            if run.batch.state == "uploaded":
                self._create(run, unclear=True)
        if runs:
            self._say(f"{len(runs)} {'batch' if len(runs) == 1 else 'batches'} taken up")

    def _known(self, batch: Batch) -> UnderWay:
        """Return a batch as the library has it, with what it may still cost reserved."""
        rows = self._shelf.asked(batch, self._budget)
        self._counts.cost_before = self._budget.spent_money
        items = {name: asked for name, _, asked in rows if asked is not None}
        self._feed.expect([asked.key for asked in items.values()])
        answered = [key for _, key, asked in rows if asked is None]
        ids = tuple(name for name, _, _ in rows)
        return UnderWay(batch=batch, items=items, ids=ids, dropped=frozenset(), answered=answered)

    def _find_file(self, run: UnderWay) -> None:
        """Look for the file of a batch that may have been uploaded; without one, its requests go into another."""
        file = self._sender.uploaded(run.batch)
        if file is not None:
            run.batch = self._shelf.move(run.batch, state="uploaded", input_file=file)
            return
        self._drop(run)
        self._course.again.extend((asked.key, asked.tries - 1) for asked in run.items.values())

    def _drop(self, run: UnderWay) -> None:
        """Close a batch that never came to be."""
        for asked in run.items.values():
            self._settler.release(asked)
        ends = [End(key=asked.key, outcome="not_sent", entry=asked.entry) for asked in run.items.values()]
        self._shelf.close(run.batch, "", "dropped", ends)

    # --- sending --------------------------------------------------------------------------------------------------

    def _fill(self) -> bool:
        """Send what there is to send; False while answers that were handed over may still bring more."""
        while self._course.taking and not (self._course.alone and self._open):
            settled = self._feed.waiting() <= self._outstanding()
            found = self._next()
            if found is not None and self._add(*found):
                continue
            if found is None and not settled:
                return False
            if self._draft is None:
                return True
            # Full, or all that there is: what did not fit was put back.
            draft, self._draft = self._draft, None
            try:
                self._send(draft)
            finally:
                draft.close()
        return True

    def _outstanding(self) -> int:
        drafted = len(self._draft.items) if self._draft else 0
        return sum(len(one.items) for one in self._open) + drafted + len(self._course.again) + (self._held is not None)

    def _next(self) -> tuple[Request, int] | None:
        """Return the next request, and how often it was in a batch."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        if self._course.again:
            key, tries = self._course.again.popleft()
            return self._shelf.request(key), tries
        request = self._feed.take()
        return None if request is None else (request, 0)

    def _add(self, request: Request, tries: int) -> bool:
        """Put a request into the draft; False where there is no room or money for it now, and then it is held."""
        reservation = self._budget.reserve(prompt_bound(request.messages), request.sampling.max_tokens)
        if reservation is None:
            self._held = request, tries
            return False
        if self._draft is None:
            self._draft = Draft(self._model, self._course.most)
        asked = Asked(key=request.key, tries=tries + 1, reservation=reservation)
        if self._draft.add(self._shelf.name(request.key), request, asked):
            return True
        self._settler.release(asked)
        self._held = request, tries
        return False

    def _send(self, draft: Draft) -> None:
        """Send a draft: as a batch, or one by one where it is small enough for that."""
        if len(draft.items) <= self._model.online:
            self._ask_online(draft)
            return
        self._counts.sent += len(draft.items)
        batch = self._shelf.make(self._model.endpoint.base_url, list(draft.items.values()))
        fields = self._model.endpoint.dropped
        run = UnderWay(batch=batch, items=draft.items, ids=tuple(draft.items), dropped=fields)
        try:
            file = self._sender.upload(batch, draft.file)
        except Refused as fault:
            if fault.fault.reason in _NO_SUCH_CALL:
                self._drop(run)
                raise SetupError(
                    f"{self._model.name}: the server at {self._model.endpoint.base_url} has no batch API "
                    f"({fault.fault.message}). Take batch out of the model's settings to ask one by one"
                ) from fault
            self._refuse(run, (_as_error(fault),))
            return
        run.batch = self._shelf.move(batch, state="uploaded", input_file=file)
        self._create(run, unclear=False)

    def _create(self, run: UnderWay, *, unclear: bool) -> None:
        """Have the server make a batch of its uploaded file."""
        self._open.append(run)
        try:
            told = self._sender.create(run.batch, unclear=unclear)
        except Refused as fault:
            self._open.remove(run)
            self._refuse(run, (_as_error(fault),))
            return
        run.batch = self._shelf.move(run.batch, state="submitted", server_id=told.id, status=told.status)
        run.told = told
        self._next_look = min(self._next_look, time.monotonic() + self._model.poll)
        self._say(f"the batch {told.id} with {_requests(len(run.ids))} is at the server")

    def _ask_online(self, draft: Draft) -> None:
        """Ask a few requests one by one, with all the patience of the engine."""
        for asked in draft.items.values():
            self._settler.release(asked)
        requests = deque(self._shelf.request(asked.key) for asked in draft.items.values())
        self._say(f"{_requests(len(requests))} asked one by one")
        engine = self._online(_Few(requests))
        try:
            engine.run()
        finally:
            done, counts = engine.stats, self._counts
            for name in ("sent", "replies", "faults", "retries", "overloads"):
                setattr(counts, name, getattr(counts, name) + getattr(done, name))
            for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens"):
                setattr(counts, name, getattr(counts, name) + getattr(done, name))

    # --- looking --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask the server how each batch stands, if it is time to, and take what is ready."""
        if not self._open or time.monotonic() < self._next_look:
            return
        for run in list(self._open):
            if self._stop_asked:
                return
            try:
                told = self._sender.once(self._model.get(run.batch.server_id))
            except Refused as fault:
                raise SetupError(
                    f"{self._model.name}: {self._model.endpoint.base_url} does not show the batch {run.batch.called} "
                    f"({fault.fault.message}). Use the key that it was sent with; or give it up, and buy its "
                    f"{len(run.items):,} answers again: gradatim batches --forget {run.batch.marker}"
                ) from fault
            except ModelFault:
                self._away_since = self._away_since or time.monotonic()
                continue
            self._away_since = None
            self._take_note(run, told)
        self._next_look = time.monotonic() + self._model.poll

    def _take_note(self, run: UnderWay, told: ServerBatch) -> None:
        run.told = told
        if told.status != run.batch.status:
            run.batch = self._shelf.move(run.batch, status=told.status)
            if told.status not in FINAL:
                self._say(f"{told.id} {told.status}, {told.completed:,} of {told.total:,} by the server")
        if told.status not in FINAL:
            return
        if told.status == "failed":
            self._open.remove(run)
            self._refuse(run, told.errors)
        elif self._read(run, told):
            self._end(run, told)

    def _read(self, run: UnderWay, told: ServerBatch) -> bool:
        """Take the answers of a batch that has ended; False where its files are to be read again."""
        try:
            whole = collect(run, told, self._model, self._sender, lambda asked, reply: self._take(run, asked, reply))
        except ModelFault as fault:
            run.looks += 1
            if run.looks < _LOOKS:
                return False
            raise SetupError(
                f"{self._model.name}: the batch {run.batch.called} has ended ({told.status}), and its files cannot be "
                f"read ({fault.fault.message}). Run the same command later; or give it up, and buy its "
                f"{len(run.items):,} answers again: gradatim batches --forget {run.batch.marker}"
            ) from fault
        run.looks += 1
        return whole or run.looks >= _LOOKS

    def _take(self, run: UnderWay, asked: Asked, reply: Reply) -> None:
        """Hand an answer over, with what it cost."""
        spent = self._budget.settle(asked.reservation, reply.usage)
        run.answered.append(asked.key)
        self._counts.add(reply.usage)
        self._counts.replies += 1
        plain = Request(key=asked.key, messages=(), sampling=self._shelf.sampling, seed=0)
        self._shelf.answer(asked, self._model.endpoint.held(reply, plain), spent)

    # --- ends -----------------------------------------------------------------------------------------------------

    def _end(self, run: UnderWay, told: ServerBatch) -> None:
        """Close a batch whose answers were taken."""
        self._open.remove(run)
        self._close(run, told.status, "collected", self._settler.ended(run, told))
        self._say(f"{told.id} {told.status}: {len(run.answered):,} answered of {_requests(len(run.ids))}")
        if self._model.keep_files:
            return
        for file in filter(None, (run.batch.input_file, told.output_file, told.error_file)):
            try:
                self._sender.once(self._model.delete_file(file))
            except ModelFault as fault:
                self._say(f"the file {file} stays at the server ({fault.fault.message})")

    def _refuse(self, run: UnderWay, errors: Sequence[BatchError]) -> None:
        """Close a batch that the server did not take."""
        ends = self._settler.refused(run, errors, others=bool(self._open))
        self._close(run, "failed", "dropped", ends)
        self._say(f"the server did not take the batch {run.batch.called}: {said_of(errors)}")

    def _close(self, run: UnderWay, status: str, state: str, ends: Sequence[End]) -> None:
        """Make a batch's end durable, before anything of it is asked again."""
        final = sum(end.fault is not None for end in ends)
        self._counts.faults += final
        self._counts.retries += len(run.items) - final
        self._shelf.close(run.batch, status, state, ends)

    def _say(self, sentence: str) -> None:
        self.said.append(f"{self._model.name}: {sentence}")


class _Few:
    """A feed of requests that are there already."""

    def __init__(self, requests: deque[Request]) -> None:
        self._requests = requests

    def take(self) -> Request | None:
        """Give the next one."""
        return self._requests.popleft() if self._requests else None

    def open(self) -> bool:
        """Whether there is one."""
        return bool(self._requests)


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _as_error(fault: ModelFault) -> BatchError:
    """Return the refusal of a call as one of the batch."""
    return BatchError(code=fault.fault.reason, message=fault.fault.message)
