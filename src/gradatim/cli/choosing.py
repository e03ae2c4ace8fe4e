"""`sample`, `curate` and `export`: a draw, its finished set, its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import counts, note, print_result

if TYPE_CHECKING:
    from gradatim.stages.curate import CurateResult
    from gradatim.stages.export import ExportResult
    from gradatim.stages.sample import SampleResult


@click.command(short_help="Draw graded questions by a mix.")
@click.option("--name", metavar="NAME", help="The draw's name.  [default: draw]")
@click.option("--size", type=int, metavar="N", help="Questions in all.  [default: 2000]")
@click.option(
    "--mix", metavar="MIX", help="curriculum:5,4,3,2,1, observed:SET, explicit:w1,...,w5 or explicit:LEVEL=w,...."
)
@click.option(
    "--easy",
    type=float,
    metavar="W",
    help="Weight of level 0.  [default: none in a curriculum, as observed in observed]",
)
@click.option("--seed", type=int, metavar="N", help="Decides the order within each level.  [default: 0]")
@click.option(
    "--when-dry",
    type=click.Choice(["fail", "nearest", "short"]),
    help="Where a level has too few questions.  [default: fail]",
)
@click.option("--reserve", type=float, metavar="X", help="Further questions per level, times its quota.  [default: 3]")
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only from these sets.")
@click.option("--model", metavar="NAME", help="Whose levels; needed where several models are graded.")
@click.option("--grading", metavar="ID", help="Which grading, by its id (gradatim levels --all).")
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def sample(
    start: Start, /, model: str | None, grading: str | None, sets: tuple[str, ...], shape: str | None, **options: Any
) -> None:
    """Draw questions whose levels follow a mix, under a name. The same name and settings give the same draw."""
    from gradatim.config import COMMAND_LINE, check, updated
    from gradatim.stages.sample import sample as sample_stage

    config = start.config()
    config = updated(config, sample=updated(config.sample, sets=list(sets) or None, **options))
    check(config, COMMAND_LINE)
    with start.library(write=True) as library:
        result = sample_stage(library, config.sample, model=model, grading=grading)
    print_result(result, shape, sampled(result))
    if result.warning:
        note(f"gradatim: {result.warning}")


def sampled(result: SampleResult) -> list[str]:
    """Say what was drawn from what."""
    again = " (drawn before, unchanged)" if result.already else ""
    words = [f"sample {result.name}: {sum(result.drawn.values()):,} questions of {result.model} by {result.mix}{again}"]
    words += [
        f"  level {level}: {result.drawn.get(level, 0):,} drawn, {result.asked.get(level, 0):,} asked; "
        f"{result.available.get(level, 0):,} there, {result.reserve.get(level, 0):,} in reserve"
        for level in sorted(set(result.drawn) | {level for level, count in result.asked.items() if count})
    ]
    words += [f"  moved: {move}" for move in result.moved]
    if result.short:
        words.append(f"  short: {', '.join(f'{count:,} of level {level}' for level, count in result.short.items())}")
    return words


@click.command(short_help="Decide which chains are kept.")
@click.argument("draw", required=False)
@click.option("--keep", type=click.Choice(["correct", "any"]), help="What can be a chain.  [default: correct]")
@click.option("--max-tokens", type=int, metavar="N", help="Longer chains are dropped.")
@click.option(
    "--max-repetition",
    type=float,
    metavar="SHARE",
    help="Largest share of a chain that it said before.  [default: 0.5]",
)
@click.option(
    "--script",
    "scripts",
    multiple=True,
    metavar="NAME",
    help="Scripts a chain may be written in: latin, han, cyrillic, ....",
)
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def curate(start: Start, /, draw: str | None, scripts: tuple[str, ...], shape: str | None, **options: Any) -> None:
    """Decide which of the teacher's attempts at DRAW are kept as chains; the others stay listed with a reason."""
    from gradatim.config import COMMAND_LINE, check, updated
    from gradatim.library import draws
    from gradatim.stages.curate import curate as curate_stage

    config = start.config()
    config = updated(config, curate=updated(config.curate, scripts=list(scripts) or None, **options))
    check(config, COMMAND_LINE)
    with start.library(write=True) as library:
        result = curate_stage(library, draws.chosen_draw(library, draw).name, config.curate)
    print_result(result, shape, curated(result))


def curated(result: CurateResult) -> list[str]:
    """Say what each level yields."""
    words = [f"curate {result.draw}: {result.kept:,} of {result.asked:,} chains kept"]
    for line in result.lines:
        cost = "" if line.cost is None else f", cost {line.cost:.4f}"
        tokens = "" if line.tokens_per_chain is None else f", {line.tokens_per_chain:,.0f} tokens per kept chain"
        dropped = f"; not kept: {counts(line.reasons)}" if line.reasons else ""
        words.append(
            f"  level {line.level}: {line.kept:,} of {line.quota:,} from {line.attempts:,} "
            f"attempts{tokens}{cost}{dropped}"
        )
    return words


@click.command(short_help="Write the training file, its card and manifest.")
@click.argument("draw", required=False)
@click.option("-o", "--out", metavar="FILE", help=".jsonl, .jsonl.gz, .jsonl.zst or .parquet.  [default: chains.jsonl]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["messages", "prompt_completion", "sharegpt", "alpaca"]),
    help="Shape of an example: docs/formats.md.  [default: messages]",
)
@click.option(
    "--thinking",
    type=click.Choice(["tags", "field", "none"]),
    help="The reasoning: <think> tags, a field, or left out.  [default: tags]",
)
@click.option("--system", metavar="TEXT", help="A system message for every example.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME", help="Further columns: id, level, source, model, reference."
)
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def export(
    start: Start, /, draw: str | None, columns: tuple[str, ...], format_: str | None, shape: str | None, **options: Any
) -> None:
    """Write the kept chains of DRAW for fine-tuning. The same library, draw and settings give the same bytes."""
    from gradatim.config import COMMAND_LINE, check, updated
    from gradatim.library import draws
    from gradatim.stages.export import export as export_stage

    config = start.config()
    config = updated(config, export=updated(config.export, columns=list(columns) or None, format=format_, **options))
    check(config, COMMAND_LINE)
    with start.library(write=False) as library:
        result = export_stage(library, draws.chosen_draw(library, draw).name, config.export)
    print_result(result, shape, exported(result))


def exported(result: ExportResult) -> list[str]:
    """Say what was written."""
    return [f"export {result.draw}: {result.rows:,} chains in {', '.join(file.name for file in result.files)}"]
