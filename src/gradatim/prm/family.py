"""What a family of PRMs is: what it reads, where its scores stand, what it refuses.

A family says nothing of where its model runs: the backends, `local` and `pooling`, take what the model is to read from
here and give its probabilities back through here, so that they differ in nothing but the place. One file a family
(`qwen` is the plainest); `families` lists them by the word that `[prm] kind` takes.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.prm.splitting import BLANK_LINES, Splitter
from gradatim.types import Boundary, Fault, StepScores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gradatim.method.aggregation import Aggregation
    from gradatim.prm import Solution

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What the folder of a family's model holds."""

    name: str
    """What stands in `architectures` of config.json; `*` for any beginning."""
    model_type: str
    """Its `model_type`: which of transformers' own backbones reads the text; `*` for any."""
    head: str
    """How the names of the head's tensors begin: `score.`."""
    unused: tuple[str, ...]
    """Tensors that published checkpoints hold and nothing that scores reads."""
    called: str
    """The model in a sentence: `a Qwen2.5-Math-PRM`."""
    also_read: tuple[str, ...] = ()
    """Files besides config, tokenizer and weights that what the model reads hangs on; not all need be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a vLLM server's `/pooling` is asked for a family's scores."""

    body: Callable[[str, Sequence[str]], dict[str, object]]
    """From a prompt and its steps to the fields of a request that hold them."""
    tag: str
    """The token at which the server is to give a row, as the tokenizer names it."""
    tag_id: int
    """Its id in the published models."""
    arguments: Callable[[int], tuple[str, ...]]
    """From the tag's id to what vLLM is started with besides the model."""

    @property
    def how(self) -> str:
        """How to serve it, for a sentence."""
        return (
            f"serve it with {shlex.join(self.arguments(self.tag_id))}, where {self.tag_id} is the id of {self.tag} in "
            "the published models; take your tokenizer's"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A solution that a family can read, so far as its text alone tells."""

    key: int
    prompt: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A solution as the model reads it."""

    key: int
    steps: tuple[str, ...]
    ids: list[int]
    at: list[int]
    """Where in `ids` each step's score stands, rising."""


class Encoder(Protocol):
    """A family together with the tokenizer of one of its models."""

    def encode(self, prepared: Prepared) -> Encoded | str:
        """Return what the model reads, or the reason why it cannot read this: `contains_step_tag`."""
        ...

    def probabilities(self, model: Any, hidden: Any) -> Any:
        """Return for each row of hidden states, which are those at the steps' places, the score, in float32."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """PRMs that read the same text and keep their scores in the same place."""

    kind: str
    """What `[prm] kind` says."""
    format: str
    """Names what the model is given to read; a change of it is a change of name, since scores hang on it."""
    context: int
    """The most tokens that the published models read."""
    aggregation: Aggregation
    """How an answer's step scores become one number, unless the settings say otherwise."""
    licence: str
    """Of the published weights."""
    architecture: Architecture
    served: Served | None
    """None: no server can give this family's scores."""
    forbidden: Callable[[str], bool]
    """Tells whether a question or an answer holds what this family would read as a step tag or a turn of its own."""
    encoder: Callable[[Any, Path], Encoder]
    """Makes the encoder for a `tokenizers.Tokenizer` and the file it was read from.

    Raises `SetupError` where a token that the family needs is not one token of it."""
    head: Callable[[Any], Mapping[str, Any]]
    """From the model's config to the modules on top of its backbone, under the names that their tensors have."""
    splitter: Splitter = BLANK_LINES
    """How what is scored is split into steps."""


def version_of(family: Family, *parts: str) -> str:
    """Return a PRM's version: its format, the rule that splits steps, and what the backend adds."""
    return ";".join((family.format, family.splitter.rule, *parts))


def prepare(family: Family, solution: Solution) -> Prepared | StepScores:
    """Return what the model is to read, or step scores with the reason why it cannot read this solution.

    See `readable` for the reasons.
    """
    steps = readable(solution, family.splitter.split, family.forbidden)
    if isinstance(steps, StepScores):
        return steps
    return Prepared(key=solution.key, prompt=solution.prompt, steps=steps)


def readable(
    solution: Solution, split: Callable[[str], tuple[str, ...]], forbidden: Callable[[str], bool]
) -> tuple[str, ...] | StepScores:
    """Return a solution's steps, or step scores with the reason why no model can read them.

    `no_steps`: the answer is blank. `contains_step_tag`: the question or the answer holds the tag, or another control
    token, and would be read as more steps or more turns than there are. `bad_unicode`: it holds half of a surrogate
    pair, which no tokenizer takes.
    """
    steps = split(solution.answer)
    if not steps:
        return refusal(steps, "no_steps")
    for text in (solution.prompt, solution.answer):
        if forbidden(text):
            return refusal(steps, "contains_step_tag")
        if not text.isascii() and _SURROGATE.search(text):
            return refusal(steps, "bad_unicode")
    return steps


def refusal(steps: tuple[str, ...], reason: str) -> StepScores:
    """Return that these steps have no scores, and why."""
    return StepScores(steps=steps, scores=(), reason=reason)


def scored(steps: tuple[str, ...], probabilities: Sequence[float]) -> StepScores | Fault:
    """Return the steps with their scores, or a fault: `wrong_count`, `not_finite`. One score per step or none.

    A score of exactly 0.0 or 1.0 is a score: in float32 a sure model's probability underflows.
    """
    if len(probabilities) != len(steps):
        return Fault(
            boundary=Boundary.PRM,
            reason="wrong_count",
            message=f"the PRM gave {len(probabilities)} scores for {len(steps)} steps",
        )
    if not all(math.isfinite(value) for value in probabilities):
        return Fault(boundary=Boundary.PRM, reason="not_finite", message="the PRM gave a score that is not a number")
    # A softmax in half precision may end a rounding step above 1.
    return StepScores(steps=steps, scores=tuple(min(1.0, max(0.0, float(value))) for value in probabilities))
