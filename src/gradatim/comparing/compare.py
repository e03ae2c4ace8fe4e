"""The whole comparison: what is known of the pool, the arms' draws and chains, the trials, and the table.

Everything that is done is skipped, so a run that was stopped goes on, and a finished one prints its table again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim import pipeline
from gradatim.comparing import drawing, evidence, running, trials
from gradatim.config import check
from gradatim.errors import GradatimError, LimitError, UsageError
from gradatim.library import attempts, grades, questions
from gradatim.library.store import Library
from gradatim.method.comparison import Line, Score, mean_over_seeds, table
from gradatim.progress import Progress, silent
from gradatim.stages import evaluate as evaluate_stage
from gradatim.stages.grade import grade
from gradatim.stages.ingest import ingest
from gradatim.stages.verify import verify
from gradatim.work.opening import engine_settings, open_model, open_prm, price_of, reading_of, server_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradatim.config import AttemptSettings, Config
    from gradatim.library.attempts import Setting
    from gradatim.library.draws import Draw
    from gradatim.library.evaluations import Answered
    from gradatim.library.grades import GradingRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareResult:
    """What a comparison came to."""

    name: str
    model: str
    """The base model."""
    set: str
    questions: int
    base: float
    """The base model's accuracy on the set."""
    baseline: str
    chains: int
    """Per arm."""
    steps: int
    lines: tuple[Line, ...]
    scores: tuple[Score, ...]
    """What the lines are made from: one for each trial."""


def compare(config: Config, *, progress: Progress = silent) -> CompareResult:
    """Run what is missing of a comparison, and return its table.

    Raises `UsageError` before any work where settings are missing or cannot be, `LimitError` where pool or teacher
    cannot give every arm its budget, and what the stages raise. The same call goes on from there.
    """
    check_settings(config)
    with Library(config.library, write=True) as library:
        drawn = prepare(library, config, progress)
        base = _base(library, config, progress)
        wanted = {one: trials.job(config, one, running.place(config, one)) for one in trials.trials(config)}
        todo = [one for one, job in wanted.items() if not trials.done(library, job)]
        if todo:
            running.run_all(library, config, todo, len(wanted), progress)
        scores = [trials.score(library, one, job, base) for one, job in wanted.items()]
    settings = config.compare
    notes = {arm: tuple(dict.fromkeys(_moved(drawn, arm, settings.seeds))) for arm in settings.arms}
    return CompareResult(
        name=settings.name,
        model=config.model(config.train.model).model,
        set=settings.set,
        questions=len(base),
        base=mean_over_seeds([trials.rate(one) for one in base.values()]).value,
        baseline=settings.baseline,
        chains=settings.chains,
        steps=trials.steps(config),
        lines=tuple(table(_by_replay(scores, settings.arms), settings.baseline, notes)),
        scores=tuple(scores),
    )


def _moved(drawn: Mapping[tuple[str, int], Draw], arm: str, seeds: Sequence[int]) -> list[str]:
    return [note for seed in seeds for note in drawing.moved(drawn[arm, seed])]


def _by_replay(scores: Sequence[Score], arms: Sequence[str]) -> list[Score]:
    """Return the scores in the order in which the table has them: the most replay first, arms as they are set."""
    order = {arm: at for at, arm in enumerate(arms)}
    return sorted(scores, key=lambda one: (-one.replay, order[one.arm], one.seed))


def check_settings(config: Config) -> None:
    """Raise `UsageError` for what a comparison lacks, before any work."""
    check(config, "the settings")
    settings = config.compare
    if config.attempt.model != config.train.model:
        raise UsageError(
            f"[train] model is {config.train.model!r} and [attempt] model is {config.attempt.model!r}: the model that "
            "is graded is the one that is trained. Set both alike."
        )
    base = config.model(config.train.model)
    if base.kind != "local":
        raise UsageError(
            f'[models.{config.train.model}] is a server, and a comparison trains the model: set kind = "local" and '
            'path = "FOLDER".'
        )
    config.model(config.teach.model)
    if "transfer" in settings.arms:
        config.model(settings.second)
    purposes = {one.set: one.purpose for one in config.ingest}
    for key, name in _sets(config):
        if purposes and purposes.get(name, "eval") != "eval":
            raise UsageError(f'[compare] {key}: the set {name!r} is a pool; give its [[ingest]] purpose = "eval".')


def _sets(config: Config) -> list[tuple[str, str]]:
    settings = config.compare
    return [("set", settings.set), *([("observed", settings.observed)] if "p_eval" in settings.arms else [])]


