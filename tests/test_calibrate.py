"""Calibrate: what is scored, what is said of it, which cuts are kept, and what grade makes of them."""

import json
import random
import re
from itertools import pairwise

import pytest

import gradatim as gr
from cli_world import started
from gradatim.types import Boundary, Fault
from pools import pool_library, record_answers
from prms import Scores

COUNT = 300
PER_RATE = 9


@pytest.fixture
def library(tmp_path):
    """A pool of 300 questions, of which the model `m` has eight attempts each: question n is right n % 9 times."""
    with pool_library(tmp_path, COUNT) as library:
        rng = random.Random(7)

        def rights(number):
            found = [sample < number % PER_RATE for sample in range(8)]
            rng.shuffle(found)
            return found

        record_answers(library, tmp_path, "m", rights)
        gr.verify(library)
        yield library


def _number(prompt):
    """Return the number of one of the pool's questions: it has `number + 11` things."""
    return int(re.search(r"has (\d+)", prompt)[1]) - 11


def _knowing(solution):
    """Score by how often the question is solved, with a little noise."""
    number = _number(solution.prompt)
    return 0.05 + 0.09 * (number % PER_RATE) + 0.0001 * (number % 7)


def _ignorant(solution):
    """Score by something that has nothing to do with it."""
    return (_number(solution.prompt) * 37 % 101 + 1) / 103


def test_a_prm_that_knows(library):
    """The scores are found to predict, the cuts part five levels whose pass rates fall, and grade uses them by name."""
    prm = Scores(_knowing)
    found = gr.calibrate(library, gr.CalibrateSettings(name="known"), prm=prm)
    assert found.questions == COUNT
    assert found.scored == COUNT == len(set(prm.asked))
    assert found.correlation_wrong.value > 0.8
    assert len(found.cuts) == 4
    assert all(a.rate > b.rate for a, b in pairwise(found.levels))
    assert sum(level.points for level in found.levels) == found.wrong
    graded = gr.grade(library, gr.GradeSettings(cuts="calibration:known"), prm=prm)[0]
    assert graded.cuts == found.cuts
    assert graded.scored == 0
    assert {line.level: line.questions for line in graded.levels if line.level} == {
        level: one.points for level, one in enumerate(found.levels, 1)
    }
    assert json.loads(library.value("SELECT rule_settings FROM grading"))["asked"] == "calibration:known"


def test_a_prm_that_does_not(library):
    """A PRM that predicts nothing is called out, and levels by it are refused where it gave no cuts."""
    found = gr.calibrate(library, prm=Scores(_ignorant))
    assert found.correlation_wrong.low < 0 < found.correlation_wrong.high
    assert "does not predict the pass rate" in found.says
    constant = gr.calibrate(library, gr.CalibrateSettings(name="flat"), prm=Named(lambda _: 0.5))
    assert constant.cuts == ()
    with pytest.raises(gr.UsageError, match="found no cuts"):
        gr.grade(library, gr.GradeSettings(cuts="calibration:flat"), prm=Named(lambda _: 0.5))


class Named(Scores):
    """Another PRM than `Scores`."""

    name = "named"


def test_the_scored_attempt_does_not_predict_itself(library):
    """A PRM that knows only whether the attempt itself is right gets no credit for it among wrong attempts."""
    found = gr.calibrate(library, prm=Scores(lambda one: 0.2 + 0.001 * (_number(one.prompt) * 37 % 101)))
    assert abs(found.correlation_wrong.value) < 0.25
    # Of eight attempts seven are left to tell the rate.
    row = library.all("SELECT questions, setting, rates FROM calibrations")[0]
    assert row[0] == COUNT
    assert row[1] == row[2]


def test_rates_of_another_setting(tmp_path, library):
    """One greedy answer can be held against several sampled ones, by the settings' ids."""
    record_answers(library, tmp_path, "sampled", lambda n: [n % PER_RATE > s for s in range(8)], role="eval")
    gr.verify(library)
    id_ = library.value("SELECT id FROM setting WHERE model = 'sampled'")
    found = gr.calibrate(library, gr.CalibrateSettings(model="m", rates=id_), prm=Scores(_knowing))
    assert found.rates == id_ != found.setting
    assert found.correlation.value > 0.9
    with pytest.raises(gr.UsageError, match="no setting 'x'"):
        gr.calibrate(library, gr.CalibrateSettings(model="m", rates="x"), prm=Scores(_knowing))


