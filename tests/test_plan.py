"""Plans with an interval: what is left and what it costs, from a pilot; chains counted as `teach` counts them."""

import json

import pytest

import gradatim as gr
from cli_world import called
from gradatim import planning
from gradatim.config import BudgetSettings, PriceSettings
from gradatim.errors import GradatimError
from gradatim.pipeline import do_teach
from pools import drawn_library, write_pool

PRICE = PriceSettings(input=1.0, output=2.0, cached_input=0.1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(server, **changed):
    models = {
        name: gr.ModelSettings(model=name, base_url=server.url, concurrency=8, price=PRICE)
        for name in ("base", "teacher")
    }
    return gr.Config(**({"models": models, "sample": gr.SampleSettings(name="d", size=15)} | changed))


def planned(made, stage):
    return next(one for one in planning.plan(made) if one.stage == stage)


def test_a_pilot_gives_an_interval_that_holds_what_the_rest_takes(folder):
    """After fifty answers of 400 the plan says from where to where the rest will be, and it is."""
    write_pool(folder / "pool.jsonl", 400)
    with gr.MockServer(gr.MockSettings(usage="random")) as server:
        made = config(server, ingest=[gr.IngestSettings(path="pool.jsonl", near=0)])
        with pytest.raises(GradatimError):
            gr.run(gr.Config(**_fields(made, attempt=gr.AttemptSettings(limit=50))))
        found = planned(made, "attempt")
        assert (found.to_do, found.based_on) == (350, 50)
        gr.run(made, until="attempt")
        with gr.Library("library.db") as library:
            tokens, cost = library.all("SELECT sum(prompt + completion), sum(money) FROM ledger")[0]
            first = "SELECT sum(prompt + completion), sum(money) FROM (SELECT * FROM ledger ORDER BY at LIMIT 50)"
            pilot = library.all(first)[0]
    assert found.tokens_low < tokens - pilot[0] < found.tokens_high
    assert found.cost_low < cost - pilot[1] < found.cost_high
    assert found.tokens_low < found.tokens < found.tokens_high
    assert found.tokens_high < 2 * found.tokens


def _fields(made, **changed):
    return {name: getattr(made, name) for name in made.__struct_fields__} | changed


def test_few_answers_give_no_interval_and_say_so(folder):
    """Nine answers give a mean and no ends, and the plan says why."""
    write_pool(folder / "pool.jsonl", 40)
    with gr.MockServer() as server:
        made = config(server, ingest=[gr.IngestSettings(path="pool.jsonl")])
        with pytest.raises(GradatimError):
            gr.run(gr.Config(**_fields(made, attempt=gr.AttemptSettings(limit=9))))
        found = planned(made, "attempt")
    assert found.tokens > 0
    assert (found.tokens_low, found.cost_high, found.based_on) == (None, None, 9)
    assert "too few answers for an interval" in found.note


def test_teaching_is_planned_from_the_yield_of_each_level(folder):
    """With half of the chains there, what the other half takes lies in the interval, and then nothing is left."""
    drawn_library(folder, count=300, size=90, reserve=2.0).close()
    settings = gr.MockSettings(accuracies=(("teacher", 0.8),), answers=str(folder / "pool.jsonl"))
    with gr.MockServer(settings) as server:
        open_curation = gr.CurateSettings(max_repetition=1.0)
        made = config(server, curate=open_curation, teach=gr.TeachSettings(tries=5))
        assert planned(made, "teach").tokens is None
        half = gr.TeachSettings(tries=5, budget=BudgetSettings(tokens=6000), max_tokens=200)
        with gr.Library("library.db", write=True) as library:
            do_teach(library, gr.Config(**_fields(made, teach=half)), "d")
            full = gr.TeachSettings(tries=5, max_tokens=200)
            made = gr.Config(**_fields(made, teach=full))
            before = library.value("SELECT sum(prompt + completion) FROM ledger")
        found = planned(made, "teach")
        assert 0 < found.to_do < 90
        with gr.Library("library.db", write=True) as library:
            result = do_teach(library, made, "d")
            taken = library.value("SELECT sum(prompt + completion) FROM ledger") - before
        assert result.missing == 0
        assert found.tokens_low <= taken <= found.tokens_high
        done = planned(made, "teach")
    assert (done.to_do, done.tokens, done.tokens_high, done.at_most) == (0, 0, 0, 0)


def test_chains_that_the_filters_drop_are_not_counted_as_done(folder):
    """A plan counts as `teach` does: verified chains that curation would drop are still missing."""
    drawn_library(folder, size=10).close()
    with gr.MockServer(gr.MockSettings(accuracy=1.0, answers=str(folder / "pool.jsonl"))) as server:
        made = config(server, curate=gr.CurateSettings(max_repetition=1.0))
        with gr.Library("library.db", write=True) as library:
            assert do_teach(library, made, "d").missing == 0
        assert planned(made, "teach").to_do == 0
        strict = gr.Config(**_fields(made, curate=gr.CurateSettings(max_repetition=1.0, min_chars=10**6)))
        found = planned(strict, "teach")
    assert (found.done, found.to_do) == (0, 10)
    assert "of 10 answers became chains" in found.note


def test_the_command_prints_the_interval(folder):
    """`run --dry-run` has the ends of the interval, and the number of questions that it is from."""
    write_pool(folder / "pool.jsonl", 60)
    with gr.MockServer() as server:
        (folder / "gradatim.toml").write_text(
            f'[[ingest]]\npath = "pool.jsonl"\n[models.base]\nmodel = "base"\nbase_url = "{server.url}"\n'
            f'price = {{ input = 1.0, output = 2.0 }}\n[models.teacher]\nmodel = "t"\nbase_url = "{server.url}"\n'
        )
        assert called("ingest", "pool.jsonl").code == 0
        assert called("attempt", "--limit", "20").code == 0
        rows = json.loads(called("run", "--dry-run", "--json").out)
    row = next(one for one in rows if one["stage"] == "attempt")
    assert row["questions"] == 20
    assert row["tokens from"] < row["tokens (about)"] < row["tokens to"]
    assert row["cost from"] < row["cost (about)"] < row["cost to"]


def test_a_part_is_planned_without_what_the_rest_needs(folder):
    """`run --dry-run --until grade` plans four stages where no teacher is set, as `run --until grade` runs them."""
    write_pool(folder / "pool.jsonl", 20)
    (folder / "gradatim.toml").write_text('[models.base]\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n')
    assert called("ingest", "pool.jsonl").code == 0
    ended = called("run", "--dry-run", "--until", "grade", "--json")
    assert ended.code == 0, ended
    assert [row["stage"] for row in json.loads(ended.out)] == ["ingest", "attempt", "verify", "grade"]
