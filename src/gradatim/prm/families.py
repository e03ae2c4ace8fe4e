"""The families of PRMs, by the word that `[prm] kind` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.prm.qwen import QWEN
from gradatim.prm.reasonflux import REASONFLUX
from gradatim.prm.rlhflow import RLHFLOW
from gradatim.prm.shepherd import SHEPHERD
from gradatim.prm.skywork import SKYWORK
from gradatim.prm.token_classification import KIND, token_classification

if TYPE_CHECKING:
    from gradatim.prm.family import Family

FAMILIES: dict[str, Family] = {
    family.kind: family for family in (QWEN, REASONFLUX, SKYWORK, SHEPHERD, RLHFLOW, token_classification())
}


def family_of(kind: str, *, separator: str | None = None) -> Family:
    """Return the family; `separator` is what ends a step of a token classifier, None for a line end.

    Raises `UsageError` where there is no family of that name, or it takes no separator.
    """
    if kind not in FAMILIES:
        raise UsageError(f"kind of the PRM is {kind!r}; one of {', '.join(FAMILIES)} was expected")
    if separator is None:
        return FAMILIES[kind]
    if kind != KIND:
        raise UsageError(f'separator belongs to kind = "{KIND}"; the steps of kind = "{kind}" end as its makers chose')
    return token_classification(separator)
