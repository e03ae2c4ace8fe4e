"""In what order examples are trained on: the whole run's batches, made from lengths and a seed before it starts.

A pure function of its arguments, so a run that goes on after a kill takes the batches that it would have taken.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WINDOW = 16
"""Batches whose examples are sorted by length together: little padding, and an order that is still random."""


def arranged(lengths: Sequence[int], *, epochs: int, batch_size: int, seed: int) -> list[list[int]]:
    """Return the batches of all epochs, as positions in `lengths`.

    Each example comes once in an epoch. All batches are full but the last: what an epoch leaves over begins the next
    one's first batch. Within a batch the shortest stand first.
    """
    batches: list[list[int]] = []
    over: list[int] = []
    for epoch in range(epochs):
        dice = random.Random(f"{seed}-{epoch}")  # noqa: S311 - an order, no secret
        order = list(range(len(lengths)))
        dice.shuffle(order)
        if over:
            missing = batch_size - len(over)
            over, order = over + order[:missing], order[missing:]
            if len(over) < batch_size:
                continue
            batches.append(over)
            over = []
        full = len(order) - len(order) % batch_size
        over = order[full:]
        epochs_own = _by_length(order[:full], lengths, batch_size)
        dice.shuffle(epochs_own)
        batches += epochs_own
    if over:
        batches.append(over)
    return [sorted(batch, key=lambda one: lengths[one]) for batch in batches]


def _by_length(order: list[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut an order into batches of examples of about the same length."""
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * _WINDOW):
        window = sorted(order[start : start + batch_size * _WINDOW], key=lambda one: lengths[one])
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return batches


def split(batch: Sequence[int], size: int | None) -> list[list[int]]:
    """Cut a batch into micro-batches."""
    size = size or len(batch)
    return [list(batch[at : at + size]) for at in range(0, len(batch), size)]
