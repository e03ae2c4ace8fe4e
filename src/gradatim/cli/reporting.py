"""`report`: one HTML file for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import print_result, printable

if TYPE_CHECKING:
    from gradatim.stages.report import ReportResult


@click.command(short_help="Write one HTML file with all figures.")
@click.option("-o", "--out", metavar="FILE", help="The file.  [default: report.html]")
@click.option("--draw", metavar="NAME", help="Only this draw.  [default: the newest, six at most]")
@click.option(
    "--model", metavar="NAME", help="The graded model that it is about.  [default: the base of the newest training]"
)
@click.option("--after", metavar="NAME", help="The model to hold beside it.  [default: what it was trained to last]")
@click.option("--title", metavar="TEXT", help="The page's title.  [default: the models' names]")
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def report(start: Start, /, shape: str | None, **options: Any) -> None:
    """Write what the library knows as one HTML file: plots, tables, whole questions. It asks the network for nothing.

    The same library and settings give the same bytes. What has no data yet is listed with the command that gives it.
    """
    from gradatim.config import COMMAND_LINE, check, updated
    from gradatim.stages.report import report as report_stage

    config = start.config()
    config = updated(config, report=updated(config.report, **options))
    check(config, COMMAND_LINE)
    with start.library(write=False) as library:
        result = report_stage(library, config.report)
    print_result(result, shape, reported(result))


def reported(result: ReportResult) -> list[str]:
    """Say what was written, and what it lacks."""
    about = f" of {result.model}" if result.model else ""
    beside = f" beside {result.after}" if result.after else ""
    words = [f"report{about}{beside}: {result.file.name}, {result.file.size:,} bytes, {len(result.sections)} sections"]
    words += [f"  without {one.section}: {one.why}; {one.command}" for one in result.missing]
    return [printable(sentence) for sentence in words]
