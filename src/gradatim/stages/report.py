"""Report: one HTML file with all that a library knows of a run, for people to read.

Not in the paper. It reads the library and asks nothing else: no model, no network, no clock. The same library and
settings give the same bytes. Left out: a comparison of strategies over seeds, which `gradatim compare` makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim import __version__
from gradatim.config import ReportSettings
from gradatim.errors import UsageError
from gradatim.formats.write import Written, write_text
from gradatim.library import attempts, counts, draws, grades
from gradatim.reporting.page import render
from gradatim.reporting.records import Figure, Missing, Report
from gradatim.types import Role
from gradatim.work import accuracies, sections, stories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.library.draws import Draw
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library
    from gradatim.reporting.records import Evaluation, Story, Teaching

SHOWN = 6
"""Draws, and gradings, on one page: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """What was written."""

    file: Written
    model: str
    """The graded model that the report is about; empty where nothing is graded."""
    after: str | None
    """The trained model that it is compared with."""
    sections: tuple[str, ...]
    """Those that the page has."""
    missing: tuple[Missing, ...]
    """Those that it has not, with the command that would give each."""


def report(library: Library, settings: ReportSettings | None = None) -> ReportResult:
    """Write the report of a library.

    Raises `UsageError` for a draw or model that is not there, an empty library, or a file that may not be written.
    """
    settings = settings or ReportSettings()
    if library.value("SELECT 1 FROM question LIMIT 1") is None:
        raise UsageError("The library holds no questions yet. Start with: gradatim ingest POOL")
    if settings.after is not None:
        _check_known(library, settings.after)
    scope = _scope(library, settings)
    page = _report(library, settings, scope)
    file = write_text(Path(settings.out), render(page))
    return ReportResult(
        file=file,
        model=page.model,
        after=scope.after,
        sections=tuple(name for name in _SECTIONS if getattr(page, name)),
        missing=page.missing,
    )


def _check_known(library: Library, model: str) -> None:
    """Raise `UsageError` for a model that was neither trained nor evaluated."""
    trained = [row[2] for row in counts.trainings(library)]
    known = dict.fromkeys([*trained, *(one.model for one in attempts.settings(library, Role.EVAL))])
    if model not in known:
        there = f"There are: {', '.join(known)}." if known else "Run first: gradatim evaluate --set SET --model NAME"
        raise UsageError(f"No model {model!r} was trained or evaluated. {there}")


_SECTIONS = ("histograms", "moves", "draws", "scores", "teaching", "lengths", "curves", "evaluations", "stories")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """What a report is about."""

    draws: tuple[Draw, ...]
    main: Draw | None
    """The one that was trained on, else the newest that is finished, else the newest."""
    grading: GradingRow | None
    gradings: tuple[GradingRow, ...]
    """Those whose levels are shown: that of the report's model first, then the newest of each model and rule."""
    before: str
    after: str | None
    left_out: tuple[tuple[str, int], ...]
    """What there is more of than a page shows, and how many."""

    def names(self) -> set[str]:
        """The models whose levels are shown."""
        return {self.before, *(one.model for one in self.gradings)}


def _scope(library: Library, settings: ReportSettings) -> _Scope:
    """Choose draws, grading and models: what was named, else what was trained or drawn last."""
    chosen = [draws.chosen_draw(library, settings.draw)] if settings.draw else draws.draws(library)
    there = grades.gradings(library)
    trained = [
        row for row in counts.trainings(library) if settings.draw in (None, row[4]) and settings.model in (None, row[3])
    ]
    grading = _grading(library, settings, chosen, trained[-1][3] if trained else None)
    before = grading.model if grading else settings.model or (trained[-1][3] if trained else "")
    newest = {(one.model, one.rule): one for one in there}
    others = [one for one in reversed(newest.values()) if grading is None or one.pk != grading.pk]
    after = settings.after or next((row[2] for row in reversed(trained) if row[3] == before), None)
    own = {one.pk for one in there if one.model == before}
    shown = chosen[-SHOWN:]
    trained_on = [row[4] for row in trained if row[3] == before]
    main = _main(library, [draw for draw in chosen if draw.grading in own or draw.name in trained_on], trained_on)
    if main is not None and main not in shown:
        shown = [main, *shown[1:]]
    return _Scope(
        draws=tuple(shown),
        main=main,
        grading=grading,
        gradings=((grading, *others) if grading else ())[:SHOWN],
        before=before,
        after=after,
        left_out=tuple(
            (name, len(of) - SHOWN)
            for name, of in (("draws", chosen), ("gradings", newest), ("trainings", trained))
            if len(of) > SHOWN
        ),
    )


