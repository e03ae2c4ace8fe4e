"""Accuracy for a report: every evaluated model on each set, and the trained model against its base.

All arithmetic is `method/evaluation.py`'s and all counting `library/evaluations.py`'s: the figures are those that
`gradatim evaluate` prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library import evaluations
from gradatim.method.evaluation import Tally, avg_at_k, paired_bootstrap
from gradatim.reporting.records import Accuracy, AccuracyLine, Difference, Flow
from gradatim.reporting.records import Evaluation as Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradatim.library.evaluations import Evaluation
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library

MODELS = 6
"""On one plot: more cannot be told apart."""
SOURCES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One set's evaluations, with those that are compared."""

    shown: Shown
    before: Evaluation | None
    after: Evaluation | None


def evaluated(library: Library, grading: GradingRow | None, before: str, after: str | None) -> list[Found]:
    """Each set that a model was evaluated on."""
    everything = evaluations.evaluations(library)
    found = []
    for pk in dict.fromkeys(one.set.pk for one in everything):
        there = [one for one in everything if one.set.pk == pk]
        chosen = _one_each(there, before, after)
        by_model = {one.setting.model: one for one in chosen}
        first, second = by_model.get(before), by_model.get(after or "")
        found.append(
            Found(shown=_shown(library, grading, chosen, first, second), before=first, after=second if first else None)
        )
    return found


def _one_each(there: Sequence[Evaluation], before: str, after: str | None) -> list[Evaluation]:
    """Return one evaluation per model: that which asks as the trained model's newest does, else the newest.

    The base model comes first and the trained model second; of the others, the newest.
    """
    newest = {one.setting.model: one for one in there}
    pattern = newest.get(after or "") or there[-1]
    for one in there:
        if one.setting.sampling == pattern.setting.sampling:
            newest[one.setting.model] = one
    first = [newest.pop(name) for name in (before, after) if name is not None and name in newest]
    others = sorted(newest.values(), key=lambda one: -one.setting.pk)
    return [*first, *others][:MODELS]


def _shown(
    library: Library,
    grading: GradingRow | None,
    chosen: Sequence[Evaluation],
    first: Evaluation | None,
    second: Evaluation | None,
) -> Shown:
    tallies = {one.setting.model: _tallies(library, one) for one in chosen}
    set_ = chosen[0].set
    pair = (first.setting.model, second.setting.model) if first and second else None
    lines = []
    for kind, name, keys in _groups(library, grading, chosen):
        line = _line(kind, name, keys, tallies, pair)
        lines += [line] if line else []
    return Shown(
        set=set_.name,
        samples=tuple((one.setting.model, one.samples) for one in chosen),
        before=pair[0] if pair else None,
        after=pair[1] if pair else None,
        lines=tuple(lines),
        flow=_flow(library, first, second) if first and second else None,
        undecided=tuple((one.setting.model, one.undecided) for one in chosen if one.undecided),
    )


def _tallies(library: Library, one: Evaluation) -> dict[int, Tally]:
    """Return each question's tally, where any of its samples was decided."""
    return {
        row.question: Tally(correct=row.correct, samples=row.decided)
        for row in evaluations.answered(library, one.setting, one.set)
        if row.decided
    }


def _groups(
    library: Library, grading: GradingRow | None, chosen: Sequence[Evaluation]
) -> list[tuple[str, str, set[int] | None]]:
    """Return kind, name and question keys of the groups that accuracy is shown for; None means all."""
    set_ = chosen[0].set
    groups: list[tuple[str, str, set[int] | None]] = [("all", "all questions", None)]
    levels: Mapping[int, int] = evaluations.levels(library, grading, set_) if grading else {}
    groups += [
        ("level", str(level), {pk for pk, of in levels.items() if of == level})
        for level in sorted(set(levels.values()))
    ]
    sources: dict[str, set[int]] = {}
    for pk, name in evaluations.sources(library, set_).items():
        sources.setdefault(name, set()).add(pk)
    if len(sources) > 1:
        largest = sorted(sources.items(), key=lambda item: (-len(item[1]), item[0]))[:SOURCES]
        groups += [("source", name, keys) for name, keys in largest]
    return groups


def _line(
    kind: str,
    name: str,
    keys: set[int] | None,
    tallies: Mapping[str, Mapping[int, Tally]],
    pair: tuple[str, str] | None,
) -> AccuracyLine | None:
    within = {
        model: {pk: tally for pk, tally in of.items() if keys is None or pk in keys} for model, of in tallies.items()
    }
    models = []
    for model, of in within.items():
        if of:
            sure = avg_at_k(list(of.values()))
            models.append(Accuracy(model=model, value=sure.value, low=sure.low, high=sure.high))
    if not models:
        return None
    count = len(set().union(*within.values()))
    return AccuracyLine(
        kind=kind,
        name=name,
        questions=count,
        models=tuple(models),
        difference=_difference(within[pair[0]], within[pair[1]]) if pair else None,
    )


def _difference(before: Mapping[int, Tally], after: Mapping[int, Tally]) -> Difference | None:
    """Return the trained model's accuracy minus the base model's, on the questions that both have."""
    both = sorted(before.keys() & after.keys())
    if not both:
        return None
    found = paired_bootstrap([after[pk].rate for pk in both], [before[pk].rate for pk in both])
    return Difference(value=found.value, low=found.low, high=found.high)


def _flow(library: Library, first: Evaluation, second: Evaluation) -> Flow:
    """Count what became of each question's first sample."""
    before, after = (
        {
            row.question: bool(row.correct)
            for row in evaluations.answered(library, one.setting, one.set, 1)
            if row.decided
        }
        for one in (first, second)
    )
    pairs = [(before[pk], after[pk]) for pk in before.keys() & after.keys()]
    return Flow(
        both_right=pairs.count((True, True)),
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        both_wrong=pairs.count((False, False)),
    )
