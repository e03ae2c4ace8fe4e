"""What `transformers serve` wants of a request, and what it leaves to us.

As seen with transformers 5.19 and 5.24 (docs/engines.md has the run that shows it):

    temperature   is used only where the generation config says do_sample; so the whole generation config is sent along
    top_k, min_p  are no fields of its requests (422), and top_k is 50 where nobody says otherwise; they go there too
    seed          is set for the process: it means something only while one request runs at a time
    n, logprobs   are ignored; we ask for one answer per request anyway
    stop          ends the answer behind the stop text (with --continuous-batching, nowhere); it is cut as everywhere
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import UsageError
from gradatim.models.decoding import SUPPORTED, decoding_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradatim.types import Request, Sampling

_ITS_OWN = ("stop", "frequency_penalty", "logit_bias")
"""Further fields that it knows."""
_OF_DECODING = frozenset(SUPPORTED) - {"chat_template_kwargs"}


class Suited:
    """Puts requests as the server wants them. The model's own settings are read when the first one comes.

    By then the server is there, and has fetched what is on the hub.
    """

    def __init__(self, path: str) -> None:
        """`path` is the model's folder, or its id on the hub."""
        self._path = path
        self._defaults: dict[str, Any] | None = None

    def __call__(self, request: Request) -> Request:
        """Return the request as it is to be sent."""
        if self._defaults is None:
            self._defaults = generation_defaults(self._path)
        return suited(request, self._defaults)


def suited(request: Request, defaults: Mapping[str, Any]) -> Request:
    """Return the request as it gives what was asked for. `defaults` is the model's generation_config.json.

    Raises `UsageError` for a further field that the server does not know.
    """
    extra = _extra(request.sampling)
    known = {name: value for name, value in extra.items() if name not in _ITS_OWN}
    decoding = decoding_of(replace(request.sampling, extra_body=json.dumps(known)), defaults)
    config = dict(defaults) | {
        "do_sample": decoding.temperature > 0,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "min_p": decoding.min_p or None,
        "repetition_penalty": decoding.repetition_penalty,
    }
    sent = {name: value for name, value in extra.items() if name not in _OF_DECODING}
    sent["generation_config"] = json.dumps(config, sort_keys=True)
    return replace(request, sampling=replace(request.sampling, extra_body=json.dumps(sent)))


def generation_defaults(path: str) -> dict[str, Any]:
    """Return generation_config.json of a model's folder, or of the hub's cache for an id; empty where there is none."""
    folder = Path(path)
    if not folder.is_dir():
        home = Path(os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser())
        cached = Path(os.environ.get("HF_HUB_CACHE") or home / "hub", "models--" + path.replace("/", "--"))
        try:
            folder = cached / "snapshots" / (cached / "refs" / "main").read_text(encoding="utf-8").strip()
        except OSError:
            return {}
    found = _json(folder / "generation_config.json")
    if found:
        return found
    # As transformers does it where there is no such file.
    config = _json(folder / "config.json")
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: config[name] for name in names if config.get(name) is not None}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _extra(sampling: Sampling) -> dict[str, Any]:
    found = json.loads(sampling.extra_body)
    if not isinstance(found, dict):
        raise UsageError(f"extra_body is not a JSON object: {sampling.extra_body[:80]}")
    return found