def _grading(library: Library, settings: ReportSettings, chosen: Sequence[Draw], base: str | None) -> GradingRow | None:
    """Return the grading of the newest draw that fits, else the newest of the model."""
    there = grades.gradings(library)
    if not there:
        return None
    wanted = settings.model or base
    by_pk = {one.pk: one for one in there}
    for draw in reversed(chosen):
        if wanted is None or by_pk[draw.grading].model == wanted:
            return by_pk[draw.grading]
    if settings.model is not None:
        return grades.chosen_grading(library, settings.model)
    return next((one for one in reversed(there) if one.model == base), there[-1])


def _main(library: Library, chosen: Sequence[Draw], trained_on: Sequence[str | None]) -> Draw | None:
    """Return the draw that was trained on last, else the newest that has chains, else the newest."""
    by_name = {draw.name: draw for draw in chosen}
    finished = [draw.name for draw in chosen if any(row[2] for row in draws.chain_counts(library, draw))]
    for name in (*reversed(trained_on), *reversed(finished), *reversed(by_name)):
        if name in by_name:
            return by_name[name]
    return None


def _report(library: Library, settings: ReportSettings, scope: _Scope) -> Report:
    found = accuracies.evaluated(library, scope.grading, scope.before, scope.after)
    evaluations = tuple(one.shown for one in found)
    evaluated = {model for one in evaluations for model, _ in one.samples}
    teaching = sections.teaching(library, scope.draws, scope.main)
    page = Report(
        title=settings.title or _title(scope),
        version=__version__,
        model=scope.before,
        after=scope.after,
        figures=(*_gains(evaluations), *_figures(library, scope, teaching)),
        sets=sections.sets(library),
        histograms=sections.histograms(library, scope.gradings),
        moves=sections.moves(library, scope.gradings),
        draws=sections.mixes(library, scope.draws),
        scores=sections.scores(library, scope.before, scope.names()),
        teaching=teaching,
        lengths=sections.lengths(library, scope.draws, scope.before, scope.names() | evaluated),
        curves=sections.curves(library, settings.draw, settings.model)[-SHOWN:],
        evaluations=evaluations,
        stories=_stories(library, scope, found),
        missing=(),
    )
    return _with_missing(page, scope)


def _title(scope: _Scope) -> str:
    if not scope.before:
        return "Gradatim report"
    return f"{scope.before} and {scope.after}" if scope.after else f"What {scope.before} can and cannot solve"


def _gains(evaluations: Sequence[Evaluation]) -> list[Figure]:
    """Return the trained model's gain on each set, the figures that all the others are for."""
    gains = []
    for one in evaluations:
        line = one.lines[0] if one.lines else None
        if line is None or line.difference is None or one.trained_on is not None:
            continue
        before, after, gain = line.models[0], line.models[1], line.difference
        pair = (before.model, after.model)
        # An answer that is cut off is not wrong, and a model that finishes only what is easy gains nothing by it.
        strict = 100 * (after.at_least - before.at_least)
        said = (
            [f"{strict:+.1f} points if undecided answers were wrong"]
            if any(model in pair for model, _ in one.undecided)
            else []
        )
        gains.append(
            Figure(
                name=f"Accuracy gained on {one.set}",
                value=f"{100 * gain.value:+.1f} points",
                note=f"95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}; {100 * before.value:.1f} % "
                + "; ".join(
                    [f"before, {100 * after.value:.1f} % after, {line.questions:,} questions", *said, *one.notes]
                ),
                main=True,
            )
        )
    return gains


