"""The checker for programs: takes them from answers, runs them in a sandbox, and compares what came out, outside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.checkers.code.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.checkers import Item
    from gradatim.types import Fault, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A question's own programs, which are to pass its tests."""

    key: int
    """The caller's handle, given back with the result."""
    suite: str
    """The tests, as `Suite.encoded` wrote them."""
    solutions: tuple[str, ...]
    """Whole programs. At most five are tried, in this order."""


class CodeChecker:
    """Decides whether a program passes its question's tests. Use it from one thread at a time."""

    name: str = "code"

    def __init__(self, rules: Rules | None = None) -> None:
        """Start nothing yet."""
        self._rules = rules or Rules()
        self.version = self._rules.version

    def check(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict | Fault]]:
        """Give each item's key with its verdict or fault, quick ones first."""
        raise NotImplementedError

    def check_references(self, references: Iterable[Reference]) -> Iterator[tuple[int, int, Verdict | Fault]]:
        """Give each reference's key, the index of the solution that passed or -1, and a verdict; in any order.

        The verdict is that of the solution that passed, else that of the first.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the worker threads and their boxes; the checker can be used again."""
