"""Code questions of the tests' own, in the three styles, and programs that pass as many of their tests as is wished.

Each question has ten tests: one for each number from 0 to 9.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import gradatim as gr
from pools import NAMES, THINGS, write_rows

if TYPE_CHECKING:
    from pathlib import Path

TESTS = 10
STYLES = ("stdio", "call", "assert")


def _task(number: int) -> tuple[str, int, int]:
    name, thing = NAMES[number % 10], THINGS[number // 10 % 10]
    each, more = number + 11, number % 7 + 2
    prompt = f"{name} packs boxes of {each} {thing} and has {more} {thing} beside them. How many are there in n boxes?"
    return prompt, each, more


def program(number: int, passes: int = TESTS) -> str:
    """Return a program for the question that passes the first `passes` of its tests."""
    _, each, more = _task(number)
    value = f"{each} * n + {more}" + ("" if passes >= TESTS else f" + (n >= {passes})")
    if STYLES[number % 3] == "stdio":
        return f"n = int(input())\nprint({value})"
    return f"def total(n):\n    return {value}"


def code_row(number: int) -> dict[str, object]:
    """Return one question of the plain form; its style goes by its number."""
    prompt, each, more = _task(number)
    values = [(n, each * n + more) for n in range(TESTS)]
    row: dict[str, object] = {"question": prompt, "solution": program(number), "number": number}
    match STYLES[number % 3]:
        case "stdio":
            return row | {"tests": [{"input": f"{n}\n", "output": f"{value}\n"} for n, value in values]}
        case "call":
            return row | {"function": "total", "tests": [{"input": [n], "output": value} for n, value in values]}
    return row | {"tests": [f"assert total({n}) == {value}" for n, value in values]}


def answer(code: str) -> str:
    """Return an answer that gives a program as models do."""
    return f"Each box holds as many, so we multiply and add.\n\n```python\n{code}\n```\n\nThat is the whole program."


def code_library(folder: Path, count: int, *, name: str = "library.db") -> gr.Library:
    """Return a writable library with a pool of so many code questions."""
    pool = write_rows(folder / "code.jsonl", map(code_row, range(count)))
    library = gr.Library(folder / name, write=True)
    result = gr.ingest(library, gr.IngestSettings(path=str(pool), domain="code"))
    assert (result.added, result.dropped, result.faults) == (count, {}, {})
    return library


def numbers(library: gr.Library) -> dict[str, int]:
    """Return the questions' numbers by their ids."""
    return {id_: json.loads(extra)["number"] for id_, extra in library.all("SELECT id, extra FROM questions")}


def record_texts(library: gr.Library, folder: Path, model: str, texts, role: str = "base") -> gr.RecordResult:
    """Record one answer per question and sample: `texts(number)` gives the answers to a question."""
    rows = [
        {"number": number, "a": text, "s": sample}
        for number in sorted(numbers(library).values())
        for sample, text in enumerate(texts(number))
    ]
    path = write_rows(folder / f"{model}.answers.jsonl", rows)
    fields = {"source_id": "number", "answer": "a", "sample": "s"}
    return gr.record(library, str(path), fields, model=model, role=role)
