"""What cannot be of a `[prm]`: a backend that its kind does not run on, a setting of another kind, labels alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.config.models import PrmSettings
from gradatim.errors import UsageError

if TYPE_CHECKING:
    from gradatim.prm.chat import Chat


def mistake_of(prm: PrmSettings) -> tuple[str, str] | None:
    """Return the key that is wrong and what is wrong with it, or None."""
    if prm.backend == "chat" and prm.kind not in ("rlhflow", "critic"):
        return "backend", f'kind = "{prm.kind}" is not what a chat server can score; set backend = "pooling" or "local"'
    if prm.kind == "critic" and prm.backend != "chat":
        return "backend", f'kind = "critic" is asked on a chat server, so not by "{prm.backend}"; set backend = "chat"'
    if (mistake := _of_chat(prm) or _of_family(prm)) is not None:
        return mistake
    if prm.backend != "local" and not prm.base_url and prm.serve is None:
        where = "where the chat server is" if prm.backend == "chat" else "where vLLM serves the PRM"
        return "base_url", f'backend = "{prm.backend}" needs it: "http://.../v1", {where}; or set serve'
    return None


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

    if prm.kind == "critic":
        return None if prm.separator is None else ("separator", 'it belongs to kind = "token-classification"')
    try:
        family = family_of(prm.kind, separator=prm.separator)
    except UsageError as error:
        return "separator", str(error).replace("separator", "it", 1)
    if prm.backend == "pooling" and family.served is None:
        other = "chat" if prm.kind == "rlhflow" else "local"
        return (
            "backend",
            f'kind = "{prm.kind}" is not what a vLLM server can score by /pooling; set backend = "{other}"',
        )
    return None


def critic_of(prm: PrmSettings) -> Chat:
    """Return the critic that is configured. Raises `UsageError`."""
    from gradatim.prm.critic import critic  # noqa: PLC0415 - few need it

    return critic(prompt=prm.prompt, labels=prm.labels, analysis=prm.analysis)
