"""What cannot be of a `[prm]` that a chat server runs: the wrong backend, a prompt without its fields, labels alike."""

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


def critic_of(prm: PrmSettings) -> Chat:
    """Return the critic that is configured. Raises `UsageError`."""
    from gradatim.prm.critic import critic  # noqa: PLC0415 - few need it

    return critic(prompt=prm.prompt, labels=prm.labels, analysis=prm.analysis)
