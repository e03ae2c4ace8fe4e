"""Verify: every attempt gets a verdict or a fault, the newest verdict counts, and nothing is asked of a model."""

import pytest

import gradatim as gr
from gradatim.checkers.math import MathChecker
from gradatim.types import Boundary, Domain, Fault
from gradatim.work import judging, verifying
from pools import GRADES, VERDICTS, answer, content, pool_library, question, record_answers, write_rows


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 12) as library:
        yield library


def outcomes(library) -> dict:
    return dict(library.all("SELECT outcome, count(*) FROM verdicts GROUP BY 1"))


def test_right_and_wrong_answers_are_told_apart(tmp_path, library):
    """Half the answers are right; a rerun judges nothing."""
    record_answers(library, tmp_path, "m", lambda n: [n % 2 == 0])
    result = gr.verify(library)
    assert result.judged == 12
    assert result.outcomes == {"correct": 6, "wrong": 6} == outcomes(library)
    assert sum(result.reasons.values()) == 12
    assert gr.verify(library).judged == 0


def test_what_the_model_did_not_end_is_undecided(tmp_path, library):
    """Cut, filtered and only thought answers are undecided with that reason, even with a right box in them."""
    right = answer(question(0)["answer"])
    cases = [
        (0, right, "", "length", "truncated"),
        (1, right, "", "max_tokens", "truncated"),
        (2, right, "", "content_filter", "content_filter"),
        (3, "", "I think it is 5", "stop", "only_reasoning"),
        (4, "<think>It goes on and on", "", "stop", "only_reasoning"),
    ]
    rows = [{"q": question(n)["problem"], "a": text, "r": why, "f": end} for n, text, why, end, _ in cases]
    path = str(write_rows(tmp_path / "a.jsonl", rows))
    fields = {"prompt": "q", "answer": "a", "reasoning": "r", "finish_reason": "f"}
    gr.record(library, path, fields, model="m")
    result = gr.verify(library)
    assert result.outcomes == {"undecided": 5}
    assert result.reasons == {"truncated": 2, "only_reasoning": 2, "content_filter": 1}


def test_an_empty_answer_is_wrong_and_thinking_is_not_read_as_one(tmp_path, library):
    """Nothing said is `no_answer`; a box inside the thinking does not count where the answer says another."""
    right = question(1)["answer"]
    rows = [
        {"q": question(0)["problem"], "a": "", "r": ""},
        {"q": question(1)["problem"], "a": f"<think>\\boxed{{{right}}}</think>So \\boxed{{0}}.", "r": ""},
        {"q": question(1)["problem"], "a": f"\\boxed{{{right}}}", "r": "\\boxed{0}"},
    ]
    fields = {"prompt": "q", "answer": "a", "reasoning": "r"}
    gr.record(library, str(write_rows(tmp_path / "a.jsonl", rows)), fields, model="m")
    assert gr.verify(library).outcomes == {"wrong": 2, "correct": 1}


def test_again_adds_a_round_and_the_newest_verdict_counts(tmp_path, library, monkeypatch):
    """Old verdicts stay, the new round's decide grades, and no model is asked: there is none here."""
    record_answers(library, tmp_path, "m", lambda n: [n % 2 == 0])
    real = MathChecker.check
    with monkeypatch.context() as patched:
        patched.setattr(MathChecker, "check", lambda self, items: _all_wrong(real(self, items)))
        gr.verify(library)
    gr.grade(library, gr.GradeSettings(rule="rate"))
    assert library.value("SELECT sum(correct) FROM grades") == 0
    assert gr.verify(library, again=True).judged == 12
    assert library.all("SELECT round, count(*) FROM verdicts GROUP BY 1") == [(0, 12), (1, 12)]
    gr.grade(library, gr.GradeSettings(rule="rate"))
    assert library.value("SELECT sum(correct) FROM grades") == 6


def test_a_version_that_comes_back_judges_anew(tmp_path, library, monkeypatch):
    """Who goes back to earlier limits means those: the newest verdicts are of the version that verify ran last."""
    record_answers(library, tmp_path, "m", lambda n: [n % 2 == 0])
    real = MathChecker.check
    assert gr.verify(library).judged == 12
    with monkeypatch.context() as patched:
        patched.setattr(MathChecker, "version", "another")
        patched.setattr(MathChecker, "check", lambda self, items: _all_wrong(real(self, items)))
        assert gr.verify(library).judged == 12
    assert gr.verify(library).judged == 12
    assert gr.verify(library).judged == 0
    gr.grade(library, gr.GradeSettings(rule="rate"))
    assert library.value("SELECT sum(correct) FROM grades") == 6


def _all_wrong(results):
    for key, _ in results:
        yield key, gr.Verdict(outcome=gr.Outcome.WRONG, reason="different_number")


