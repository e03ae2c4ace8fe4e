"""Grading wrong programs: by the share of tests that they passed, by a PRM, or not at all where nobody knows."""

import itertools
import json

import pytest

import gradatim as gr
from code_pool import TESTS, answer, code_library, code_row, numbers, program, record_texts
from gradatim.config import CodeSettings
from gradatim.errors import UsageError
from gradatim.library.grades import gradings
from gradatim.types import StepScores
from pools import question, write_rows

ALL = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
"""How many of its tests each question's program passes."""
LEVELS = [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]
PRM = gr.GradeSettings(code_scores="prm")


class Scores:
    """A PRM of the test's: gives every solution the same score, and keeps what it was asked."""

    name, version, aggregation = "scores", "1", "mean"

    def __init__(self, score: float = 0.5) -> None:
        self.score_ = score
        self.asked = []

    def score(self, solutions):
        for solution in solutions:
            self.asked.append(solution.prompt)
            yield solution.key, StepScores(steps=("one",), scores=(self.score_,))

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The bytes of a library with twelve code questions and a verdict on one program for each."""
    folder = tmp_path_factory.mktemp("judged")
    with code_library(folder, 12) as library:
        record_texts(library, folder, "m", lambda n: [answer(program(n, ALL[n])) if n != 11 else "I cannot."])
        result = gr.verify(library)
    assert result.faults == {}
    assert result.reasons == {"wrong_answer": 10, "tests_passed": 1, "no_program": 1}
    return (folder / "library.db").read_bytes()


@pytest.fixture
def library(tmp_path, judged):
    (tmp_path / "library.db").write_bytes(judged)
    with gr.Library(tmp_path / "library.db", write=True) as library:
        yield library


def levels(library, column: str = "level") -> list:
    """Levels of the newest grading by the questions' numbers."""
    of = numbers(library)
    rows = library.all(f"SELECT question, {column} FROM grades WHERE grading = ?", (gradings(library)[-1].id,))
    return [value for _, value in sorted((of[id_], value) for id_, value in rows)]


def test_the_share_of_tests_passed_makes_the_level(library):
    """A right program is level 0; a wrong one has the level of its share, by the paper's cuts, and asks no PRM."""
    prm = Scores()
    (result,) = gr.grade(library, prm=prm)
    assert levels(library) == LEVELS
    assert levels(library, "tests") == [None, *(passed / TESTS for passed in ALL[1:])]
    assert levels(library, "difficulty") == [0.0, *(pytest.approx(1 - passed / TESTS) for passed in ALL[1:])]
    assert (prm.asked, result.scored, result.warning) == ([], 0, "")
    shares = [line.tests for line in result.levels]
    assert shares[0] is None
    assert shares[1:] == pytest.approx([0.85, 0.65, 0.45, 0.25, 0.1 / 3])
    assert json.loads(gradings(library)[-1].rule_settings)["code_scores"] == "tests"


def test_a_verdict_keeps_how_many_tests_were_passed_and_which_failed(library):
    """The view of verdicts has the program, the tests passed of all, and the first failing test in its detail."""
    of = numbers(library)
    rows = {of[row[0]]: row[1:] for row in library.all("SELECT question, answer, passed, total, detail FROM verdicts")}
    assert rows[11] == ("", None, None, "")
    for number in range(1, 11):
        text, passed, total, detail = rows[number]
        assert (text.strip(), passed, total) == (program(number, ALL[number]), ALL[number], TESTS)
        assert json.loads(detail)["failed"]["test"] == ALL[number] + 1
    assert rows[0][1:3] == (TESTS, TESTS)


def test_the_rate_rule_orders_the_never_solved_by_tests(tmp_path, library):
    """Among questions with as many attempts the share of tests orders those that were never solved."""
    record_texts(
        library, tmp_path, "r", lambda n: [answer(program(n, max(0, min(9, ALL[n] - more)))) for more in (0, 2, 4, 6)]
    )
    gr.verify(library)
    gr.grade(library, gr.GradeSettings(rule="rate"), model="r")
    shares, hard = levels(library, "tests"), levels(library, "difficulty")
    passed = [(9, 8, 6, 4), (9, 7, 5, 3), (8, 6, 4, 2), (7, 5, 3, 1)]
    assert shares[:4] == pytest.approx([sum(one) / 40 for one in passed])
    assert all(one < other for one, other in itertools.pairwise(hard[:10]))


