"""Evaluate: how good a model is on questions that nobody was trained on, how sure that is, and against whom.

The last step of arXiv 2504.11919, which reports one number per benchmark. A model answers what is missing of each set
with attempts of the role `eval`, the checkers judge them, and all figures are derived from the newest verdicts: a rerun
asks nothing. What is drawn to train on is not held out, and is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.config import EvaluateSettings
from gradatim.config.benchmarks import BENCHMARKS
from gradatim.errors import UsageError
from gradatim.library import attempts, evaluations, furthers, grades, questions
from gradatim.library.furthers import NONE, CutOff
from gradatim.progress import Progress, silent
from gradatim.types import Role
from gradatim.work import figures
from gradatim.work.answering import Means, Wanted, answer
from gradatim.work.figures import Comparison, Line, PassAt
from gradatim.work.served import kept
from gradatim.work.truncation import policy_of
from gradatim.work.verifying import judge_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.config import VerifySettings
    from gradatim.library.attempts import Setting
    from gradatim.library.evaluations import Answered, Overlap
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings
    from gradatim.work.answering import AttemptResult

_MANY_UNDECIDED = 0.02
"""From this share on, undecided answers may move the accuracy by as much as a good method does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """How a model did on one set."""

    model: str
    set: str
    setting: str
    samples: int
    temperature: float | None
    questions: int
    """Of the set."""
    left: int
    """Answers that are still missing."""
    asked: AttemptResult | None
    """What was asked in this run; None where nothing was missing, or nobody was there to ask."""
    overall: Line
    passes: tuple[PassAt, ...]
    lines: tuple[Line, ...]
    """By level, by source, by the column that was asked for; what has one value only is left out."""
    levels_of: str
    """The model and rule whose levels these are; empty where there are none."""
    undecided: dict[str, int]
    """Answers per reason."""
    unjudged: int
    """Answers that a fault of the checker kept from a verdict; the next run tries again."""
    mean_tokens: float | None
    """Tokens written per answer, as the server counted them."""
    overlap: Overlap
    against: Comparison | None = None
    notes: tuple[str, ...] = ()
    cut_off: CutOff = NONE
    """How many of the answers were cut off, and what has become of them."""


