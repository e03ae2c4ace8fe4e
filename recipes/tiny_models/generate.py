"""Have a tiny model continue many texts at once: by hand, since rows that are finished leave the batch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

if TYPE_CHECKING:
    from collections.abc import Sequence

_BOXED = re.compile(r"\\boxed\{(.*?)\}")
_BATCH = 256
_LONGEST = 160


@torch.inference_mode()
def continued(
    model: Any, tokenizer: Any, texts: Sequence[str], *, temperature: float = 0.0, seed: int = 0
) -> tuple[list[str], int]:
    """Return what the model adds to each text, without the end mark, and how many tokens that was.

    Temperature 0 takes the likeliest token. Texts are batched by length, so the same texts and seed give the same.
    """
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
    generator = torch.Generator().manual_seed(seed)
    made: list[list[int]] = [[] for _ in ids]
    for first in range(0, len(order), _BATCH):
        rows = order[first : first + _BATCH]
        _continue(model, tokenizer, {at: ids[at] for at in rows}, made, (temperature, generator))
    return [tokenizer.decode(row) for row in made], sum(map(len, made))


def _continue(
    model: Any, tokenizer: Any, ids: dict[int, list[int]], made: list[list[int]], how: tuple[float, Any]
) -> None:
    live, width = list(ids), max(map(len, ids.values()))
    tokens = torch.tensor([[tokenizer.pad_token_id] * (width - len(ids[at])) + ids[at] for at in live])
    mask = torch.tensor([[0] * (width - len(ids[at])) + [1] * len(ids[at]) for at in live])
    place = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    for _ in range(_LONGEST):
        hidden = model.model(
            input_ids=tokens, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
        ).last_hidden_state
        following = _chosen(model.lm_head(hidden[:, -1]), *how)
        going = (following != tokenizer.eos_token_id).nonzero()[:, 0]
        for at, token in zip(live, following.tolist(), strict=True):
            if token != tokenizer.eos_token_id:
                made[at].append(token)
        if not len(going):
            return
        if len(going) < len(live):
            cache.batch_select_indices(going)
            mask, place, following = mask[going], place[going], following[going]
            live = [live[row] for row in going.tolist()]
        tokens, place = following[:, None], place[:, -1:] + 1
        mask = torch.cat([mask, torch.ones(len(live), 1, dtype=torch.long)], dim=1)


def _chosen(logits: Any, temperature: float, generator: Any) -> Any:
    if not temperature:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]


def is_right(text: str, reference: str) -> bool:
    """Tell whether the last box holds the reference: the world's answers are numbers, written in one way."""
    boxed = _BOXED.findall(text)
    return bool(boxed) and boxed[-1] == reference
