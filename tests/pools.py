"""Pools, answers and libraries for the tests of the stages."""

import json
from pathlib import Path

import gradatim as gr

NAMES = ("Ana", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal", "Ivy", "Jo")
THINGS = ("eggs", "books", "coins", "cards", "pens", "shells", "keys", "cups", "nuts", "stamps")


def question(number: int) -> dict[str, str]:
    """Return one question; each number gives another one, and no two are near duplicates."""
    name, thing = NAMES[number % 10], THINGS[number // 10 % 10]
    first, second = number + 11, number % 7 + 2
    prompt = f"{name} has {first} {thing} and finds {second} more. How many {thing} does {name} have now?"
    solution = f"There are {first} {thing}.\n\nWith {second} more it is {first + second}."
    return {"problem": prompt, "answer": str(first + second), "solution": solution}


def write_rows(path: Path, rows) -> Path:
    """Write rows as JSON Lines; a row that is a text is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_pool(path: Path, count: int, start: int = 0) -> Path:
    """Write `count` questions."""
    return write_rows(path, map(question, range(start, start + count)))


def pool_library(folder: Path, count: int, *, name: str = "library.db") -> gr.Library:
    """Return a writable library with a pool of so many questions; the pool is `pool.jsonl` beside it."""
    pool = write_pool(folder / "pool.jsonl", count)
    library = gr.Library(folder / name, write=True)
    gr.ingest(library, gr.IngestSettings(path=str(pool)))
    return library


def answer(text: str) -> str:
    """Return an answer of two steps that ends in a box."""
    return f"We count what there is.\n\nSo the answer is $\\boxed{{{text}}}$."


def record_answers(library: gr.Library, folder: Path, model: str, rights, *, count: int | None = None, role="base"):
    """Record one answer per question and sample: `rights(number, sample)` says whether it is right, or is its text."""
    rows = []
    total = library.value("SELECT count(*) FROM question") if count is None else count
    for number in range(total):
        for sample, right in enumerate(rights(number)):
            row = question(number)
            text = right if isinstance(right, str) else answer(row["answer"] if right else str(int(row["answer"]) + 1))
            rows.append({"q": row["problem"], "a": text, "s": sample})
    path = write_rows(folder / f"{model}.answers.jsonl", rows)
    fields = {"prompt": "q", "answer": "a", "sample": "s"}
    return gr.record(library, str(path), fields, model=model, role=role)


QUESTIONS = "SELECT id, domain, prompt, reference, solution, extra, sets, excluded FROM questions ORDER BY id"
DROPS = 'SELECT "set", reason, detail, row FROM drops ORDER BY 1, 2, 3, 4'
BANDS = "SELECT q.id, n.band FROM near_band n JOIN question q ON q.pk = n.question ORDER BY 1, 2"
ATTEMPTS = "SELECT id, content, reasoning, finish_reason, prompt_tokens, completion_tokens FROM attempts ORDER BY id"
VERDICTS = "SELECT attempt, outcome, reason, answer, checker, version, round FROM verdicts ORDER BY 1, 7"
GRADES = "SELECT question, model, rule, level, correct, wrong, undecided, score, reason FROM grades ORDER BY 1, 2, 3"


def content(library: gr.Library, *queries: str) -> list[list[tuple]]:
    """Return what the library holds, without keys, places and times: equal for two libraries of one content."""
    return [library.all(query) for query in queries]


def spread(number: int) -> list[bool]:
    """Eight attempts of which as many are right as the number says: such questions stand at every level."""
    return [sample < number % 9 for sample in range(8)]


def drawn_library(folder: Path, count: int = 90, *, name: str = "library.db", **settings) -> gr.Library:
    """Return a library with a graded pool and a draw named `d`; the model's answers are recorded ones."""
    library = pool_library(folder, count, name=name)
    record_answers(library, folder, "m", spread, count=count)
    gr.verify(library)
    gr.grade(library, gr.GradeSettings(rule="rate"))
    wanted = {"name": "d", "size": 15, "mix": "curriculum:5,4,3,2,1", "when_dry": "nearest", "reserve": 1.0} | settings
    gr.sample(library, gr.SampleSettings(**wanted))
    return library
