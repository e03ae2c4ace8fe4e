"""What the tests of training start from: a library with kept chains and base answers, and a tiny model to train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradatim as gr
from pools import drawn_library, question, record_answers

if TYPE_CHECKING:
    from pathlib import Path


def chain(number: int) -> str:
    """Return what the teacher wrote: reasoning and an answer, right for every question."""
    row = question(number)
    thought = f"{number + 11}+{number % 7 + 2}={row['answer']}"
    return f"<think>\n{thought}\n</think>\n\nThe answer is \\boxed{{{row['answer']}}}."


def taught_library(folder: Path, count: int = 90, **settings) -> gr.Library:
    """Return a writable library with a graded pool, and a draw `d` of kept chains, 15 where nothing else is said."""
    library = drawn_library(folder, count, **settings)
    record_answers(library, folder, "big", lambda number: [chain(number)], count=count, role="teacher")
    gr.verify(library)
    gr.curate(library, "d", gr.CurateSettings(max_repetition=1.0))
    return library


def quick(folder: Path, base: Path, **changes) -> gr.TrainSettings:
    """Return settings that move a tiny random model within seconds."""
    settings = {"base": str(base), "out": str(folder / "trained"), "learning_rate": 1e-2, "epochs": 3, "batch_size": 4}
    return gr.TrainSettings(**settings | changes)
