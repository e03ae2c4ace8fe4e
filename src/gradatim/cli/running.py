"""`run`: the whole loop from gradatim.toml, or what it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.cli import asking, choosing, deciding, reading
from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import note, print_rows, row_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.pipeline import Ran


@click.command(short_help="All stages, from gradatim.toml; what is done is skipped.")
@click.option("--until", metavar="STAGE", help="The last stage to run.")
@click.option(
    "--dry-run", is_flag=True, help="Say what each stage would do and what it costs, with a 95 % interval; do nothing."
)
@click.option("--allow-missing", is_flag=True, help="Draw even while attempts are missing after faults.")
@row_options
@pass_start
def run(start: Start, /, until: str | None, dry_run: bool, allow_missing: bool, shape: str | None) -> None:
    """Run ingest, attempt, verify, grade, sample, teach, curate and export, each doing only what is missing."""
    from gradatim import pipeline, planning
    from gradatim.cli.bars import progress_bars

    config = start.config()
    last = len(pipeline.STAGES) if until is None else pipeline.stage_number(until)
    if dry_run:
        rows = [
            (
                one.stage,
                one.done,
                one.to_do,
                one.unit,
                one.tokens,
                one.tokens_low,
                one.tokens_high,
                one.at_most,
                one.cost,
                one.cost_low,
                one.cost_high,
                one.based_on,
                one.note,
            )
            for one in planning.plan(config, stages=last + 1)
        ]
        tokens = ("tokens (about)", "tokens from", "tokens to", "written at most")
        cost = ("cost (about)", "cost from", "cost to", "questions")
        print_rows(("stage", "done", "to do", "unit", *tokens, *cost, "note"), rows, shape, whole=("note",))
        return
    with progress_bars() as progress:
        pipeline.run(config, until=until, allow_missing=allow_missing, progress=progress, report=_print)


def _print(ran: Ran) -> None:
    result: Any = ran.result
    for sentence in _SENTENCES[ran.stage](result):
        click.echo(sentence)
    if getattr(result, "warning", ""):
        note(f"gradatim: {result.warning}")
    for said in getattr(result, "notes", ()):
        note(f"gradatim: {said}")


_SENTENCES: dict[str, Callable[[Any], list[str]]] = {
    "ingest": lambda result: [reading.ingested(result)],
    "attempt": lambda result: [asking.attempted(result)],
    "verify": deciding.verified,
    "grade": deciding.graded,
    "sample": choosing.sampled,
    "teach": asking.taught,
    "curate": choosing.curated,
    "export": choosing.exported,
}
