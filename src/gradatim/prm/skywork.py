"""Skywork-o1-Open-PRM: each line is a step, and a value head scores it at its line end.

From the repository's own code (SkyworkAI/skywork-o1-prm-inference, io_utils.py and prm_model.py): the ids are those of
the token that begins a text, the question and a line end, tokenised together, and then for each line its own ids and
the line end's; the score is the sigmoid of one logit. Tokenised as one text the line ends would melt into the tokens
before them, so the ids are made piece by piece. Our steps may have several lines: see `tokens.Pieces`. That
code ends a blank line by a tag too, with a score of its own; here, as in public copies of it, blank lines are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm import qwen
from gradatim.prm.family import Architecture, Encoded, Family
from gradatim.prm.tokens import TOKENIZER_FILES, Pieces, bos_token, one_token, pieces

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gradatim.prm.family import Prepared

_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    tokenizer: Any
    bos: str
    allowed: int
    """How many special tokens the question's ids hold."""
    pieces: Pieces

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Begin with the question and a line end, as one text."""
        start = self.tokenizer.encode(f"{self.bos}{prepared.prompt}{_SEPARATOR}", add_special_tokens=False).ids
        return self.pieces.encode(start, self.allowed, prepared)

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """Sigmoid of the value head's logit."""
        return model.v_head["summary"](hidden).float().sigmoid()[:, 0]


def _encoder(tokenizer: Any, file: Path) -> _Encoder:
    bos = bos_token(file.parent)
    if bos is None:
        raise SetupError(
            f"{file.parent / TOKENIZER_FILES[0]}: it names no bos_token, with which this PRM's texts begin; give the "
            "tokenizer that came with the PRM"
        )
    made = pieces(tokenizer, _SEPARATOR, last=True)
    allowed = int(one_token(tokenizer, bos, file) in made.special)
    return _Encoder(tokenizer=tokenizer, bos=bos, allowed=allowed, pieces=made)


def _head(config: Any) -> Mapping[str, Any]:
    from torch import nn  # noqa: PLC0415 - optional, and seconds to import

    return {"v_head": nn.ModuleDict({"summary": nn.Linear(config.hidden_size, 1)})}


SKYWORK = Family(
    kind="skywork",
    format="skywork-o1-open-prm-1",
    context=4096,
    aggregation="mean",
    licence="Skywork Community License",
    architecture=Architecture(
        name="Qwen2ForPrmModel",
        model_type="qwen2",
        head="v_head.",
        unused=("lm_head.weight",),
        called="a Skywork-o1-Open-PRM",
        also_read=TOKENIZER_FILES,
    ),
    served=None,
    forbidden=qwen.forbidden,
    encoder=_encoder,
    head=_head,
)
