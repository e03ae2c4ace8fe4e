"""`compare`: ways to choose questions, held against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import note, print_result, print_rows
from gradatim.errors import UsageError

if TYPE_CHECKING:
    from gradatim.comparing.compare import CompareResult


@click.command(short_help="Train on different choices, and compare.")
@click.argument("recipe", required=False)
@click.option("--jobs", type=int, help="Trainings at a time, each in a process of its own.")
@click.option("--seeds", type=int, help="So many seeds: 0, 1, 2, ...")
@click.option("--arm", "arms", multiple=True, help="Only this arm; can be given several times.")
@click.option("-o", "--out", help="Write the table as Markdown (.md), with a plot beside it (.svg).")
@click.option("--json", "as_json", is_flag=True, help="As JSON: the table, and what it is made from.")
@pass_start
def compare(
    start: Start,
    /,
    recipe: str | None,
    jobs: int | None,
    seeds: int | None,
    arms: tuple[str, ...],
    out: str | None,
    *,
    as_json: bool,
) -> None:
    """Compare ways to choose questions, by the settings of RECIPE, a gradatim.toml with a [compare] table.

    Each arm gets the same number of verified chains and of training steps; each is trained once per seed, with and
    without replay, and answers the same test set. What is done is skipped, so the same command goes on after a stop.
    """
    from gradatim.cli.bars import progress_bars
    from gradatim.comparing import showing
    from gradatim.comparing.compare import compare as run
    from gradatim.config import COMMAND_LINE, check, updated

    if recipe is not None:
        start = Start(config_path=recipe, library_path=start.library_path)
    config = start.config()
    if seeds is not None and seeds < 1:
        raise UsageError(f"--seeds {seeds}: write 1 or more.")
    chosen = updated(config.compare, jobs=jobs, arms=arms, seeds=None if seeds is None else tuple(range(seeds)))
    config = updated(config, compare=chosen)
    check(config, COMMAND_LINE)
    _check_out(out)
    with progress_bars() as progress:
        result = run(config, progress=progress)
    if as_json:
        print_result(result, "json", ())
    else:
        print_rows(showing.COLUMNS, showing.rows(result), None)
        for sentence in showing.sentences(result):
            print(sentence)
    if out is not None:
        _write(result, Path(out))


def _check_out(out: str | None) -> None:
    """Refuse what cannot be written, before an hour of work."""
    if out is None:
        return
    if Path(out).suffix != ".md":
        raise UsageError(f"-o {out}: the table is written as Markdown; give a name that ends in .md")
    if not Path(out).absolute().parent.is_dir():
        raise UsageError(f"-o {out}: there is no folder {Path(out).parent}. Make it first.")
    for file in (Path(out), Path(out).with_suffix(".svg")):
        if file.is_dir():
            raise UsageError(f"-o {out}: {file} is a folder; give another name.")


def _write(result: CompareResult, out: Path) -> None:
    from gradatim.comparing import showing
    from gradatim.comparing.plot import svg
    from gradatim.formats.write import write_text

    picture = out.with_suffix(".svg")
    write_text(picture, svg(result))
    write_text(out, showing.markdown(result, picture.name))
    note(f"Wrote {out} and {picture}.")
