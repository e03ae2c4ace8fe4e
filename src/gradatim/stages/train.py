"""Train: fine-tune the base model on a draw's kept chains, beside some of its own verified-correct answers.

A training is named by what it is made from (the base's weights, the examples, the settings), so the same again is done
already, one that was killed goes on, and one with anything changed is another, which takes another name and folder. The
loss curve is in the library while it grows.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gradatim import __version__
from gradatim.config import TrainSettings
from gradatim.errors import UsageError
from gradatim.formats.shapes import Thinking, target
from gradatim.library import trainings
from gradatim.library.trainings import NewTraining
from gradatim.progress import Tick, silent
from gradatim.training import folder, sft
from gradatim.training.recipe import Exchange
from gradatim.types import Sampling
from gradatim.work.gathering import gathered
from gradatim.work.recipes import recipe_of

if TYPE_CHECKING:
    from gradatim.formats.shapes import Example
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library, Row
    from gradatim.progress import Progress

_EVERY = 0.5
"""Seconds between writes of the loss curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a training did, or would do."""

    training: str
    """Its id."""
    draw: str
    model: str
    """The trained model's name."""
    base: str
    """The folder (or hub id) of the model that was trained."""
    folder: str
    """Where the trained model stands."""
    chains: int
    """Examples from the draw."""
    replayed: int
    """The base model's own answers among the examples."""
    replay_asked: int
    left_out: dict[str, int]
    """Examples that could not be trained on, per reason."""
    steps: int
    tokens: int
    """Answer tokens trained on, all epochs together."""
    first_loss: float | None
    last_loss: float | None
    seconds: float
    resumed_from: int
    """The step of the checkpoint that it went on from; 0 where it began."""
    already: bool
    """The same training was done before; nothing was to do."""
    dry_run: bool
    notes: tuple[str, ...] = ()


