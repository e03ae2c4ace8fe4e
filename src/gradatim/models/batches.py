"""The thread on which a local model writes: takes what is asked, a batch at a time, and gives each answer back.

A batch is the shortest of what waits and is asked alike, up to `most`. Where memory does not hold it, it is written in
halves, and `most` stays at half. What the model raises besides is the fault of the request that raises it alone.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradatim.errors import GradatimError, SetupError
from gradatim.models.decoding import decoding_of, extras_of
from gradatim.models.faults import ModelFault, Refused, Stop
from gradatim.models.loading import Loaded, load
from gradatim.models.writing import Row, Writer
from gradatim.reasoning import unfinished
from gradatim.types import Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatim.models.folder import ModelFolder
    from gradatim.types import Request, Sampling

_SETTLE = 0.005
"""Seconds without a further request after which a batch begins."""
_END_SECONDS = 10.0
"""How long `close` waits for the token that is being written; loading a large model takes longer, and is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """One request that waits for its answer, or is being written."""

    request: Request
    future: Future[Reply]
    since: float
    row: Row


class Batches:
    """Writes what is put to it, on a thread of its own."""

    def __init__(
        self,
        name: str,
        folder: ModelFolder,
        *,
        device: str,
        most: int,
        threads: int | None,
        note: Callable[[str], None],
    ) -> None:
        """Start the thread, which loads the model first."""
        self.most = most
        self._name = name
        self._folder = folder
        self._device = device
        self._threads = threads
        self._note = note
        self._inbox: queue.SimpleQueue[tuple[Request, Future[Reply]] | None] = queue.SimpleQueue()
        self._ending = False
        self._broken: GradatimError | None = None
        # A daemon: a program that ends without `close` does not wait for an answer that nobody takes.
        self._thread = threading.Thread(target=self._run, name="gradatim-local", daemon=True)
        self._thread.start()

    def put(self, request: Request) -> Future[Reply]:
        """Have a request answered; cancelling the future leaves it unanswered."""
        future: Future[Reply] = Future()
        self._inbox.put((request, future))
        return future

    def close(self) -> None:
        """End the thread after the token that it is at; what was not answered by then is cancelled."""
        self._ending = True
        self._inbox.put(None)
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        waiting: list[_Asked] = []
        loaded: Loaded | None = None
        while not self._ending:
            for request, future in self._arrived(wait=not waiting):
                if self._broken is None and loaded is None:
                    loaded = self._load()
                if loaded is None:
                    _settle(future, self._broken)
                else:
                    waiting += self._prepared(loaded, request, future)
            waiting = [one for one in waiting if not one.future.cancelled()]
            if waiting and loaded is not None:
                batch = _alike(waiting, self.most)
                waiting = [one for one in waiting if one not in batch]
                self._write(loaded, batch)
        for asked in waiting:
            asked.future.cancel()
        if loaded is not None:
            loaded.free()

    def _arrived(self, *, wait: bool) -> Iterator[tuple[Request, Future[Reply]]]:
        """Give what has been put, until there was nothing for a moment; wait for the first where nothing waits."""
        timeout = None if wait else 0.0
        while True:
            try:
                item = self._inbox.get(timeout=timeout) if timeout != 0.0 else self._inbox.get_nowait()
            except queue.Empty:
                return
            if item is None:
                return
            yield item
            timeout = _SETTLE

    def _load(self) -> Loaded | None:
        try:
            return load(self._folder, self._device, self._threads)
        except GradatimError as error:
            self._broken = error
        except Exception as error:  # noqa: BLE001 - the model boundary: it is the answer to all that ask
            said = " ".join(str(error).split())[:300]
            self._broken = SetupError(
                f"{self._folder.path}: transformers cannot load this model ({type(error).__name__}: {said}); "
                "check the folder, or upgrade transformers"
            )
        return None

    def _prepared(self, loaded: Loaded, request: Request, future: Future[Reply]) -> list[_Asked]:
        """Return the request as the model reads it; nothing where it cannot be answered, and its future says so."""
        since = time.monotonic()
        try:
            decoding_of(request.sampling, self._folder.generation)
            prompt = loaded.prompt(request.messages, extras_of(request.sampling).get("chat_template_kwargs", {}))
            begun = () if request.begun is None else loaded.written(request.begun)
            limit = len(begun) + self._limit(len(prompt) + len(begun), request.sampling.max_tokens)
        except (GradatimError, ModelFault) as error:
            _settle(future, error)
            return []
        except Exception as error:  # noqa: BLE001 - the model boundary: a template or tokenizer that fails
            said = f"{self._name}: its chat template or tokenizer failed: {error}"
            _settle(future, Stop("chat_template", f'{said} (one that takes no system message needs system = "")'))
            return []
        row = Row(prompt=prompt, seed=request.seed, limit=limit, begun=tuple(begun))
        return [_Asked(request=request, future=future, since=since, row=row)]

    def _limit(self, prompt: int, asked: int) -> int:
        """Return the most tokens that the answer may have. Raises `Refused` where the prompt leaves no room for any."""
        context = self._folder.context
        if context is None or prompt + asked <= context:
            return asked
        if prompt >= context:
            raise Refused(
                "too_long", f"{self._name}: the prompt has {prompt} tokens, and the model reads {context} in all"
            )
        self._note(
            f"reads {context} tokens, prompt and answer together, so max_tokens = {asked} could not be had for all: "
            "answers that ended there count as cut off"
        )
        return context - prompt

    def _write(self, loaded: Loaded, batch: list[_Asked]) -> None:
        """Write a batch; in halves where that fails, so that only the request that is at fault gets the fault."""
        todo = [batch]
        while todo:
            part = [one for one in todo.pop() if not one.future.cancelled()]
            if not part or self._ending:
                for one in part:
                    one.future.cancel()
                continue
            try:
                self._write_once(loaded, part)
            except Exception as error:  # noqa: BLE001 - the model boundary: a fault costs the requests it concerns
                left = [one for one in part if not one.future.done()]
                fault = self._fault(loaded, error, len(part))
                if len(part) > 1 and not isinstance(fault, Stop):
                    loaded.forget()
                    todo += [left[len(left) // 2 :], left[: len(left) // 2]]
                    continue
                for one in left:
                    _settle(one.future, fault)

    def _fault(self, loaded: Loaded, error: Exception, rows: int) -> ModelFault:
        said = f"{self._name}: {type(error).__name__}: {error}"
        if loaded.is_out_of_memory(error):
            if rows > 1:
                self.most = max(1, rows // 2)
                self._note(f"memory did not hold {rows} answers at once, so they are written {self.most} at a time")
            return Refused("out_of_memory", f"{said}; lower max_tokens, or take a smaller model")
        if loaded.is_lost(error):
            return Stop("device_lost", f"{said}; the device takes no more work in this process, so run again")
        return Refused("model_error", said)

    def _write_once(self, loaded: Loaded, part: list[_Asked]) -> None:
        of_row = {}
        for asked in part:
            asked.row.written[:] = asked.row.begun
            of_row[id(asked.row)] = asked
        decoding = decoding_of(part[0].request.sampling, self._folder.generation)
        Writer(loaded.torch, loaded.model, loaded.ends).write(
            [asked.row for asked in part],
            decoding,
            ended=lambda row: self._give(loaded, of_row[id(row)]),
            wanted=lambda row: not self._ending and not of_row[id(row)].future.cancelled(),
        )
        for asked in part:
            # Nobody waits for those any more, or `close` was called.
            asked.future.cancel()

    def _give(self, loaded: Loaded, asked: _Asked) -> None:
        """Give a row's answer to whoever waits for it."""
        row = asked.row
        if row.ended == "not_finite":
            fault = Refused("not_finite", f"{self._name}: the model gave numbers that are none (NaN), not an answer")
            _settle(asked.future, fault)
            return
        begun, whole = asked.request.begun, loaded.text(row.written)
        before = "" if begun is None else unfinished(begun.content)
        if not whole.startswith(before):
            said = "the text so far, with what follows, reads otherwise than without; retry it instead"
            _settle(asked.future, Refused("cannot_continue", f"{self._name}: {said}", billed=True))
            return
        reply = Reply(
            content=whole[len(before) :],
            finish_reason=row.ended,
            usage=Usage(prompt=len(row.prompt) + len(row.begun), completion=len(row.written) - len(row.begun)),
            latency=time.monotonic() - asked.since,
            server_model=f"{self._name}@{self._folder.fingerprint}",
            ids=tuple(row.written) if row.ended == "length" and begun is None else (),
        )
        _settle(asked.future, reply)


def _settle(future: Future[Reply], result: Reply | BaseException | None) -> None:
    """Give a future its answer or error; one that was cancelled meanwhile needs none."""
    with suppress(InvalidStateError):
        if isinstance(result, Reply):
            future.set_result(result)
        else:
            future.set_exception(result)


def _alike(waiting: list[_Asked], most: int) -> list[_Asked]:
    """Return the next batch: asked with one sampling, and with prompts of like length, the shortest first."""
    sampling = _but_the_limit(waiting[0])
    same = [one for one in waiting if _but_the_limit(one) == sampling]
    return sorted(same, key=lambda one: (len(one.row.read), one.row.read))[:most]


def _but_the_limit(asked: _Asked) -> Sampling:
    """Return how a request is asked; each row of a batch has a limit of its own."""
    return replace(asked.request.sampling, max_tokens=0)
