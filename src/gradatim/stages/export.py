"""Export: the finished set as a training file, with a card and a manifest.

The same library, draw and settings give the same bytes: no clock, no machine, no path goes into a file. Files appear
complete or not at all; the manifest comes last, so that where it is, all is.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim import __version__
from gradatim.config import ExportSettings
from gradatim.formats.card import Card, LevelCount, render
from gradatim.formats.manifest import Manifest, write_manifest
from gradatim.formats.shapes import Column, Shape, Thinking, shaped, typical
from gradatim.formats.write import Written, beside, write_rows, write_text
from gradatim.library import draws
from gradatim.work import chains

if TYPE_CHECKING:
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library
    from gradatim.work.chains import Kept

_TAGS = {"choice": "multiple-choice"}
"""What the hub calls a domain, where not as we do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written."""

    draw: str
    rows: int
    files: tuple[Written, ...]
    """The training file, the card and the manifest."""


def export(library: Library, name: str, settings: ExportSettings | None = None) -> ExportResult:
    """Write the kept chains of a draw.

    Raises `UsageError` where nothing is curated or the file cannot be named so, `SetupError` where the disk is full or
    an extra is missing; then no file is left half written.
    """
    settings = settings or ExportSettings()
    draw = draws.chosen_draw(library, name)
    kept = chains.kept(library, draw)
    out = Path(settings.out)
    shape, thinking = Shape(settings.format), Thinking(settings.thinking)
    columns = [Column(column) for column in settings.columns]
    examples = chains.examples(library, kept, settings.system)
    data = write_rows(
        out,
        (shaped(example, shape, thinking=thinking, columns=columns) for example in examples),
        typical=typical(shape, thinking=thinking, columns=columns),
    )
    facts = _settings(library, draw, settings)
    card = Card(
        name=draw.name,
        files=(data.name,),
        rows=data.rows or 0,
        shape=shape,
        columns=tuple(typical(shape, thinking=thinking, columns=columns)),
        levels=_levels(draw, kept),
        settings=facts,
        provenance=_provenance(library, draw),
        left_out=tuple(_left_out(library, draw)),
        tags=(*_domains(library, draw), "reasoning", "chain-of-thought", "curriculum"),
    )
    card_file = write_text(beside(out, "card.md"), render(card))
    manifest = write_manifest(
        beside(out, "manifest.json"),
        Manifest(name=draw.name, gradatim=__version__, files=(data, card_file), settings=facts),
    )
    return ExportResult(draw=draw.name, rows=data.rows or 0, files=(data, card_file, manifest))


def _levels(draw: Draw, kept: list[Kept]) -> tuple[LevelCount, ...]:
    counts = Counter(one.level for one in kept)
    return tuple(
        LevelCount(level=level, rows=counts[level], asked=draw.quotas.get(level, 0)) for level in sorted(draw.quotas)
    )


def _left_out(library: Library, draw: Draw) -> list[tuple[str, int]]:
    counts = Counter[str]()
    for _, reason, kept, count in draws.chain_counts(library, draw):
        if not kept:
            counts[reason] += count
    return sorted(counts.items())


def _domains(library: Library, draw: Draw) -> list[str]:
    """Return the kinds of questions whose chains are kept."""
    sql = (
        "SELECT DISTINCT q.domain FROM chain c JOIN attempt a ON a.pk = c.attempt JOIN question q ON q.pk = a.question "
        "WHERE c.draw = ? AND c.kept ORDER BY q.domain DESC"
    )
    return [_TAGS.get(str(domain), str(domain)) for (domain,) in library.all(sql, (draw.pk,))]


def _settings(library: Library, draw: Draw, settings: ExportSettings) -> tuple[tuple[str, str], ...]:
    """What decided the content, in a fixed order; the file's own name does not."""
    curated = library.value("SELECT settings FROM curation WHERE draw = ?", (draw.pk,))
    rule = library.all("SELECT rule, rule_settings FROM grading WHERE pk = ?", (draw.grading,))[0]
    return (
        ("mix", draw.mix),
        ("size", str(draw.size)),
        ("seed", str(draw.seed)),
        ("quotas", ", ".join(f"level {level}: {quota}" for level, quota in sorted(draw.quotas.items()))),
        ("rule", rule[0]),
        ("rule settings", rule[1]),
        ("draw settings", draw.settings),
        ("curation", curated or ""),
        ("format", settings.format),
        ("thinking", settings.thinking),
        ("system", settings.system),
        ("columns", ", ".join(settings.columns)),
    )


def _provenance(library: Library, draw: Draw) -> tuple[tuple[str, str], ...]:
    """Who graded, who taught, who checked; where the questions came from."""
    base = library.all(
        "SELECT g.model, s.sampling, p.name, p.version FROM grading g JOIN setting s ON s.pk "
        "= g.setting LEFT JOIN prm p ON p.pk = g.prm WHERE g.pk = ?",
        (draw.grading,),
    )[0]
    teachers = library.all(
        "SELECT DISTINCT s.model, s.sampling FROM chain c JOIN attempt a ON a.pk = c.attempt "
        "JOIN setting s ON s.pk = a.setting "
        "WHERE c.draw = ? AND c.kept ORDER BY s.model, s.sampling",
        (draw.pk,),
    )
    checkers = library.all(
        "SELECT DISTINCT k.name, k.version FROM chain c JOIN checker k ON k.pk = "
        "(SELECT max(v.checker) FROM fresh v WHERE v.attempt = c.attempt) "
        "WHERE c.draw = ? AND c.kept ORDER BY k.name, k.version",
        (draw.pk,),
    )
    sets = library.all("SELECT name, purpose FROM question_set ORDER BY name")
    return (
        ("base model", base[0]),
        ("base model's sampling", _short(base[1])),
        ("PRM", f"{base[2]} ({base[3]})" if base[2] else "none"),
        *(("teacher", f"{model}; {_short(sampling)}") for model, sampling in teachers),
        *(("checker", f"{name} {version}") for name, version in checkers),
        ("question sets", ", ".join(f"{name} ({purpose})" for name, purpose in sets)),
        ("Gradatim", __version__),
    )


def _short(sampling: str) -> str:
    """Return sampling settings without those that are not set."""
    return json.dumps(
        {name: value for name, value in json.loads(sampling).items() if value not in (None, "", "{}")},
        ensure_ascii=False,
    )