def _read(library: Library, config: Config, progress: Progress) -> None:
    """Read the questions, evaluation sets first."""
    for source in sorted(config.ingest, key=lambda one: one.purpose != "eval"):
        result = ingest(library, source, code=config.verify.code, again=False, progress=progress)
        if result.faults:
            raise GradatimError(f"The checker could not look at all references of {result.set}. Run the same again.")
    there = {one.name: one for one in questions.sets(library)}
    for key, name in _sets(config):
        if name not in there or there[name].purpose != "eval":
            raise UsageError(
                f"[compare] {key}: there is no evaluation set {name!r} in the library. Add it as [[ingest]] with "
                f'set = "{name}" and purpose = "eval".'
            )


def prepare(library: Library, config: Config, progress: Progress = silent) -> dict[tuple[str, int], Draw]:
    """Return each arm's draw per seed, with its chains: ingest, attempt, verify, grade, choose, teach, curate."""
    _read(library, config, progress)
    settings = config.compare
    there = questions.sets(library)
    pools = config.attempt.sets or [one.name for one in there if one.purpose == "pool"]
    followed = [settings.observed] if "p_eval" in settings.arms else []
    base = _graded(library, config, config.attempt.model, [*pools, *followed], progress)
    sources = evidence.Sources(
        grading=base,
        other=_graded(library, config, settings.second, pools, progress) if "transfer" in settings.arms else None,
        sampled=_sampled(library, config, pools, progress) if "pass_rate_band" in settings.arms else None,
        static=settings.static if "static" in settings.arms else None,
    )
    drawn = drawing.draw_all(library, config, sources)
    drawing.teach_all(library, config, drawn.values(), base, progress)
    drawing.curate_all(library, config, drawn.values())
    return drawn


def _graded(library: Library, config: Config, name: str, sets: list[str], progress: Progress) -> GradingRow:
    """Have a model attempted, judged and graded on these sets, in the way that `[attempt]` and `[grade]` say."""
    asked = msgspec.structs.replace(config.attempt, model=name, sets=sets)
    setting = _attempted(library, config, asked, progress)
    prm = None if config.prm is None else open_prm(config.prm, log=server_log(config, "prm"))
    try:
        (result,) = grade(
            library,
            config.grade,
            prm=prm,
            model=setting.model,
            setting=setting.id,
            progress=progress,
            **reading_of(config.prm),
        )
    finally:
        if prm is not None:
            prm.close()
    if result.faults:
        raise GradatimError(f"The PRM could not score all attempts of {result.model}. Run the same command again.")
    return grades.chosen_grading(library, grading=result.grading)


def _sampled(library: Library, config: Config, sets: list[str], progress: Progress) -> Setting:
    """Have the base model answer the pool several times, for its pass rates."""
    more = {"sets": sets, "samples": config.compare.samples, "temperature": config.compare.temperature}
    return _attempted(library, config, msgspec.structs.replace(config.attempt, **more), progress)


def _attempted(library: Library, config: Config, asked: AttemptSettings, progress: Progress) -> Setting:
    """Ask a model for what is missing, and have all of it judged. Raises where something is left."""
    result = pipeline.do_attempt(library, msgspec.structs.replace(config, attempt=asked), progress)
    if result.left:
        raise (LimitError if result.stopped else GradatimError)(
            f"{result.left} attempts of {result.model} are missing ({result.stopped or 'faults'}). "
            "Run the same command to ask for them."
        )
    judged = verify(library, config.verify, progress=progress)
    if judged.faults:
        raise GradatimError("The checker could not judge all attempts. Run the same command again.")
    setting = attempts.find_setting(library, result.setting)
    assert setting is not None
    return setting


def _base(library: Library, config: Config, progress: Progress) -> dict[int, Answered]:
    """Return the base model's answers to the test set, asked for where they are missing."""
    settings, chosen = trials.evaluate_settings(config), config.model(config.train.model)
    if evaluate_stage.missing(library, chosen.model, settings):
        (result,) = evaluate_stage.evaluate(
            library,
            open_model(chosen, log=server_log(config, config.train.model)),
            settings,
            verify=config.verify,
            engine=engine_settings(chosen),
            price=price_of(chosen),
            progress=progress,
        )
        if result.left or result.unjudged:
            raise GradatimError(
                f"{result.left + result.unjudged} answers of {result.model} to {result.set} are missing or not judged. "
                "Run the same command to go on."
            )
    return trials.answered(library, chosen.model, settings)
