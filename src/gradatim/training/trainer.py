"""TRL's SFTTrainer with our order of examples, our log and checkpoints that are marked when they are complete.

Imported where a training starts, and nowhere else: it needs the extra `[train]`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import SFTTrainer

from gradatim.errors import GradatimError
from gradatim.training.folder import mark
from gradatim.training.optimisers import MuonAndAdamW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.training.recipe import Recipe


def padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return a batch, filled up on the right.

    No attention mask: a causal model's real tokens never see what stands to their right, and what is filled in has no
    loss. Attention without a mask is the faster kind; positions tell the trainer that there is none on purpose.
    """
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows])
    return {"input_ids": ids, "labels": labels, "position_ids": torch.arange(width).expand(len(rows), width)}


class Trainer(SFTTrainer):  # type: ignore[misc]  # TRL is not read by the type checker
    """Trains on given batches.

    `batches` are all micro-batches of the run as positions in the data set: one pass over them is the whole training,
    whatever its epochs. `on_step` is called with each step's number, loss and learning rate, `on_saving` before a
    checkpoint counts as complete.
    """

    optimizer: Any

    def __init__(
        self,
        *,
        recipe: Recipe,
        batches: list[list[int]],
        on_step: Callable[[int, float, float], None],
        on_saving: Callable[[], None],
        **arguments: Any,
    ) -> None:
        super().__init__(data_collator=padded, **arguments)
        self.remove_callback(PrinterCallback)
        self._recipe = recipe
        self._batches = batches
        self._on_step = on_step
        self._on_saving = on_saving

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give the batches in their order; resuming skips the first of them."""
        rows = [
            {"input_ids": ids, "labels": labels}
            for ids, labels in zip(self.train_dataset["input_ids"], self.train_dataset["labels"], strict=True)
        ]
        return DataLoader(rows, batch_sampler=self._batches, collate_fn=padded)

    def create_optimizer(self, model: Any = None) -> Any:
        """Make Muon where it is asked for."""
        if self._recipe.optimizer == "muon" and self.optimizer is None:
            self.optimizer = MuonAndAdamW(
                self.model if model is None else model,
                lr=self._recipe.learning_rate,
                weight_decay=self._recipe.weight_decay,
            )
            return self.optimizer
        return super().create_optimizer(model)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Tell of a step. Nothing is printed, and nothing kept in the trainer's own state, which would grow."""
        del start_time
        self._metrics["train"].clear()
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise GradatimError(
                f"The loss is no number at step {self.state.global_step}: the learning rate, "
                f"{self._recipe.learning_rate:g}, is too high for this model. Set a lower one: --learning-rate."
            )
        self._on_step(self.state.global_step, logs["loss"], logs["learning_rate"])

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self._on_saving()
        mark(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none into checkpoints."""
