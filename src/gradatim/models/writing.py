"""Writes many answers at once with a transformers model: reads the prompts, then a token for every row at a time.

Not `generate`, which keeps finished rows until the last one ends and copies all keys and values at each token. On a
model of 0.45 M parameters this is 2.1 times as fast, and more where one question is asked several times; see
`docs/design/0010-local-model.md`. Rows that have ended are handed over at once, and left out of what follows.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gradatim.models.choosing import choose, penalised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.models.decoding import Decoding

_ENDED = 0.1
"""The share of ended rows from which they are taken out: taking out copies what the others have read."""
_GROW = 64
"""Tokens for which room is made at once."""


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One answer that is to be written."""

    prompt: list[int]
    seed: int
    limit: int
    """The most tokens, those it begins with included."""
    begun: tuple[int, ...] = ()
    """The tokens that the answer begins with."""
    written: list[int] = field(default_factory=list)
    """The answer's tokens, its end included."""
    ended: str = ""
    """`stop`, `length`, or `not_finite` where the model gave no numbers; empty while it is written."""

    @property
    def read(self) -> tuple[int, ...]:
        """All that the model reads before it writes."""
        return (*self.prompt, *self.begun)


class Writer:
    """Writes with one model. For one thread."""

    def __init__(self, torch: Any, model: Any, ends: frozenset[int]) -> None:
        """`ends`: the tokens that end an answer."""
        self.torch = torch
        self._model = model
        self._ends = ends
        takes = inspect.signature(model.forward).parameters
        # transformers 5.20 and later call it `cache`.
        self._cache_word = "cache" if "cache" in takes else "past_key_values"
        self._takes_positions = "position_ids" in takes
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._exact = model.dtype in (torch.float32, torch.float64)

    def write(
        self,
        rows: Sequence[Row],
        decoding: Decoding,
        *,
        ended: Callable[[Row], None],
        wanted: Callable[[Row], bool] = lambda _: True,
    ) -> None:
        """Write every row's answer, and tell of each as soon as it has ended.

        A row that is not wanted any more is left as it is. Raises whatever the model raises; what has ended by then
        was told of.
        """
        with self.torch.inference_mode():
            batch = _Batch(self, rows, penalty=decoding.repetition_penalty)
            while True:
                for row, token in zip(batch.rows, self._next(batch, decoding), strict=True):
                    if not row.ended:
                        row.ended = self._take(row, token)
                        if row.ended:
                            ended(row)
                going = [number for number, row in enumerate(batch.rows) if not row.ended and wanted(row)]
                if not going:
                    return
                batch.go_on(going)

    def _take(self, row: Row, token: int) -> str:
        """Add a token to a row; return how the row has ended by it, or nothing."""
        if token < 0:
            return "not_finite"
        row.written.append(token)
        if token in self._ends:
            return "stop"
        return "length" if len(row.written) >= row.limit else ""

    def _next(self, batch: _Batch, decoding: Decoding) -> list[int]:
        """Return each row's next token, -1 where the model gave no numbers."""
        seeds = [(row.seed, len(row.written)) for row in batch.rows]
        tokens, sure, finite = choose(self.torch, batch.scores(batch.logits), seeds, decoding)
        chosen: list[int] = self.torch.where(finite, tokens, -1).tolist()
        if self._exact and not bool(sure.all()):
            for number in (~sure).nonzero()[:, 0].tolist():
                row = batch.rows[number]
                if not row.ended and chosen[number] >= 0:
                    scores = batch.scores(self._alone(row), number)
                    chosen[number] = int(choose(self.torch, scores, [seeds[number]], decoding)[0])
        return chosen

    def _alone(self, row: Row) -> Any:
        """Return the logits of a row that is computed by itself and from its beginning: always the same ones."""
        ids = self.torch.tensor([row.prompt + row.written], device=self._model.device)
        return self._model(input_ids=ids, use_cache=False, **self._last_only).logits[:, -1]

    def read(self, cache: Any, ids: Any, mask: Any, positions: Any) -> Any:
        """Have the model read further tokens; return the logits after the last of each row."""
        inputs: dict[str, Any] = {self._cache_word: cache, "use_cache": True, **self._last_only}
        if self._takes_positions:
            inputs["position_ids"] = positions
        return self._model(input_ids=ids, attention_mask=mask, **inputs).logits[:, -1]

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self._model.device

    def new_cache(self) -> Any:
        """Return an empty cache of the kind that the model's layers need."""
        from transformers import DynamicCache  # noqa: PLC0415 - optional
        from transformers.cache_utils import DynamicLayer  # noqa: PLC0415 - optional

        cache = DynamicCache(config=self._model.config)
        growing = _growing(DynamicLayer)
        cache.layers = [growing() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        return cache


class _Batch:
    """Rows that are written together, and what the model has read of them."""

    def __init__(self, writer: Writer, rows: Sequence[Row], *, penalty: float) -> None:
        self._writer = writer
        self.torch = torch = writer.torch
        self.rows = list(rows)
        self._penalty = penalty
        # Samples of one question share a prompt: it is read once, and what was read is copied.
        prompts = list(dict.fromkeys(row.read for row in rows))
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=writer.device)
        self._mask = torch.tensor(
            [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=writer.device
        )
        positions = (self._mask.cumsum(dim=-1) - 1).clamp(min=0)
        self._positions = positions[:, -1:]
        self._cache = writer.new_cache()
        self._seen: Any = None
        self.logits = writer.read(self._cache, ids, self._mask, positions)
        if penalty != 1:
            self._seen = torch.zeros(self.logits.shape, dtype=torch.bool, device=self.logits.device)
            self._seen.scatter_(1, torch.where(self._mask.bool(), ids, ids[:, -1:]), True)
        if len(prompts) < len(rows):
            where = {prompt: number for number, prompt in enumerate(prompts)}
            copied = [where[row.read] for row in rows]
            self._select(copied)
            self.logits = self.logits[copied]

    def scores(self, logits: Any, number: int | None = None) -> Any:
        """Return logits as they are chosen from: in float32 at least, what was seen pushed down."""
        if logits.dtype.itemsize < 4:
            logits = logits.float()
        if self._seen is None:
            return logits
        seen = self._seen if number is None else self._seen[number : number + 1]
        return penalised(self.torch, logits, seen, self._penalty)

    def go_on(self, going: list[int]) -> None:
        """Read the tokens that were written, of the rows that go on and of ended ones while these are few."""
        torch = self.torch
        if len(going) <= (1 - _ENDED) * len(self.rows):
            self.rows = [self.rows[number] for number in going]
            self._select(going)
        last = [row.written[-1] if row.written else 0 for row in self.rows]
        ids = torch.tensor(last, device=self._writer.device)[:, None]
        if self._seen is not None:
            self._seen.scatter_(1, ids, True)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(last), 1)], dim=1)
        self._positions = self._positions + 1
        self.logits = self._writer.read(self._cache, ids, self._mask, self._positions)

    def _select(self, numbers: list[int]) -> None:
        """Make these the rows of all that was read; one may come several times."""
        index = self.torch.tensor(numbers, device=self._writer.device)
        self._cache.reorder_cache(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        if self._seen is not None:
            self._seen = self._seen[index]


@lru_cache(maxsize=1)
def _growing(layer: type[Any]) -> type[Any]:
    """Return transformers' plain layer of a cache, with room kept for tokens to come.

    As it stands each token copies all keys and values into new memory, which took 85 % of the time on a tiny model.
    """

    class Growing(layer):  # type: ignore[misc]  # transformers publishes no types to mypy here
        """Keys and values as views of the beginning of larger tensors."""

        keys: Any
        values: Any
        _room: tuple[Any, Any] | None = None

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            """Add the states of further tokens; return all."""
            before = 0 if self._room is None else self.keys.shape[-2]
            after = before + key_states.shape[-2]
            if self._room is None or after > self._room[0].shape[-2]:
                self._room = (self._grown(key_states, before, after), self._grown(value_states, before, after, 1))
            for room, states in zip(self._room, (key_states, value_states), strict=True):
                room[:, :, before:after] = states
            self.keys, self.values = (room[:, :, :after] for room in self._room)
            self.device, self.dtype, self.is_initialized = key_states.device, key_states.dtype, True
            return self.keys, self.values

        def _grown(self, states: Any, before: int, after: int, which: int = 0) -> Any:
            rows, heads, _, width = states.shape
            grown = states.new_empty(rows, heads, after + _GROW, width)
            if self._room is not None:
                grown[:, :, :before] = self._room[which][:, :, :before]
            return grown

        def reorder_cache(self, beam_idx: Any) -> None:
            """Make these the rows."""
            if self._room is not None:
                size = self.keys.shape[-2]
                self._room = (self._room[0].index_select(0, beam_idx), self._room[1].index_select(0, beam_idx))
                self.keys, self.values = (room[:, :, :size] for room in self._room)

    return Growing
