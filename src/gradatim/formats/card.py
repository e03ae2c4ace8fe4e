"""The data set card of an export: a README in Markdown with the front matter that the Hugging Face hub reads.

The licence is left open on purpose: it depends on the questions and on the teacher's terms, which only the user knows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)
_BAR = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelCount:
    """One line of the histogram."""

    level: int
    rows: int
    asked: int | None = None
    """The quota; None where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card says. Everything in it must be the same when the same export runs again."""

    name: str
    files: tuple[str, ...]
    """The data files, without folders."""
    rows: int
    shape: str
    columns: tuple[str, ...]
    levels: tuple[LevelCount, ...]
    settings: tuple[tuple[str, str], ...]
    """Name and value: mix, size, seed, rule, cuts, keep, filters, sampling."""
    provenance: tuple[tuple[str, str], ...]
    """Name and value: base model, PRM, checker, teacher, the pool's sources, gradatim's version."""
    left_out: tuple[tuple[str, int], ...] = ()
    """Reason and count of the chains that were made and not kept."""
    tags: tuple[str, ...] = ("reasoning", "chain-of-thought", "curriculum")
    language: str = ""
    """An ISO code; empty leaves it out."""


def render(card: Card) -> str:
    """Return the card as Markdown."""
    return "\n".join([*_front_matter(card), "", *_about(card), *_histogram(card), *_tables(card), *_licence()]) + "\n"


def size_category(rows: int) -> str:
    """Return the hub's word for a number of rows: `1K<n<10K`."""
    return next((word for limit, word in _SIZES if rows < limit), "n>100M")


def _front_matter(card: Card) -> list[str]:
    lines = [
        "---",
        "# license: left open; choose it after reading the terms of the questions' sources and of the teacher's output",
        f"pretty_name: {_quoted(card.name)}",
        "task_categories:",
        "- text-generation",
    ]
    if card.language:
        lines += ["language:", f"- {_quoted(card.language)}"]
    lines += ["tags:", *(f"- {_quoted(tag)}" for tag in ("gradatim", *card.tags))]
    lines += ["size_categories:", f"- {size_category(card.rows)}"]
    lines += ["configs:", "- config_name: default", "  data_files:", "  - split: train", "    path:"]
    return [*lines, *(f"    - {_quoted(name)}" for name in card.files), "---"]


def _quoted(text: str) -> str:
    """Return text as a YAML scalar; every JSON string is one."""
    return json.dumps(text, ensure_ascii=False)


def _about(card: Card) -> list[str]:
    return [
        f"# {_cell(card.name)}",
        "",
        (
            f"{card.rows:,} chains of thought, chosen by how hard each question is for one model. Made with "
            "Gradatim, an implementation of LLM-adaptive question difficulty grading (arXiv 2504.11919)."
        ),
        "",
        f"Shape: `{card.shape}`; columns: {', '.join(f'`{column}`' for column in card.columns)}.",
        "",
    ]


def _histogram(card: Card) -> list[str]:
    most = max((count.rows for count in card.levels), default=0)
    lines = ["## Levels", "", "Level 0 is easy for the base model, 5 is hardest.", ""]
    lines += ["| level | rows | asked for | |", "|---:|---:|---:|:---|"]
    for count in card.levels:
        bar = "█" * -(-_BAR * count.rows // most) if most else ""
        asked = "" if count.asked is None else f"{count.asked:,}"
        lines.append(f"| {count.level} | {count.rows:,} | {asked} | {bar} |")
    return [*lines, ""]


def _tables(card: Card) -> list[str]:
    lines = [*_table("Settings", ("setting", "value"), card.settings)]
    lines += _table("Provenance", ("what", "which"), card.provenance)
    lines += _table("Left out", ("reason", "chains"), [(reason, f"{count:,}") for reason, count in card.left_out])
    return lines


def _table(title: str, head: tuple[str, str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    if not pairs:
        return []
    lines = [f"## {title}", "", f"| {head[0]} | {head[1]} |", "|:---|:---|"]
    return [*lines, *(f"| {_cell(name)} | {_cell(value)} |" for name, value in pairs), ""]


def _cell(text: str) -> str:
    """Return text that cannot break out of a line or a table cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _licence() -> list[str]:
    return [
        "## Licence",
        "",
        (
            "None is set. It depends on the licences of the sources and on the terms of the teacher's output. "
            "Set `license:` at the top once both are known."
        ),
    ]
