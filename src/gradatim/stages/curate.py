"""Curate: decide which of the teacher's attempts are kept as chains, and say why for each of the others.

One chain per question, at most a level's quota of them, in the draw's order. Derived from what the library holds: other
filters can be tried as often as one likes and cost nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import CurateSettings
from gradatim.errors import UsageError
from gradatim.library import draws
from gradatim.library.draws import Curated
from gradatim.library.text import unpack
from gradatim.work.keeping import drop_reason

if TYPE_CHECKING:
    from gradatim.library.store import Library, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateLine:
    """What one level yields."""

    level: int
    quota: int
    kept: int
    attempts: int
    reasons: dict[str, int]
    """Attempts that were not kept, per reason."""
    tokens_per_chain: float | None
    """Tokens that the teacher wrote at this level, divided by the chains kept."""
    cost: float | None
    """Of all attempts at this level, in the currency of the price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateResult:
    """The finished set of a draw."""

    draw: str
    kept: int
    asked: int
    lines: tuple[CurateLine, ...]


def curate(library: Library, name: str, settings: CurateSettings | None = None) -> CurateResult:
    """Decide on every teacher's attempt at the draw's questions.

    Raises `UsageError` where there is no such draw, or the teacher has not answered any of it.
    """
    settings = settings or CurateSettings()
    draw = draws.chosen_draw(library, name)
    rows = draws.teacher_attempts(library, draw)
    if not rows:
        raise UsageError(
            f"No teacher has answered questions of {draw.name!r} yet. Run first: gradatim teach {draw.name}"
        )
    decisions: list[Curated] = []
    kept = Counter[int]()
    through: set[int] = set()
    never = draws.undrawable(library)
    for row in rows:
        level, question, attempt = row[0], row[2], row[3]
        # Excluded after the draw was made: an evaluation set came later.
        reason = "question_excluded" if question in never else _reason(library, row, settings)
        if not reason and question in through:
            reason = "another_kept"
        elif not reason and kept[level] >= draw.quotas.get(level, 0):
            reason = "over_quota"
        if not reason:
            kept[level] += 1
            through.add(question)
        decisions.append(Curated(attempt=attempt, level=level, kept=not reason, reason=reason or "kept"))
    draws.write_chains(library, draw, msgspec.json.encode(settings, order="sorted").decode(), decisions)
    lines = tuple(_line(level, quota, rows, decisions) for level, quota in sorted(draw.quotas.items()))
    return CurateResult(draw=draw.name, kept=kept.total(), asked=sum(draw.quotas.values()), lines=lines)


def _reason(library: Library, row: Row, settings: CurateSettings) -> str:
    """Return why an attempt cannot be a chain; its texts are read only where its verdict allows one."""
    early = drop_reason(row[5], "x", "", None, settings) if row[5] is None or row[5] != "correct" else ""
    if early in ("not_verified", "wrong", "undecided"):
        return early
    content, reasoning = library.all("SELECT content, reasoning FROM answer_text WHERE attempt = ?", (row[3],))[0]
    return drop_reason(row[5], unpack(content), unpack(reasoning), row[7], settings)


def _line(level: int, quota: int, rows: list[Row], decisions: list[Curated]) -> CurateLine:
    own = [(row, decision) for row, decision in zip(rows, decisions, strict=True) if decision.level == level]
    kept = sum(decision.kept for _, decision in own)
    costs = [row[8] for row, _ in own if row[8] is not None]
    written = sum(row[10] or 0 for row, _ in own)
    return CurateLine(
        level=level,
        quota=quota,
        kept=kept,
        attempts=len(own),
        reasons=dict(Counter(decision.reason for _, decision in own if not decision.kept).most_common()),
        tokens_per_chain=written / kept if kept else None,
        cost=sum(costs) if costs else None,
    )
