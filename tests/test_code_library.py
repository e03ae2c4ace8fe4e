"""What the library keeps of code questions: suites, verdicts with their programs, and files of an older Gradatim."""

import json
import tracemalloc
from dataclasses import replace

import pytest

import gradatim as gr
from code_pool import TESTS, answer, code_library, program, record_texts
from gradatim.library import absorbing, questions, schema, store, verdicts
from gradatim.library.attempts import NewAttempt, ensure_setting, sampling_text, write
from gradatim.library.verdicts import ANSWER, Unjudged
from gradatim.types import Domain, Outcome, Question, Reply, Role, Sampling, Verdict
from gradatim.work.judging import judge

OLD = """
INSERT INTO question_set VALUES (1, 'pool', 'pool');
INSERT INTO question VALUES (1, 'abc', 'math', '4', 'p:1');
INSERT INTO question_text VALUES (1, '2+2?', '', '{}');
INSERT INTO member VALUES (1, 1);
INSERT INTO setting VALUES (1, 's', 'base', 'm', '{}');
INSERT INTO attempt VALUES (1, 1, 1, 0, 'stop', NULL, NULL, NULL, NULL, NULL, 0, '', 0);
INSERT INTO attempt_text VALUES (1, '5', '');
INSERT INTO checker VALUES (1, 'math', '1', 0);
INSERT INTO verdict VALUES (1, 1, 'wrong', 'different', '5', 'whole');
INSERT INTO grading VALUES (1, 'g', 'm', 1, NULL, 'rate', '{"cuts": []}', 1);
INSERT INTO grade VALUES (1, 1, 4, 0.75, 0, 1, 0, 1, 0, 0.3, '');
"""


def test_a_library_of_before_code_questions_is_migrated(tmp_path, monkeypatch):
    """A file with three migrations keeps its rows; the views have the new columns, empty, and grading goes on."""
    monkeypatch.setattr(store, "MIGRATIONS", schema.MIGRATIONS[:3])
    with gr.Library(tmp_path / "old.db", write=True) as library, library.transaction() as connection:
        for line in filter(None, OLD.splitlines()):
            connection.execute(line)
    monkeypatch.undo()
    with gr.Library(tmp_path / "old.db", write=True) as library:
        assert library.value("PRAGMA user_version") == len(schema.MIGRATIONS)
        assert library.all("SELECT prompt, tests, sets FROM questions") == [("2+2?", None, "pool")]
        assert library.all("SELECT outcome, answer, passed, total, detail FROM verdicts") == [
            ("wrong", "5", None, None, "")
        ]
        assert library.all("SELECT level, score, tests FROM grades") == [(4, 0.3, None)]
        assert gr.grade(library, gr.GradeSettings(rule="rate"))[0].levels[0].tests is None


def code_verdict(text: str) -> Verdict:
    """A verdict on a program."""
    detail = json.dumps({"failed": {"test": 2}, "tier": "default"})
    return Verdict(
        outcome=Outcome.WRONG, reason="wrong_answer", answer=text, found_by="fence", passed=1, total=3, detail=detail
    )


def test_a_verdict_comes_back_whole_and_counting_reads_no_program(tmp_path):
    """Programs are kept apart from outcomes, up to 20,000 characters; short answers of math stay beside them."""
    with code_library(tmp_path, 3) as library:
        record_texts(library, tmp_path, "m", lambda _: ["x"])
        checker = verdicts.ensure_checker(library, "code", "1")
        given = [code_verdict("y" * 50_000), Verdict(outcome=Outcome.WRONG, reason="no_program"), code_verdict("")]
        with library.transaction() as connection:
            for attempt, verdict in enumerate(given, start=1):
                verdicts.write_verdict(connection, attempt, checker, verdict)
                verdicts.write_verdict(connection, attempt, checker, code_verdict("never"))
        rows = library.all("SELECT reason, answer, passed, total, detail FROM verdicts ORDER BY length(answer) DESC")
        assert rows[0] == ("wrong_answer", "y" * ANSWER, 1, 3, given[0].detail)
        assert rows[1:] == [("wrong_answer", "", 1, 3, given[2].detail), ("no_program", "", None, None, "")] or rows[
            1:
        ] == [("no_program", "", None, None, ""), ("wrong_answer", "", 1, 3, given[2].detail)]
        assert library.value("SELECT max(length(answer)) FROM verdict") == 0