def _figures(library: Library, scope: _Scope, teaching: Sequence[Teaching]) -> list[Figure]:
    """Return what stands beside the gain: models, questions, the draw, the teacher's bill."""
    sets = counts.set_counts(library)
    pool = sum(row[2] for row in sets if row[1] == "pool")
    held_out = sum(row[2] for row in sets if row[1] == "eval")
    found = [Figure(name="Base model", value=scope.before)] if scope.before else []
    found += [Figure(name="Trained model", value=scope.after)] if scope.after else []
    found.append(Figure(name="Questions in pools", value=f"{pool:,}", note=f"{held_out:,} in evaluation sets"))
    if scope.main is not None:
        size = f"{sum(scope.main.quotas.values()):,}"
        found.append(Figure(name=f"Draw {scope.main.name}", value=f"{size} questions", note=scope.main.mix))
        found += [figure for one in teaching if one.draw == scope.main.name for figure in _bill(one)]
    return found


def _bill(teaching: Teaching) -> list[Figure]:
    total = teaching.lines[-1]
    cost = "" if total.cost is None else f"; cost {total.cost:,.4g}"
    return [
        Figure(name="Chains kept", value=f"{total.kept:,}", note=f"of {total.attempts:,} answers by the teacher"),
        Figure(name="Teacher's tokens", value=f"{total.tokens:,}", note=f"{', '.join(teaching.teachers)}{cost}"),
    ]


def _stories(library: Library, scope: _Scope, found: Sequence[accuracies.Found]) -> tuple[Story, ...]:
    if scope.grading is None:
        return ()
    cast = stories.Cast(grading=scope.grading, after=scope.after)
    told = stories.taught(library, cast, scope.main) if scope.main else []
    for one in found:
        if one.pair is not None:
            told += stories.held_out(library, cast, *one.pair)
    return tuple(told)


def _with_missing(page: Report, scope: _Scope) -> Report:
    """Say which sections have no data, and what would give it."""
    name = scope.main.name if scope.main else "DRAW"
    compared = any(one.after for one in page.evaluations)
    table = (
        (not page.histograms, "Levels", "nothing is graded", "gradatim attempt; gradatim verify; gradatim grade"),
        (
            page.moves is None and bool(page.histograms),
            "Two models' levels",
            "one model is graded",
            "gradatim attempt --model OTHER; gradatim verify; gradatim grade",
        ),
        (not page.draws, "Mixes", "nothing is drawn", "gradatim sample --mix curriculum:5,4,3,2,1 --size 2000"),
        (not page.scores, "PRM score and outcome", "nothing is scored; set [prm]", "gradatim grade"),
        (not page.teaching, "The teacher's work", "no chain was asked for", f"gradatim teach {name}"),
        (not page.lengths, "Lengths", "no answer has a count of tokens", "gradatim attempt"),
        (not page.curves, "Loss", "nothing is trained", f"gradatim train {name}"),
        (not page.evaluations, "Accuracy", "nothing is evaluated", "gradatim evaluate --set SET --model NAME"),
        (
            bool(page.evaluations) and not compared,
            "Before and after",
            "no set has answers of a model and of what it was trained to",
            "gradatim evaluate --set SET --model NAME",
        ),
        (
            not page.stories,
            "Single questions",
            "no question has a wrong answer and a kept chain",
            f"gradatim curate {name}",
        ),
    )
    missing = tuple(Missing(section=name, why=why, command=command) for without, name, why, command in table if without)
    missing += tuple(
        Missing(
            section=f"Older {what}", why=f"{count:,} are left out", command="gradatim report --draw NAME --model NAME"
        )
        for what, count in scope.left_out
    )
    return Report(**{name: getattr(page, name) for name in page.__slots__ if name != "missing"}, missing=missing)
