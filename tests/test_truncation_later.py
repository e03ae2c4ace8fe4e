"""Answers that were cut off, in what comes after attempts: chains, figures, plans, copies, old libraries, commands."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import gradatim as gr
from cli_world import called
from gradatim import planning
from gradatim.config import ModelSettings
from gradatim.library import absorbing, schema, store
from gradatim.pipeline import do_evaluate
from pools import drawn_library, pool_library, write_pool
from test_evaluate import held_library
from test_teach import CALM, QUOTAS, chains, per_question, right_per_level, server, teach

LARGE = 5000
RETRY = {"truncated": "retry", "truncated_max_tokens": LARGE}


@pytest.fixture
def library(tmp_path):
    with drawn_library(tmp_path) as library:
        yield library


def test_a_chain_that_was_cut_off_and_retried_is_one_try(library):
    """Fifteen chains cost fifteen first requests and fifteen further ones, one try each; a second run costs none."""
    with server(library) as running:
        result = teach(library, running, max_tokens=5, tries=1, **RETRY)
        assert (chains(result), result.missing) == (QUOTAS, 0)
        assert (result.asked, result.asked_further, result.cut_off.retried, result.cut_off.still) == (15, 15, 15, 0)
        assert {tried for _, _, tried, _ in per_question(library)} == {1}
        assert teach(library, running, max_tokens=5, tries=1, **RETRY).asked == 0
        assert running.stats().requests == 30
        done = gr.curate(library, "d", CALM)
        assert done.kept == 15
        # The whole chain is exported, and what both requests wrote is what it cost.
        gr.export(library, "d", gr.ExportSettings(out=str(library.path.parent / "out.jsonl")))
        rows = [json.loads(line) for line in (library.path.parent / "out.jsonl").read_text().splitlines()]
        assert all("\\boxed{" in row["messages"][-1]["content"] for row in rows)
        written = library.value("SELECT sum(completion_tokens) FROM attempt a JOIN setting s ON s.pk = a.setting "
                                "WHERE s.role = 'teacher'")  # fmt: skip
        written += library.value("SELECT sum(completion_tokens) FROM further")
        assert sum(line.completion_tokens for line in result.lines) == written


def test_what_an_earlier_run_kept_cut_off_is_retried_later(library):
    """Answers that `keep` left cut off get their further request when the settings say so, before anything new."""
    with server(library) as running:
        kept = teach(library, running, max_tokens=5)
        assert kept.cut_off.waiting == kept.asked == running.stats().requests
        result = teach(library, running, max_tokens=5, **RETRY)
        assert (result.asked, result.asked_further, result.missing) == (0, 15, 0)
        assert result.cut_off.waiting == kept.asked - 15


def test_a_teacher_that_is_cut_off_twice_goes_on_to_the_next_question(library):
    """A further answer that is cut off too ends its question: undecided, never wrong, and no third request."""
    with server(library) as running:
        result = teach(library, running, max_tokens=5, truncated="retry", truncated_max_tokens=6)
        questions = library.value("SELECT count(*) FROM draw_item")
        assert (result.missing, result.asked, result.asked_further) == (15, questions, questions)
        assert teach(library, running, max_tokens=5, truncated="retry", truncated_max_tokens=6).asked == 0
        assert running.stats().requests == 2 * questions
    assert library.all("SELECT DISTINCT outcome, reason FROM verdicts WHERE role = 'teacher'") == [
        ("undecided", "truncated")
    ]


@examples(max_examples=15, deadline=None)
@given(
    accuracy=st.sampled_from([0.0, 0.5, 1.0]),
    tries=st.integers(1, 3),
    faults=st.sampled_from([(), (("500", 0.3),), (("truncated", 0.5),), (("truncated", 0.3), ("drop", 0.3))]),
    what=st.sampled_from(["retry", "continue"]),
    limits=st.sampled_from([(12, 20), (12, LARGE), (24, 30), (LARGE, LARGE + 1)]),
    concurrency=st.integers(1, 16),
    seed=st.integers(0, 9),
)
def test_whatever_is_cut_off_no_level_gets_too_much(
    tmp_path_factory, accuracy, tries, faults, what, limits, concurrency, seed
):
    """Random limits, faults and errors: exact quotas at most, two requests per sample at most, nothing cut is wrong."""
    engine = gr.EngineSettings(concurrency=concurrency, tries=1)
    settings = {"max_tokens": limits[0], "truncated": what, "truncated_max_tokens": limits[1]}
    with (
        drawn_library(tmp_path_factory.mktemp("any"), reserve=0.5) as library,
        server(library, accuracy=accuracy, faults=faults, seed=seed) as running,
    ):
        model = gr.Endpoint(name="teacher", base_url=running.url, continues="vllm")
        for _ in range(3):
            asked = gr.TeachSettings(tries=tries, temperature=1.0, **settings)
            result = gr.teach(library, "d", model, asked, curate=CALM, engine=engine)
            assert all(line.chains <= line.quota for line in result.lines)
            assert all(right <= QUOTAS[level] for level, right in right_per_level(library).items())
            assert all(tried <= tries and (right or 0) <= 1 for _, _, tried, right in per_question(library))
            if not result.missing:
                break
        stats = running.stats()
        answered = library.value("SELECT (SELECT count(*) FROM attempt WHERE setting > 1) + count(*) FROM further")
        assert (stats.bought_again, stats.bodies_answered) == (0, answered)
        assert not library.all(
            "SELECT 1 FROM attempts a JOIN verdicts v ON v.attempt = a.id AND NOT v.stale "
            "WHERE a.role = 'teacher' AND a.finish_reason = 'length' AND v.outcome <> 'undecided'"
        )
        assert library.value("SELECT count(*) FROM answer a WHERE NOT EXISTS (SELECT 1 FROM fresh v "
                             "WHERE v.attempt = a.pk)") == 0  # fmt: skip


def test_figures_before_and_after(tmp_path):
    """A run with further requests raises an evaluation's figures, and it and a comparison say so."""
    with held_library(tmp_path) as library:
        pool = write_pool(tmp_path / "pool.jsonl", 20)
        mock = gr.MockSettings(accuracy=0.7, answers=str(pool))
        asked = gr.EvaluateSettings(model="base", sets=["test"], samples=2, max_tokens=15)
        with gr.MockServer(mock) as running:
            models = {name: ModelSettings(model=name, base_url=running.url) for name in ("base", "other")}
            (before,) = do_evaluate(library, gr.Config(models=models, evaluate=asked))
            assert (before.overall.decided, before.undecided) == (0, {"truncated": 40})
            config = gr.Config(models=models, evaluate=gr.EvaluateSettings(**_fields(asked) | RETRY))
            (after,) = do_evaluate(library, config)
            assert (after.overall.decided, after.undecided, after.cut_off.retried) == (40, {}, 40)
            assert after.setting == before.setting
            assert after.mean_tokens > before.mean_tokens
            (again,) = do_evaluate(library, config)
            assert again.asked is None
            assert running.stats().requests == 80
            other = gr.EvaluateSettings(**_fields(asked) | {"model": "other"})
            (compared,) = do_evaluate(library, gr.Config(models=models, evaluate=other), against="base")
            assert "0 of other's and 40 of base's were continued or retried" in compared.against.note


