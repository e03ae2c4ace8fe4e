"""From step scores to an answer's one score: derived, so that another way calls no PRM; and who keeps in mind which."""

from __future__ import annotations

import json

import pytest

import gradatim as gr
from cli_world import started
from gradatim.errors import UsageError
from gradatim.library.scores import aggregated_steps
from gradatim.method.aggregation import aggregated
from gradatim.types import StepScores
from pools import pool_library, question, record_answers
from prms import Scores

WAYS = ("mean", "min", "last", "product")
# Steps of the twelve wrong answers; the four ways tell them apart.
STEPS = [(0.93, 0.1 * (n % 4) + 0.3, 0.1 * (n % 10)) for n in range(12)]
CUTS = (0.8, 0.6, 0.4, 0.2)


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 12) as library:
        record_answers(library, tmp_path, "m", lambda _: [False])
        gr.verify(library)
        yield library


def prm_of(aggregation="mean"):
    """A PRM of the test's: three steps of known scores for each question."""
    known = {question(n)["problem"]: steps for n, steps in enumerate(STEPS)}
    made = Scores(lambda one: StepScores(steps=("a", "b", "c"), scores=known[one.prompt]))
    made.aggregation = aggregation
    return made


def levels(library, grading):
    numbers = {gr.Question.make_id("math", question(n)["problem"]): n for n in range(12)}
    rows = library.all(f"SELECT question, level, score FROM grades WHERE grading = '{grading}'")
    return {numbers[id_]: (level, score) for id_, level, score in rows}


def level(score):
    """The paper's rule by hand: a cut belongs to the easier level."""
    return 1 + sum(score < cut for cut in CUTS)


def test_the_four_ways():
    """Mean, minimum, last and product of the same steps; a 0.0 is a score like another; one step is itself."""
    scores = (0.5, 0.25, 1.0)
    assert [aggregated(scores, how) for how in WAYS] == [pytest.approx(1.75 / 3), 0.25, 1.0, 0.125]
    assert [aggregated((0.0, 1.0), how) for how in WAYS] == [0.5, 0.0, 1.0, 0.0]
    assert [aggregated((0.3,), how) for how in WAYS] == [0.3] * 4
    assert aggregated_steps("[[3, 0.5], [4, 0.25], [1, 1.0]]", "product") == 0.125
    assert aggregated_steps("[]", "min") is None


@pytest.mark.parametrize("how", WAYS)
def test_levels_follow_the_aggregation(library, how):
    """Each question's level is that of its steps' mean, minimum, last or product, worked out here."""
    (result,) = gr.grade(library, prm=prm_of(), aggregation=how)
    got = levels(library, result.grading)
    for number, steps in enumerate(STEPS):
        want = {"mean": sum(steps) / 3, "min": min(steps), "last": steps[-1], "product": steps[0] * steps[1] * steps[2]}
        assert got[number] == (level(want[how]), pytest.approx(want[how], abs=1e-9))


def test_another_aggregation_calls_no_model_and_is_another_grading(library):
    """What was scored once is graded in all four ways without the PRM; the mean's grading keeps its id throughout."""
    prm = prm_of()
    (first,) = gr.grade(library, prm=prm)
    found = {how: gr.grade(library, prm=None, aggregation=how)[0] for how in WAYS}
    assert len(prm.asked) == 12
    assert found["mean"].grading == first.grading
    assert len({one.grading for one in found.values()}) == 4
    rules = dict(library.all("SELECT id, rule_settings FROM grading"))
    assert json.loads(rules[found["last"].grading])["aggregation"] == "last"
    assert "aggregation" not in json.loads(rules[first.grading])


def test_a_prms_own_way_holds_unless_told_otherwise(library):
    """A PRM whose makers take the minimum is graded by it; aggregation = "mean" is the paper's all the same."""
    (own,) = gr.grade(library, prm=prm_of("min"))
    (told,) = gr.grade(library, prm=prm_of("min"), aggregation="mean")
    assert levels(library, own.grading)[9][1] == pytest.approx(min(STEPS[9]))
    assert levels(library, told.grading)[9][1] == pytest.approx(sum(STEPS[9]) / 3)


def test_of_several_prms_the_one_that_is_meant_is_graded_by(library):
    """With ask=False a PRM says whose scores are meant and is asked nothing; those of another PRM stay away."""
    gr.grade(library, prm=prm_of())
    other = prm_of()
    other.name = "other"
    gr.grade(library, prm=other)
    for chosen, want in ((prm_of(), "scores"), (other, "other")):
        chosen.asked.clear()
        (result,) = gr.grade(library, prm=chosen, ask=False)
        sql = "SELECT p.name FROM grading g JOIN prm p ON p.pk = g.prm WHERE g.id = ?"
        assert (chosen.asked, library.value(sql, (result.grading,))) == ([], want)
    strange = prm_of()
    strange.name = "strange"
    (result,) = gr.grade(library, prm=strange, ask=False)
    assert (strange.asked, result.ungraded) == ([], {})
    assert library.value("SELECT count(*) FROM prm") == 2