def evaluate(
    library: Library,
    model: Model | str,
    settings: EvaluateSettings | None = None,
    *,
    verify: VerifySettings | None = None,
    setting: str | None = None,
    against: str | None = None,
    engine: EngineSettings | None = None,
    price: Price | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> list[EvaluateResult]:
    """Evaluate a model on each of the sets; a model that is only named is asked nothing.

    `setting` is the id of an earlier evaluation of a named model, whatever the settings say; `against` names another
    model whose answers to the same sets are there. Raises `UsageError` where a set is not held out (a pool, or
    questions of it in a draw), where a named model or the other one has no answers, or a column is not there; and what
    asking raises. What was answered is in the library in each case.
    """
    settings = settings or EvaluateSettings()
    sets = chosen_sets(library, settings)
    name = model if isinstance(model, str) else model.name
    for one in sets:
        _check_held_out(library, one, name, settings)
        _check_column(library, one, settings.by)
    levels_of = _grading(library, name, settings)
    own = _named(library, name, sets, settings, setting) if isinstance(model, str) else None
    sampling = attempts.sampling_text(settings.sampling()) if own is None else own.sampling
    others = {} if against is None else {one.pk: _other(library, one, against, (name, sampling)) for one in sets}
    asked: dict[int, AttemptResult] = {}
    if not isinstance(model, str):
        means = Means(engine=engine, price=price, budget=budget, progress=progress)
        asked = _ask(library, model, sets, settings, means)
    chosen = own or attempts.ensure_setting(library, Role.EVAL, name, sampling)
    judge_all(library, verify, role=Role.EVAL, progress=progress)
    frame = _Frame(library=library, setting=chosen, settings=settings, grading=levels_of)
    return [frame.result(one, asked.get(one.pk), others.get(one.pk)) for one in sets]


def chosen_sets(library: Library, settings: EvaluateSettings) -> list[QuestionSet]:
    """Return the sets that are named, or those of the presets, or all evaluation sets. Raises `UsageError`."""
    names = [*(settings.sets or ()), *settings.presets]
    if names:
        return [_not_empty(library, one) for one in questions.chosen_sets(library, list(dict.fromkeys(names)))]
    found = [one for one in questions.chosen_sets(library, None) if one.purpose == "eval"]
    if not found:
        raise UsageError(
            "The library holds no evaluation set. Read one with: gradatim ingest FILE --eval --set NAME, "
            "or a public one with: gradatim evaluate --preset math500"
        )
    return [_not_empty(library, one) for one in found]


def _not_empty(library: Library, set_: QuestionSet) -> QuestionSet:
    if not questions.count_active(library, [set_]):
        raise UsageError(f"The set {set_.name!r} holds no question to answer. See: gradatim show --dropped")
    return set_


def samples_of(library: Library, set_: QuestionSet, settings: EvaluateSettings) -> int:
    """Return how many answers each question of the set is to have."""
    if settings.samples is not None:
        return settings.samples
    count = questions.count_active(library, [set_])
    # Thirty questions with one answer each say little; where there are thousands, the questions say enough.
    return 16 if count <= 100 else 4 if count <= 1000 else 1


def missing(library: Library, model: str, settings: EvaluateSettings) -> int:
    """Return how many answers of a model to the chosen sets are still to be had, further ones included."""
    there = attempts.find(library, Role.EVAL, model, attempts.sampling_text(settings.sampling()))
    sets = chosen_sets(library, settings)
    count = sum(_missing(library, there, one, settings) for one in sets)
    if settings.truncated == "keep":
        return count
    return count + sum(
        furthers.count(library, there, [one], samples_of(library, one, settings)).waiting for one in sets
    )


def _missing(library: Library, setting: Setting | None, set_: QuestionSet, settings: EvaluateSettings) -> int:
    samples = samples_of(library, set_, settings)
    done = 0 if setting is None else attempts.count_done(library, setting, [set_], samples)
    return questions.count_active(library, [set_]) * samples - done


def _ask(
    library: Library, model: Model, sets: Sequence[QuestionSet], settings: EvaluateSettings, means: Means
) -> dict[int, AttemptResult]:
    """Ask for what is missing, set after set, until a limit ends it."""
    asked: dict[int, AttemptResult] = {}
    with kept(model):
        for one in sets:
            wanted = Wanted(
                stage="evaluate",
                role=Role.EVAL,
                sets=[one],
                samples=samples_of(library, one, settings),
                sampling=settings.sampling(),
                truncated=policy_of(settings, model),
            )
            result = answer(library, model, wanted, means)
            if result.wanted > result.before or result.asked_further or result.faults or result.stopped:
                asked[one.pk] = result
            if result.stopped:
                break
    return asked


def _check_held_out(library: Library, set_: QuestionSet, model: str, settings: EvaluateSettings) -> None:
    """Raise `UsageError` where a model may have been trained on questions of the set."""
    if settings.allow_overlap:
        return
    if set_.purpose != "eval":
        raise UsageError(
            f"The set {set_.name!r} is a pool to draw from, so its questions are not held out. Read held-out ones "
            "with: gradatim ingest FILE --eval --set NAME; or evaluate on it all the same: --allow-overlap"
        )
    overlap = evaluations.overlap(library, set_, model)
    if not overlap.clean:
        raise UsageError(
            f"The set {set_.name!r} is not held out from {model!r}: {_what_overlaps(overlap)}, before the set was "
            "read. Train on a draw that is made now; or evaluate all the same: --allow-overlap"
        )


def _what_overlaps(overlap: Overlap) -> str:
    near = f", and {overlap.near_drawn:,} that share a passage with one of them" if overlap.near_drawn else ""
    drawn = f"{overlap.drawn:,} of its {overlap.questions:,} questions{near} are in the draw {', '.join(overlap.draws)}"
    again = f"answers to {overlap.replayed:,} of its questions were replayed in training"
    return ", and ".join([*([drawn] if overlap.draws else []), *([again] if overlap.replayed else [])])


def _check_column(library: Library, set_: QuestionSet, name: str) -> None:
    if name and not evaluations.column(library, set_, name):
        there = ", ".join(evaluations.columns(library, set_)) or "none"
        raise UsageError(f"The questions of {set_.name!r} have no column {name!r} to go by. There are: {there}.")


def _named(
    library: Library, model: str, sets: Sequence[QuestionSet], settings: EvaluateSettings, id_: str | None
) -> Setting:
    """Return the setting of a model that cannot be asked. Raises `UsageError` where it has not answered all."""
    if id_ is not None:
        found = attempts.find_setting(library, id_)
        if found is None or found.role != Role.EVAL or found.model != model:
            raise UsageError(f"There is no evaluation {id_!r} of {model!r}.{_there(library, model)}")
        return found
    found = attempts.find(library, Role.EVAL, model, attempts.sampling_text(settings.sampling()))
    left = {one.name: count for one in sets if (count := _missing(library, found, one, settings))}
    if found is None or left:
        raise UsageError(
            f"{model!r} has not answered all that these settings ask for: {sum(left.values()):,} answers to "
            f"{', '.join(left)} are missing.{_there(library, model)} To ask for them, set the model in gradatim.toml "
            "or give --base-url."
        )
    return found


def _there(library: Library, model: str) -> str:
    """Say which evaluations of a model there are, or whose there are."""
    of_it = evaluations.evaluations(library, model)
    if of_it:
        words = (f"{one.set.name} x {one.samples} (--setting {one.setting.id})" for one in of_it)
        return f" There are: {', '.join(words)}."
    others = dict.fromkeys(one.setting.model for one in evaluations.evaluations(library))
    return f" Evaluated are: {', '.join(others)}." if others else ""


def _other(library: Library, set_: QuestionSet, model: str, own: tuple[str, str]) -> evaluations.Evaluation:
    """Return the other model's evaluation to compare with: asked like `own`, a model and its sampling, or the newest.

    Raises `UsageError` saying what to run.
    """
    found = evaluations.find(library, model, set_, own[1])
    found = [one for one in found if (one.setting.model, one.setting.sampling) != own]
    if not found:
        raise UsageError(
            f"{model!r} has no other answers to {set_.name!r} to compare with.{_there(library, model)} Run first: "
            f"gradatim evaluate --model {model} --set {set_.name}"
        )
    return found[0]


def _grading(library: Library, model: str, settings: EvaluateSettings) -> grades.GradingRow | None:
    """Return the grading whose levels the figures go by: as asked for, the model's own, or the only one."""
    if settings.levels_of is not None:
        return grades.chosen_grading(library, settings.levels_of)
    there = grades.gradings(library)
    own = [one for one in there if one.model == model]
    return own[-1] if own else there[-1] if len({one.model for one in there}) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What the results of all sets have in common."""

    library: Library
    setting: Setting
    settings: EvaluateSettings
    grading: grades.GradingRow | None

    def result(
        self, set_: QuestionSet, asked: AttemptResult | None, other: evaluations.Evaluation | None
    ) -> EvaluateResult:
        """Return the figures of one set."""
        library, settings = self.library, self.settings
        recorded = self.setting.sampling != attempts.sampling_text(settings.sampling())
        samples = None if recorded and settings.samples is None else samples_of(library, set_, settings)
        rows = evaluations.answered(library, self.setting, set_, samples)
        most = max((one.judged + one.unjudged for one in rows), default=0)
        overlap = evaluations.overlap(library, set_, self.setting.model)
        overall = figures.line("all", set_.name, rows)
        undecided, unjudged = figures.undecided(rows), sum(one.unjudged for one in rows)
        counted, lines = sum(one.counted for one in rows), self._lines(set_, rows)
        return EvaluateResult(
            model=self.setting.model,
            set=set_.name,
            setting=self.setting.id,
            samples=samples or most,
            temperature=json.loads(self.setting.sampling).get("temperature"),
            questions=overlap.questions,
            left=overlap.questions * (samples or most) - overall.answers - unjudged,
            asked=asked,
            overall=overall,
            passes=tuple(figures.passes(rows, samples or most)),
            lines=tuple(lines),
            levels_of=self._levels_of() if any(one.group == "level" for one in lines) else "",
            undecided=undecided,
            unjudged=unjudged,
            mean_tokens=sum(one.tokens for one in rows) / counted if counted else None,
            overlap=overlap,
            against=None if other is None else self._compared(rows, set_, other, samples),
            notes=tuple(self._notes(set_, overall, overlap)) + (asked.notes if asked else ()),
            cut_off=furthers.count(library, self.setting, [set_], samples),
        )

    def _levels_of(self) -> str:
        return "" if self.grading is None else f"{self.grading.model}, rule {self.grading.rule}"

    def _lines(self, set_: QuestionSet, rows: Sequence[Answered]) -> list[Line]:
        library, by = self.library, self.settings.by
        level = {} if self.grading is None else evaluations.levels(library, self.grading, set_)
        groups = [
            ("level", {key: str(value) for key, value in level.items()}),
            ("source", evaluations.sources(library, set_)),
            (f"{by} column" if by in ("level", "source") else by, evaluations.column(library, set_, by) if by else {}),
        ]
        seen = {one.question for one in rows}
        parted = [(name, values) for name, values in groups if len({values[key] for key in values.keys() & seen}) > 1]
        return [line for name, values in parted for line in figures.lines(name, values, rows)]

    def _compared(
        self, rows: Sequence[Answered], set_: QuestionSet, other: evaluations.Evaluation, samples: int | None
    ) -> Comparison:
        theirs = evaluations.answered(self.library, other.setting, set_, samples)
        said, them = [], other.setting.model
        if other.setting.sampling != self.setting.sampling:
            said.append(f"{them} was asked otherwise: {figures.differing(self.setting, other.setting)}.")
        further = [furthers.count(self.library, one, [set_], samples) for one in (self.setting, other.setting)]
        counts = [one.continued + one.retried for one in further]
        if any(counts) and any(one.waiting for one in further):
            said.append(
                f"Of answers that were cut off, {counts[0]:,} of {self.setting.model}'s and {counts[1]:,} of {them}'s "
                "were continued or retried: where one of them had less of that, they were not asked alike."
            )
        ours, their = (sum(one.judged for one in answers) for answers in (rows, theirs))
        if ours != their:
            said.append(f"{them} has {their:,} judged answers here, {self.setting.model} {ours:,}.")
        return Comparison(
            model=other.setting.model,
            setting=other.setting.id,
            difference=figures.compared(rows, theirs, strict=False),
            at_least=figures.compared(rows, theirs, strict=True),
            note=" ".join(said),
        )

    def _notes(self, set_: QuestionSet, overall: Line, overlap: Overlap) -> list[str]:
        notes = []
        public = BENCHMARKS.get(set_.name)
        if public is not None and public.questions != overlap.questions:
            notes.append(
                f"{set_.name} has {public.questions:,} questions, and {overlap.questions:,} are in the library: the "
                "figures cannot be compared with others' (gradatim show --dropped may say why)."
            )
        again = f"; answers to {overlap.replayed:,} were replayed" if overlap.replayed else ""
        if set_.purpose != "eval" or not overlap.clean:
            notes.append(
                f"{set_.name} is not held out: {overlap.drawn:,} of {overlap.questions:,} questions were drawn, and a "
                f"chain was kept for {overlap.trained:,}{again}. What was trained on flatters a model."
            )
        unfinished = overall.answers - overall.decided
        if unfinished > _MANY_UNDECIDED * overall.answers:
            notes.append(
                f"{unfinished:,} of {overall.answers:,} answers are undecided, and those to hard questions often are: "
                "compare models by the figures that count them as wrong, or raise max_tokens."
            )
        if json.loads(self.setting.sampling).get("temperature") == 0 and overall.answers > overall.questions:
            notes.append("At temperature 0 all answers of a question are nearly the same: more samples say little.")
        return notes
