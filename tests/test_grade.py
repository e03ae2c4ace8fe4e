"""Grade: what evidence becomes which level, what a PRM is asked, and what a second run changes."""

import pytest

import gradatim as gr
from gradatim.errors import SetupError
from gradatim.library.grades import chosen_grading, gradings
from gradatim.types import Boundary, Fault, StepScores
from gradatim.work import scoring
from pools import GRADES, answer, content, pool_library, question, record_answers, write_rows
from prms import Scores

RATE = gr.GradeSettings(rule="rate")


class Unwanted:
    """A PRM that must not be asked."""

    name, version, aggregation = "scores", "1", "mean"

    def score(self, _):
        raise AssertionError("the PRM was asked")

    def close(self) -> None:
        pass


def by_number(values):
    """Score a solution by the number of its question."""
    prompts = {question(number)["problem"]: value for number, value in enumerate(values)}
    return lambda solution: prompts[solution.prompt]


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 12) as library:
        yield library


def levels(library, grading=None) -> dict[int, int | None]:
    """Levels by the number of the question."""
    numbers = {gr.Question.make_id("math", question(n)["problem"]): n for n in range(40)}
    where = f" WHERE grading = '{grading}'" if grading else ""
    return {numbers[id_]: level for id_, level in library.all(f"SELECT question, level FROM grades{where}")}