def _fields(settings) -> dict:
    return {name: getattr(settings, name) for name in ("model", "sets", "samples", "max_tokens")}


def test_a_plan_counts_what_would_be_asked_further(tmp_path):
    """The plan says how many answers are cut off and what is to become of them, and its bound holds them."""
    with pool_library(tmp_path, 12) as library, gr.MockServer() as running:
        path = str(library.path)
        gr.attempt(library, gr.Endpoint(name="m", base_url=running.url), gr.AttemptSettings(max_tokens=9))
        gr.verify(library)
    models = {name: ModelSettings(model="m", base_url=running.url) for name in ("base", "teacher")}

    def planned(**more):
        settings = gr.AttemptSettings(max_tokens=9, **more)
        return planning.plan(gr.Config(library=path, models=models, attempt=settings))[1]

    assert (planned().note, planned().at_most) == ("12 answers are cut off, 12 kept", 0)
    more = planned(truncated="retry", truncated_max_tokens=50)
    said = "12 answers are cut off, 12 to be retried (not in the estimate)"
    assert (more.note, more.to_do, more.at_most) == (said, 0, 12 * 50)
    # Each of the others may be cut off too. The estimate holds their further requests as far as there are such.
    both = planned(truncated="retry", truncated_max_tokens=50, samples=2)
    assert (both.to_do, both.at_most) == (12, 12 * (9 + 50) + 12 * 50)
    with gr.Library(path, write=True) as library, gr.MockServer() as running:
        retried = gr.AttemptSettings(max_tokens=9, truncated="retry", truncated_max_tokens=50)
        done = gr.attempt(library, gr.Endpoint(name="m", base_url=running.url, probe=False), retried)
    assert done.asked_further == 12
    after = planned(truncated="retry", truncated_max_tokens=50, samples=2)
    assert (after.at_most, after.tokens) == (12 * (9 + 50), both.tokens + done.prompt_tokens + done.completion_tokens)
    assert planned(samples=2).tokens == both.tokens


