"""Things that write text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gradatim.types import Reply, Request


class Model(Protocol):
    """Answers one request at a time; the engine decides how many at once."""

    name: str
    """The model's name, by which its attempts and grades are kept."""

    async def ask(self, request: Request) -> Reply:
        """Try once to get an answer. Raises the errors of `gradatim.models.faults`, which say what to do next."""
        ...

    async def close(self) -> None:
        """End the connections. A later `ask` opens new ones: one model serves several runs."""
        ...
