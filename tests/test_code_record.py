"""Recorded answers to code questions: found by what the source calls a question, or by its own text."""

import pytest

import gradatim as gr
from cli_world import called
from code_rows import humaneval, livecodebench, mbpp, taco
from pools import write_rows

ROWS = [
    humaneval(canonical_solution=""),
    mbpp(code="", text="Say whether a number is prime."),
    livecodebench("add", question_content="Merge two lists that are sorted."),
    taco(question="How many ways lead up a stair of n steps?", solutions=""),
]
TEXTS = [row.get("prompt") or row.get("text") or row.get("question_content") or row.get("question") for row in ROWS]


@pytest.fixture
def library(tmp_path):
    """A library with a question of each style; none has a program that would be run."""
    with gr.Library(tmp_path / "library.db", write=True) as library:
        for number, row in enumerate(ROWS):
            path = write_rows(tmp_path / f"{number}.jsonl", [row])
            assert gr.ingest(library, gr.IngestSettings(path=str(path), set=f"s{number}")).added == 1
        yield library


def test_a_question_is_found_by_its_sources_own_text(tmp_path, library):
    """Answers that carry the data set's text, and not what the model was asked, find their questions all the same."""
    answers = [{"text": text, "a": text} for text in [*TEXTS, "Nobody asked this."]]
    file = str(write_rows(tmp_path / "answers.jsonl", answers))
    result = gr.record(library, file, {"prompt": "text", "answer": "a"}, model="m")
    assert (result.added, result.dropped) == (4, {"unknown_question": 1})
    pairs = library.all("SELECT q.prompt, a.content FROM attempts a JOIN questions q ON q.id = a.question")
    assert all(content.strip() in prompt for prompt, content in pairs)
    asked = [{"text": prompt, "a": content} for prompt, content in pairs]
    file = str(write_rows(tmp_path / "asked.jsonl", asked))
    assert gr.record(library, file, {"prompt": "text", "answer": "a"}, model="m").already == 4


def test_a_text_that_two_questions_share_is_ambiguous(tmp_path, library):
    """The same words asked for in two ways are two questions; their text alone names neither."""
    row = livecodebench(question_content=TEXTS[3], question_id="other")
    path = write_rows(tmp_path / "again.jsonl", [row])
    assert gr.ingest(library, gr.IngestSettings(path=str(path), set="again", near=0)).added == 0
    row = livecodebench("add", question_content=TEXTS[3], question_id="other")
    path = write_rows(tmp_path / "again.jsonl", [row])
    assert gr.ingest(library, gr.IngestSettings(path=str(path), set="again", near=0)).added == 1
    file = str(write_rows(tmp_path / "answers.jsonl", [{"text": TEXTS[3], "a": "x"}]))
    result = gr.record(library, file, {"prompt": "text", "answer": "a"}, model="m")
    assert result.dropped == {"ambiguous_question": 1}


def test_a_file_that_finds_no_question_is_an_error(tmp_path, library, monkeypatch):
    """Nothing of a file taken ends with 1 and says which fields find a question; so for attempt, and for evaluate."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "answers.jsonl", [{"id": "T/1", "a": "x"}])
    path = write_rows(tmp_path / "eval.jsonl", [humaneval(prompt="def one():\n    pass\n", canonical_solution="")])
    gr.ingest(library, gr.IngestSettings(path=str(path), set="test", purpose="eval"))
    library.close()
    fields = ("--field", "source_id=id", "--field", "answer=a", "--model", "m", "--recorded", "answers.jsonl")
    for command in ("attempt", "evaluate"):
        ended = called(command, *fields)
        assert ended.code == 1, command
        assert "None of the 1 rows became an answer (unknown_question 1)" in ended.err
        assert "--field prompt=COLUMN" in ended.err
    with gr.Library("library.db") as after:
        assert after.value("SELECT count(*) FROM setting") == 0