def test_a_plan_bounds_what_teaching_asks_further(library):
    """With `retry`, chains that are cut off cost up to the larger limit too, those that wait for it included."""
    with server(library) as running:
        model = ModelSettings(model="teacher", base_url=running.url)

        def planned(**more):
            chosen = gr.TeachSettings(max_tokens=5, tries=1, **more)
            models = dict.fromkeys(("base", "teacher"), model)
            sample = gr.SampleSettings(name="d", size=15)
            return planning.plan(gr.Config(library=str(library.path), models=models, sample=sample, teach=chosen))[5]

        questions = planned().at_most // 5
        assert planned(**RETRY).at_most == questions * (5 + LARGE)
        assert teach(library, running, max_tokens=5, tries=1).asked == questions
        assert (planned().at_most, planned(**RETRY).at_most) == (0, questions * LARGE)


def test_a_copy_brings_its_further_answers_home(tmp_path):
    """Answers that were made in a copy of the library come back whole, with the verdict on the whole alone."""
    with held_library(tmp_path) as library, gr.MockServer(gr.MockSettings()) as running:
        absorbing.copy(library, tmp_path / "copy.db")
        with gr.Library(tmp_path / "copy.db", write=True) as other:
            model = gr.Endpoint(name="m", base_url=running.url)
            settings = {"sets": ["test"], "samples": 1, "max_tokens": 9}
            gr.evaluate(other, model, gr.EvaluateSettings(**settings))
            gr.evaluate(other, model, gr.EvaluateSettings(**settings, **RETRY))
            absorbing.absorb(library, other, "m")
            for sql in (
                "SELECT id, content, finish_reason, completion_tokens, cost, further FROM attempts ORDER BY 1",
                "SELECT attempt, kind, content, first_content FROM furthers ORDER BY 1",
                "SELECT attempt, outcome, reason, answer FROM verdicts WHERE NOT stale ORDER BY 1",
            ):
                assert library.all(sql) == other.all(sql) != []
            assert gr.verify(library).judged == 0


