"""Math-Shepherd: a language model that writes `+` or `-` where a step ends in ` ки`.

From the model card of math-shepherd-mistral-7b-prm: the question, a blank, and the steps, each begun by its number and
ended by ` ки`, a line each; a step's score is the probability of `+` against `-` at its ` ки`, by softmax over the two.

On a server the two rows of `lm_head` are all that is asked for: vLLM makes a classifier of them. What its documentation
names for this model, `returned_token_ids`, takes columns of the hidden states and not of the logits (its issue 16545):
numbers that mean nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.family import Architecture, Encoded, Family, Served
from gradatim.prm.tokens import one_token, special_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gradatim.prm.family import Prepared

TAG = "ки"
_BOS, _TAG_TOKEN, _BAD, _GOOD = "<s>", "▁ки", "▁-", "▁+"
"""Tokens of Mistral's vocabulary: 1, 12902, 387 and 648."""
_CONTROL = re.compile(f"{TAG}|</?s>|<unk>")
_NUMBERED = re.compile(r"\W{0,4}step\s*[0-9]", re.IGNORECASE)


def text(prompt: str, steps: Sequence[str]) -> str:
    """Return the whole text; a step that begins by its number already is given no other."""
    numbered = (
        step.strip() if _NUMBERED.match(step.lstrip()) else f"Step {number}: {step.strip()}"
        for number, step in enumerate(steps, 1)
    )
    return f"{prompt} " + "\n".join(f"{step} {TAG}" for step in numbered)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    tokenizer: Any
    bos: int
    tag: int
    labels: tuple[int, int]
    """Ids of `-` and `+`."""
    special: frozenset[int]

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Tokenise it as one text."""
        ids = [self.bos, *self.tokenizer.encode(text(prepared.prompt, prepared.steps), add_special_tokens=False).ids]
        at = [place for place, number in enumerate(ids) if number == self.tag]
        if len(at) != len(prepared.steps) or sum(number in self.special for number in ids[1:]):
            return "contains_step_tag"
        return Encoded(key=prepared.key, steps=prepared.steps, ids=ids, at=at)

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """P(+) against -, from those two rows of the language model's head."""
        return (hidden @ model.lm_head.weight[list(self.labels)].T).float().softmax(dim=-1)[:, 1]


def _encoder(tokenizer: Any, file: Path) -> _Encoder:
    made = _Encoder(
        tokenizer=tokenizer,
        bos=one_token(tokenizer, _BOS, file),
        tag=one_token(tokenizer, _TAG_TOKEN, file),
        labels=(one_token(tokenizer, _BAD, file), one_token(tokenizer, _GOOD, file)),
        special=special_ids(tokenizer),
    )
    if tokenizer.encode(text("a", ("b.", "c.")), add_special_tokens=False).ids.count(made.tag) != 2:
        raise SetupError(
            f"{file}: it does not read a step's end, ' {TAG}', as {_TAG_TOKEN}; give the PRM's own tokenizer"
        )
    return made


def _head(config: Any) -> Mapping[str, Any]:
    from torch import nn  # noqa: PLC0415 - optional, and seconds to import

    return {"lm_head": nn.Linear(config.hidden_size, config.vocab_size, bias=False)}


def _body(prompt: str, steps: Sequence[str]) -> dict[str, object]:
    # The tokenizer's own <s> comes before the text.
    return {"input": text(prompt, steps), "add_special_tokens": True}


def _arguments(tag_id: int) -> tuple[str, ...]:
    classifier = {"classifier_from_token": [_BAD, _GOOD], "method": "no_post_processing"}
    pooler = {"task": "token_classify", "pooling_type": "STEP", "step_tag_id": tag_id}
    return (
        *("--runner", "pooling", "--convert", "classify"),
        *("--hf-overrides", json.dumps(classifier, ensure_ascii=False)),
        *("--pooler-config", json.dumps(pooler)),
    )


SHEPHERD = Family(
    kind="math-shepherd",
    format="math-shepherd-1",
    context=8192,
    aggregation="min",
    licence="not known; see its model card",
    architecture=Architecture(
        name="MistralForCausalLM",
        model_type="mistral",
        head="lm_head.",
        unused=(),
        called="math-shepherd-mistral-7b-prm",
    ),
    served=Served(body=_body, tag=_TAG_TOKEN, tag_id=12902, arguments=_arguments),
    forbidden=lambda text: _CONTROL.search(text) is not None,
    encoder=_encoder,
    head=_head,
)