def test_absorbing_takes_programs_and_details_along(tmp_path):
    """A copy's verdicts on programs come into the library with tests passed, program and detail."""
    with code_library(tmp_path, 3) as library:
        for version in ("1", "2"):
            verdicts.ensure_checker(library, "code", version)
        absorbing.copy(library, tmp_path / "copy.db")
        with gr.Library(tmp_path / "copy.db", write=True) as copy:
            setting = ensure_setting(copy, Role.EVAL, "trained", sampling_text(Sampling()))
            with copy.transaction() as connection:
                replies = [Reply(content=answer(program(number, 4)), finish_reason="stop") for number in range(3)]
                write(
                    connection,
                    [
                        NewAttempt(setting=setting.pk, question=pk, sample=0, reply=reply, cost=None, made_at=0.0)
                        for pk, reply in enumerate(replies, start=1)
                    ],
                )
            assert gr.verify(copy).outcomes == {"wrong": 3}
            absorbing.absorb(library, copy, "trained")
            sql = "SELECT question, model, outcome, answer, passed, total, detail FROM verdicts ORDER BY question"
            assert library.all(sql) == copy.all(sql)
            # What an earlier version judged is not to be judged again.
            sql = "SELECT version, round FROM checker ORDER BY pk"
            assert library.all(sql) == copy.all(sql)
        assert library.all("SELECT DISTINCT passed, total FROM verdicts") == [(4, TESTS)]


class Looker:
    """A checker of the test's: takes some items ahead, as the real one does, and decides nothing by them."""

    name, version = "looker", "1"

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead

    def check(self, items):
        waiting = []
        for item in items:
            assert item.tests
            waiting.append(item.key)
            del item
            if len(waiting) >= self._ahead:
                yield waiting.pop(0), Verdict(outcome=Outcome.WRONG, reason="wrong_answer", passed=0, total=1)
        for key in waiting:
            yield key, Verdict(outcome=Outcome.WRONG, reason="wrong_answer", passed=0, total=1)

    def close(self) -> None:
        pass


def test_suites_are_read_when_their_turn_comes_and_memory_stays_flat(tmp_path):
    """A page of attempts at questions with large suites holds a few suites at a time; four samples read one once."""
    size = 1_000_000
    with gr.Library(tmp_path / "large.db", write=True) as library:
        with library.transaction() as connection:
            set_pk = questions.ensure_set(connection, "pool", "pool")
            for number in range(60):
                tests = f"{number:06d}" * (size // 6)
                one = Question(id=f"q{number}", domain=Domain.CODE, prompt=f"p {number}", reference="r", tests=tests)
                questions.add(connection, set_pk, one)
        read = []

        def tests_of(pk: int) -> str:
            read.append(pk)
            return questions.tests(library, pk)

        attempts = (
            Unjudged(
                pk=4 * pk + sample,
                question=pk,
                setting=1,
                finish_reason="stop",
                content="```python\n1\n```",
                reasoning="",
                reference="r",
            )
            for pk in range(1, 61)
            for sample in range(4)
        )
        tracemalloc.start()
        try:
            assert sum(1 for _ in judge(Looker(8), attempts, tests_of)) == 240
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert read == list(range(1, 61))
        assert peak < 12 * size


def test_a_fault_of_the_reading_is_no_verdict():
    """Where the library cannot give a suite the error ends the run, and no attempt is blamed for it."""

    def broken(_: int) -> str:
        raise gr.LibraryError("the disk is gone")

    one = Unjudged(pk=1, question=1, setting=1, finish_reason="stop", content="x", reasoning="", reference="r")
    with pytest.raises(gr.LibraryError, match="the disk is gone"):
        list(judge(Looker(1), iter([one]), broken))
    cut_off = replace(one, finish_reason="length")
    assert [verdict.reason for _, verdict in judge(Looker(1), iter([cut_off]), broken)] == ["truncated"]


def test_a_verdict_does_not_wait_for_hundreds_of_others(tmp_path, monkeypatch):
    """Programs are slow: verdicts are kept, and progress is told, as time passes and not only by number."""
    monkeypatch.setattr("gradatim.work.verifying._SECONDS", 0.0)
    kept = []
    with code_library(tmp_path, 3) as library, gr.Library(tmp_path / "library.db") as reader:
        record_texts(library, tmp_path, "m", lambda n: [answer(program(n))])
        gr.verify(library, progress=lambda *_: kept.append(reader.value("SELECT count(*) FROM verdict")))
    assert kept == [1, 2, 3, 3]
