"""Run and plan: the whole loop from one settings record, what a second run does, and what stops it."""

import hashlib
from pathlib import Path

import pytest

import gradatim as gr
from gradatim import planning
from gradatim.config import BudgetSettings, PriceSettings
from gradatim.errors import GradatimError, LimitError, SetupError, UsageError
from gradatim.pipeline import STAGES
from gradatim.pipeline import run as run_all
from pools import question, write_pool, write_rows

PRICE = PriceSettings(input=1.0, output=2.0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Work in a folder with a pool and an evaluation set."""
    monkeypatch.chdir(tmp_path)
    write_pool(tmp_path / "pool.jsonl", 120)
    write_rows(tmp_path / "eval.jsonl", [question(n) for n in range(100, 140)])
    write_pool(tmp_path / "all.jsonl", 140)
    return tmp_path


def mock(**settings) -> gr.MockServer:
    settings = {
        "answers": "all.jsonl",
        "accuracies": (("base", 0.5), ("teacher", 0.95)),
        "models": ("base", "prm"),
    } | settings
    return gr.MockServer(gr.MockSettings(**settings))


def config(server, **changed) -> gr.Config:
    """Return settings of the whole loop, by the rule paper with a PRM."""
    from gradatim.config import PrmSettings

    made = {
        "ingest": [
            gr.IngestSettings(path="pool.jsonl"),
            gr.IngestSettings(path="eval.jsonl", set="eval", purpose="eval"),
        ],
        "models": {
            name: gr.ModelSettings(model=name, base_url=server.url, concurrency=8, tries=1, price=PRICE)
            for name in ("base", "teacher")
        },
        "prm": PrmSettings(model="prm", base_url=server.url),
        "sample": gr.SampleSettings(size=15, when_dry="nearest"),
        "curate": gr.CurateSettings(max_repetition=1.0),
        "export": gr.ExportSettings(out="chains.jsonl"),
    }
    return gr.Config(**(made | changed))


def results(ran, stage) -> list:
    return [one.result for one in ran if one.stage == stage]


def hashes(folder: Path) -> dict[str, str]:
    """Hashes of all files, the library's shared memory and log apart: readers may make those."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.endswith(("-shm", "-wal"))
    }


def test_the_whole_loop_runs_and_a_second_run_asks_nothing(folder):
    """One call gives the training file; the same call again sends no request and writes the same bytes."""
    with mock() as server:
        ran = gr.run(config(server))
        assert list(dict.fromkeys(one.stage for one in ran)) == list(STAGES)
        assert results(ran, "export")[0].rows == 15
        written = hashes(folder)
        before = server.stats()
        again = gr.run(config(server))
        after = server.stats()
    assert (after.requests, after.pooling) == (before.requests, before.pooling)
    assert all(one.unchanged for one in results(again, "ingest"))
    assert results(again, "sample")[0].already
    assert results(again, "sample")[0].warning == ""
    names = ("chains.jsonl", "chains.card.md", "chains.manifest.json")
    assert {name: hashes(folder)[name] for name in names} == {name: written[name] for name in names}


def test_results_are_reported_as_they_come(folder):
    """`report` gets each stage's result in order, before the next stage begins."""
    seen = []
    with mock() as server:
        ran = gr.run(config(server), until="grade", report=lambda one: seen.append(one.stage))
    assert seen == [one.stage for one in ran] == ["ingest", "ingest", "attempt", "verify", "grade"]
    assert not (folder / "chains.jsonl").exists()


@pytest.mark.parametrize("until", STAGES)
def test_a_run_can_end_after_any_stage_and_go_on(until):
    """Until any stage, then the whole: the work of the first run is not done again."""
    with mock() as server:
        gr.run(config(server), until=until)
        gr.run(config(server))
        stats = server.stats()
        assert stats.bought_again == stats.repeated == 0


def test_one_more_row_costs_its_own_work(folder):
    """A question that joins the pool is one request more, and neither the draw nor the training file changes."""
    with mock() as server:
        gr.run(config(server))
        before, written = server.stats().requests, (folder / "chains.jsonl").read_bytes()
        write_rows(folder / "pool.jsonl", [question(500), *map(question, range(120))])
        ran = gr.run(config(server))
        assert server.stats().requests == before + 1
    assert sum(one.added for one in results(ran, "ingest")) == 1
    assert (folder / "chains.jsonl").read_bytes() == written


