"""The families of PRMs, by the word that `[prm] kind` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.prm.qwen import QWEN

if TYPE_CHECKING:
    from gradatim.prm.family import Family

FAMILIES: dict[str, Family] = {family.kind: family for family in (QWEN,)}


def family_of(kind: str) -> Family:
    """Return the family. Raises `UsageError` where there is none of that name."""
    if kind not in FAMILIES:
        raise UsageError(f"kind of the PRM is {kind!r}; one of {', '.join(FAMILIES)} was expected")
    return FAMILIES[kind]
