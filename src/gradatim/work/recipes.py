"""From `[train]` to the recipe of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.training.recipe import Recipe

if TYPE_CHECKING:
    from gradatim.config import TrainSettings

_RATES = {"full": 1e-5, "lora": 1e-4}
"""Where none is set: s1's, and ten times it for adapters ("LoRA Without Regret", Thinking Machines 2025)."""


def recipe_of(settings: TrainSettings) -> Recipe:
    """Return the settings as a training takes them."""
    names = Recipe.__dataclass_fields__.keys() - {"learning_rate", "lora_targets"}
    return Recipe(
        learning_rate=settings.learning_rate or _RATES[settings.method],
        lora_targets=tuple(settings.lora_targets),
        **{name: getattr(settings, name) for name in names},
    )