def test_missing_attempts_stop_before_the_draw():
    """After faults nothing is drawn, and the sentence says how to go on; `allow_missing` draws all the same."""
    with mock(faults=(("500", 0.3),)) as server:
        with pytest.raises(GradatimError, match=r"attempts of base are missing.*--allow-missing"):
            gr.run(config(server))
        with gr.Library("library.db") as library:
            assert library.value("SELECT count(*) FROM draw") == 0
            assert library.value("SELECT count(*) FROM grade") > 0
    with mock() as server:
        ran = gr.run(config(server, attempt=gr.AttemptSettings(limit=0)), allow_missing=True)
        assert results(ran, "attempt")[0].left > 0
        assert results(ran, "export")[0].rows == 15


def test_a_limit_or_a_budget_that_is_reached_says_so():
    """A limit of questions per run and a spent budget stop before the draw, with their own words."""
    with mock() as server:
        with pytest.raises(GradatimError, match=r"110 attempts of base are missing .a limit is set"):
            gr.run(config(server, attempt=gr.AttemptSettings(limit=30)))
        budget = BudgetSettings(tokens=6000)
        with pytest.raises(LimitError, match="budget is used up"):
            gr.run(config(server, attempt=gr.AttemptSettings(budget=budget, max_tokens=100)))


def test_faults_of_the_prm_stop_before_the_draw(monkeypatch):
    """Where some attempts could not be scored, a draw would depend on the accident; the next run scores and draws."""
    from gradatim.prm.pooling import PoolingPRM
    from gradatim.types import Boundary, Fault

    real = PoolingPRM.score

    def failing(self, solutions):
        fault = Fault(boundary=Boundary.PRM, reason="http_500")
        for number, (key, result) in enumerate(real(self, solutions)):
            yield key, fault if number % 5 == 0 else result

    with mock() as server:
        with monkeypatch.context() as patched:
            patched.setattr(PoolingPRM, "score", failing)
            with pytest.raises(GradatimError, match="PRM could not score all"):
                gr.run(config(server))
        assert results(gr.run(config(server)), "export")[0].rows == 15


def test_a_prm_that_cannot_be_used_stops_a_run_before_anything_is_paid_for():
    """A key that is not set or a program that is not there is said before the base model is asked."""
    from gradatim.config import PrmSettings

    with mock() as server:
        lacking = {
            "GRADATIM_NO_SUCH_KEY": PrmSettings(model="prm", base_url=server.url, api_key_env="GRADATIM_NO_SUCH_KEY"),
            "no-such-engine": PrmSettings(model="org/prm", serve="vllm", serve_command=["no-such-engine"]),
        }
        for said, prm in lacking.items():
            with pytest.raises(SetupError, match=said):
                run_all(config(server, prm=prm), until="grade")
        assert server.stats().requests == 0


def test_missing_chains_are_an_error_after_the_files_are_written(folder):
    """A teacher that is right too seldom leaves a set that is short: it is exported, and the run ends with a limit."""
    accuracies = (("base", 0.5), ("teacher", 0.4))
    with mock(accuracies=accuracies) as server, pytest.raises(LimitError, match="chains of 'draw' are missing"):
        gr.run(config(server, sample=gr.SampleSettings(size=30, when_dry="nearest", reserve=0)))
    assert 0 < len((folder / "chains.jsonl").read_text().splitlines()) < 30


def test_a_teacher_without_any_chain_says_why(folder):
    """With no chain at all there is no file, and the sentence is the teacher's and not about curate."""
    accuracies = (("base", 0.5), ("teacher", 0.0))
    with mock(accuracies=accuracies) as server, pytest.raises(LimitError, match=r"No chain is kept.*missing"):
        gr.run(config(server))
    assert not (folder / "chains.jsonl").exists()


def test_the_draw_is_made_from_what_was_graded_in_this_run():
    """Going back to an earlier rule draws by that rule, though another grading is newer."""
    with mock() as server:
        gr.run(config(server), until="grade")
        gr.run(config(server, grade=gr.GradeSettings(rule="rate")), until="grade")
        ran = gr.run(config(server), until="sample")
        assert results(ran, "sample")[0].grading == results(ran, "grade")[0].grading
        with gr.Library("library.db") as library:
            assert library.all("SELECT DISTINCT rule FROM draws") == [("paper",)]


