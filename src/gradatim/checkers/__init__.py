"""Things that decide whether an answer is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.types import Fault, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer to be checked."""

    key: int
    """The caller's handle, given back with the result."""
    answer: str
    """The model's whole answer, without its reasoning."""
    reference: str
    tests: str = ""
    """Of a code question: its tests as the library keeps them."""


class Checker(Protocol):
    """Decides attempts of one domain."""

    name: str

    @property
    def version(self) -> str:
        """Changes whenever a verdict might: the checker's own version and those of the libraries it stands on."""
        ...

    def check(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict | Fault]]:
        """Give each item's key with its verdict, or with the fault that kept us from having one; in any order.

        Streams: reads `items` a bounded number ahead. Raises nothing for what an item holds.
        """
        ...

    def close(self) -> None:
        """End worker processes, if any."""
        ...