def test_faults_are_tried_again(library):
    """What a PRM fails on is a fault, no score; the next run asks for those alone."""
    fault = Fault(boundary=Boundary.PRM, reason="http_500")
    first = gr.calibrate(library, prm=Scores(lambda one: fault if _number(one.prompt) < 10 else _knowing(one)))
    assert first.faults == {"http_500": 10}
    assert first.questions == COUNT - 10
    again = Scores(_knowing)
    assert gr.calibrate(library, prm=again).questions == COUNT
    assert len(again.asked) == 10


def test_what_is_refused(tmp_path):
    """No attempts, one attempt each, too few questions, another PRM's cuts: one sentence each."""
    with pool_library(tmp_path, 60) as library:
        with pytest.raises(gr.UsageError, match="no attempts to calibrate on"):
            gr.calibrate(library, prm=Scores(_knowing))
        record_answers(library, tmp_path, "one", lambda n: [n % 2 == 0])
        with pytest.raises(gr.UsageError, match="needs several attempts"):
            gr.calibrate(library, prm=Scores(_knowing))
        record_answers(library, tmp_path, "few", lambda n: [n % 2 == 0, n % 3 == 0], count=20)
        gr.verify(library)
        with pytest.raises(gr.UsageError, match="Several models have attempts: few, one"):
            gr.calibrate(library, prm=Scores(_knowing))
        with pytest.raises(gr.UsageError, match="20 questions of few"):
            gr.calibrate(library, gr.CalibrateSettings(model="few"), prm=Scores(_knowing))
        with pytest.raises(gr.UsageError, match="no calibration 'gone'"):
            gr.grade(library, gr.GradeSettings(cuts="calibration:gone"), prm=Scores(_knowing), model="few")


def test_cuts_of_another_prm_or_model_are_refused(library, tmp_path):
    """Cuts belong to the model that they are fitted to, and to the PRM whose scores they part."""
    gr.calibrate(library, prm=Scores(_knowing))
    record_answers(library, tmp_path, "other", lambda n: [n % 2 == 0])
    gr.verify(library)
    with pytest.raises(gr.UsageError, match=r"no calibration 'calibration' of other .* calibration \(of m\)"):
        gr.grade(library, gr.GradeSettings(cuts="calibration:calibration"), prm=Scores(_knowing), model="other")
    with pytest.raises(gr.UsageError, match="another PRM"):
        gr.grade(library, gr.GradeSettings(cuts="calibration:calibration"), prm=Named(_knowing), model="m")


@pytest.mark.parametrize("cuts", ["calibration:", "quintile", "calibrated"])
def test_cuts_that_mean_nothing(tmp_path, cuts):
    """A word that is no way to cut is refused before anything runs, and the error lists the ways."""
    (tmp_path / "gradatim.toml").write_text(f'[grade]\ncuts = "{cuts}"\n')
    done = started("grade", folder=tmp_path)
    assert done.code == 2
    assert "quintiles" in done.err
    assert "calibration:NAME" in done.err


SETTINGS = """
[models.base]
kind = "local"
model = "tiny-base"
path = "tiny:base"
device = "cpu"
threads = 1
[attempt]
max_tokens = 160
samples = 4
temperature = 0.8
system = ""
[prm]
model = "tiny:prm"
backend = "local"
text = "thinking"
device = "cpu"
"""


@pytest.mark.slow
def test_on_the_tiny_models(tmp_path):
    """From the command line, with the shipped models: the PRM predicts, the picture is drawn, grade takes the cuts."""
    (tmp_path / "gradatim.toml").write_text(SETTINGS)
    for command in (["ingest", "tiny:pool?size=250"], ["attempt"], ["verify"]):
        done = started(*command, folder=tmp_path)
        assert done.code == 0, done.err
    # Quintiles: of so few questions isotonic steps need not make five levels.
    done = started("calibrate", "tiny", "--cuts", "quintiles", "-o", "tiny.svg", folder=tmp_path)
    assert done.code == 0, done.err
    assert "rank correlation of score and pass rate: 0." in done.out
    assert (tmp_path / "tiny.svg").read_text().startswith("<svg")
    assert "use them: gradatim grade --rule paper --cuts calibration:tiny" in done.out
    done = started("grade", "--rule", "paper", "--cuts", "calibration:tiny", folder=tmp_path)
    assert done.code == 0, done.err
    assert "rule paper, cuts 0." in done.out