def train(
    library: Library,
    name: str,
    settings: TrainSettings | None = None,
    *,
    dry_run: bool = False,
    progress: Progress = silent,
) -> TrainResult:
    """Train on the kept chains of a draw. With `dry_run` nothing is trained or written, and a reader will do.

    Raises `UsageError` where nothing is kept, chains were excluded since, the template cannot carry them, or name or
    folder are taken; `SetupError` where the extra `[train]`, the model, memory or disk space is missing.
    """
    settings = settings or TrainSettings()
    started = time.monotonic()
    work = _prepared(library, name, settings)
    out = Path(settings.out)
    already = folder.finished(out, work.plan.id)
    trainings.check_name(library, work.plan.id, settings.name)
    if dry_run:
        return _result(work, settings, started, already=already, dry_run=True)
    pk = trainings.ensure(library, work.row(settings))
    resumed = 0
    if not already:
        watch = _Watch(library=library, training=pk, steps=work.plan.steps, progress=progress)
        try:
            resumed = sft.fit(work.plan, out, watch)
        finally:
            watch.saving()
        sft.finish(work.plan, out, work.record(settings))
    folder.clear(out, work.plan.id)
    first, last = trainings.losses(library, pk)
    return _result(work, settings, started, already=already, resumed=resumed, losses=(first, last))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A training that is ready to start."""

    plan: sft.Plan
    draw: Draw
    base_name: str
    chains: int
    replayed: tuple[str, ...]
    """Ids of the questions whose answers are replayed."""
    replay_asked: int
    notes: tuple[str, ...]

    def record(self, settings: TrainSettings) -> dict[str, object]:
        """Return what the finished folder says of itself."""
        return {
            "gradatim": __version__,
            "model": settings.name,
            "base": self.base_name,
            "base_fingerprint": self.plan.base.fingerprint,
            "draw": self.draw.name,
            "chains": self.chains,
            "replayed": len(self.replayed),
            "steps": self.plan.steps,
            "recipe": json.loads(self.plan.recipe.text()),
        }

    def row(self, settings: TrainSettings) -> NewTraining:
        """Return what the library keeps of it."""
        said = json.loads(msgspec.json.encode(settings)) | {"base_fingerprint": self.plan.base.fingerprint}
        # They are in no draw: without them nobody could tell later that they are not held out.
        said[trainings.REPLAYED] = sorted(self.replayed)
        return NewTraining(
            id=self.plan.id,
            model=settings.name,
            base=self.base_name,
            draw=self.draw.pk,
            settings=json.dumps(said, sort_keys=True),
            chains=self.chains,
            replayed=len(self.replayed),
            steps=self.plan.steps,
            folder=settings.out,
        )


def _prepared(library: Library, name: str, settings: TrainSettings) -> _Work:
    """Gather the examples, tokenise them and settle the order."""
    if settings.base is None:
        raise UsageError("Nothing says which model is to be trained. Give its folder: --base FOLDER.")
    found = gathered(library, name, settings)
    thinking = Thinking(settings.thinking)
    exchanges = [exchange(one, thinking) for one in (*found.chains, *found.replayed)]
    plan = sft.plan(settings.base, exchanges, recipe_of(settings))
    if not plan.examples:
        reasons = ", ".join(f"{reason} {len(ids)}" for reason, ids in plan.left_out.items())
        raise UsageError(f"None of the {len(exchanges)} examples of {found.draw.name!r} can be trained on: {reasons}.")
    chain_ids = {one.id for one in found.chains}
    again = tuple(one.id for one in plan.examples if one.id not in chain_ids)
    return _Work(
        plan=plan,
        draw=found.draw,
        base_name=found.base_name,
        chains=len(plan.examples) - len(again),
        replayed=again,
        replay_asked=found.asked,
        notes=tuple(filter(None, (found.note(), *_notes(plan, settings)))),
    )


def exchange(example: Example, thinking: Thinking) -> Exchange:
    """Return an example as the training takes it."""
    asked = Sampling(system=example.system).messages(example.prompt)
    return Exchange(id=example.id, messages=asked, target=target(example, thinking))


def _notes(plan: sft.Plan, settings: TrainSettings) -> list[str]:
    notes = []
    if too_long := plan.left_out.get("too_long"):
        notes.append(
            f"{len(too_long):,} examples are longer than the model reads or max_length allows "
            f"({settings.max_length:,}) and are left out."
        )
    if others := folder.unfinished(Path(settings.out), plan.id):
        notes.append(
            f"Other trainings for this folder were begun and not finished; remove them if you like: {others[0]}"
        )
    return notes


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Keeps the loss curve, and tells how far the training is."""

    library: Library
    training: int
    steps: int
    progress: Progress
    rows: list[Row] = field(default_factory=list)
    written: float = 0.0

    def began(self, step: int) -> None:
        """Take note that the model is loaded."""
        self.progress("train", Tick(done=step, total=self.steps))

    def stepped(self, step: sft.Step) -> None:
        """Take note of a step."""
        self.rows.append((step.step, step.epoch, step.loss, step.learning_rate, step.tokens, time.time()))
        if time.monotonic() - self.written >= _EVERY or step.step == self.steps:
            self.saving()
            tick = Tick(done=step.step, total=self.steps, tokens=step.tokens, note=f"loss {step.loss:.3f}")
            self.progress("train", tick)

    def saving(self) -> None:
        """Keep what there is of the curve: before each checkpoint, so that no step of it can be missing later."""
        if self.rows:
            trainings.write_steps(self.library, self.training, self.rows)
            self.rows.clear()
        self.written = time.monotonic()


def _result(
    work: _Work,
    settings: TrainSettings,
    started: float,
    *,
    already: bool = False,
    dry_run: bool = False,
    resumed: int = 0,
    losses: tuple[float | None, float | None] = (None, None),
) -> TrainResult:
    return TrainResult(
        training=work.plan.id,
        draw=work.draw.name,
        model=settings.name,
        base=work.plan.base.path,
        folder=settings.out,
        chains=work.chains,
        replayed=len(work.replayed),
        replay_asked=work.replay_asked,
        left_out={reason: len(ids) for reason, ids in work.plan.left_out.items()},
        steps=work.plan.steps,
        tokens=work.plan.tokens()[-1],
        first_loss=losses[0],
        last_loss=losses[1],
        seconds=time.monotonic() - started,
        resumed_from=resumed,
        already=already,
        dry_run=dry_run,
        notes=work.notes,
    )
