"""How a local model's next token is chosen: which settings hold, and what of a request's they are made from.

Pure, without torch, so that a setting which is not supported is refused before anything is loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradatim.types import Sampling

_NUMBERS = ("top_k", "min_p", "repetition_penalty")
SUPPORTED = (*_NUMBERS, "chat_template_kwargs")
"""The further fields of a request that a local model knows, as vLLM names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """What decides the next token. `temperature` 0 takes the likeliest."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """The number of likeliest tokens to choose from; 0 is all."""
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest one are left out."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that stand in the prompt or the answer less likely."""


def decoding_of(sampling: Sampling, defaults: Mapping[str, Any]) -> Decoding:
    """Return what holds for a request; what it leaves open is the folder's default, as vLLM takes it, or none at all.

    Raises `UsageError` for a field that is not supported or has no such value.
    """
    found: dict[str, Any] = {
        name: defaults[name] for name in ("temperature", "top_p", *_NUMBERS) if _number(defaults.get(name))
    }
    if defaults.get("do_sample") is False:
        found["temperature"] = 0.0
    found |= {name: value for name, value in extras_of(sampling).items() if name in _NUMBERS}
    found |= {
        name: value
        for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p))
        if value is not None
    }
    made = Decoding(
        temperature=float(found.get("temperature", 1.0)),
        top_p=float(found.get("top_p", 1.0)),
        top_k=max(0, int(found.get("top_k", 0))),
        min_p=float(found.get("min_p", 0.0)),
        repetition_penalty=float(found.get("repetition_penalty", 1.0)),
    )
    if not (made.temperature >= 0 and 0 <= made.top_p <= 1 and 0 <= made.min_p <= 1 and made.repetition_penalty > 0):
        raise UsageError(
            f"a local model cannot be asked with {made}: temperature is 0 or more, top_p and min_p are from 0 to 1, "
            "and repetition_penalty is above 0"
        )
    return made


def extras_of(sampling: Sampling) -> dict[str, Any]:
    """Return the further fields of a request. Raises `UsageError` for one that a local model does not know."""
    try:
        extra = json.loads(sampling.extra_body)
    except ValueError as error:
        raise UsageError(f"extra_body is not JSON ({error}): write a JSON object such as {{}}") from error
    if not isinstance(extra, dict):
        raise UsageError(f"extra_body is not a JSON object: {sampling.extra_body[:80]}")
    for name, value in extra.items():
        if name not in SUPPORTED:
            raise UsageError(
                f"extra_body sets {name}, which a local model does not know; it knows {', '.join(SUPPORTED)}"
            )
        if name in _NUMBERS and not _number(value):
            raise UsageError(f"extra_body sets {name} to {value!r}, and a number was expected")
        if name == "chat_template_kwargs" and not isinstance(value, dict):
            raise UsageError(f"extra_body sets {name} to {value!r}, and a table was expected")
    return extra


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
