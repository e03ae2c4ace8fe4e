"""The whole loop from `gradatim.toml`: what is to do, and doing it. Whatever is done is skipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.config.benchmarks import ingest_settings
from gradatim.errors import GradatimError, LimitError, SetupError, UsageError
from gradatim.library import attempts, draws
from gradatim.library.store import Library
from gradatim.progress import Progress, silent
from gradatim.stages import attempt as attempt_stage
from gradatim.stages import calibrate as calibrate_stage
from gradatim.stages import curate as curate_stage
from gradatim.stages import evaluate as evaluate_stage
from gradatim.stages import export as export_stage
from gradatim.stages import grade as grade_stage
from gradatim.stages import ingest as ingest_stage
from gradatim.stages import sample as sample_stage
from gradatim.stages import teach as teach_stage
from gradatim.stages import verify as verify_stage
from gradatim.types import Role, content_id
from gradatim.work.opening import engine_settings, open_budget, open_model, open_prm, price_of, reading_of, server_log
from gradatim.work.spending import spent

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.config import BudgetSettings, Config, EvaluateSettings, ModelSettings
    from gradatim.models.budget import Budget

STAGES = ("ingest", "attempt", "verify", "grade", "sample", "teach", "curate", "export")
"""The stages of this loop, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One stage that was run, with its result record."""

    stage: str
    result: object


def run(
    config: Config,
    *,
    until: str | None = None,
    allow_missing: bool = False,
    progress: Progress = silent,
    report: Callable[[Ran], None] = lambda _: None,
) -> list[Ran]:
    """Run the stages up to and with `until`, from the folder that the settings' paths are relative to.

    `report` gets each stage's result as soon as it is there. A draw is not made while attempts are missing, since it
    would be drawn from the questions that happened to be answered; `allow_missing` draws all the same.

    Raises `UsageError` for a stage that there is not, `GradatimError` where something is left to be asked again, and
    what the stages raise. All that was done is in the library; the same call goes on from there.
    """
    stages = STAGES if until is None else STAGES[: stage_number(until) + 1]
    _check(config, stages)
    ran: list[Ran] = []
    with Library(config.library, write=True) as library:
        for stage in stages:
            if stage == "sample" and not allow_missing:
                _complete(ran)
            for result in _DO[stage](library, config, progress, ran):
                ran.append(Ran(stage=stage, result=result))
                report(ran[-1])
                if not allow_missing:
                    _none_under_way(result)
    _taught(ran)
    return ran


def stage_number(stage: str) -> int:
    """Return a stage's place in the order. Raises `UsageError` for one that there is not."""
    if stage not in STAGES:
        raise UsageError(f"There is no stage {stage!r}. There are: {', '.join(STAGES)}.")
    return STAGES.index(stage)


def _check(config: Config, stages: tuple[str, ...]) -> None:
    """Find what is missing in the settings before any work starts."""
    if not config.ingest and not Path(config.library).exists():
        raise UsageError(
            'There is nothing to run yet: add an [[ingest]] table with path = "pool.jsonl" to gradatim.toml.'
        )
    for stage, name in (("attempt", config.attempt.model), ("teach", config.teach.model)):
        if stage in stages:
            open_model(config.model(name))
    if "grade" in stages and config.prm is not None:
        # Here, since it is needed only when all attempts are paid for.
        open_prm(config.prm, log=server_log(config, "prm")).close()
    if "curate" in stages and (config.teach.keep, config.curate.keep) == ("any", "correct"):
        raise UsageError(
            '[teach] keep = "any" counts wrong chains that [curate] keep = "correct" would drop. Set both alike.'
        )
    for source in config.ingest:
        if not source.path.startswith("hf:") and source.path.startswith((".", "/")) and not Path(source.path).exists():
            raise UsageError(f"[[ingest]] path: there is no {source.path}.")


def _none_under_way(result: object) -> None:
    """Raise where a server has yet to answer a batch: nothing is judged, drawn or written from half of the answers."""
    if isinstance(result, attempt_stage.AttemptResult) and result.under_way:
        raise GradatimError(f"{result.left} attempts of {result.model} are missing. {result.stopped}")
    if isinstance(result, teach_stage.TeachResult) and result.under_way:
        raise GradatimError(f"{result.missing} chains of {result.draw!r} are missing. {result.stopped}")


