"""What a batch is made of here: the requests that are gathered for it, and those that are under way.

Memory holds a few words a request. Their lines are in a temporary file without a name, which is gone when the process
is; a request itself is made again from the library where it is needed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradatim.models.batch_lines import request_line

if TYPE_CHECKING:
    from gradatim.library.batches import Batch
    from gradatim.library.ledger import Entry
    from gradatim.models.batch_api import BatchEndpoint, ServerBatch
    from gradatim.models.batch_lines import Result
    from gradatim.models.budget import Reservation
    from gradatim.types import Request


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request in a batch."""

    key: int
    """The request's, from which question and sample follow."""
    tries: int
    """How often it was put into a batch, this one included."""
    reservation: Reservation
    entry: Entry | None = None
    """Its line in the ledger, where there is one."""


class Draft:
    """A batch that is being gathered."""

    def __init__(self, model: BatchEndpoint, most: int) -> None:
        """`most` is how many requests it takes at most."""
        self._model = model
        self._most = most
        self._size = 0
        self.items: dict[str, Asked] = {}
        """By the id that the server sees, in the order of the file's lines."""
        self.file = tempfile.TemporaryFile(prefix="gradatim-")  # noqa: SIM115 - closed by `close`

    def add(self, custom_id: str, request: Request, asked: Asked) -> bool:
        """Add a request; False where there is no room for it, unless it would be alone."""
        line = request_line(custom_id, self._model.endpoint.body(request))
        if self.items and (len(self.items) >= self._most or self._size + len(line) > self._model.bytes):
            return False
        self._model.keep(self.file, line)
        self._size += len(line)
        self.items[custom_id] = asked
        return True

    def close(self) -> None:
        """Remove the file."""
        self.file.close()


@dataclass(slots=True, kw_only=True)
class UnderWay:
    """A batch that is at the server, or on its way there."""

    batch: Batch
    items: dict[str, Asked]
    """Those without an answer yet."""
    ids: tuple[str, ...]
    """Of all its lines, in their order."""
    dropped: frozenset[str]
    """Fields that its requests were sent without."""
    answered: list[int] = field(default_factory=list)
    """Keys of those whose answers were handed over."""
    faults: dict[str, Result] = field(default_factory=dict)
    """What the files say of those that failed."""
    looks: int = 0
    """How often its files were not what the server says they are."""
    told: ServerBatch | None = None
    """How it stood when the server was asked last."""
