"""Any PRM that TRL's `PRMTrainer` made: a token classifier that was trained on the last token of each step's separator.

From its source (huggingface/trl, trl/experimental/prm/prm_trainer.py; TRL 1.16 has it no more): the token that begins a
text where the tokenizer has one, the ids of the question, and then for each step its own ids and the separator's, each
tokenised by itself; a step's score is the probability of label 1. The separator is TRL's `step_separator`, a line end
by default. Nothing says in a checkpoint which it was, nor how many tokens were read in training (`max_length`, 1024 by
default): both are settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError, UsageError
from gradatim.prm.family import Architecture, Encoded, Family
from gradatim.prm.tokens import TOKENIZER_FILES, Pieces, bos_token, one_token, pieces

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gradatim.prm.family import Prepared

KIND = "token-classification"
SEPARATOR = "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    tokenizer: Any
    bos: tuple[int, ...]
    allowed: int
    """How many special tokens stand before the question."""
    pieces: Pieces

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Begin with the question."""
        start = [*self.bos, *self.tokenizer.encode(prepared.prompt, add_special_tokens=False).ids]
        return self.pieces.encode(start, self.allowed, prepared)

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """P(label 1)."""
        return model.score(hidden).float().softmax(dim=-1)[:, 1]


def _head(config: Any) -> Mapping[str, Any]:
    from torch import nn  # noqa: PLC0415 - optional, and seconds to import

    if config.num_labels != 2:
        raise SetupError(f"the model has {config.num_labels} labels, and a PRM's are 2: it classifies something else")
    return {"score": nn.Linear(config.hidden_size, 2)}


def token_classification(separator: str | None = None) -> Family:
    """Return the family of PRMs whose steps end in `separator`. Raises `UsageError` where it is empty."""
    separator = SEPARATOR if separator is None else separator
    if not separator:
        raise UsageError(r'separator is empty; it is what PRMTrainer was told as step_separator, "\n" by default')

    def encoder(tokenizer: Any, file: Path) -> _Encoder:
        bos = bos_token(file.parent)
        made = pieces(tokenizer, separator, last=False)
        if not made.separator_ids:
            raise SetupError(f"{file}: no token stands for the separator {separator!r} here; correct separator")
        ids = () if bos is None else (one_token(tokenizer, bos, file),)
        allowed = sum(number in made.special for number in ids)
        return _Encoder(tokenizer=tokenizer, bos=ids, allowed=allowed, pieces=made)

    return Family(
        kind=KIND,
        format=f"trl-prm-1;separator={json.dumps(separator)}",
        context=1024,
        aggregation="mean",
        licence="that of the model it was trained from",
        architecture=Architecture(
            name="*ForTokenClassification",
            model_type="*",
            head="score.",
            unused=(),
            called="a token classifier that PRMTrainer trained",
            also_read=TOKENIZER_FILES,
        ),
        served=None,
        forbidden=lambda _: False,
        encoder=encoder,
        head=_head,
    )