def _complete(ran: list[Ran]) -> None:
    """Raise where attempts are missing or a PRM had faults: the next run asks again, and then draws."""
    for one in ran:
        result = one.result
        if isinstance(result, ingest_stage.IngestResult) and result.faults:
            raise GradatimError(
                f"The checker could not look at all references of {result.set} ({_counts(result.faults)}). Run the "
                "same command again, or draw without them: --allow-missing"
            )
        if isinstance(result, attempt_stage.AttemptResult) and (result.left or result.left_further):
            why = result.stopped or (f"faults: {_counts(result.faults)}" if result.faults else "a limit is set")
            what = f"{result.left} attempts" if result.left else f"{result.left_further} further answers"
            raise (LimitError if result.stopped and not result.under_way else GradatimError)(
                f"{what} of {result.model} are missing ({why}). "
                "Run the same command to ask for them, or draw without them: --allow-missing"
            )
        if isinstance(result, verify_stage.VerifyResult) and result.faults:
            raise GradatimError(
                f"The checker could not judge all ({_counts(result.faults)}). Run the same command "
                "again, or draw without them: --allow-missing"
            )
        if isinstance(result, grade_stage.GradeResult) and result.faults:
            raise GradatimError(
                f"The PRM could not score all ({_counts(result.faults)}). Run the same command "
                "again, or draw without them: --allow-missing"
            )


def _taught(ran: list[Ran]) -> None:
    """Raise where chains are missing; what there is was curated and exported all the same."""
    for one in ran:
        if isinstance(one.result, teach_stage.TeachResult) and one.result.missing:
            kind = GradatimError if one.result.under_way else LimitError
            raise kind(f"{one.result.missing} chains of {one.result.draw!r} are missing. {one.result.stopped}")


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items()) or "none counted"


def _ingest(library: Library, config: Config, progress: Progress, _: list[Ran]) -> list[object]:
    # Evaluation sets first, so that pools are checked against them while they are read.
    ordered = sorted(config.ingest, key=lambda source: source.purpose != "eval")
    code = config.verify.code
    return [ingest_stage.ingest(library, source, code=code, again=False, progress=progress) for source in ordered]


def do_attempt(library: Library, config: Config, progress: Progress = silent) -> attempt_stage.AttemptResult:
    """Ask the configured base model for what is missing, within its budget."""
    chosen = config.model(config.attempt.model)
    price = price_of(chosen)
    return attempt_stage.attempt(
        library,
        open_model(chosen, log=server_log(config, config.attempt.model)),
        config.attempt,
        engine=engine_settings(chosen),
        price=price,
        budget=_budget(library, config.attempt.budget, Role.BASE, chosen),
        progress=progress,
    )


def do_teach(library: Library, config: Config, draw: str, progress: Progress = silent) -> teach_stage.TeachResult:
    """Have the configured teacher write what the draw lacks, within its budget."""
    chosen = config.model(config.teach.model)
    price = price_of(chosen)
    return teach_stage.teach(
        library,
        draw,
        open_model(chosen, log=server_log(config, config.teach.model)),
        config.teach,
        curate=config.curate,
        verify=config.verify,
        engine=engine_settings(chosen),
        price=price,
        budget=_budget(library, config.teach.budget, Role.TEACHER, chosen, draw),
        progress=progress,
    )


def do_grade(
    library: Library, config: Config, progress: Progress = silent, *, model: str | None = None, ask: bool = True
) -> list[grade_stage.GradeResult]:
    """Grade with the configured rule and PRM, of the models that were attempted or of one.

    Without `ask` the PRM is asked nothing: the scores that it gave before are taken, or where it cannot be opened, or
    gave none, those of the PRM that gave most.
    """
    prm = None
    try:
        prm = None if config.prm is None else open_prm(config.prm, log=server_log(config, "prm"))
    except SetupError:
        if ask:
            raise
    try:
        results = grade_stage.grade(
            library, config.grade, prm=prm, ask=ask, model=model, progress=progress, **reading_of(config.prm)
        )
        notes = tuple(getattr(prm, "notes", ()))
        return [replace(one, notes=notes if one is results[-1] else ()) for one in results]
    finally:
        if prm is not None:
            prm.close()


def do_calibrate(library: Library, config: Config, progress: Progress = silent) -> calibrate_stage.CalibrateResult:
    """Calibrate the configured PRM. Raises `UsageError` where there is none."""
    if config.prm is None:
        raise UsageError("There is no [prm] to calibrate. Add one to gradatim.toml: docs/settings.md, [prm].")
    prm = open_prm(config.prm, log=server_log(config, "prm"))
    try:
        result = calibrate_stage.calibrate(
            library, config.calibrate, prm=prm, progress=progress, **reading_of(config.prm)
        )
        return replace(result, notes=tuple(getattr(prm, "notes", ())))
    finally:
        prm.close()