def test_what_came_home_cut_off_is_judged_anew_when_it_is_retried(tmp_path):
    """A verdict that a copy brings home counts as one of the checker's own round, so the whole answer gets its own."""
    settings = {"sets": ["test"], "samples": 1, "max_tokens": 9}
    cut, retried = gr.EvaluateSettings(**settings), gr.EvaluateSettings(**settings, **RETRY)
    with held_library(tmp_path) as library, gr.MockServer(gr.MockSettings()) as running:
        first, model = (gr.Endpoint(name=name, base_url=running.url, probe=False) for name in ("first", "m"))
        gr.evaluate(library, first, cut)
        gr.evaluate(library, first, retried)
        absorbing.copy(library, tmp_path / "copy.db")
        with gr.Library(tmp_path / "copy.db", write=True) as other:
            gr.evaluate(other, model, cut)
            absorbing.absorb(library, other, "m")
        (done,) = gr.evaluate(library, model, retried)
        assert (done.unjudged, done.undecided, done.cut_off.retried) == (0, {}, done.questions)


def test_an_older_library_reads_as_it_did(tmp_path, monkeypatch):
    """A library from before reads as it did: its answers are the first ones, and its verdicts count."""
    with monkeypatch.context() as before:
        older = schema.MIGRATIONS[: schema.MIGRATIONS.index(schema.FURTHER)]
        before.setattr(store, "MIGRATIONS", older)
        with pool_library(tmp_path, 3) as library, library.transaction() as connection:
            connection.execute("INSERT INTO setting VALUES (1, 'old', 'base', 'm', '{}')")
            connection.execute("INSERT INTO checker VALUES (1, 'math', '0', 0)")
            for pk in (1, 2, 3):
                finish = "length" if pk < 3 else "stop"
                values = (pk, pk, finish)
                connection.execute("INSERT INTO attempt VALUES (?, 1, ?, 0, ?, 1, 1, 1, 1, 1, 1, 'm', 1, NULL)", values)
                connection.execute("INSERT INTO attempt_text VALUES (?, 'We', '')", (pk,))
                connection.execute(
                    "INSERT INTO verdict VALUES (?, 1, 'undecided', 'truncated', '', '', NULL, NULL)", (pk,)
                )
    with gr.Library(tmp_path / "library.db") as library:
        rows = "SELECT content, finish_reason, completion_tokens, cost, further FROM attempts ORDER BY question"
        assert sorted(library.all(rows)) == [("We", "length", 1, 1.0, None)] * 2 + [("We", "stop", 1, 1.0, None)]
        assert library.value("SELECT count(*) FROM fresh") == 3


def test_the_commands_say_what_became_of_answers_that_were_cut_off(tmp_path, monkeypatch):
    """`attempt` takes the two options, counts in a line of its own, and refuses in a sentence before it asks."""
    monkeypatch.chdir(tmp_path)
    write_pool(tmp_path / "pool.jsonl", 10)
    with gr.MockServer(gr.MockSettings(answers=str(tmp_path / "pool.jsonl"))) as running:
        assert called("ingest", "pool.jsonl").code == 0
        asked = ("attempt", "--model", "m", "--base-url", running.url, "--max-tokens", "15")
        assert "\n  10 were cut off at max_tokens\n" in called(*asked).out
        refused = called(*asked, "--truncated", "retry")
        assert (refused.code, running.stats().requests) == (2, 10)
        assert refused.err == (
            'gradatim: --truncated-max-tokens: it is missing; truncated = "retry" needs a larger limit.\n'
        )
        refused = called(*asked, "--truncated", "continue", "--truncated-max-tokens", "90")
        assert refused.code == 2
        assert "does not say how its server goes on with an answer" in refused.err
        done = called(*asked, "--truncated", "retry", "--truncated-max-tokens", "90")
        assert done.code == 0
        assert "10 were cut off at max_tokens: 10 retried; 0 are cut off still" in done.out
        assert json.loads(called(*asked, "--json").out)["cut_off"]["retried"] == 10
    assert called("verify").code == 0
    shown = called("query", "SELECT further, finish_reason, count(*) AS n FROM attempts GROUP BY 1, 2", "--nl").out
    assert json.loads(shown) == {"further": "retried", "finish_reason": "stop", "n": 10}
