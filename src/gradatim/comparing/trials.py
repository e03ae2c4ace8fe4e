"""One trial: an arm's chains, one share of replay and one seed, trained and evaluated; and what it came to."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import (  # noqa: TC001 - msgspec reads the types of a Job when it decodes one
    EvaluateSettings,
    ModelSettings,
    TrainSettings,
    VerifySettings,
)
from gradatim.errors import UsageError
from gradatim.library import attempts, evaluations, questions
from gradatim.method.comparison import Score
from gradatim.stages import evaluate as evaluate_stage
from gradatim.training.folder import read_base
from gradatim.types import Role, content_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gradatim.config import Config
    from gradatim.library.evaluations import Answered
    from gradatim.library.store import Library

_NO_MATTER = ("base", "out", "device", "checkpoint_every", "base_fingerprint")
"""Of a training's settings: what moves no weight, or is compared as the base's fingerprint."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is told."""

    library: str
    """A copy of its own."""
    draw: str
    train: TrainSettings
    evaluate: EvaluateSettings
    verify: VerifySettings
    model: ModelSettings
    made_from: str = ""
    """What tells this trial's chains from those of another library with the same names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One arm, one share of replay, one seed."""

    arm: str
    replay: float
    seed: int
    experiment: str

    @property
    def draw(self) -> str:
        """The name of its draw, which trials with another replay share."""
        return f"{self.experiment}-{self.arm}-{self.seed}"

    @property
    def model(self) -> str:
        """The trained model's name."""
        return f"{self.draw}-replay{self.replay:g}"


def trials(config: Config) -> list[Trial]:
    """Return all trials: seed after seed, so that a comparison that is stopped has whole pairs."""
    settings = config.compare
    return [
        Trial(arm=arm, replay=replay, seed=seed, experiment=settings.name)
        for seed in settings.seeds
        for replay in settings.replay
        for arm in settings.arms
    ]


def steps(config: Config) -> int:
    """Return the training steps of every trial."""
    if config.compare.steps is not None:
        return config.compare.steps
    examples = config.compare.chains * (1 + max(config.compare.replay))
    return math.ceil(config.train.epochs * examples / config.train.batch_size)


def evaluate_settings(config: Config) -> EvaluateSettings:
    """Return how base and trained models are evaluated."""
    return msgspec.structs.replace(config.evaluate, sets=[config.compare.set], presets=[])


def job(config: Config, trial: Trial, folder: Path) -> Job:
    """Return what a worker is told; `folder` is the trial's own."""
    base = config.model(config.train.model)
    out = str(folder / "model")
    settings = msgspec.structs.replace(
        config.train,
        base=config.train.base or base.path,
        name=trial.model,
        out=out,
        seed=trial.seed,
        replay=trial.replay,
        replay_from=config.train.replay_from or base.model,
        steps=steps(config),
    )
    return Job(
        library=str(folder / "library.db"),
        draw=trial.draw,
        train=settings,
        evaluate=evaluate_settings(config),
        verify=config.verify,
        model=msgspec.structs.replace(base, model=trial.model, path=out),
    )


def made_from(library: Library, trial: Trial) -> str:
    """Return a hash of the trial's chains, with their keys and the moments at which they were written.

    What a killed trial left is gone on with only where it is a copy of this library, not of one that was removed.
    """
    sql = (
        "SELECT q.id, q.pk, a.pk, a.made_at FROM draw d JOIN chain c ON c.draw = d.pk AND c.kept "
        "JOIN attempt a ON a.pk = c.attempt JOIN question q ON q.pk = a.question WHERE d.name = ? ORDER BY a.pk"
    )
    return content_id(*map(str, library.rows(sql, (trial.draw,))))


def done(library: Library, wanted: Job) -> bool:
    """Whether a trial is trained and evaluated. Raises `UsageError` where that name was trained otherwise."""
    rows = library.all(
        "SELECT t.settings, d.name FROM training t LEFT JOIN draw d ON d.pk = t.draw WHERE t.model = ? AND t.steps <= "
        "(SELECT max(step) FROM training_step s WHERE s.training = t.pk)",
        (wanted.train.name,),
    )
    if not rows:
        return False
    before, said = json.loads(rows[0][0]), json.loads(msgspec.json.encode(wanted.train))
    changed = [key for key, value in said.items() if key not in _NO_MATTER and before.get(key) != value]
    if before["base_fingerprint"] != read_base(str(wanted.train.base)).fingerprint:
        changed.append("the base model")
    if changed or rows[0][1] != wanted.draw:
        raise UsageError(
            f"{wanted.train.name!r} was trained before with other settings ({', '.join(changed) or 'another draw'}). "
            "Choose another name in [compare], or another library."
        )
    return evaluate_stage.missing(library, wanted.train.name, wanted.evaluate) == 0


def score(library: Library, trial: Trial, wanted: Job, base: Mapping[int, Answered]) -> Score:
    """Return what a finished trial came to. `base` are the base model's answers by question."""
    own = answered(library, wanted.train.name, wanted.evaluate)
    chains, replayed, count, tokens = library.all(
        "SELECT t.chains, t.replayed, t.steps, (SELECT max(tokens) FROM training_step s WHERE s.training = t.pk) "
        "FROM training t WHERE t.model = ?",
        (wanted.train.name,),
    )[0]
    right = [rate(own[key]) for key, one in base.items() if key in own and rate(one) >= 0.5]
    other = [rate(own[key]) for key, one in base.items() if key in own and rate(one) < 0.5]
    return Score(
        arm=trial.arm,
        replay=trial.replay,
        seed=trial.seed,
        accuracy=_mean([rate(one) for one in own.values()]) or 0.0,
        kept=_mean(right),
        gained=_mean(other),
        chains=chains,
        replayed=replayed,
        steps=count,
        tokens=tokens,
    )


def answered(library: Library, model: str, settings: EvaluateSettings) -> dict[int, Answered]:
    """Return a model's answers to the test set, by question; empty where it was not asked in this way."""
    (set_,) = questions.chosen_sets(library, settings.sets)
    setting = attempts.find(library, Role.EVAL, model, attempts.sampling_text(settings.sampling()))
    if setting is None:
        return {}
    samples = evaluate_stage.samples_of(library, set_, settings)
    return {one.question: one for one in evaluations.answered(library, setting, set_, samples)}


def rate(one: Answered) -> float:
    """Return the share of a question's judged samples that are correct; undecided ones are not."""
    return one.correct / one.judged if one.judged else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
