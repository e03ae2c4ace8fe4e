"""Record: answers of another tool become attempts, once each, and none is lost for another."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradatim as gr
from pools import pool_library, question, write_rows

FIELDS = {"prompt": "q", "answer": "a"}


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 20) as library:
        yield library


def row(number: int, text: str, **more) -> dict:
    return {"q": question(number)["problem"], "a": text} | more


def texts(library) -> list[tuple]:
    return library.all("SELECT question, content FROM attempts ORDER BY 1, 2")


def test_a_file_read_twice_adds_nothing(tmp_path, library):
    """Equal texts in one file are so many attempts; the same file again is none."""
    rows = [row(n, text) for n in range(20) for text in ("one", "two", "one")]
    path = str(write_rows(tmp_path / "answers.jsonl", rows))
    first = gr.record(library, path, FIELDS, model="m")
    assert (first.added, first.already, first.dropped) == (60, 0, {})
    again = gr.record(library, path, FIELDS, model="m")
    assert (again.added, again.already) == (0, 60)
    assert library.all("SELECT sample, count(*) FROM attempts GROUP BY 1") == [(0, 20), (1, 20), (2, 20)]


def test_a_file_that_grew_adds_what_is_new_wherever_it_stands(tmp_path, library):
    """New answers at the front, in the middle, and one more of the same text are added; the others stay as they are."""
    path = tmp_path / "answers.jsonl"
    gr.record(library, str(write_rows(path, [row(1, "x"), row(1, "y"), row(2, "x")])), FIELDS, model="m")
    before = texts(library)
    rows = [row(3, "new"), row(1, "x"), row(1, "x"), row(2, "z"), row(1, "y"), row(2, "x")]
    result = gr.record(library, str(write_rows(path, rows)), FIELDS, model="m")
    assert (result.added, result.already) == (3, 3)
    assert set(before) <= set(texts(library))
    assert len(texts(library)) == 6


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from([None, 0, 1, 2])), max_size=14))
def test_rows_with_and_without_a_sample_lose_nothing(tmp_path_factory, rows):
    """Whatever is mixed: each row is added, there, or dropped with a reason, and what is added is in the library."""
    folder = tmp_path_factory.mktemp("mixed")
    with pool_library(folder, 4) as library:
        written = [row(n, text) if sample is None else row(n, text, s=sample) for n, text, sample in rows]
        written.append(row(0, "last", s=9))
        path = str(write_rows(folder / "answers.jsonl", written))
        fields = FIELDS | {"sample": "s"}
        first = gr.record(library, path, fields, model="m")
        assert first.added + first.already + sum(first.dropped.values()) == len(written)
        assert library.value("SELECT count(*) FROM attempts") == first.added
        second = gr.record(library, path, fields, model="m")
        assert second.added == 0


def test_any_order_of_a_file_gives_the_same_answers(tmp_path, library):
    """Without sample indices a shuffled file holds the same answers: it adds nothing."""
    rows = [row(n, text) for n in range(20) for text in "aabbbc"]
    path = tmp_path / "answers.jsonl"
    gr.record(library, str(write_rows(path, rows)), FIELDS, model="m")
    random.Random(3).shuffle(rows)
    assert gr.record(library, str(write_rows(path, rows)), FIELDS, model="m").added == 0


def test_an_index_that_is_taken_by_another_text_is_said(tmp_path, library):
    """An attempt is never replaced: a second text under its index is dropped with a reason and its place."""
    rows = [row(1, "one", s=0), row(1, "two", s=0), row(1, "one", s=0)]
    fields = FIELDS | {"sample": "s"}
    result = gr.record(library, str(write_rows(tmp_path / "a.jsonl", rows)), fields, model="m")
    assert (result.added, result.already, result.dropped) == (1, 1, {"sample_taken": 1})
    assert result.dropped_places == ("a.jsonl:2: sample_taken",)


def test_bad_rows_have_reasons(tmp_path, library):
    """Unknown questions, rows without an answer or question, wrong indices and torn lines are counted by reason."""
    rows = [
        row(1, "fine", s=0),
        {"q": "Never heard of it", "a": "4", "s": 0},
        {"q": question(1)["problem"], "a": None, "s": 1},
        {"q": "", "a": "4", "s": 1},
        row(2, "fine", s="first"),
        "{torn",
    ]
    fields = FIELDS | {"sample": "s"}
    result = gr.record(library, str(write_rows(tmp_path / "a.jsonl", rows)), fields, model="m")
    assert result.added == 1
    expected = ("unknown_question", "no_answer", "no_question", "bad_sample", "bad_json")
    assert result.dropped == dict.fromkeys(expected, 1)
    assert len(result.dropped_places) == 5


def test_questions_are_found_by_id_and_columns_by_path(tmp_path, library):
    """Our own id and dotted paths into nested objects and lists are understood, and all fields are kept."""
    id_ = library.value("SELECT id FROM questions LIMIT 1")
    rows = [
        {
            "meta": {"id": id_, "n": 3},
            "out": {"choices": [{"text": "It is 7.", "why": "because", "end": "length"}]},
            "use": {"in": 11, "out": 5},
            "by": "m-2025",
        }
    ]
    fields = {
        "question_id": "meta.id",
        "sample": "meta.n",
        "answer": "out.choices.0.text",
        "reasoning": "out.choices.0.why",
        "finish_reason": "out.choices.0.end",
        "prompt_tokens": "use.in",
        "completion_tokens": "use.out",
        "model": "by",
    }
    assert gr.record(library, str(write_rows(tmp_path / "a.jsonl", rows)), fields, model="m").added == 1
    kept = library.all(
        "SELECT question, sample, content, reasoning, finish_reason, prompt_tokens, completion_tokens, server_model, "
        "model FROM attempts"
    )
    assert kept == [(id_, 3, "It is 7.", "because", "length", 11, 5, "m-2025", "m")]


def test_models_and_roles_are_kept_apart(tmp_path, library):
    """The same file under another model's name, or as a teacher's, is other attempts."""
    path = str(write_rows(tmp_path / "a.jsonl", [row(1, "x")]))
    for model, role in (("m", "base"), ("n", "base"), ("m", "teacher")):
        assert gr.record(library, path, FIELDS, model=model, role=role).added == 1
    assert len(library.all("SELECT DISTINCT role, model FROM attempts")) == 3


@pytest.mark.parametrize(
    ("fields", "model", "sentence"),
    [
        ({"prompt": "q"}, "m", "--field answer=COLUMN"),
        ({"prompt": "q", "answer": "b"}, "m", "no column 'b'"),
        ({"prompt": "q", "answr": "a"}, "m", "did you mean answer"),
        (FIELDS, " ", "--model NAME"),
    ],
)
def test_wrong_columns_and_names_write_nothing(tmp_path, library, fields, model, sentence):
    """What cannot be read is refused with what to type, and no setting is made."""
    path = str(write_rows(tmp_path / "a.jsonl", [row(1, "x")]))
    with pytest.raises(gr.UsageError, match=sentence):
        gr.record(library, path, fields, model=model)
    assert library.value("SELECT count(*) FROM setting") == 0


def test_answers_find_their_question_by_the_id_of_its_source(tmp_path):
    """A column of the source that has ids finds the question; an id of two questions finds neither."""
    path = write_rows(
        tmp_path / "pool.jsonl",
        [
            {"problem": f"What is {n}+1?", "answer": str(n + 1), "task_id": id_}
            for n, id_ in enumerate(["T/0", 1, 7, 7])
        ],
    )
    with gr.Library(tmp_path / "library.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path=str(path), set="pool"))
        answers = [{"task_id": id_, "completion": str(id_)} for id_ in ("T/0", "1", 7, "T/9", None)]
        file = str(write_rows(tmp_path / "answers.jsonl", answers))
        fields = {"source_id": "task_id", "answer": "completion"}
        result = gr.record(library, file, fields, model="m")
        assert result.dropped == {"ambiguous_question": 1, "unknown_question": 1, "no_question": 1}
        found = library.all(
            "SELECT q.prompt, a.content FROM attempts a JOIN questions q ON q.id = a.question ORDER BY 1"
        )
        assert found == [("What is 0+1?", "T/0"), ("What is 1+1?", "1")]
        assert gr.record(library, file, fields, model="m").already == 2


def test_ids_are_found_in_a_column_of_another_name(tmp_path):
    """The answers' column need not be called as the source's is; the result names the one that has the most ids."""
    rows = [
        {
            "problem": f"What is {n}+1?",
            "answer": str(n + 1),
            "unique_id": f"T/{n}",
            "level": n % 2,
            "near": f"T/{9 - n}",
        }
        for n in range(4)
    ]
    path = write_rows(tmp_path / "pool.jsonl", rows)
    with gr.Library(tmp_path / "library.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path=str(path), set="pool"))
        answers = [{"problem_id": f"T/{n}", "completion": f"T/{n}"} for n in range(3)]
        file = str(write_rows(tmp_path / "answers.jsonl", answers))
        result = gr.record(library, file, {"source_id": "problem_id", "answer": "completion"}, model="m")
        assert (result.added, result.dropped, result.source_column) == (3, {}, "unique_id")
        sql = "SELECT q.extra ->> 'unique_id', a.content FROM attempts a JOIN questions q ON q.id = a.question"
        assert all(id_ == content for id_, content in library.all(sql))
        file = str(write_rows(tmp_path / "more.jsonl", [{"level": 0, "a": "7"}, {"level": 1, "a": "8"}]))
        result = gr.record(library, file, {"source_id": "level", "answer": "a"}, model="m")
        assert (result.added, result.dropped) == (0, {"ambiguous_question": 2})