def test_quintiles_are_those_of_the_aggregated_scores(library):
    """Cuts by quantile are taken from the scores that are graded, not from their means."""
    (result,) = gr.grade(library, gr.GradeSettings(cuts="quintiles"), prm=prm_of(), aggregation="last")
    lasts = sorted(steps[-1] for steps in STEPS)
    assert all(lasts[0] <= cut <= lasts[-1] for cut in result.cuts)
    (other,) = gr.grade(library, gr.GradeSettings(cuts="quintiles"), aggregation="mean")
    assert result.cuts != other.cuts


def test_scores_that_are_not_there_stay_away(library):
    """An answer that the PRM could not read has no score in any way, and no level."""
    prm = Scores(lambda _: StepScores(steps=(), scores=(), reason="too_long"))
    for how in WAYS:
        (result,) = gr.grade(library, prm=prm, aggregation=how)
        assert result.ungraded == {"no_score": 12}


def test_a_calibration_remembers_its_aggregation(tmp_path):
    """Cuts that were fitted to the minimum are refused for the mean, with what to do, and taken for the minimum."""
    with pool_library(tmp_path, 120) as library:
        record_answers(library, tmp_path, "m", lambda n: [sample >= 8 - n % 9 for sample in range(8)])
        gr.verify(library)
        numbers = {question(n)["problem"]: n % 9 / 9 for n in range(120)}
        prm = Scores(lambda one: StepScores(steps=("a", "b"), scores=(1.0, numbers[one.prompt])))
        result = gr.calibrate(library, gr.CalibrateSettings(cuts="quintiles"), prm=prm, aggregation="min")
        asked = len(prm.asked)
        other = gr.calibrate(library, gr.CalibrateSettings(name="b", cuts="quintiles"), prm=prm)
        assert (len(prm.asked), result.aggregation, other.aggregation) == (asked, "min", "mean")
        assert result.cuts != other.cuts
        assert library.all("SELECT name, aggregation FROM calibrations") == [("calibration", "min"), ("b", "mean")]
        settings = gr.GradeSettings(cuts="calibration:calibration")
        with pytest.raises(UsageError, match="has cuts for the min of an answer's step scores, and the mean is"):
            gr.grade(library, settings, prm=prm)
        (graded,) = gr.grade(library, settings, prm=prm, aggregation="min")
        assert graded.cuts == result.cuts


def test_the_command_line_grades_by_the_setting_and_without_the_prm_alike(tmp_path):
    """`[prm] aggregation` holds with --no-prm too, where no server is asked: the same levels, and no score is new."""
    with pool_library(tmp_path, 12) as library:
        record_answers(library, tmp_path, "m", lambda _: [False])
        gr.verify(library)
        gr.grade(library, prm=prm_of())
    line = 'library = "{}"\n[prm]\nmodel = "m"\nkind = "{}"\nbase_url = "http://127.0.0.1:9"\n{}'
    got = {}
    for kind, more in (
        ("qwen", ""),
        ("math-shepherd", ""),
        ("qwen", 'aggregation = "last"'),
        ("math-shepherd", 'aggregation = "mean"'),
    ):
        (tmp_path / "gradatim.toml").write_text(line.format(library.path, kind, more))
        out = started("grade", "--no-prm", "--json", folder=tmp_path)
        got[kind, more] = json.loads(out.out)[0]["grading"]
    assert "rule paper, cuts" in started("grade", "--no-prm", folder=tmp_path).out
    (tmp_path / "gradatim.toml").write_text(line.format(library.path, "math-shepherd", ""))
    assert "rule paper, min of step scores, cuts" in started("grade", "--no-prm", folder=tmp_path).out
    gone = 'library = "{}"\n[prm]\nmodel = "gone"\nbackend = "local"\naggregation = "min"'
    (tmp_path / "gradatim.toml").write_text(gone.format(library.path))
    assert "min of step scores" in started("grade", "--no-prm", folder=tmp_path).out
    with gr.Library(library.path) as library:
        scores = {key: levels(library, id_)[9][1] for key, id_ in got.items()}
    assert scores["qwen", ""] == scores["math-shepherd", 'aggregation = "mean"'] == pytest.approx(sum(STEPS[9]) / 3)
    assert scores["math-shepherd", ""] == pytest.approx(min(STEPS[9]))
    assert scores["qwen", 'aggregation = "last"'] == pytest.approx(STEPS[9][-1])