VALUES = [None, None, 0.95, 0.8, 0.79, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def test_the_papers_rule_sorts_wrong_answers_by_the_prms_mean(tmp_path, library):
    """Right answers are level 0; the others lie in 1 to 5 by their mean step score, a cut belonging to the easier."""
    record_answers(library, tmp_path, "m", lambda n: [n < 2])
    gr.verify(library)
    prm = Scores(by_number(VALUES))
    (result,) = gr.grade(library, prm=prm)
    assert levels(library) == dict(enumerate([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]))
    assert (result.scored, result.unscored, result.ungraded) == (10, {}, {})
    assert {line.level: line.questions for line in result.levels} == dict.fromkeys(range(6), 2)
    assert [line.pass_rate for line in result.levels] == [1.0, 0, 0, 0, 0, 0]
    assert library.value("SELECT count(*) FROM scores WHERE steps = '[[3, 0.95], [3, 0.95]]'") == 1


def test_other_cuts_and_rules_call_no_model(tmp_path, library):
    """With scores in the library, new cuts, quintiles and the rule rate give new levels and ask nothing."""
    record_answers(library, tmp_path, "m", lambda n: [n < 2])
    gr.verify(library)
    gr.grade(library, prm=Scores(by_number(VALUES)))
    for settings in (
        gr.GradeSettings(cuts=[0.9, 0.7, 0.5, 0.3]),
        gr.GradeSettings(cuts="quintiles"),
        RATE,
        gr.GradeSettings(rule="rate", cuts=[0.9, 0.7, 0.5, 0.3, 0.1]),
    ):
        for prm in (Unwanted(), None):
            (result,) = gr.grade(library, settings, prm=prm)
            assert result.scored == 0
    (result,) = gr.grade(library, gr.GradeSettings(cuts="quintiles"))
    counted = {line.level: line.questions for line in result.levels}
    assert counted == {0: 2} | dict.fromkeys(range(1, 6), 2)
    assert library.value("SELECT count(DISTINCT grading) FROM grades") == 5


def test_a_fault_of_the_prm_is_no_score_and_is_tried_again(tmp_path, library):
    """Solutions that the PRM failed on have no level and no 0.0; the next run asks for those only."""
    record_answers(library, tmp_path, "m", lambda _: [False])
    gr.verify(library)
    fault = Fault(boundary=Boundary.PRM, reason="http_500")
    (result,) = gr.grade(library, prm=Scores(by_number([fault] * 5 + [0.5] * 7)))
    assert (result.scored, result.unscored, result.faults) == (7, {"http_500": 5}, {"http_500": 5})
    assert result.ungraded == {"no_score": 5}
    assert library.value("SELECT count(*) FROM scores") == 7
    assert library.all("SELECT stage, boundary, count(*) FROM faults GROUP BY 1, 2") == [("grade", "prm", 5)]
    prm = Scores(lambda _: 0.9)
    (result,) = gr.grade(library, prm=prm)
    assert (len(prm.asked), result.scored, result.ungraded) == (5, 5, {})
    assert levels(library) == dict(enumerate([1] * 5 + [3] * 7))


def test_what_the_prm_cannot_score_has_no_level_and_a_reason(tmp_path, library):
    """Too long for the PRM is final: the question is ungraded, says so, and is not asked again."""
    record_answers(library, tmp_path, "m", lambda _: [False])
    gr.verify(library)
    long = StepScores(steps=(), scores=(), reason="too_long")
    (result,) = gr.grade(library, prm=Scores(by_number([long] * 3 + [0.5] * 9)))
    assert (result.unscored, result.faults, result.ungraded) == ({"too_long": 3}, {}, {"no_score": 3})
    assert [line.questions for line in result.levels if line.level is None] == [3]
    gr.grade(library, prm=Unwanted())


def test_a_setup_error_in_the_middle_keeps_what_was_scored(tmp_path, library):
    """A PRM server that goes away ends the run; its earlier scores are kept and it is not asked for them again."""
    record_answers(library, tmp_path, "m", lambda _: [False])
    gr.verify(library)
    prm = Scores(None)

    def decide(_):
        if len(prm.asked) == 8:
            raise SetupError("the PRM is gone")
        return 0.5

    prm.decide = decide
    with pytest.raises(SetupError, match="is gone"):
        gr.grade(library, prm=prm)
    assert library.value("SELECT count(*) FROM scores") == 7
    rest = Scores(lambda _: 0.5)
    gr.grade(library, prm=rest)
    assert len(rest.asked) == 5
    assert set(levels(library).values()) == {3}


def test_an_interrupt_ends_the_prms_stream(tmp_path, library):
    """Whatever ends the scoring closes the PRM's stream at once, and saves."""
    record_answers(library, tmp_path, "m", lambda _: [False])
    gr.verify(library)
    prm = Scores(lambda _: 0.5)

    def interrupt(_, tick):
        if tick.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gr.grade(library, prm=prm, progress=interrupt)
    assert prm.ended == 1
    assert library.value("SELECT count(*) FROM scores") == 4


def test_a_real_prm_server_is_asked_once(tmp_path, library):
    """The pooling backend scores each wrong attempt on a server, and a rerun asks nothing."""
    record_answers(library, tmp_path, "m", lambda n: [n < 2])
    gr.verify(library)
    with gr.MockServer(gr.MockSettings(models=("prm",))) as server:
        for _ in range(2):
            prm = gr.PoolingPRM(model="prm", base_url=server.url)
            try:
                (result,) = gr.grade(library, prm=prm)
            finally:
                prm.close()
        assert server.stats().pooling == 10
    assert result.ungraded == {}
    assert library.value("SELECT count(*) FROM scores WHERE mean BETWEEN 0 AND 1") == 10


def test_the_rule_rate_counts_all_decided_attempts(tmp_path, library):
    """Eight attempts per question: the level follows the pass rate, and undecided ones are not counted as wrong."""
    record_answers(library, tmp_path, "m", lambda n: [sample < n for sample in range(8)], count=9)
    gr.verify(library)
    (result,) = gr.grade(library, RATE)
    found = levels(library)
    assert found[0] == 5
    assert found[8] == 0
    assert [found[n] for n in range(9)] == sorted((found[n] for n in range(9)), reverse=True)
    rates = [line.pass_rate for line in result.levels]
    assert rates == sorted(rates, reverse=True)
    assert result.warning == ""


def test_undecided_attempts_are_not_wrong(tmp_path, library):
    """A question whose attempts were all cut has no level; one with a cut and a right attempt has the right one's."""
    rows = [{"q": question(0)["problem"], "a": "cut", "f": "length"}]
    rows += [{"q": question(1)["problem"], "a": text, "f": end} for text, end in (
        ("cut", "length"), (answer(question(1)["answer"]), "stop"))]  # fmt: skip
    fields = {"prompt": "q", "answer": "a", "finish_reason": "f"}
    gr.record(library, str(write_rows(tmp_path / "a.jsonl", rows)), fields, model="m")
    gr.verify(library)
    (result,) = gr.grade(library)
    assert levels(library) == {0: None, 1: 0}
    assert result.ungraded == {"undecided": 1}
    assert library.all("SELECT reason FROM grades WHERE level IS NULL") == [("undecided",)]


def test_attempts_that_were_not_judged_are_said(tmp_path, library):
    """Attempts that came after verify leave their questions ungraded as `not_verified`, not as never attempted."""
    record_answers(library, tmp_path, "m", lambda _: [True], count=4)
    gr.verify(library)
    record_answers(library, tmp_path, "m", lambda _: [True], count=6)
    (result,) = gr.grade(library, RATE)
    assert result.ungraded == {"not_verified": 2}


def test_grades_follow_the_evidence_and_none_is_stale(tmp_path, library):
    """After more attempts and verdicts the same grading holds exactly what a new library would."""
    record_answers(library, tmp_path, "m", lambda n: [n % 2 == 0], count=8)
    gr.verify(library)
    gr.grade(library, RATE)
    before = content(library, GRADES)
    everything = lambda n: [n % 2 == 0, n % 3 == 0, True]  # noqa: E731 - a rule that two libraries share
    record_answers(library, tmp_path, "m", everything)
    gr.verify(library)
    (result,) = gr.grade(library, RATE)
    after = content(library, GRADES)
    assert after != before
    assert library.value("SELECT count(*) FROM grades") == 12 == sum(line.questions for line in result.levels)
    with pool_library(tmp_path, 12, name="new.db") as new:
        record_answers(new, tmp_path, "m", everything)
        gr.verify(new)
        gr.grade(new, RATE)
        assert content(new, GRADES) == after


def test_models_and_settings_are_graded_apart(tmp_path, library):
    """Two models and two settings of one of them have a grading each; a model can be graded alone."""
    record_answers(library, tmp_path, "good", lambda _: [True])
    record_answers(library, tmp_path, "bad", lambda _: [False])
    with gr.MockServer(gr.MockSettings(accuracy=1.0)) as server:
        endpoint = gr.Endpoint(name="good", base_url=server.url)
        gr.attempt(library, endpoint, gr.AttemptSettings(temperature=0.5), engine=gr.EngineSettings(concurrency=4))
    gr.verify(library)
    results = gr.grade(library, RATE)
    assert [one.model for one in results] == ["good", "bad", "good"]
    assert len({one.grading for one in results}) == 3
    assert set(levels(library, results[0].grading).values()) == {1}
    assert set(levels(library, results[1].grading).values()) == {4}
    assert [one.model for one in gr.grade(library, RATE, model="bad")] == ["bad"]
    with pytest.raises(gr.UsageError, match="no attempts of other"):
        gr.grade(library, RATE, model="other")


def test_the_grading_that_was_made_last_is_the_newest(tmp_path, library):
    """Going back to an earlier rule makes its grading the one that a draw takes, without a row twice."""
    record_answers(library, tmp_path, "m", lambda n: [n % 2 == 0])
    gr.verify(library)
    first = gr.grade(library, RATE)[0].grading
    second = gr.grade(library, gr.GradeSettings(rule="rate", cuts=[0.9, 0.7, 0.5, 0.3, 0.1]))[0].grading
    assert chosen_grading(library).id == second
    assert gr.grade(library, RATE)[0].grading == first
    assert chosen_grading(library).id == first
    assert len(gradings(library)) == 2


def test_levels_that_cannot_occur_are_warned_about(tmp_path, library):
    """One attempt per question cannot reach every level of the rule rate, and the result says which and why."""
    record_answers(library, tmp_path, "m", lambda n: [n % 2 == 0])
    gr.verify(library)
    (result,) = gr.grade(library, RATE)
    assert "With 1 attempt per question, level 0, 2, 3, 5 cannot occur" in result.warning
    (result,) = gr.grade(library, prm=Scores(lambda _: 0.5))
    assert result.warning == ""


def test_what_is_missing_is_said_before_anything_is_written(tmp_path, library):
    """No attempts, no verdicts, or the rule paper without any scores: one sentence, and no grading is made."""
    with pytest.raises(gr.UsageError, match="no attempts to grade"):
        gr.grade(library)
    record_answers(library, tmp_path, "m", lambda n: [n < 2])
    with pytest.raises(gr.UsageError, match="No attempt has a verdict"):
        gr.grade(library)
    gr.verify(library)
    with pytest.raises(gr.UsageError, match="scores for 10 questions that m got wrong"):
        gr.grade(library)
    assert library.value("SELECT count(*) FROM grading") == 0
    with pytest.raises(gr.UsageError, match="takes 5 cuts"):
        gr.grade(library, gr.GradeSettings(rule="rate", cuts=[0.5]))


def test_batches_are_durable_before_the_next(tmp_path, library, monkeypatch):
    """A crash that no one can catch loses at most the batch at hand."""
    monkeypatch.setattr(scoring, "_BATCH", 3)
    record_answers(library, tmp_path, "m", lambda _: [False])
    gr.verify(library)
    seen = []

    def decide(_):
        seen.append(library.value("SELECT count(*) FROM scores"))
        return 0.5

    gr.grade(library, prm=Scores(decide))
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]


def test_the_prm_can_be_given_the_reasoning_and_its_scores_are_kept_apart(tmp_path, library):
    """`thinking` scores the reasoning where there is one, else the answer, and under a version of its own."""
    thought = "<think>\nFirst 2.\nThen 3.\n</think>\n\nThe answer is \\boxed{1}."
    record_answers(library, tmp_path, "m", lambda n: [thought if n < 6 else False])
    gr.verify(library)
    read = {}
    for text in ("answer", "thinking"):
        prm = Scores(lambda solution, text=text: read.setdefault(text, []).append(solution.answer) or 0.5)
        (result,) = gr.grade(library, prm=prm, text=text)
        assert result.scored == 12
        gr.grade(library, prm=Unwanted(), text=text)
    assert read["answer"].count("The answer is \\boxed{1}.") == 6
    assert read["thinking"].count("First 2.\nThen 3.") == 6
    plain = [sorted(answer for answer in answers if answer.startswith("We count")) for answers in read.values()]
    assert len(plain[0]) == 6
    assert plain[0] == plain[1]
    assert library.all("SELECT version, count(*) FROM scores GROUP BY 1 ORDER BY 1") == [
        ("1", 12),
        ("1;text=thinking", 12),
    ]
