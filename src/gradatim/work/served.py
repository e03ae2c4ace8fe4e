"""Models and PRMs whose server Gradatim runs: it is started when the first answer is wanted, and ended with the work.

A server that dies costs time and nothing else. What was under way when it died is asked again, and that is no try; what
waits meanwhile waits. A request that only looks as if the server had died (it answers `/health`) fails as it would
with any other server.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from gradatim.errors import SetupError
from gradatim.models.faults import Overloaded, Retry
from gradatim.types import Fault, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from gradatim.models import Model
    from gradatim.models.endpoint import Endpoint
    from gradatim.prm import PRM, Solution
    from gradatim.serving.server import Place, Server
    from gradatim.types import Reply, Sampling, StepScores

NOWHERE = "http://127.0.0.1:9"
"""Where a server is before it is started. Nothing is sent there."""


def kept(model: Model) -> AbstractContextManager[None]:
    """Return a context in which a model's server lives from one run to the next; for other models it does nothing."""
    return model.held() if isinstance(model, ServedModel) else nullcontext()


class ServedModel:
    """A model on a server of our own. A `Model`."""

    def __init__(
        self,
        *,
        server: Server,
        endpoint: Endpoint,
        suited: Callable[[Request], Request] | None = None,
        fingerprint: str = "",
    ) -> None:
        """Nothing is started. The endpoint's base URL is set once the server is there, in each life anew.

        `suited` puts a request as the engine wants it; `fingerprint` is that of the weights, where they are in a
        folder.
        """
        self.name = endpoint.name
        self.continues = endpoint.continues
        self.fingerprint = fingerprint
        self.notes = endpoint.notes
        """What was found out about the server and concerns the user, each once, oldest first."""
        self._server = server
        self._endpoint = endpoint
        self._suited = suited
        self._place: Place | None = None
        self._waiting: asyncio.Task[Place] | None = None
        self._held = 0

    @property
    def state(self) -> str:
        """What keeps answers waiting; empty when nothing does."""
        if not self._server.starting:
            return ""
        return "starting its server again" if self._server.died else "starting its server"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the server live from one run to the next, until the block ends."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if not self._held:
                self._end()

    @property
    def probe(self) -> bool:
        """Whether the server is to be asked what it can do."""
        return self._endpoint.probe

    def ready(self, sampling: Sampling) -> tuple[Endpoint, Sampling]:
        """Start the server unless it is there; return its endpoint, and the settings as the engine wants them.

        Blocks, and belongs into `held`. Raises `SetupError` as `ask` does.
        """
        self._move(self._server.up())
        if self._suited is None:
            return self._endpoint, sampling
        return self._endpoint, self._suited(Request(key=0, messages=(), sampling=sampling, seed=0)).sampling

    def lost(self) -> bool:
        """Whether the server that `ready` found has died since; a later `ready` starts it again."""
        return self._place is None or self._server.gone(self._place)

    async def ask(self, request: Request) -> Reply:
        """Try once to get an answer, from a server that is there for as long as that takes.

        Raises what `Endpoint.ask` does, and `SetupError` where the server cannot be started or keeps dying.
        """
        while True:
            place = await self._up()
            try:
                reply = await self._endpoint.ask(self._suited(request) if self._suited else request)
            except (Retry, Overloaded) as fault:
                if isinstance(fault, Overloaded) and fault.fault.reason != "http_503":
                    raise
                if not await asyncio.to_thread(self._server.gone, place):
                    raise
            else:
                return replace(reply, server_model=f"{self.name}@{self.fingerprint}") if self.fingerprint else reply

    async def close(self) -> None:
        """End the connections, and the server unless it is held. A later `ask` starts it again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            self._server.interrupt()
            await asyncio.gather(waiting, return_exceptions=True)
            await asyncio.to_thread(self._end)
        await self._endpoint.close()
        # Here too: what is held says in its results what became of the server so far.
        self._take_notes()
        if not self._held:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        """End the server, and take over what there is to say about it."""
        self._server.stop()
        self._take_notes()

    def _take_notes(self) -> None:
        self.notes += [said for note in self._server.notes if (said := f"{self.name}: {note}") not in self.notes]

    async def _up(self) -> Place:
        """Wait until the server is there; one waits for all."""
        place = self._server.here
        if place is None:
            if self._waiting is None or self._waiting.done():
                self._waiting = asyncio.create_task(asyncio.to_thread(self._server.up))
            place = await asyncio.shield(self._waiting)
        if place != self._place:
            self._move(place)
            await self._endpoint.close()
        return place

    def _move(self, place: Place) -> None:
        self._place, self._endpoint.base_url = place, f"{place.url}/v1"


class ServedPRM:
    """A PRM on a server of our own. A `PRM`."""

    def __init__(self, server: Server, make: Callable[[str], PRM]) -> None:
        """Nothing is started. `make` makes the PRM for a server's URL; what it raises is raised here."""
        self._server = server
        self._make = make
        unsent = make(NOWHERE)
        self.name = unsent.name
        self.version = unsent.version
        self.aggregation = unsent.aggregation

    @property
    def state(self) -> str:
        """What keeps scores waiting; empty when nothing does."""
        return "" if self._server.here is not None else "starting its server"

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of the server, where that concerns the user."""
        return tuple(f"{self.name}: {said}" for said in self._server.notes)

    def score(self, solutions: Iterable[Solution]) -> Iterator[tuple[int, StepScores | Fault]]:
        """Give each solution's key with its scores or a fault, as the PRM does.

        Raises what it raises, and `SetupError` where the server cannot be started or keeps dying.
        """
        pending: dict[int, Solution] = {}
        coming = iter(solutions)

        def feed() -> Iterator[Solution]:
            yield from list(pending.values())
            for solution in coming:
                pending[solution.key] = solution
                yield solution

        while True:
            place = self._server.up()
            prm = self._make(place.url)
            found = prm.score(feed())
            try:
                for key, result in found:
                    if isinstance(result, Fault) and self._server.gone(place):
                        break
                    del pending[key]
                    yield key, result
                else:
                    return
            except SetupError:
                if not self._server.gone(place):
                    raise
            finally:
                # What still runs is asked again: it is pending.
                getattr(found, "close", lambda: None)()
                prm.close()

    def close(self) -> None:
        """End the server. A later `score` starts it again."""
        self._server.stop()
