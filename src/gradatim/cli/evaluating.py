"""`evaluate`: how good a model is, how sure that is, and against whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.cli.asking import (
    NO_WAIT,
    budget_options,
    check_recorded,
    cut_off,
    recorded_words,
    truncated_options,
    with_model,
)
from gradatim.cli.context import Start, pairs, pass_start
from gradatim.cli.output import counts, note, print_result
from gradatim.cli.reading import ingested
from gradatim.errors import GradatimError, LimitError, UsageError

if TYPE_CHECKING:
    from gradatim.config import Config
    from gradatim.library.evaluations import Overlap
    from gradatim.library.store import Library
    from gradatim.method.evaluation import Difference, Estimate
    from gradatim.progress import Progress
    from gradatim.stages.evaluate import EvaluateResult
    from gradatim.work.figures import Comparison, Line, PassAt

_NAMES = ("aime24", "aime25", "math500", "gpqa-diamond", "humaneval", "mbpp")


@click.command(short_help="Evaluate a model on held-out questions.")
@click.option(
    "--model",
    metavar="NAME",
    help="Which of [models], or the name of a model whose answers are all there; with --base-url or --recorded, the "
    "model's own name.  [default: base]",
)
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only these sets; all evaluation sets by default.")
@click.option(
    "--preset",
    "presets",
    multiple=True,
    type=click.Choice(_NAMES),
    help="A public set, read from the Hugging Face hub where the library does not have it.",
)
@click.option("--from", "file", metavar="FILE", help="With one --preset: read it from this copy.")
@click.option(
    "--samples", type=int, metavar="N", help="Answers per question.  [default: 16, 4 or 1, by the set's size]"
)
@click.option("--against", metavar="NAME", help="Compare with this model's answers to the same questions.")
@click.option("--by", metavar="COLUMN", help="Break down by a column of the questions' source too.")
@click.option("--levels-of", metavar="MODEL", help="Whose levels to break down by.  [default: the model's own]")
@click.option("--temperature", type=float, metavar="T", help="[default: 0.6]")
@click.option("--top-p", type=float, metavar="P", help="[default: 0.95]")
@click.option("--max-tokens", type=int, metavar="N", help="Of one answer, reasoning included.  [default: 16384]")
@truncated_options
@click.option("--seed", type=int, metavar="N", help="Of the run; each request gets its own from it.  [default: 0]")
@click.option(
    "--allow-overlap", is_flag=True, help="Evaluate on a pool, or on questions that were drawn, all the same."
)
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server, where no [models] are set.")
@click.option("--api-key-env", metavar="VAR", help="The environment variable with the server's key.")
@click.option("--concurrency", type=int, metavar="N", help="Requests in flight at most.  [default: 64]")
@budget_options
@NO_WAIT
@click.option("--recorded", metavar="FILE", help="Take answers from a file instead: one row per answer.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME=COLUMN", help="With --recorded: columns, as for `attempt`."
)
@click.option("--setting", metavar="ID", help="Show an earlier evaluation of the model, by the id that it printed.")
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def evaluate(start: Start, /, shape: str | None, **options: Any) -> None:
    """Have a model answer what is missing of the evaluation sets, judge the answers, and print how good it is.

    Accuracy is over decided answers; where some are undecided, what it would be if those were wrong stands beside it.
    Intervals are 95 %, over questions. An evaluation that is complete asks nothing and needs no server.
    """
    from gradatim.cli.bars import progress_bars

    _check(options)
    config = with_model(start.config(), "evaluate", options)
    with start.library(write=True) as library, progress_bars() as progress:
        results = _evaluate(library, config, options, progress)
    print_result(results, shape, [sentence for result in results for sentence in evaluated(result)])
    for result in results:
        for said in (*result.notes, *filter(None, [result.against.note if result.against else ""])):
            note(f"gradatim: {said}")
    _raise_what_is_left(results)


def _check(options: dict[str, Any]) -> None:
    """Raise `UsageError` for options that do not go together."""
    if options["file"] is not None and len(options["presets"]) != 1:
        raise UsageError(f"--from FILE is a copy of one public set: name it with --preset ({', '.join(_NAMES)}).")
    if options["fields"] and options["recorded"] is None:
        raise UsageError("--field belongs to --recorded FILE.")
    if options["recorded"] is not None and not options["model"]:
        raise UsageError("--recorded needs the name of the model that gave the answers: --model NAME")
    if options["setting"] is not None and options["recorded"] is not None:
        raise UsageError("--setting and --recorded exclude each other: both say which answers are meant.")


def _evaluate(library: Library, config: Config, options: dict[str, Any], progress: Progress) -> list[EvaluateResult]:
    from gradatim import pipeline
    from gradatim.library.attempts import RECORDED, find
    from gradatim.stages.record import record
    from gradatim.types import Role

    setting = options["setting"]
    for read in pipeline.read_presets(library, config.evaluate, options["file"], progress):
        note(f"gradatim: {ingested(read)}")
    if options["recorded"] is not None:
        fields = pairs(options["fields"], "--field")
        done = record(
            library, options["recorded"], fields, model=config.evaluate.model, role=Role.EVAL, progress=progress
        )
        note(f"gradatim: {recorded_words(done)}")
        check_recorded(done)
        found = find(library, Role.EVAL, config.evaluate.model, RECORDED)
        setting = found.id if found else None
    return pipeline.do_evaluate(library, config, progress, setting=setting, against=options["against"])


def _raise_what_is_left(results: list[EvaluateResult]) -> None:
    """Raise what keeps an evaluation from being whole."""
    for result in results:
        if result.asked is not None and result.asked.stopped:
            kind = GradatimError if result.asked.under_way else LimitError
            raise kind(f"{result.asked.stopped} The figures are of the answers that are there.")
        if result.asked is not None and result.asked.faults:
            raise GradatimError(
                f"{sum(result.asked.faults.values()):,} requests got no answer ({counts(result.asked.faults)}); the "
                "figures are of those that did. Run the same command to ask again, or see: gradatim show --faults"
            )
        if result.unjudged:
            raise GradatimError(
                f"{result.unjudged:,} answers could not be judged and count nowhere. Run the same command to try again."
            )


def evaluated(result: EvaluateResult) -> list[str]:
    """Say how good a model is on a set."""
    plural = "" if result.samples == 1 else "s"
    heat = "" if result.temperature is None else f" at temperature {result.temperature:g}"
    what = f"{result.questions:,} questions, {result.samples} answer{plural} each{heat}"
    words = [f"evaluate {result.model} on {result.set}: {what} (setting {result.setting})"]
    if result.asked is not None:
        words.append(f"  {_asked(result)}")
    words += _table(result)
    if result.undecided:
        share = (result.overall.answers - result.overall.decided) / result.overall.answers
        words.append(f"  undecided: {counts(result.undecided)} ({share:.1%} of the answers)")
    if result.cut_off.waiting < result.cut_off.first:
        words += cut_off(result.cut_off).splitlines()[1:]
    if result.left:
        words.append(f"  missing: {result.left:,} answers; the figures are of those that are there")
    if result.mean_tokens is not None:
        words.append(f"  tokens written per answer: {result.mean_tokens:,.0f}")
    words.append(f"  {_overlap(result.overlap)}")
    if result.against is not None:
        words += _against(result.model, result.against)
    return words


def _asked(result: EvaluateResult) -> str:
    asked = result.asked
    assert asked is not None
    tokens = asked.prompt_tokens + asked.completion_tokens
    cost = "" if asked.cost is None else f", cost {asked.cost:.4f}"
    return f"{asked.answered:,} answers in {asked.seconds:.1f} s ({tokens:,} tokens{cost}); {asked.before:,} were there"


def _table(result: EvaluateResult) -> list[str]:
    """Return the figures, a line for each group of questions."""
    rows: list[tuple[str, Line | PassAt]] = [(f"avg@{result.samples}", result.overall)]
    rows += [(f"pass@{one.k}", one) for one in result.passes if one.k > 1]
    rows += [(f"{one.group} {one.name}", one) for one in result.lines]
    width, strict = max(len(name) for name, _ in rows), bool(result.undecided)
    head = f"  {'':<{width}}  questions  decided  accuracy  95 % interval"
    lines = [f"  {name:<{width}}  {_cells(row, strict=strict)}" for name, row in rows]
    return [f"{head}   if undecided were wrong" if strict else head, *lines, *_whose(result)]


def _whose(result: EvaluateResult) -> list[str]:
    return [f"  levels: those of {result.levels_of}"] if result.levels_of else []


def _cells(row: Line | PassAt, *, strict: bool) -> str:
    from gradatim.work.figures import PassAt

    value, decided = (row.estimate, "") if isinstance(row, PassAt) else (row.accuracy, f"{row.decided:,}")
    questions = 0 if value is None else value.questions
    cells = f"{questions:>9,}  {decided:>7}  {_value(value):>8}  {_interval(value):<14}"
    return f"{cells}  {_both(row.at_least)}" if strict else cells.rstrip()


def _value(value: Estimate | None) -> str:
    return "-" if value is None else f"{value.value:.3f}"


def _interval(value: Estimate | Difference | None) -> str:
    return "-" if value is None else f"{value.low:.3f} to {value.high:.3f}"


def _both(value: Estimate | None) -> str:
    return "-" if value is None else f"{value.value:.3f} ({_interval(value)})"


def _overlap(overlap: Overlap) -> str:
    words = f"overlap with draws: {overlap.drawn:,} of {overlap.questions:,} questions"
    if overlap.drawn:
        words += f" ({overlap.trained:,} with a kept chain)"
    if overlap.near_drawn:
        words += f", and {overlap.near_drawn:,} drawn questions share a passage with one of them"
    if overlap.draws:
        words += f" (draw {', '.join(overlap.draws)})"
    if overlap.replayed:
        words += f"; {overlap.replayed:,} were replayed in training"
    return f"{words}; {overlap.near_excluded:,} questions of pools were set aside for sharing a passage with this set"


def _against(model: str, other: Comparison) -> list[str]:
    """Say how the model compares."""
    one = other.difference
    if one is None:
        return [f"  against {other.model}: no question has a decided answer of both"]
    equal = one.questions - one.better - one.worse
    words = [
        f"  against {other.model} (setting {other.setting}), on {one.questions:,} questions that both decided:",
        f"    {one.value:+.3f}, 95 % interval {_signed(one)}, p = {_p(one.p)}",
        f"    {model} is better on {one.better:,}, worse on {one.worse:,}, equal on {equal:,}",
    ]
    if other.at_least is not None and other.at_least != one:
        strict = other.at_least
        words.append(
            f"    if undecided answers were wrong: {strict.value:+.3f} ({_signed(strict)}), p = {_p(strict.p)}, on "
            f"{strict.questions:,} questions"
        )
    return words


def _signed(one: Difference) -> str:
    return f"{one.low:+.3f} to {one.high:+.3f}"


def _p(p: float) -> str:
    return f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
