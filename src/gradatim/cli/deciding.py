"""`verify`, `grade` and `levels`: verdicts, levels, and what they look like in sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import counts, note, print_result, print_rows, row_options
from gradatim.errors import GradatimError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library
    from gradatim.stages.grade import GradeResult, LevelLine
    from gradatim.stages.verify import VerifyResult


@click.command(short_help="Judge attempts that have no verdict yet.")
@click.option("--again", is_flag=True, help="Judge everything anew, beside the old verdicts. Costs no tokens.")
@click.option("--deadline", type=float, metavar="SECONDS", help="Per pair of answers.  [default: 5]")
@click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Processes for symbolic work [default: 1], and programs at a time [default: one per core].",
)
@click.option(
    "--sandbox",
    type=click.Choice(["default", "strict", "limits"]),
    help="What programs run in; limits is for programs that you trust.  [default: default]",
)
@click.option(
    "--run-all/--stop-at-first",
    "run_all",
    default=None,
    help="Run all tests of a program, or stop at the first that fails.  [default: run all]",
)
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def verify(
    start: Start,
    /,
    again: bool,
    deadline: float | None,
    workers: int | None,
    sandbox: str | None,
    run_all: bool | None,
    shape: str | None,
) -> None:
    """Have a checker decide every attempt that has no verdict of the checker's present version.

    The programs of code questions run in a sandbox: gradatim doctor says what this machine has.
    """
    from gradatim.cli.bars import progress_bars
    from gradatim.config import COMMAND_LINE, check, updated
    from gradatim.stages.verify import verify as verify_stage

    config = start.config()
    stop = None if run_all is None else "never" if run_all else "first_failure"
    code = updated(config.verify.code, sandbox=sandbox, workers=workers, stop=stop)
    config = updated(config, verify=updated(config.verify, deadline=deadline, workers=workers, code=code))
    check(config, COMMAND_LINE)
    warn_of_limits(config.verify.code.sandbox)
    with start.library(write=True) as library, progress_bars() as progress:
        if library.value("SELECT 1 FROM attempt LIMIT 1") is None:
            raise UsageError("There are no attempts to judge yet. Run first: gradatim attempt")
        result = verify_stage(library, config.verify, again=again, progress=progress)
    print_result(result, shape, verified(result))
    if result.faults:
        raise GradatimError(
            f"{sum(result.faults.values())} attempts could not be judged "
            f"({counts(result.faults)}). Run the same command to try again."
        )


def warn_of_limits(sandbox: str) -> None:
    """Say what the weakest sandbox lacks."""
    if sandbox == "limits":
        note(
            "gradatim: warning: programs run with limits of time and memory alone (sandbox = limits): they can read "
            "your files, use the network and harm this machine. Use it for programs that you trust."
        )


def verified(result: VerifyResult) -> list[str]:
    """Say what was decided."""
    if not result.judged:
        return ["verify: nothing new to judge"]
    return [f"verify: {result.judged:,} verdicts ({counts(result.outcomes)})", f"  reasons: {counts(result.reasons)}"]


@click.command(short_help="Give every question a level for the model.")
@click.option(
    "--rule",
    type=click.Choice(["paper", "rate"]),
    help="One attempt and the PRM's mean, or the pass rate.  [default: paper]",
)
@click.option(
    "--cuts",
    metavar="C1,C2,...",
    help="What parts the levels: four falling numbers (paper), five (rate), quintiles, or calibration:NAME.",
)
@click.option("--model", metavar="NAME", help="Only this model's attempts; all by default.")
@click.option("--no-prm", is_flag=True, help="Use the scores that are there; ask no PRM.")
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def grade(
    start: Start, /, rule: str | None, cuts: str | None, model: str | None, no_prm: bool, shape: str | None
) -> None:
    """Have the PRM score wrong attempts that lack scores, and turn all evidence into levels 0 (easy) to 5.

    Levels are derived: another rule or other cuts ask no model. A wrong program is graded by the share of tests that
    it passed, and asks no PRM, unless code_scores = "prm" is set in [grade].
    """
    from gradatim import pipeline
    from gradatim.cli.bars import progress_bars
    from gradatim.config import COMMAND_LINE, check, updated

    config = start.config()
    changed = updated(config.grade, rule=rule, cuts=_cuts(cuts))
    if rule is not None and cuts is None and rule != config.grade.rule:
        # The settings' cuts belong to the other rule.
        changed = type(changed)(rule=changed.rule, code_scores=changed.code_scores)
    config = updated(config, grade=changed)
    check(config, COMMAND_LINE)
    with start.library(write=True) as library, progress_bars() as progress:
        results = pipeline.do_grade(library, config, progress, model=model, ask=not no_prm)
    print_result(results, shape, [sentence for result in results for sentence in graded(result)])
    for result in results:
        if result.warning:
            note(f"gradatim: {result.model}: {result.warning}")
        for said in result.notes:
            note(f"gradatim: {said}")


def _cuts(text: str | None) -> list[float] | str | None:
    from gradatim.config import CALIBRATION, QUINTILES

    if text is None or text == QUINTILES or text.startswith(CALIBRATION):
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--cuts {text!r}: write falling numbers, as in 0.8,0.6,0.4,0.2, quintiles, or calibration:NAME."
        ) from error


def graded(result: GradeResult) -> list[str]:
    """Say how levels relate to evidence."""
    scored = f", {result.scored:,} attempts scored" if result.scored else ""
    how = "" if result.aggregation == "mean" else f", {result.aggregation} of step scores"
    words = [
        (
            f"grade {result.model}: rule {result.rule}{how}, cuts "
            f"{', '.join(f'{cut:.3g}' for cut in result.cuts)}{scored} (grading {result.grading})"
        )
    ]
    words += _evidence(result.levels)
    if result.ungraded:
        words.append(f"  without a level: {counts(result.ungraded)}")
    if result.unscored:
        words.append(f"  not scored: {counts(result.unscored)}")
    return words


def _evidence(lines: Sequence[LevelLine]) -> list[str]:
    """Return a table of what the levels stand on, without the columns of what was not asked."""
    tests = any(line.tests is not None for line in lines)
    # A PRM's column is left out where shares of tests made the levels and no PRM ever scored.
    prm = not tests or any(line.score is not None for line in lines)
    columns = {
        "level": [f"{'none' if line.level is None else line.level:>7}" for line in lines],
        "questions": [f"{line.questions:,}" for line in lines],
        **({"mean PRM score": [_mean(line.score) for line in lines]} if prm else {}),
        **({"tests passed": [_mean(line.tests) for line in lines]} if tests else {}),
        "pass rate": [_mean(line.pass_rate) for line in lines],
        "attempts": [f"{line.attempts:,}" for line in lines],
    }
    widths = [max(7, len(name)) if name == "level" else len(name) for name in columns]
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@click.command(short_help="Show the histogram of levels, per model.")
@click.option("--model", metavar="NAME", help="Only this model.")
@click.option(
    "--compare", nargs=2, metavar="MODEL MODEL", help="How many questions change level from one model to the next."
)
@click.option("--all", "all_gradings", is_flag=True, help="Every grading, not only the newest of each model.")
@click.option("--evidence", is_flag=True, help="A row per level: mean PRM score, share of tests passed, pass rate.")
@row_options
@pass_start
def levels(
    start: Start,
    /,
    model: str | None,
    compare: tuple[str, str] | None,
    all_gradings: bool,
    evidence: bool,
    shape: str | None,
) -> None:
    """Show how many questions of the pools stand at each level, for each model that was graded."""
    from gradatim.library import grades, questions

    with start.library(write=False) as library:
        if compare:
            _print_moves(library, *compare, shape)
            return
        there = grades.gradings(library)
        if model is not None or not there:
            newest = grades.chosen_grading(library, model)
            there = [one for one in there if one.model == newest.model] if all_gradings else [newest]
        elif not all_gradings:
            there = list({one.model: one for one in there}.values())
        if evidence:
            _print_evidence(library, there, shape)
            return
        pools = questions.sets(library)
        rows = [
            (
                one.model,
                one.rule,
                one.id,
                set_.name,
                *(counted.get(level, 0) for level in range(6)),
                counted.get(None, 0),
            )
            for one in there
            for set_ in pools
            if (counted := grades.histogram(library, one, set_.pk))
        ]
        print_rows(("model", "rule", "grading", "set", "0", "1", "2", "3", "4", "5", "none"), rows, shape)


def _print_evidence(library: Library, gradings: Sequence[GradingRow], shape: str | None) -> None:
    """Print what each level of these gradings stands on."""
    from gradatim.library import grades

    columns = ("model", "rule", "grading", "level", "questions", "score", "tests", "pass_rate", "attempts")
    rows = [
        (one.model, one.rule, one.id, level, count, score, tests, right / decided if decided else None, decided)
        for one in gradings
        for level, count, score, decided, right, _, tests in grades.by_level(library, one)
    ]
    print_rows(columns, rows, shape)


def _print_moves(library: Library, first: str, second: str, shape: str | None) -> None:
    from gradatim.library import grades

    one, other = _grading(library, first), _grading(library, second)
    moves = grades.moves(library, one, other)
    if not moves:
        raise UsageError(f"{first} and {second} have no graded question in common.")
    table = {(a, b): count for a, b, count in moves}
    total, changed = sum(table.values()), sum(count for (a, b), count in table.items() if a != b)
    rows = [(f"{first} {a}", *(table.get((a, b), 0) for b in range(6))) for a in range(6)]
    print_rows((f"level for {first} | {second}", *map(str, range(6))), rows, shape)
    note(f"{changed:,} of {total:,} questions ({changed / total:.1%}) change level from {one.model} to {other.model}.")


def _grading(library: Library, name: str) -> GradingRow:
    """Return the newest grading of a model, or the grading of this id."""
    from gradatim.library import grades

    ids = {one.id for one in grades.gradings(library)}
    return grades.chosen_grading(library, grading=name) if name in ids else grades.chosen_grading(library, model=name)