def read_presets(
    library: Library, settings: EvaluateSettings, file: str | None = None, progress: Progress = silent
) -> list[ingest_stage.IngestResult]:
    """Read the public sets that the library does not have yet: from the hub, or the only one from a copy on disk.

    Raises `GradatimError` where no row of it is a question, and what `ingest` raises.
    """
    there = "SELECT 1 FROM ingested i JOIN question_set s ON s.pk = i.question_set WHERE s.name = ?"
    results = []
    for name in settings.presets:
        if file is None and library.value(there, (name,)) is not None:
            continue
        results.append(ingest_stage.ingest(library, ingest_settings(name, file), again=False, progress=progress))
        found = results[-1]
        if not found.added + found.already and not found.unchanged:
            raise GradatimError(
                f"No row of {file or name} became a question ({_counts(found.dropped)}). See: gradatim show --dropped"
            )
    return results


def do_evaluate(
    library: Library,
    config: Config,
    progress: Progress = silent,
    *,
    setting: str | None = None,
    against: str | None = None,
) -> list[evaluate_stage.EvaluateResult]:
    """Evaluate the configured model within its budget; where all its answers are there, no server is looked for.

    `setting` is the id of an earlier evaluation, and then nothing is asked either.
    """
    settings = config.evaluate
    chosen = config.models.get(settings.model)
    name = settings.model if chosen is None else chosen.model
    other = config.models[against].model if against in config.models else against
    if setting is not None or not evaluate_stage.missing(library, name, settings) or chosen is None:
        return evaluate_stage.evaluate(
            library, name, settings, verify=config.verify, setting=setting, against=other, progress=progress
        )
    return evaluate_stage.evaluate(
        library,
        open_model(chosen, log=server_log(config, settings.model)),
        settings,
        verify=config.verify,
        against=other,
        engine=engine_settings(chosen),
        price=price_of(chosen),
        budget=_budget(library, settings.budget, Role.EVAL, chosen),
        progress=progress,
    )


def _budget(
    library: Library, limits: BudgetSettings, role: Role, chosen: ModelSettings, draw: str | None = None
) -> Budget | None:
    """Return the budget with what was spent before. The books are read only where a limit asks for them."""
    tokens, money, price = 0, 0.0, price_of(chosen)
    if limits.tokens is not None or limits.money is not None:
        tokens, money = spent(library, role, chosen.model, draw, price)
    return open_budget(limits, price, tokens=tokens, money=money)


def _sample(library: Library, config: Config, _: Progress, ran: list[Ran]) -> list[object]:
    """Draw from what was graded just now, and of the model's settings those that are configured."""
    model = config.model(config.attempt.model).model
    setting = content_id(Role.BASE, model, attempts.sampling_text(config.attempt.sampling()))[:10]
    gradings = [one.result for one in ran if isinstance(one.result, grade_stage.GradeResult)]
    chosen = next((one.grading for one in gradings if one.setting == setting), None)
    return [sample_stage.sample(library, config.sample, model=model, grading=chosen)]


def _teach(library: Library, config: Config, progress: Progress, _: list[Ran]) -> list[object]:
    return [do_teach(library, config, config.sample.name, progress)]


def _curate(library: Library, config: Config, _: Progress, ran: list[Ran]) -> list[object]:
    draw = draws.chosen_draw(library, config.sample.name)
    if not draws.teacher_attempts(library, draw):
        raise LimitError(_nothing(draw.name, ran, "The teacher has written nothing"))
    return [curate_stage.curate(library, config.sample.name, config.curate)]


def _export(library: Library, config: Config, _: Progress, ran: list[Ran]) -> list[object]:
    if not any(one.result.kept for one in ran if isinstance(one.result, curate_stage.CurateResult)):
        raise LimitError(_nothing(config.sample.name, ran, "No chain is kept"))
    return [export_stage.export(library, config.sample.name, config.export)]


def _nothing(draw: str, ran: list[Ran], what: str) -> str:
    """Say why there is nothing to go on with."""
    stopped = next((one.result.stopped for one in ran if isinstance(one.result, teach_stage.TeachResult)), "")
    return f"{what} for {draw!r}, so there is nothing to export. {stopped}".strip()


_DO: dict[str, Callable[[Library, Config, Progress, list[Ran]], list[object]]] = {
    "ingest": _ingest,
    "attempt": lambda library, config, progress, _: [do_attempt(library, config, progress)],
    "verify": lambda library, config, progress, _: [verify_stage.verify(library, config.verify, progress=progress)],
    "grade": lambda library, config, progress, _: list(
        do_grade(library, config, progress, model=config.model(config.attempt.model).model)
    ),
    "sample": _sample,
    "teach": _teach,
    "curate": _curate,
    "export": _export,
}
