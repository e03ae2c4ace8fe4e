"""What a run needs of an endpoint, from its settings: what it cannot do without is refused before anything is spent.

`n` and log probabilities are not needed, since each sample is a request of its own; a stop text that a server ignores
is cut here. The rest is a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import SetupError, UsageError
from gradatim.models.capabilities import Found
from gradatim.models.chat import stops_of

if TYPE_CHECKING:
    from gradatim.models.capabilities import Capabilities
    from gradatim.types import Sampling

_PROMPT = 512
"""Tokens for a question, in the value of `max_tokens` that is proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run asks of an endpoint."""

    sampling: Sampling
    samples: int = 1
    """Answers to each question, which must be able to differ."""
    tries: int = 1
    """Answers to a question at most, until one is right."""
    limited: bool = False
    """Whether tokens or money have a limit."""


def notes(needs: Needs, can: Capabilities) -> list[tuple[str, str]]:
    """Return what the user should know: (topic, what the server does) for each.

    Raises `SetupError` or `UsageError` for what the run cannot do without: the sentence has the next step.
    """
    _refuse(needs, can)
    sampling, said = needs.sampling, []
    if can.model_name.found is Found.UNKNOWN and can.listed:
        said.append(("listed", f"was asked for {can.model}, which is {can.model_name.how}"))
    several = max(needs.samples, needs.tries) > 1
    if sampling.temperature == 0 and several:
        said.append(("sampling", "is asked at temperature 0: all answers to a question may be alike"))
    elif several and can.sampling.found is Found.NO:
        said.append(("sampling", f"seems not to sample ({can.sampling.how}): asking again may bring the same answer"))
    if sampling.temperature != 0 and can.seed.found is Found.NO:
        said.append(("seed", f"does not hold seeds ({can.seed.how}): another run may get other answers"))
    if stops_of(sampling) and can.stop.found is Found.NO:
        said.append(("stop", f"does not hold stop texts ({can.stop.how}); answers are cut there"))
    if can.max_tokens.found is Found.NO:
        said.append(("limit", f"does not hold max_tokens ({can.max_tokens.how})"))
    if needs.limited and can.usage.found is Found.NO:
        said.append(("usage", "does not count tokens: each answer counts as its worst case in the budget"))
    return said


def _refuse(needs: Needs, can: Capabilities) -> None:
    sampling, server = needs.sampling, f"{can.model}: the server at {can.server}"
    if can.context is not None and sampling.max_tokens + (can.prompt or 1) > can.context:
        room = can.context - (can.prompt or 1) - _PROMPT
        lower = f"set max_tokens to {room} or less, or " if room > 0 else ""
        raise UsageError(
            f"{server} takes {can.context} tokens of prompt and answer together, and max_tokens = "
            f"{sampling.max_tokens} leaves no room for a prompt: {lower}serve the model with a larger context."
        )
    if needs.limited and can.max_tokens.found is Found.NO:
        raise SetupError(
            f"{server} does not hold max_tokens ({can.max_tokens.how}), so no budget can be held: leave the budget "
            "out, or use another server."
        )
    if needs.samples > 1 and sampling.temperature != 0 and can.sampling.found is Found.NO:
        raise SetupError(
            f"{server} does not sample ({can.sampling.how}), so {needs.samples} samples of a question would be one "
            "answer: set do_sample in the model's generation_config.json or a temperature, or ask for 1 sample; if the "
            "model is just that sure of itself, set probe = false for it."
        )
