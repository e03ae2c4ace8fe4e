"""The sections of a report that count: from the library's rows to the records that a page shows.

A section without data is an empty tuple here; `stages/report.py` says which command would fill it.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import SampleSettings
from gradatim.library import counts, draws, grades, questions
from gradatim.method.levels import LEVELS
from gradatim.method.mix import Mix, observed_mix, parse_mix, quotas
from gradatim.method.stats import wilson
from gradatim.reporting.records import (
    Curve,
    DrawMix,
    Histogram,
    LengthLine,
    LevelLine,
    LossPoint,
    MixLine,
    Moves,
    ScoreLine,
    ScoreSplit,
    SetCount,
    Teaching,
    YieldLine,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from gradatim.library.draws import Draw
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library, Row

POINTS = 200
"""Of a loss curve: more than a page has room for, and a long training stays small."""
UNKNOWN = "no verdict"
"""How an attempt that was not verified is called where outcomes are counted."""


def sets(library: Library) -> tuple[SetCount, ...]:
    """The sets of questions."""
    return tuple(
        SetCount(name=name, purpose=purpose, questions=count, excluded=excluded)
        for name, purpose, count, excluded in counts.set_counts(library)
    )


def histograms(library: Library, gradings: Sequence[GradingRow]) -> tuple[Histogram, ...]:
    """Each grading's levels over the pools."""
    return tuple(
        Histogram(model=one.model, rule=one.rule, cuts=_cuts(one), grading=one.id, lines=lines)
        for one in gradings
        if (lines := tuple(_level(*row) for row in counts.graded_levels(library, one.pk)))
    )


def _level(
    level: int | None, count: int, score: float | None, attempts: int, correct: int, tests: float | None
) -> LevelLine:
    return LevelLine(level=level, questions=count, score=score, attempts=attempts, correct=correct, tests=tests)


def _cuts(grading: GradingRow) -> str:
    settings = json.loads(grading.rule_settings)
    cuts = settings.get("cuts") if isinstance(settings, dict) else None
    if isinstance(cuts, list):
        return ", ".join(f"{cut:.3g}" for cut in cuts)
    return str(cuts or "")


def moves(library: Library, gradings: Sequence[GradingRow]) -> Moves | None:
    """How two models' levels differ: those of the first grading and of the next one of another model."""
    if not gradings:
        return None
    first = gradings[0]
    second = next((one for one in gradings if one.model != first.model), None)
    if second is None:
        return None
    cells = tuple((row[0], row[1], row[2]) for row in grades.moves(library, first, second))
    total = sum(count for _, _, count in cells)
    if not total:
        return None
    changed = sum(count for one, other, count in cells if one != other)
    return Moves(first=first.model, second=second.model, counts=cells, questions=total, changed=changed)


def mixes(library: Library, there: Sequence[Draw]) -> tuple[DrawMix, ...]:
    """Each draw: asked, drawn and finished per level."""
    return tuple(_mix(library, draw) for draw in there)


def _mix(library: Library, draw: Draw) -> DrawMix:
    grading = next(one for one in grades.gradings(library) if one.pk == draw.grading)
    asked = quotas(_weights(library, draw, grading), draw.size)
    finished: dict[int, int] = {}
    for level, _, kept, count in draws.chain_counts(library, draw):
        finished[level] = finished.get(level, 0) + (count if kept else 0)
    return DrawMix(
        draw=draw.name,
        model=grading.model,
        mix=draw.mix,
        size=draw.size,
        seed=draw.seed,
        lines=tuple(
            MixLine(
                level=level,
                asked=asked.get(level, 0),
                drawn=draw.quotas.get(level, 0),
                finished=finished.get(level, 0),
            )
            for level in LEVELS
        ),
    )


def _weights(library: Library, draw: Draw, grading: GradingRow) -> Sequence[float]:
    """Return the weights that a draw asked for; of an observed mix, by the grading that it was drawn from."""
    settings = msgspec.json.decode(draw.settings, type=SampleSettings)
    mix = parse_mix(settings.mix, settings.easy)
    if isinstance(mix, Mix):
        return mix.weights
    of_set = next(one for one in questions.sets(library) if one.name == mix.set_name)
    histogram = grades.histogram(library, grading, of_set.pk)
    known = {level: count for level, count in histogram.items() if level is not None}
    return observed_mix(known, mix.set_name, settings.easy).weights


def scores(library: Library, before: str, names: Container[str]) -> tuple[ScoreSplit, ...]:
    """Each PRM's mean step scores of these models' attempts, by outcome; the report's own model comes first."""
    reasons: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for model, prm, reason, count in counts.unscored(library):
        reasons.setdefault((model, prm), []).append((reason, count))
    found = []
    for (model, prm), rows in itertools.groupby(counts.score_bins(library), key=lambda row: (row[0], row[1])):
        lines = [
            _score_line(outcome or UNKNOWN, list(group))
            for outcome, group in itertools.groupby(rows, key=lambda row: row[2])
        ]
        none = tuple(reasons.get((model, prm), ()))
        found.append(ScoreSplit(model=model, prm=prm, lines=tuple(lines), unscored=none))
    return tuple(sorted((one for one in found if one.model in names), key=lambda one: one.model != before))


