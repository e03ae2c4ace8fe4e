"""Reads the files of a batch that has ended, and hands each answer over once."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from gradatim.models.batch_lines import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.models.batch_api import BatchEndpoint, ServerBatch
    from gradatim.models.batch_lines import Result
    from gradatim.types import Reply
    from gradatim.work.drafting import Asked, UnderWay
    from gradatim.work.sending import Sender

_FIELDS = frozenset({"model", "messages", "max_tokens", "temperature", "top_p", "seed"})
"""Those of ours that a server may say it does not know."""


def collect(
    run: UnderWay,
    told: ServerBatch,
    model: BatchEndpoint,
    sender: Sender,
    take: Callable[[Asked, Reply], None],
) -> bool:
    """Read output and error file; True where they hold all that the server says they do.

    An answer is taken as soon as it is read, and its item leaves `run.items`, so that a line that comes twice, or is
    read again, is one answer. Faults wait in `run.faults`: an answer to the same request may stand further down.
    Raises a `ModelFault` where a file cannot be had, and what `take` raises.
    """
    whole, ours = True, set(run.ids)
    fields, redact = _FIELDS - run.dropped, model.endpoint.redacted
    seen: list[set[str]] = []
    for file in (told.output_file, told.error_file):
        seen.append(set())
        if not file:
            continue
        with tempfile.TemporaryFile(prefix="gradatim-") as out:
            sender.once(model.download(file, out))
            out.seek(0)
            for line in out:
                result = result_of(line, fields=fields, redact=redact)
                if result is None:
                    whole = whole and line.isspace()
                elif result.custom_id in ours:
                    seen[-1].add(result.custom_id)
                    _sort(run, result, take)
    # A server may call a batch completed before its files are.
    all_there = told.status != "completed" or (seen[0] | seen[1]) == ours
    return whole and all_there and len(seen[0]) >= min(told.completed, len(ours))


def _sort(run: UnderWay, result: Result, take: Callable[[Asked, Reply], None]) -> None:
    asked = run.items.get(result.custom_id)
    if asked is None:
        return
    if result.reply is None:
        run.faults.setdefault(result.custom_id, result)
        return
    take(asked, result.reply)
    del run.items[result.custom_id]
