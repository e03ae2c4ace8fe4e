"""`init` and `ingest`: a folder to work in, and questions in the library."""

from __future__ import annotations

from pathlib import Path

import click

from gradatim.cli.context import SETTINGS, Start, pairs, pass_start
from gradatim.cli.deciding import warn_of_limits
from gradatim.cli.output import counts, print_result
from gradatim.errors import GradatimError, UsageError


@click.command(short_help="Make a folder with a commented gradatim.toml.")
@click.argument("folder", default=".")
def init(folder: str) -> None:
    """Make FOLDER with a commented gradatim.toml in it. Leaves a file that is there alone."""
    path = Path(folder) / SETTINGS
    if path.exists():
        raise UsageError(f"{path} is there already; it was left as it is.")
    template = Path(__file__).with_name("template.toml").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
    print(f"Made {path}. Set the models in it, then: cd {folder}; gradatim ingest POOL; gradatim run --dry-run")


@click.command(short_help="Read questions into the library.")
@click.argument("source", required=False)
@click.option("--set", "set_name", metavar="NAME", help="The set the questions go into.  [default: pool]")
@click.option(
    "--eval", "is_eval", is_flag=True, help="An evaluation set: never drawn, and pools are checked against it."
)
@click.option(
    "--domain", type=click.Choice(["math", "choice", "code"]), help="What decides an answer.  [default: math]"
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Which column holds prompt, reference, solution, choices, tests, function. Dotted paths reach inside.",
)
@click.option(
    "--format", "format_", metavar="FORMAT", help="jsonl, json, csv, tsv, parquet; by the name where it tells."
)
@click.option("--split", metavar="NAME", help="Of a Hugging Face data set.")
@click.option("--config-name", metavar="NAME", help="Of a Hugging Face data set.")
@click.option(
    "--near", type=float, metavar="J", help="Jaccard similarity of near duplicates; 0 keeps them.  [default: 0.85]"
)
@click.option(
    "--ngram",
    type=int,
    metavar="N",
    help="Words shared with an evaluation set that exclude a question; 0 turns it off.  [default: 13]",
)
@click.option(
    "--sandbox",
    type=click.Choice(["default", "strict", "limits"]),
    help="What the programs of code questions run in, as for verify.  [default: default]",
)
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def ingest(
    start: Start, /, source: str | None, is_eval: bool, fields: tuple[str, ...], shape: str | None, **options: object
) -> None:
    """Read SOURCE (a file, a folder, or hf:owner/name) into the library; without SOURCE, all [[ingest]] tables.

    JSONL, JSON, CSV, TSV (plain, .gz, .zst), Parquet, Hugging Face data sets. The columns of GSM8K, MATH, MATH-500,
    NuminaMath, AIME, choice questions and plain question/answer files are recognised, and of code questions those of
    LiveCodeBench, TACO, APPS, Codeforces, CodeContests, HumanEval, MBPP and plain files with tests. A code question's
    own program must pass its tests. Rows that are dropped stay listed: gradatim show --dropped.
    """
    from gradatim import config as settings
    from gradatim.cli.bars import progress_bars
    from gradatim.stages.ingest import ingest as ingest_stage

    config = start.config()
    if source is None:
        if not config.ingest:
            raise UsageError("Say what to read: gradatim ingest FILE, or an [[ingest]] table in gradatim.toml.")
        chosen = sorted(config.ingest, key=lambda one: one.purpose != "eval")
    else:
        chosen = [
            settings.updated(
                settings.IngestSettings(path=source),
                set=options["set_name"],
                purpose="eval" if is_eval else None,
                domain=options["domain"],
                fields=pairs(fields, "--field"),
                format=options["format_"],
                split=options["split"],
                config_name=options["config_name"],
                near=options["near"],
                ngram=options["ngram"],
            )
        ]
        settings.check(settings.updated(config, ingest=chosen), settings.COMMAND_LINE)
    code = settings.updated(config.verify.code, sandbox=options["sandbox"])
    if any(one.domain == "code" for one in chosen):
        warn_of_limits(code.sandbox)
    with start.library(write=True) as library, progress_bars() as progress:
        results = [ingest_stage(library, one, code=code, progress=progress) for one in chosen]
    print_result(results, shape, [ingested(result) for result in results])
    for result in results:
        if result.dropped and not result.added + result.already:
            raise GradatimError(
                f"No row of the set {result.set!r} became a question ({counts(result.dropped)}). "
                "See them: gradatim show --dropped"
            )


def ingested(result: object) -> str:
    """Say what became of a source."""
    from gradatim.stages.ingest import IngestResult

    assert isinstance(result, IngestResult)
    if result.unchanged:
        return f"ingest {result.set}: read before, and not changed since"
    parts = [f"{result.added:,} questions added"]
    if result.already:
        parts.append(f"{result.already:,} were there")
    if result.dropped:
        parts.append(f"{sum(result.dropped.values()):,} dropped ({counts(result.dropped)})")
    if result.excluded:
        parts.append(f"{result.excluded:,} excluded as contaminated")
    if result.faults:
        parts.append(
            f"{sum(result.faults.values()):,} not looked at after faults ({counts(result.faults)}): run it again"
        )
    return f"ingest {result.set}: {', '.join(parts)}; read as {result.preset}"