def test_other_cuts_keep_the_draw_and_say_so():
    """A draw never changes: with other cuts under the same name the run goes on with it and warns."""
    with mock() as server:
        gr.run(config(server), until="sample")
        cuts = gr.GradeSettings(cuts=[0.9, 0.7, 0.5, 0.3])
        (result,) = results(gr.run(config(server, grade=cuts), until="sample"), "sample")
        assert result.already
        assert "another grading" in result.warning


def test_a_pool_that_was_ingested_before_its_evaluation_set_is_no_matter():
    """The order of the [[ingest]] tables does not decide what is excluded: evaluation sets are read first."""
    with mock() as server:
        made = config(server)
        gr.run(made, until="ingest")
        with gr.Library("library.db") as library:
            assert library.value("SELECT count(*) FROM exclusion") == 20


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"ingest": []}, "nothing to run yet"),
        ({"ingest": [gr.IngestSettings(path="./nowhere.jsonl")]}, r"there is no \./nowhere.jsonl"),
        ({"models": {}}, r"No \[models.base\]"),
        ({"teach": gr.TeachSettings(keep="any")}, "Set both alike"),
    ],
)
def test_settings_that_cannot_work_stop_before_anything(folder, changed, sentence):
    """One sentence before any work: no library is made, no request sent."""
    with mock() as server:
        with pytest.raises(UsageError, match=sentence):
            gr.run(config(server, **changed))
        assert server.stats().requests == 0
    assert not (folder / "library.db").exists()


def test_a_stage_that_there_is_not_is_named():
    """`until` takes the stages' names."""
    with mock() as server, pytest.raises(UsageError, match="There is no stage 'train'"):
        gr.run(config(server), until="train")


def test_a_plan_works_in_every_state_and_changes_nothing(folder):
    """Before the library exists and after each stage a plan has all stages, asks nothing and writes no file."""
    with mock() as server:
        made = config(server)
        for until in (None, *STAGES):
            if until is not None:
                gr.run(made, until=until)
            before, stats = hashes(folder), server.stats()
            planned = planning.plan(made)
            assert [one.stage for one in planned] == list(STAGES)
            assert hashes(folder) == before
            assert (server.stats().requests, server.stats().pooling) == (stats.requests, stats.pooling)
        by_stage = {one.stage: one for one in planned}
        assert (by_stage["attempt"].done, by_stage["attempt"].to_do) == (140, 0)
        assert by_stage["verify"].to_do == 0
        assert (by_stage["sample"].done, by_stage["sample"].to_do) == (1, 0)
        assert (by_stage["teach"].done, by_stage["teach"].to_do) == (15, 0)
        assert by_stage["curate"].done == 15


def test_a_plan_estimates_what_is_left():
    """After thirty answers the rest is estimated from their mean, in tokens and in money, with the worst case."""
    with mock() as server:
        made = config(server)
        assert {one.tokens for one in planning.plan(made)} == {None}
        with pytest.raises(GradatimError):
            gr.run(config(server, attempt=gr.AttemptSettings(limit=30)))
        (planned,) = [one for one in planning.plan(made) if one.stage == "attempt"]
        assert (planned.done, planned.to_do) == (30, 110)
        gr.run(made, until="attempt")
        with gr.Library("library.db") as library:
            tokens, cost = library.all(
                "SELECT sum(prompt_tokens + completion_tokens), sum(cost) FROM (SELECT * FROM attempt ORDER BY pk "
                "LIMIT 110 OFFSET 30)"
            )[0]
        assert planned.tokens == pytest.approx(tokens, rel=0.2)
        assert planned.cost == pytest.approx(cost, rel=0.2)
        assert planned.at_most == 110 * 4096


def test_a_plan_needs_no_base_model_that_answers():
    """A plan asks nothing: a server that is down, or a key that is not set, is no matter."""
    with mock() as server:
        made = config(server)
        gr.run(made, until="attempt")
    models = {
        name: gr.ModelSettings(model=name, base_url="http://127.0.0.1:9/v1", api_key_env="GRADATIM_NO_SUCH_KEY")
        for name in ("base", "teacher")
    }
    assert len(planning.plan(config(server, models=models))) == len(STAGES)


def test_run_and_plan_are_public():
    """`gr.run` and `gr.plan` are these functions, however often they are asked for."""
    assert gr.run is run_all
    assert gr.plan is planning.plan
