"""What cannot be of a `[prm]`: a backend that its kind does not run on, a setting of another kind, labels alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.config.models import PrmSettings
from gradatim.errors import UsageError

if TYPE_CHECKING:
    from gradatim.prm.chat import Chat

_CHAT = ("rlhflow", "critic")
"""Kinds that a chat server runs."""


def mistake_of(prm: PrmSettings) -> tuple[str, str] | None:
    """Return the key that is wrong and what is wrong with it, or None."""
    if (prm.backend == "chat") != (prm.kind in _CHAT):
        fitting = '"chat"' if prm.kind in _CHAT else '"pooling" or "local"'
        return "backend", f'kind = "{prm.kind}" takes {fitting}, not "{prm.backend}"'
    if prm.backend == "chat" and not prm.base_url and prm.serve is None:
        return "base_url", 'backend = "chat" needs it: "http://.../v1", where the chat server is; or set serve'
    if prm.kind not in _CHAT:
        return _of_chat(prm) or _of_family(prm)
    if prm.separator is not None:
        return "separator", f'it belongs to kind = "token-classification", and not to "{prm.kind}"'
    return _of_chat(prm)


def _of_chat(prm: PrmSettings) -> tuple[str, str] | None:
    """Return what is wrong with what a critic is asked, or with asking what is none."""
    if prm.kind == "critic":
        try:
            critic_of(prm)
        except UsageError as error:
            key, _, what = str(error).partition(" of the critic: ")
            return key, what
        return None
    plain = PrmSettings(model=prm.model)
    for key in ("prompt", "labels", "analysis"):
        if getattr(prm, key) != getattr(plain, key):
            return key, f'it belongs to kind = "critic"; what kind = "{prm.kind}" is asked, its makers chose'
    return None


def _of_family(prm: PrmSettings) -> tuple[str, str] | None:
    """Return what is wrong for the family of a PRM that reads a text as a whole."""
    from gradatim.prm.families import family_of  # noqa: PLC0415 - few need it, and it takes time to load

    try:
        family = family_of(prm.kind, separator=prm.separator)
    except UsageError as error:
        return "separator", str(error).removeprefix("separator ")
    if prm.backend == "pooling" and family.served is None:
        return "backend", f'kind = "{prm.kind}" is not what a vLLM server can score; set backend = "local"'
    return None


def critic_of(prm: PrmSettings) -> Chat:
    """Return the critic that is configured. Raises `UsageError`."""
    from gradatim.prm.critic import critic  # noqa: PLC0415 - few need it

    return critic(prompt=prm.prompt, labels=prm.labels, analysis=prm.analysis)
