"""What a training is made from: the examples as text, and how it is to go."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gradatim.types import Message

_NO_MATTER = ("device", "checkpoint_every", "max_length")
"""What changes no weight beyond rounding; `max_length` decides which examples there are, and they are named apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One example: what the model is asked, and what it is to answer."""

    id: str
    messages: tuple[Message, ...]
    """Up to the user's turn, as the model will be asked."""
    target: str
    """The whole answer, reasoning in `<think>` tags included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a training goes. Names and meanings are those of `[train]`."""

    method: Literal["full", "lora"] = "full"
    lora_rank: int = 32
    lora_alpha: float = 64.0
    lora_targets: tuple[str, ...] = ()
    epochs: int = 5
    steps: int | None = None
    learning_rate: float = 1e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.05
    batch_size: int = 16
    micro_batch: int | None = None
    max_length: int = 32768
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 1e-4
    seed: int = 0
    checkpoint_every: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def accumulation(self) -> int:
        """How many micro-batches make one step."""
        return self.batch_size // (self.micro_batch or self.batch_size)

    def text(self) -> str:
        """Return what decides the weights, as canonical JSON."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NO_MATTER}
        if self.steps is not None:
            del kept["epochs"]
        if self.method == "full":
            kept = {name: value for name, value in kept.items() if not name.startswith("lora_")}
        return json.dumps(kept, sort_keys=True)
