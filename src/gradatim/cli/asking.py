"""`attempt`, `teach` and `mock-server`: asking models, and a server to try it against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.cli.context import Start, pairs, pass_start
from gradatim.cli.output import counts, note, print_result
from gradatim.errors import GradatimError, LimitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.config import Config
    from gradatim.library.furthers import CutOff
    from gradatim.library.store import Library
    from gradatim.stages.attempt import AttemptResult
    from gradatim.stages.record import RecordResult
    from gradatim.stages.teach import TeachResult


NO_WAIT = click.option(
    "--no-wait", is_flag=True, help="With a model that is asked in batches: end as soon as they are at the server."
)


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the limits that are reserved for before a request is sent."""
    for option, kind, metavar, text in (
        ("--budget-hours", float, "H", "Time for this run, at most."),
        ("--budget-money", float, "X", "Money at most, earlier runs included; needs the model's price."),
        ("--budget-tokens", int, "N", "Prompt and completion tokens at most, earlier runs included."),
    ):
        command = click.option(option, type=kind, metavar=metavar, help=text)(command)
    return command


_TRUNCATED = ("truncated", "truncated_max_tokens")


def truncated_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what is to become of answers that are cut off."""
    command = click.option(
        "--truncated-max-tokens", type=int, metavar="N", help="The larger limit for an answer that was cut off."
    )(command)
    return click.option(
        "--truncated",
        type=click.Choice(["keep", "continue", "retry"]),
        help="What becomes of an answer that was cut off.  [default: keep]",
    )(command)


@click.command(short_help="Have the base model answer what is missing.")
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only these sets; all by default.")
@click.option("--samples", type=int, metavar="N", help="Attempts per question.  [default: 1]")
@click.option("--limit", type=int, metavar="N", help="Ask at most N questions in this run.")
@click.option("--temperature", type=float, metavar="T", help="[default: the server's]")
@click.option("--max-tokens", type=int, metavar="N", help="Of one answer, reasoning included.  [default: 4096]")
@truncated_options
@click.option("--seed", type=int, metavar="N", help="Of the run; each request gets its own from it.  [default: 0]")
@click.option(
    "--model",
    metavar="NAME",
    help="Which of [models]; with --base-url, --local or --recorded, the model's own name.  [default: base]",
)
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server, where no [models] are set.")
@click.option("--local", metavar="FOLDER", help="A model to run in this process, where no [models] are set.")
@click.option("--api-key-env", metavar="VAR", help="The environment variable with the server's key.")
@click.option(
    "--concurrency", type=int, metavar="N", help="Requests in flight at most.  [default: 64; 256 for a local model]"
)
@budget_options
@NO_WAIT
@click.option("--recorded", metavar="FILE", help="Take answers from a file instead: one row per answer.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=COLUMN",
    help="With --recorded: columns for prompt, question_id or source_id, answer, reasoning, sample, "
    "finish_reason, prompt_tokens, completion_tokens.",
)
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def attempt(start: Start, /, recorded: str | None, fields: tuple[str, ...], shape: str | None, **options: Any) -> None:
    """Have a model answer every question that lacks an answer; or, with --recorded, take answers from a file.

    A rerun asks for nothing that is there. Faults of the server are kept as faults and asked again by the next run.
    """
    from gradatim import pipeline
    from gradatim.cli.bars import progress_bars

    if recorded is not None:
        _record(start, recorded, fields, options["model"], shape)
        return
    if fields:
        raise UsageError("--field belongs to --recorded FILE.")
    config = with_model(start.config(), "attempt", options)
    with start.library(write=True) as library, progress_bars() as progress:
        result = pipeline.do_attempt(library, config, progress)
        last = _last_fault(library)
    print_result(result, shape, [attempted(result)])
    for said in result.notes:
        note(f"gradatim: {said}")
    if result.stopped:
        raise (GradatimError if result.under_way else LimitError)(result.stopped)
    if result.faults:
        raise GradatimError(
            f"{sum(result.faults.values())} requests got no answer ({counts(result.faults)}; the last one: {last}). "
            "Run the same command to ask again, or see: gradatim show --faults"
        )


def _last_fault(library: Library) -> str:
    """Return what the newest fault says of itself, in a line."""
    said = library.value("SELECT message FROM fault ORDER BY pk DESC LIMIT 1")
    return " ".join(str(said or "nothing is known").split())[:200]


def with_model(config: Config, table: str, options: dict[str, Any]) -> Config:
    """Return the settings with what the command line says of a stage and its model."""
    from gradatim.config import COMMAND_LINE, ModelSettings, check, updated

    stage = getattr(config, table)
    models = dict(config.models)
    for option in ("model", "base_url", "local"):
        if options.get(option) == "":
            raise UsageError(f"--{option.replace('_', '-')}: it is empty.")
    chosen = options.get("model") or stage.model
    if options.get("base_url") and options.get("local"):
        raise UsageError("--base-url and --local: a model is on a server or in a folder; give one of them.")
    if options.get("base_url"):
        models[chosen] = ModelSettings(model=chosen, base_url=options["base_url"])
    elif options.get("local"):
        models[chosen] = ModelSettings(model=chosen, kind="local", path=options["local"])
    if chosen in models:
        models[chosen] = updated(
            models[chosen], concurrency=options.get("concurrency"), api_key_env=options.get("api_key_env")
        )
    if options.get("no_wait"):
        if chosen not in models or (batch := models[chosen].batched) is None:
            raise UsageError(f"--no-wait: [models.{chosen}] is not asked in batches; set batch = true there.")
        models[chosen] = updated(models[chosen], batch=updated(batch, wait=False))
    names = ("samples", "limit", "temperature", "top_p", "max_tokens", "seed", "tries", "keep", "by", "levels_of")
    stage = updated(
        stage,
        model=chosen,
        sets=list(options.get("sets") or ()) or None,
        presets=list(options.get("presets") or ()) or None,
        allow_overlap=options.get("allow_overlap") or None,
        **{name: options.get(name) for name in (*names, *_TRUNCATED) if options.get(name) is not None},
    )
    budget = updated(
        stage.budget,
        tokens=options.get("budget_tokens"),
        money=options.get("budget_money"),
        hours=options.get("budget_hours"),
    )
    changed = updated(config, **{table: updated(stage, budget=budget), "models": models})
    check(changed, COMMAND_LINE)
    return changed


def _record(start: Start, /, recorded: str, fields: tuple[str, ...], model: str | None, shape: str | None) -> None:
    from gradatim.cli.bars import progress_bars
    from gradatim.stages.record import record

    if not model:
        raise UsageError("--recorded needs the name of the model that gave the answers: --model NAME")
    with start.library(write=True) as library, progress_bars() as progress:
        result = record(library, recorded, pairs(fields, "--field"), model=model, progress=progress)
    print_result(result, shape, [f"attempt {result.model}: {recorded_words(result)}"])
    check_recorded(result)


def recorded_words(result: RecordResult) -> str:
    """Say what became of recorded answers."""
    words = f"{result.added:,} recorded answers added, {result.already:,} were there"
    if result.source_column:
        words += f"; found by the source's column {result.source_column}"
    if result.dropped:
        words += (
            f"\n  {sum(result.dropped.values()):,} rows dropped ({counts(result.dropped)}), first: "
            f"{', '.join(result.dropped_places[:3])}"
        )
    return words


def check_recorded(result: RecordResult) -> None:
    """Raise an error where not one row became an attempt."""
    if not result.dropped or result.added + result.already:
        return
    words = f"None of the {sum(result.dropped.values()):,} rows became an answer ({counts(result.dropped)})."
    if "unknown_question" in result.dropped:
        words += (
            " Name the column that holds the question's text with --field prompt=COLUMN, or the one that holds its id: "
            "source_id where the questions' source has the same ids, question_id where they are Gradatim's."
        )
    raise GradatimError(words)


def attempted(result: AttemptResult) -> str:
    """Say what a run of `attempt` did."""
    tokens = result.prompt_tokens + result.completion_tokens
    cost = "" if result.cost is None else f", cost {result.cost:.4f}"
    have = result.before + result.answered
    return (
        f"attempt {result.model}: {result.answered:,} answers in {result.seconds:.1f} s "
        f"({tokens:,} tokens{cost}); {have:,} of {result.wanted:,} are there{cut_off(result.cut_off)}"
    )


def cut_off(found: CutOff) -> str:
    """Say how many answers were cut off, and what has become of them; nothing where none was."""
    if not found.first:
        return ""
    parts = ((found.continued, "continued"), (found.retried, "retried"), (found.anew, "begun anew by the server"))
    became = [f"{count:,} {what}" for count, what in parts if count]
    words = f"\n  {found.first:,} were cut off at max_tokens"
    return f"{words}: {', '.join(became)}; {found.still:,} are cut off still" if became else words


@click.command(short_help="Have the teacher write chains for a draw.")
@click.argument("draw", required=False)
@click.option(
    "--model", metavar="NAME", help="Which of [models]; with --base-url or --local, its own name.  [default: teacher]"
)
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server, where no [models] are set.")
@click.option("--local", metavar="FOLDER", help="A model to run in this process, where no [models] are set.")
@click.option("--api-key-env", metavar="VAR", help="The environment variable with the server's key.")
@click.option(
    "--concurrency", type=int, metavar="N", help="Requests in flight at most.  [default: 64; 256 for a local model]"
)
@click.option("--tries", type=int, metavar="N", help="Attempts per question at most.  [default: 4]")
@click.option("--keep", type=click.Choice(["correct", "any"]), help="What counts as a chain.  [default: correct]")
@click.option("--temperature", type=float, metavar="T", help="[default: the server's]")
@click.option("--max-tokens", type=int, metavar="N", help="Of one answer, reasoning included.  [default: 16384]")
@truncated_options
@budget_options
@NO_WAIT
@click.option("--json", "shape", flag_value="json", help="The result as JSON.")
@pass_start
def teach(start: Start, /, draw: str | None, shape: str | None, **options: Any) -> None:
    """Have the teacher work down each level of DRAW until its quota of verified chains is met."""
    from gradatim import pipeline
    from gradatim.cli.bars import progress_bars
    from gradatim.library import draws

    config = with_model(start.config(), "teach", options)
    with start.library(write=True) as library, progress_bars() as progress:
        name = draws.chosen_draw(library, draw).name
        result = pipeline.do_teach(library, config, name, progress)
    print_result(result, shape, taught(result))
    for said in result.notes:
        note(f"gradatim: {said}")
    if result.missing or result.under_way:
        raise (GradatimError if result.faults or result.under_way else LimitError)(result.stopped)


def taught(result: TeachResult) -> list[str]:
    """Say what each level has come to: chains, yield, tokens and cost."""
    words = [f"teach {result.draw}: {result.asked:,} answers of {result.teacher}"]
    for line in result.lines:
        yield_ = f"{line.correct / line.attempts:.0%}" if line.attempts else "-"
        cost = "" if line.cost is None else f", cost {line.cost:.4f}"
        words.append(
            f"  level {line.level}: {line.chains:,} of {line.quota:,} chains; {line.attempts:,} "
            f"attempts at {line.questions:,} questions, "
            f"{yield_} correct; {line.completion_tokens:,} tokens{cost}"
        )
    return [*words, *cut_off(result.cut_off).splitlines()[1:]]


@click.command(short_help="A local server to try the loop against.")
@click.option("--port", type=int, default=8000, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback only.")
@click.option(
    "--model", "models", multiple=True, metavar="NAME[=ACCURACY]", help="A model to list, and how often it is right."
)
@click.option("--answers", metavar="FILE", help="JSONL with questions and references, so that answers can be right.")
@click.option("--accuracy", type=float, default=0.6, show_default=True, help="How often an answer is right.")
@click.option(
    "--reasoning",
    type=click.Choice(["none", "field", "reasoning", "think"]),
    default="none",
    show_default=True,
    help="Where the reasoning stands.",
)
@click.option(
    "--continues",
    type=click.Choice(["honest", "echo", "ignore"]),
    default="honest",
    show_default=True,
    help="When asked to go on with an answer: go on, repeat it first, or begin anew.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND=P",
    help="Inject a fault with a probability: 429, 429_bare, 500, drop, empty, malformed, "
    "truncated, slow, hang, error_200.",
)
@click.option(
    "--ignore",
    "ignores",
    multiple=True,
    metavar="WHAT",
    help="Answer 200 and ignore it: n, logprobs, seed, temperature, stop, max_tokens, model, usage, finish_reason.",
)
@click.option("--context", type=int, metavar="N", help="Tokens of prompt and answer; a longer request is refused.")
@click.option(
    "--usage",
    type=click.Choice(["counted", "random", "untold"]),
    default="counted",
    show_default=True,
    help="Tokens that answers say they used; random ones, and such as one answer in ten does not tell, try a budget.",
)
@click.option("--latency", type=float, default=0.0, show_default=True, help="Seconds before each answer.")
@click.option("--batch-seconds", type=float, default=2.0, show_default=True, help="What a batch takes.")
@click.option(
    "--batch-fault",
    "batch_faults",
    multiple=True,
    metavar="KIND=P",
    help="A fault of the batch API: docs/mock-server.md.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the faults.")
def mock_server(**options: Any) -> None:
    """Serve made-up answers, an OpenAI-compatible chat and a PRM's /pooling, on loopback, until Ctrl-C.

    It counts what it is asked (GET /stats) and injects faults, so that you can see for yourself that a killed run loses
    nothing and buys nothing twice. Its answers and scores mean nothing.
    """
    from gradatim.models.mock_server import MockSettings, serve_forever

    named = [value.partition("=") for value in options["models"]]
    batch_faults = pairs(options["batch_faults"], "--batch-fault", "expired=0.1")
    settings = MockSettings(
        host=options["host"],
        port=options["port"],
        models=tuple(name for name, _, _ in named) or ("mock",),
        accuracy=options["accuracy"],
        accuracies=tuple((name, share(value, "--model")) for name, equals, value in named if equals),
        answers=options["answers"],
        reasoning=options["reasoning"],
        continues=options["continues"],
        latency=options["latency"],
        usage=options["usage"],
        ignores=options["ignores"],
        context=options["context"],
        seed=options["seed"],
        batch_seconds=options["batch_seconds"],
        batch_faults=tuple((kind, share(value, "--batch-fault")) for kind, value in batch_faults.items()),
        faults=tuple(
            (kind, share(value, "--fault")) for kind, value in pairs(options["faults"], "--fault", "500=0.1").items()
        ),
    )
    serve_forever(
        settings,
        on_ready=lambda url: note(f"Serving on {url}; counts at {url.removesuffix('/v1')}/stats; Ctrl-C ends it."),
    )


def share(text: str, option: str) -> float:
    """Return a probability. Raises `UsageError` for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{option}: {text!r} is no share between 0 and 1.")
    return value
