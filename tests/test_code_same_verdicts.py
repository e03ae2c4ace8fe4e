"""One question in the form of each data set: the same programs get the same verdicts, whichever form it was read in."""

from __future__ import annotations

import pytest

import gradatim as gr
from code_rows import ADDS, READS, codecontests, codeforces, humaneval, livecodebench, mbpp_sanitized, taco
from gradatim.library import evaluations
from gradatim.pipeline import read_presets
from pools import write_rows

STDIN = {
    "livecodebench": livecodebench(question_content="Add two numbers, as LiveCodeBench asks."),
    "taco": taco(question="Add two numbers, as TACO asks."),
    "apps": {
        name: value
        for name, value in taco(question="Add two numbers, as APPS asks.").items()
        if name in ("question", "solutions", "input_output", "difficulty", "starter_code")
    },
    "codeforces": codeforces(description="Add two numbers, as Codeforces asks."),
    "codecontests": codecontests(description="Add two numbers, as CodeContests asks."),
}
CALLED = {
    "livecodebench": livecodebench("add", question_content="Write add, as LiveCodeBench asks."),
    "taco": taco("add", question="Write add, as TACO asks."),
    "wrapped": taco("add", wrap=True, question="Write add, as TACO asks, its outputs in lists."),
}
READING = {
    "right": READS,
    "other blanks": READS.replace("print(a + b)", "print('  ', a + b, '\\n')"),
    "wrong": READS.replace("a + b)", "a - b)"),
    "right once": READS.replace("a + b", "3"),
    "fails": READS.replace("a + b", "1 / (a + b)"),
    "says nothing": "pass",
    "does not compile": "print(",
}
ADDING = {
    "right": ADDS,
    "a method": "class Solution:\n    def add(self, a, b):\n        return a + b\n",
    "wrong": ADDS.replace("+", "-"),
    "right once": ADDS.replace("a + b", "3"),
    "fails": ADDS.replace("a + b", "1 / (a + b)"),
    "text": ADDS.replace("a + b", "str(a + b)"),
    "none": "def sub(a, b):\n    return a - b\n",
}
WANTED = {
    ("stdin", "right"): ("correct", 3),
    ("stdin", "other blanks"): ("correct", 3),
    ("stdin", "right once"): ("wrong", 1),
    ("called", "right"): ("correct", 3),
    ("called", "a method"): ("correct", 3),
    ("called", "right once"): ("wrong", 1),
}
"""The rest is wrong, and passes none."""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What became of each program, by style, program and data set."""
    folder = tmp_path_factory.mktemp("same")
    found = {}
    for style, forms, programs in (("stdin", STDIN, READING), ("called", CALLED, ADDING)):
        with gr.Library(folder / f"{style}.db", write=True) as library:
            for name, row in forms.items():
                path = write_rows(folder / f"{style}-{name}.jsonl", [row])
                result = gr.ingest(library, gr.IngestSettings(path=str(path), set=name, near=0))
                assert (result.added, result.dropped) == (1, {}), (style, name)
            names = dict(library.all("SELECT id, sets FROM questions"))
            for program, text in programs.items():
                rows = [{"id": id_, "a": f"So:\n```python\n{text.rstrip()}\n```\n"} for id_ in names]
                path = write_rows(folder / "answers.jsonl", rows)
                gr.record(library, str(path), {"question_id": "id", "answer": "a"}, model=program)
            gr.verify(library)
            for id_, program, *verdict in library.all(
                "SELECT question, model, outcome, reason, passed, total FROM verdicts"
            ):
                found.setdefault((style, program), {})[names[id_]] = tuple(verdict)
    return found


@pytest.mark.parametrize(
    ("style", "program"), [("stdin", name) for name in READING] + [("called", name) for name in ADDING]
)
def test_the_form_of_a_question_decides_no_verdict(verdicts, style, program):
    """Outcome, reason and tests passed are the same for all data sets, and those that the program deserves."""
    found = verdicts[style, program]
    assert set(found) == set(STDIN if style == "stdin" else CALLED)
    assert len(set(found.values())) == 1, found
    outcome, _, passed, total = next(iter(found.values()))
    assert total == 3
    assert (outcome, passed or 0) == WANTED.get((style, program), ("wrong", 0))


def test_public_sets_of_code_are_read_as_published(tmp_path):
    """Rows as HumanEval and MBPP's sanitized part have them become sets of their name; recorded answers find them."""
    stubs = [f'def {name}(a, b):\n    """{text}"""\n' for name, text in (("add", "Add."), ("take", "Subtract."))]
    tests = "def check(candidate):\n    assert candidate(3, 2) == {}\n"
    files = {
        "humaneval": [
            humaneval(
                task_id=f"HumanEval/{number}",
                prompt=stub,
                entry_point=name,
                canonical_solution=f"    return a {sign} b\n",
                test=tests.format(wanted),
            )
            for number, (stub, name, sign, wanted) in enumerate(zip(stubs, ("add", "take"), "+-", (5, 1), strict=True))
        ],
        "mbpp": [mbpp_sanitized(task_id=12), mbpp_sanitized(task_id=13, prompt="Write one function that adds.")],
    }
    with gr.Library(tmp_path / "presets.db", write=True) as library:
        for name, rows in files.items():
            chosen = gr.EvaluateSettings(presets=[name], samples=1)
            (found,) = read_presets(library, chosen, str(write_rows(tmp_path / f"copy-{name}.jsonl", rows)))
            assert (found.added, found.dropped) == (2, {})
            answers = [
                {"task_id": row["task_id"], "a": "```python\ndef add(a, b):\n    return a + b\n```"} for row in rows
            ]
            path = str(write_rows(tmp_path / "answers.jsonl", answers))
            assert gr.record(library, path, {"source_id": "task_id", "answer": "a"}, model="m", role="eval").added == 2
            (result,) = gr.evaluate(library, "m", chosen, setting=evaluations.evaluations(library, "m")[0].setting.id)
            assert result.overall.accuracy.value == (0.5 if name == "humaneval" else 1.0)