def test_an_interrupted_round_is_continued_by_a_plain_verify(tmp_path, library, monkeypatch):
    """What the interrupted round had judged stays; a plain verify judges the rest in the same round."""
    record_answers(library, tmp_path, "m", lambda _: [True, False])
    gr.verify(library)
    whole = {(row[0], row[1]) for row in content(library, VERDICTS)[0]}
    monkeypatch.setattr(verifying, "_BATCH", 5)
    with monkeypatch.context() as patched:
        real = MathChecker.check
        patched.setattr(MathChecker, "check", lambda self, items: _interrupted(real(self, items), 13))
        with pytest.raises(KeyboardInterrupt):
            gr.verify(library, again=True)
    assert dict(library.all("SELECT round, count(*) FROM verdicts GROUP BY 1")) == {0: 24, 1: 13}
    assert gr.verify(library).judged == 11
    newest = library.all("SELECT attempt, outcome FROM verdicts WHERE round = 1")
    assert set(newest) == whole


def _interrupted(results, after):
    for number, result in enumerate(results):
        if number == after:
            raise KeyboardInterrupt
        yield result


def test_a_fault_of_the_checker_is_no_verdict_and_is_tried_again(tmp_path, library, monkeypatch):
    """Attempts that the checker failed on have a fault row and no verdict; the next run judges just those."""
    record_answers(library, tmp_path, "m", lambda _: [True])
    real = MathChecker.check
    with monkeypatch.context() as patched:
        patched.setattr(MathChecker, "check", lambda self, items: _failing(real(self, items)))
        result = gr.verify(library)
    assert (result.judged, result.faults) == (8, {"worker_crash": 4})
    assert library.all("SELECT stage, boundary, count(*) FROM faults GROUP BY 1, 2") == [("verify", "checker", 4)]
    assert gr.verify(library).judged == 4
    assert outcomes(library) == {"correct": 12}


def _failing(results):
    for number, (key, result) in enumerate(results):
        yield key, Fault(boundary=Boundary.CHECKER, reason="worker_crash") if number % 3 == 0 else result


def test_an_exception_of_the_checker_costs_no_verdict_of_others(tmp_path, library, monkeypatch):
    """A checker that raises loses what it had in hand to faults; the rest is judged by the same run."""
    record_answers(library, tmp_path, "m", lambda _: [True])
    real = MathChecker.check

    def raising(self, items):
        def watched():
            for item in items:
                if item.reference in {question(3)["answer"], question(7)["answer"]}:
                    raise ZeroDivisionError("a bug")
                yield item

        return real(self, watched())

    monkeypatch.setattr(MathChecker, "check", raising)
    result = gr.verify(library)
    assert result.faults == {"bug:ZeroDivisionError": 2}
    assert outcomes(library) == {"correct": 10}


def test_a_library_that_cannot_be_read_is_not_the_checkers_fault(tmp_path, library, monkeypatch):
    """An error of reading attempts ends the run as it is; no fault is written in the attempts' names."""
    record_answers(library, tmp_path, "m", lambda _: [True])

    def torn(*_, **__):
        yield next(iter(real(library, Domain.MATH, 1)))
        raise OSError("disk")

    real = verifying.verdicts.unjudged
    monkeypatch.setattr(verifying.verdicts, "unjudged", torn)
    with pytest.raises(OSError, match="disk"):
        gr.verify(library)
    assert library.value("SELECT count(*) FROM fault") == 0


def test_many_answers_that_need_no_checker_are_given_out_in_turns(tmp_path, library, monkeypatch):
    """Thousands of cut answers are settled in pages, not gathered until the checker has one to look at."""
    monkeypatch.setattr(judging, "_SETTLED", 10)
    rows = [{"q": question(n % 12)["problem"], "a": f"cut {n}", "f": "length"} for n in range(300)]
    fields = {"prompt": "q", "answer": "a", "finish_reason": "f"}
    gr.record(library, str(write_rows(tmp_path / "a.jsonl", rows)), fields, model="m")
    most = 0
    real = judging._Turn.items

    def watched(self, waiting):
        nonlocal most
        yield from real(self, waiting)
        most = max(most, len(self.settled))

    monkeypatch.setattr(judging._Turn, "items", watched)
    assert gr.verify(library).outcomes == {"undecided": 300}
    assert most == 10


def test_all_roles_and_domains_are_judged(tmp_path, library):
    """Attempts of base models, teachers and evaluations are judged alike, each by its domain's checker."""
    rows = [{"question": "Which letter?\nA) 1\nB) 2", "answer": "B"}]
    path = str(write_rows(tmp_path / "choice.jsonl", rows))
    gr.ingest(library, gr.IngestSettings(path=path, set="choice", domain="choice"))
    for role in ("base", "teacher", "eval"):
        record_answers(library, tmp_path, f"m-{role}", lambda _: [True], count=12, role=role)
    rows = [{"q": rows[0]["question"], "a": "The answer is (B)."}]
    path = str(write_rows(tmp_path / "choice.answers.jsonl", rows))
    gr.record(library, path, {"prompt": "q", "answer": "a"}, model="m-base")
    assert gr.verify(library).outcomes == {"correct": 37}
    assert library.all("SELECT checker, count(*) FROM verdicts GROUP BY 1") == [("choice", 1), ("math", 36)]


def test_an_empty_library_has_nothing_to_judge(tmp_path):
    """Verify of a library without questions, or without attempts, is no error and judges nothing."""
    with gr.Library(tmp_path / "new.db", write=True) as library:
        assert gr.verify(library).judged == 0
    with pool_library(tmp_path, 3, name="pool.db") as library:
        assert gr.verify(library).judged == 0
        assert content(library, GRADES) == [[]]