def _score_line(outcome: str, rows: list[Row]) -> ScoreLine:
    bins = [0] * counts.BINS
    for row in rows:
        bins[row[3]] += row[4]
    total = sum(bins)
    return ScoreLine(
        outcome=outcome, attempts=total, mean=round(sum(row[5] for row in rows) / total, 6), counts=tuple(bins)
    )


def teaching(library: Library, there: Sequence[Draw], main: Draw | None) -> tuple[Teaching, ...]:
    """What the chains of each draw took: of those that have some, and of the main one while it has none yet.

    A teacher's answer counts in each draw that has its question, whichever draw it was asked for.
    """
    found = (_teaching(library, draw, rows) for draw in there if (rows := counts.teaching(library, draw)))
    return tuple(one for one in found if one.lines[-1].kept or (main and one.draw == main.name))


def _teaching(library: Library, draw: Draw, rows: list[Row]) -> Teaching:
    costs = [row[4] for row in rows if row[4] is not None]
    total = (None, *(sum(row[at] for row in rows) for at in (1, 2, 3)), sum(costs) if costs else None)
    reasons: dict[str, int] = {}
    for _, reason, kept, count in draws.chain_counts(library, draw):
        if not kept:
            reasons[reason] = reasons.get(reason, 0) + count
    return Teaching(
        draw=draw.name,
        teachers=tuple(counts.teachers(library, draw)),
        lines=tuple(_yield(*row) for row in [*rows, (*total, sum(row[5] for row in rows))]),
        not_kept=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )


def _yield(level: int | None, attempts: int, correct: int, tokens: int, cost: float | None, kept: int) -> YieldLine:
    low, high = wilson(correct, attempts)
    return YieldLine(
        level=level,
        attempts=attempts,
        correct=correct,
        share=correct / attempts,
        low=low,
        high=high,
        kept=kept,
        tokens=tokens,
        tokens_per_chain=tokens / kept if kept else None,
        cost=cost,
        cost_per_chain=cost / kept if kept and cost is not None else None,
    )


def lengths(library: Library, there: Sequence[Draw], before: str, names: Container[str]) -> tuple[LengthLine, ...]:
    """The lengths of these models' attempts by outcome, the report's own first, and of kept chains by level."""
    lines = []
    for role, words in (("base", "attempts"), ("eval", "evaluation")):
        rows = [row for row in counts.answer_lengths(library, role) if row[0] in names]
        rows.sort(key=lambda row: row[0] != before)
        for (model, outcome), group in itertools.groupby(rows, key=lambda row: (row[0], row[1])):
            lines.append(_length(f"{model}, {words}", outcome or UNKNOWN, ((row[2], row[3]) for row in group)))
    for draw in there:
        for level, group in itertools.groupby(counts.chain_lengths(library, draw), key=lambda row: row[0]):
            lines.append(_length(f"{draw.name}, kept chains", f"level {level}", ((row[1], row[2]) for row in group)))
    return tuple(line for line in lines if line is not None)


def _length(group: str, what: str, counted: Iterable[tuple[int | None, int]]) -> LengthLine | None:
    """Return the quantiles (nearest rank) of lengths with their counts, None where nobody counted tokens."""
    uncounted, known = 0, []
    for tokens, count in counted:
        if tokens is None:
            uncounted += count
        else:
            known.append((tokens, count))
    total = sum(count for _, count in known)
    if not total:
        return None
    p5, p25, p50, p75, p95 = (_quantile(known, total, share) for share in (5, 25, 50, 75, 95))
    return LengthLine(
        group=group, what=what, answers=total, uncounted=uncounted, p5=p5, p25=p25, p50=p50, p75=p75, p95=p95
    )


def _quantile(rising: list[tuple[int, int]], total: int, percent: int) -> int:
    rank = max(1, -(-total * percent // 100))
    for tokens, count in rising:
        rank -= count
        if rank <= 0:
            return tokens
    return rising[-1][0]


def curves(library: Library, draw: str | None, base: str | None) -> tuple[Curve, ...]:
    """Each training that has taken a step: of one draw or of all, of one base model or of all."""
    return tuple(
        Curve(
            training=id_,
            model=model,
            base=from_,
            draw=of_draw,
            chains=chains,
            replayed=replayed,
            steps=steps,
            done=done,
            points=tuple(
                LossPoint(step=step, epoch=epoch, loss=loss, learning_rate=rate, tokens=tokens)
                for step, epoch, loss, rate, tokens in counts.loss_curve(library, pk, POINTS)
            ),
        )
        for pk, id_, model, from_, of_draw, chains, replayed, steps, done in counts.trainings(library)
        if draw in (None, of_draw) and base in (None, from_)
    )
