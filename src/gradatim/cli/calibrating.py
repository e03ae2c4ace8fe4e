"""`calibrate`: what a PRM's scores are worth for a model, and where to cut them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import counts, note, print_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradatim.method.calibration import Bin, Correlation
    from gradatim.stages.calibrate import CalibrateResult


@click.command(short_help="Hold the PRM's scores against pass rates, and fit the cuts.")
@click.argument("name", required=False)
@click.option("--model", metavar="NAME", help="Whose attempts.  [default: the only one that has some]")
@click.option(
    "--setting", metavar="ID", help="Whose first attempts are scored, where the model was asked in many ways."
)
@click.option("--rates", metavar="ID", help="The setting whose attempts give the pass rates.  [default: the same]")
@click.option(
    "--cuts",
    type=click.Choice(["isotonic", "quintiles"]),
    help="The five most different levels, or five of equal size.  [default: isotonic]",
)
@click.option("--limit", type=int, metavar="N", help="Use at most so many questions.")
@click.option("-o", "--out", metavar="FILE", help="Draw pass rate by score into this SVG.")
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def calibrate(start: Start, /, out: str | None, shape: str | None, **options: Any) -> None:
    """Say whether the PRM's scores predict how often the model is right, and keep cuts that are fitted to it.

    Needs several attempts of each question, judged. The PRM scores the attempt that would be graded, right or wrong;
    the others give the pass rate. Use the cuts by name: gradatim grade --rule paper --cuts calibration:NAME
    """
    from gradatim import pipeline
    from gradatim.cli.bars import progress_bars
    from gradatim.config import COMMAND_LINE, check, updated
    from gradatim.errors import GradatimError, UsageError
    from gradatim.formats.write import write_text

    if out is not None and Path(out).suffix != ".svg":
        raise UsageError(f"--out {out}: the picture is an SVG; give the file a name that ends in .svg.")
    config = start.config()
    config = updated(config, calibrate=updated(config.calibrate, **options))
    check(config, COMMAND_LINE)
    with start.library(write=True) as library, progress_bars() as progress:
        result = pipeline.do_calibrate(library, config, progress)
    lines = list(calibrated(result))
    if out is not None:
        write_text(Path(out), _picture(result))
        lines.append(f"  drawn in {out}")
    print_result(result, shape, lines)
    for said in result.notes:
        note(f"gradatim: {said}")
    if result.faults:
        raise GradatimError(
            f"{sum(result.faults.values())} attempts could not be scored ({counts(result.faults)}). "
            "Run the same command to try again."
        )


def calibrated(result: CalibrateResult) -> Iterator[str]:
    """Say what was found."""
    scored = f", {result.scored:,} attempts scored" if result.scored else ""
    how = "" if result.aggregation == "mean" else f", {result.aggregation} of step scores,"
    yield f"calibrate {result.model}: {result.prm}{how} on {result.questions:,} questions{scored}"
    yield f"  rank correlation of score and pass rate: {_correlation(result.correlation)}, all {result.questions:,}"
    yield f"  {'':<39} {_correlation(result.correlation_wrong)}, {result.wrong:,} with a wrong attempt"
    yield "  score         questions  pass rate, of wrong attempts' questions"
    yield from (_line(f"{one.low:.3f}-{one.high:.3f}", one) for one in result.bins_wrong)
    if result.cuts:
        shown = ", ".join(f"{cut:.3g}" for cut in result.cuts)
        yield f"  cuts ({result.method}): {shown}; levels on the same questions:"
        yield from (_line(f"level {level}", one) for level, one in enumerate(result.levels, 1) if one is not None)
    yield f"  {result.says}"
    if result.unscored:
        yield f"  not scored: {counts(result.unscored)}"
    if result.cuts:
        yield f"  use them: gradatim grade --rule paper --cuts calibration:{result.name}"


def _correlation(one: Correlation) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "none"
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def _line(words: str, one: Bin) -> str:
    error = "" if one.error is None else f" +- {one.error:.3f}"
    return f"  {words:<12}  {one.points:>9,}  {one.rate:>9.3f}{error}"


def _picture(result: CalibrateResult) -> str:
    from gradatim.reporting.curve import svg

    groups: list[tuple[str, Sequence[Bin]]] = [("all questions", result.bins), ("wrong attempt", result.bins_wrong)]
    return svg(f"{result.prm} on {result.model}: pass rate by score", groups, result.cuts)