def test_a_prm_can_score_programs_and_both_are_shown(library):
    """With code_scores = "prm" the PRM's mean makes the level; grading by tests afterwards shows both."""
    prm = Scores(0.7)
    (result,) = gr.grade(library, PRM, prm=prm)
    assert (len(prm.asked), result.scored) == (11, 11)
    assert levels(library) == [0] + [2] * 11
    (result,) = gr.grade(library)
    assert levels(library) == LEVELS
    assert [line.score for line in result.levels[1:]] == [pytest.approx(0.7)] * 5
    assert None not in [line.tests for line in result.levels[1:]]


def test_math_goes_by_the_prm_and_code_by_tests(tmp_path, library):
    """A model with questions of both kinds has its math scored by the PRM, which is shown no program."""
    gr.ingest(library, gr.IngestSettings(path=str(write_rows(tmp_path / "math.jsonl", map(question, range(6))))))
    rows = [{"q": question(n)["problem"], "a": "\\boxed{0}"} for n in range(6)]
    path = write_rows(tmp_path / "math.answers.jsonl", rows)
    gr.record(library, str(path), {"prompt": "q", "answer": "a"}, model="m")
    gr.verify(library)
    with pytest.raises(UsageError, match="scores for 6 questions that m got wrong"):
        gr.grade(library)
    prm = Scores(0.5)
    (result,) = gr.grade(library, prm=prm)
    assert sorted(prm.asked) == sorted(question(n)["problem"] for n in range(6))
    assert {line.level: line.questions for line in result.levels} == {0: 1, 1: 2, 2: 2, 3: 2 + 6, 4: 2, 5: 3}
    third = result.levels[3]
    assert (third.score, third.tests) == (0.5, pytest.approx(0.45))


def test_programs_that_stopped_at_their_first_failure_have_no_share(library):
    """Without all tests run the share is not known: grade says so and what to run, a PRM grades all the same."""
    gr.verify(library, gr.VerifySettings(code=CodeSettings(stop="first_failure")))
    assert library.value("SELECT count(*) FROM verdicts WHERE total = 10 AND passed IS NULL") == 10
    with pytest.raises(UsageError, match=r"10 wrong programs of m were judged up to.*verify --run-all --again"):
        gr.grade(library)
    gr.grade(library, PRM, prm=Scores(0.7))
    assert levels(library) == [0] + [2] * 11
    gr.verify(library, again=True)
    gr.grade(library)
    assert levels(library) == LEVELS


def test_shares_that_cannot_be_cut_into_fifths_say_so(tmp_path, library):
    """Quintiles want different values and few zeros; where programs have few, the sentence says how many of what."""
    gr.grade(library, gr.GradeSettings(cuts="quintiles"))
    assert sorted(levels(library)) == [0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    record_texts(library, tmp_path, "z", lambda n: [answer(program(n, 5 * (n % 2)))])
    gr.verify(library)
    with pytest.raises(UsageError, match=r"z: the shares .* 12 wrong programs passed take 2 values, and 6 .* none"):
        gr.grade(library, gr.GradeSettings(cuts="quintiles"), model="z")


def test_few_tests_cannot_reach_every_level_and_the_result_warns(tmp_path):
    """Suites of three tests have the shares 0, 1/3 and 2/3, so levels 1 and 3 cannot occur with the default cuts."""
    rows = [code_row(number) for number in range(6)]
    pool = write_rows(tmp_path / "few.jsonl", [row | {"tests": row["tests"][:3]} for row in rows])
    with gr.Library(tmp_path / "few.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path=str(pool), domain="code"))
        record_texts(library, tmp_path, "m", lambda n: [answer(program(n, n % 3))])
        gr.verify(library)
        (result,) = gr.grade(library)
        assert levels(library) == [5, 4, 2] * 2
        assert result.warning.startswith("With at most 3 tests per question, level 1, 3 cannot occur")


def test_cuts_of_a_calibration_are_not_used_for_shares(library):
    """What was calibrated on a PRM's scores says nothing of tests: the sentence says to leave it out."""
    with pytest.raises(UsageError, match="cuts for a PRM's scores"):
        gr.grade(library, gr.GradeSettings(cuts="calibration:any"))
