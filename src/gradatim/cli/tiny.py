"""`tiny`: the questions, the models and the teacher of the tiny world."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gradatim.cli.output import note
from gradatim.errors import UsageError


@click.group(short_help="The tiny world: questions, models and a teacher.")
def tiny() -> None:
    """A world small enough to run the whole method in, with no GPU, no model hub and no key.

    Its questions are made by a program, its models have half a million parameters and come with the package, and its
    teacher is a program that solves what it is asked. They are real in all but size.
    """


@tiny.command(short_help="Write questions to a file.")
@click.argument("out", metavar="FILE")
@click.option("--split", default="pool", show_default=True, help="pretraining, prm, pool, eval or test.")
@click.option("--size", type=int, default=1000, show_default=True, help="How many questions.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives others of the same split.")
def questions(out: str, split: str, size: int, seed: int) -> None:
    """Write questions to a .jsonl or .parquet file: prompt, reference, solution, family and size (1 to 5).

    No two are alike, and splits share none, whatever the seeds: what a question is for is decided by a hash of it.
    """
    from itertools import islice

    from gradatim.formats.write import write_rows
    from gradatim.tiny import world

    if not 1 <= size <= world.MOST:
        raise UsageError(f"--size {size}: write a number from 1 to {world.MOST:,}.")
    found = [one.row() for one in islice(world.questions(split, seed=seed), size)]
    if len(found) < size:
        raise UsageError(f"The split {split!r} has only {len(found):,} questions. Ask for so many at most.")
    write_rows(Path(out), found, typical=found[0])
    note(f"Wrote {size:,} questions of {split!r} to {out}.")


@tiny.command(short_help="Say where the tiny models are.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def models(*, as_json: bool) -> None:
    """Print the folders of the tiny models: base, second and prm.

    They are ordinary Hugging Face folders: name one as path of a [models.NAME] with kind = "local", as model of [prm]
    with backend = "local", or serve it with any engine.
    """
    from gradatim.tiny.weights import MODELS, folder

    if as_json:
        print(json.dumps({name: str(folder(name)) for name in MODELS}))
        return
    for name in MODELS:
        print(f"{name:8}{folder(name)}")


@tiny.command(short_help="Serve the teacher on this machine.")
@click.option("--port", type=int, default=8001, show_default=True, help="0 takes a free one.")
@click.option("--error-rate", type=float, default=0.08, show_default=True, help="How often it misreads a question.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides its errors and its wording.")
def teacher(port: int, error_rate: float, seed: int) -> None:
    """Serve the teacher as an OpenAI-compatible reasoning model, on loopback, until Ctrl-C.

    It solves the tiny world's questions step by step. Its model name is tiny-teacher; its reasoning comes in
    reasoning_content, as DeepSeek-R1's does.
    """
    from gradatim.tiny.teacher import TinyTeacher, serve_teacher

    serve_teacher(
        TinyTeacher(error_rate=error_rate, seed=seed),
        port=port,
        on_ready=lambda url: note(f"Serving tiny-teacher on {url}; Ctrl-C ends it."),
    )
