"""`train`: fine-tuning on a draw's chains, here or by a trainer for many cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import counts, note, print_result

if TYPE_CHECKING:
    from gradatim.config import Config
    from gradatim.stages.handoff import HandoffResult
    from gradatim.stages.train import TrainResult
    from gradatim.training.handoff import Trainer


@click.command(short_help="Fine-tune the base model on the kept chains.")
@click.argument("draw", required=False)
@click.option("--model", metavar="NAME", help="Which of [models] is trained.  [default: base]")
@click.option("--base", metavar="FOLDER", help="The folder of the model to train, in place of --model.")
@click.option("--name", metavar="NAME", help="What the trained model is called.  [default: trained]")
@click.option("-o", "--out", metavar="FOLDER", help="The folder to be made.  [default: trained]")
@click.option("--lora", is_flag=True, help="Train adapters, and merge them at the end.")
@click.option("--epochs", type=int, metavar="N", help="How often each example is seen.  [default: 5]")
@click.option("--learning-rate", type=float, metavar="RATE", help="[default: 1e-5, with --lora 1e-4]")
@click.option("--batch-size", type=int, metavar="N", help="Examples per step.  [default: 16]")
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), help="muon: for small models.  [default: adamw]")
@click.option(
    "--replay",
    type=float,
    metavar="X",
    help="The base model's own verified answers to train on too, per chain.  [default: 0]",
)
@click.option("--seed", type=int, metavar="N", help="Decides the order of the examples.  [default: 0]")
@click.option("--dry-run", is_flag=True, help="Say what would be trained on, and in how many steps.")
@click.option(
    "--handoff",
    type=click.Choice(["llamafactory", "axolotl", "trl-accelerate"]),
    help="Train nothing: write data and configuration for this trainer into --out.",
)
@click.option("--gpus", type=int, metavar="N", help="With --handoff: cards that train.  [default: 8]")
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def train(
    start: Start, /, draw: str | None, dry_run: bool, handoff: Trainer | None, gpus: int | None, **options: Any
) -> None:
    """Fine-tune a model on the kept chains of DRAW; the loss is on the answers only.

    A killed run goes on from its last checkpoint; the same again has nothing to do; a training with anything changed
    takes another --name and --out.
    """
    from gradatim.cli.bars import progress_bars
    from gradatim.errors import UsageError
    from gradatim.library import draws
    from gradatim.stages.handoff import hand_off
    from gradatim.stages.train import train as train_stage
    from gradatim.work.gathering import resolved

    shape = options.pop("shape")
    config = _with_options(start.config(), options)
    if handoff is not None:
        if dry_run:
            raise UsageError("--dry-run and --handoff do not go together: a hand-off trains nothing.")
        with start.library(write=False) as library:
            name = draws.chosen_draw(library, draw).name
            written = hand_off(library, name, resolved(config), trainer=handoff, gpus=8 if gpus is None else gpus)
        print_result(written, shape, handed_off(written))
        for said in written.notes:
            note(f"gradatim: {said}")
        return
    if gpus is not None:
        raise UsageError("--gpus belongs to --handoff TRAINER; without it, training takes one device.")
    with start.library(write=not dry_run) as library, progress_bars() as progress:
        name = draws.chosen_draw(library, draw).name
        result = train_stage(library, name, resolved(config), dry_run=dry_run, progress=progress)
    print_result(result, shape, trained(result))
    for said in result.notes:
        note(f"gradatim: {said}")


def _with_options(config: Config, options: dict[str, Any]) -> Config:
    """Return the settings with what the command line says."""
    from gradatim.config import COMMAND_LINE, check, updated

    if options.pop("lora"):
        options["method"] = "lora"
    changed = updated(config, train=updated(config.train, **options))
    check(changed, COMMAND_LINE)
    return changed


def trained(result: TrainResult) -> list[str]:
    """Say what was trained, or would be."""
    replayed = f" and {result.replayed:,} of the model's own answers" if result.replay_asked else ""
    examples = f"{result.chains:,} chains{replayed}, {result.steps:,} steps"
    out = f"; left out: {counts(result.left_out)}" if result.left_out else ""
    if result.dry_run:
        done = "; done already" if result.already else ""
        return [f"train {result.draw}: would train {result.base} on {examples} ({result.tokens:,} tokens){out}{done}"]
    if result.already:
        return [f"train {result.draw}: {result.model} is trained already (on {examples}), in {result.folder}"]
    resumed = f", gone on from step {result.resumed_from:,}" if result.resumed_from else ""
    loss = "" if result.first_loss is None else f"; loss {result.first_loss:.3f} to {result.last_loss:.3f}"
    done = f"{result.seconds:.1f} s ({result.tokens:,} tokens{resumed}){loss}{out}"
    return [f"train {result.draw}: {result.model} from {examples} in {done}", f"  it is in {result.folder}"]


def handed_off(result: HandoffResult) -> list[str]:
    """Say what was written, and how to start it."""
    files = ", ".join(file.name for file in result.files)
    return [
        f"train {result.draw}: {result.rows:,} examples for {result.trainer} in {result.folder} ({files})",
        f"  on the machine with the cards: cd {result.folder} && sh run.sh",
    ]
