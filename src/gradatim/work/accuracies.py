"""Accuracy for a report: every evaluated model on each set, and the trained model against its base.

All figures are `work/figures.py`'s, those that `gradatim evaluate` prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library import evaluations, questions
from gradatim.reporting.records import Accuracy, AccuracyLine, Difference, Flow
from gradatim.reporting.records import Evaluation as Shown
from gradatim.work import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gradatim.library.evaluations import Answered, Evaluation
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library

MODELS = 6
"""On one plot: more cannot be told apart."""
SOURCES = 12
"""The largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One set's figures, and the evaluations that are compared, where both are there."""

    shown: Shown
    pair: tuple[Evaluation, Evaluation] | None


def evaluated(library: Library, grading: GradingRow | None, before: str, after: str | None) -> list[Found]:
    """Each set that a model was evaluated on."""
    everything = evaluations.evaluations(library)
    found = []
    for pk in dict.fromkeys(one.set.pk for one in everything):
        there = [one for one in everything if one.set.pk == pk]
        chosen = _one_each(there, before, after)
        left_out = len({one.setting.model for one in there}) - len(chosen)
        by_model = {one.setting.model: one for one in chosen}
        pair = (by_model[before], by_model[after]) if after and before in by_model and after in by_model else None
        found.append(Found(shown=_shown(library, grading, chosen, pair, left_out), pair=pair))
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
    pair: tuple[Evaluation, Evaluation] | None,
    left_out: int,
) -> Shown:
    set_ = chosen[0].set
    rows = {one.setting.model: evaluations.answered(library, one.setting, set_) for one in chosen}
    models = (pair[0].setting.model, pair[1].setting.model) if pair else None
    lines = [_line("all", "all", rows, models)]
    levels = evaluations.levels(library, grading, set_) if grading else {}
    names = {pk: str(level) for pk, level in levels.items()}
    lines += [_line("level", level, _of(rows, names, level), models) for level in sorted(set(names.values()))]
    sources = evaluations.sources(library, set_)
    sizes = {name: sum(of == name for of in sources.values()) for name in set(sources.values())}
    if len(sizes) > 1:
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:SOURCES]
        lines += [_line("source", name, _of(rows, sources, name), models) for name in largest]
    return Shown(
        set=set_.name,
        samples=tuple((one.setting.model, one.samples) for one in chosen),
        before=models[0] if models else None,
        after=models[1] if models else None,
        lines=tuple(line for line in lines if line.models),
        flow=_flow(library, pair) if pair else None,
        trained_on=_trained_on(library, chosen),
        undecided=tuple((one.setting.model, one.undecided) for one in chosen if one.undecided),
        left_out=left_out,
        notes=tuple(_notes(library, chosen, pair)),
    )


def _notes(library: Library, chosen: Sequence[Evaluation], pair: tuple[Evaluation, Evaluation] | None) -> Iterator[str]:
    """Say what makes models hard to compare."""
    if pair is not None and pair[0].setting.sampling != pair[1].setting.sampling:
        before, after = (one.setting for one in pair)
        yield f"{before.model} was asked otherwise than {after.model}: {figures.differing(after, before)}."
    count = questions.count_active(library, [chosen[0].set])
    for one in chosen:
        if one.questions < count:
            yield f"{one.setting.model} has answers to {one.questions:,} of the set's {count:,} questions."


def _trained_on(library: Library, chosen: Sequence[Evaluation]) -> int | None:
    """Return how many questions a model may have learnt from; None where the set is held out from all of them."""
    found = [evaluations.overlap(library, one.set, one.setting.model) for one in chosen]
    if chosen[0].set.purpose == "eval" and all(one.clean for one in found):
        return None
    return max(one.trained + one.near_drawn + one.replayed for one in found)


def _of(rows: Mapping[str, Sequence[Answered]], names: Mapping[int, str], name: str) -> dict[str, list[Answered]]:
    """Return each model's answers to the questions of this name."""
    return {model: [one for one in of if names.get(one.question) == name] for model, of in rows.items()}


def _line(kind: str, name: str, rows: Mapping[str, Sequence[Answered]], models: tuple[str, str] | None) -> AccuracyLine:
    """Return a group's figures; a model without a decided answer is not among them."""
    shown = []
    for model, of in rows.items():
        line = figures.line(kind, name, of)
        if line.accuracy is not None and line.at_least is not None:
            sure = line.accuracy
            accuracy = Accuracy(
                model=model, value=sure.value, low=sure.low, high=sure.high, at_least=line.at_least.value
            )
            shown.append(accuracy)
    found = figures.compared(rows[models[1]], rows[models[0]], strict=False) if models else None
    return AccuracyLine(
        kind=kind,
        name=name,
        questions=len({one.question for of in rows.values() for one in of}),
        models=tuple(shown),
        difference=None if found is None else Difference(value=found.value, low=found.low, high=found.high, p=found.p),
    )


def _flow(library: Library, pair: tuple[Evaluation, Evaluation]) -> Flow:
    """Count what became of each question's first sample."""
    before, after = (
        {
            row.question: bool(row.correct)
            for row in evaluations.answered(library, one.setting, one.set, 1)
            if row.decided
        }
        for one in pair
    )
    ends = [(before[pk], after[pk]) for pk in before.keys() & after.keys()]
    return Flow(
        both_right=ends.count((True, True)),
        gained=ends.count((False, True)),
        lost=ends.count((True, False)),
        both_wrong=ends.count((False, False)),
    )
