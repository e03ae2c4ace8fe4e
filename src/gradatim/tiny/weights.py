"""Where the tiny models' folders are, shipped with the package."""

from __future__ import annotations

from pathlib import Path

from gradatim.errors import UsageError

MODELS = ("base", "second", "prm")
"""Two base models brought up on different mixtures, and a process reward model for the first."""


def folder(name: str) -> Path:
    """Return the folder of a tiny model, which any engine that reads Hugging Face folders can load.

    Raises `UsageError` for a name that there is not.
    """
    if name not in MODELS:
        raise UsageError(f"There is no tiny model {name!r}. There are: {', '.join(MODELS)}.")
    return Path(__file__).parent / "weights" / name


def named(text: str) -> str:
    """Return the folder that `tiny:NAME` means in settings, and any other text as it is."""
    return str(folder(text.removeprefix("tiny:"))) if text.startswith("tiny:") else text
