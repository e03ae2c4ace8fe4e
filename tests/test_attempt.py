"""Attempt: what is asked, what is kept, what a fault leaves behind, and what is never asked twice."""

import json
import threading

import pytest

import gradatim as gr
from gradatim.errors import SetupError
from gradatim.models.endpoint import Endpoint
from gradatim.pipeline import do_attempt, spent
from gradatim.types import Role
from pools import ATTEMPTS, content, pool_library, question, write_pool, write_rows
from scripted_server import Answer, Scripted

QUICK = gr.EngineSettings(concurrency=8, tries=2, backoff=0.01)
MARK = "MARK"


def said(text="The answer is \\boxed{7}.", *, finish="stop", usage=(40, 9), **more) -> bytes:
    """Return the body of a whole answer."""
    counted = {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}} if usage else {}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"model": "m", "choices": [choice]} | counted | more).encode()


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 30) as library:
        yield library


def model(server, name="mock", **settings) -> Endpoint:
    # A scripted server counts every request, and so is not asked what it can do.
    probe = isinstance(server, gr.MockServer)
    return gr.Endpoint(name=name, base_url=server.url, probe=probe, **settings)


def settings(**changed) -> gr.AttemptSettings:
    return gr.AttemptSettings(**{"temperature": 0.8, **changed})


def test_every_question_gets_its_samples_and_a_rerun_asks_nothing(library):
    """Three samples of thirty questions are ninety requests, and none the second time."""
    with gr.MockServer() as server:
        first = gr.attempt(library, model(server), settings(samples=3), engine=QUICK)
        assert (first.wanted, first.before, first.answered, first.left) == (90, 0, 90, 0)
        again = gr.attempt(library, model(server), settings(samples=3), engine=QUICK)
        assert (again.before, again.answered, again.left) == (90, 0, 0)
        assert server.stats().requests == 90
    assert library.all("SELECT sample, count(*) FROM attempts GROUP BY sample") == [(0, 30), (1, 30), (2, 30)]


def test_more_samples_ask_only_for_the_further_ones(library):
    """Two samples after one are one request more per question, and a row added to the pool is one more."""
    with gr.MockServer() as server:
        gr.attempt(library, model(server), settings(samples=1), engine=QUICK)
        gr.attempt(library, model(server), settings(samples=2), engine=QUICK)
        assert server.stats().requests == 60
        more = write_pool(library.path.parent / "more.jsonl", 1, start=200)
        gr.ingest(library, gr.IngestSettings(path=str(more)))
        gr.attempt(library, model(server), settings(samples=2), engine=QUICK)
        stats = server.stats()
        assert (stats.requests, stats.bought_again) == (62, 0)


def test_each_sample_has_its_own_seed_and_the_same_in_every_run(tmp_path):
    """Seeds differ between samples and between questions; two libraries of one pool send the same ones."""
    seeds = []
    for name in ("a.db", "b.db"):
        with pool_library(tmp_path, 6, name=name) as library, Scripted(Answer(parts=[said()])) as server:
            gr.attempt(library, model(server, stream=False), settings(samples=3, seed=5), engine=QUICK)
            prompts = [(body["messages"][-1]["content"], body["seed"]) for body in server.bodies]
            seeds.append(sorted(prompts))
    assert seeds[0] == seeds[1]
    assert len({seed for _, seed in seeds[0]}) == 18
    with pool_library(tmp_path, 6, name="c.db") as library, Scripted(Answer(parts=[said()])) as server:
        gr.attempt(library, model(server, stream=False), settings(samples=3, seed=6), engine=QUICK)
        other = {body["seed"] for body in server.bodies}
    assert not other & {seed for _, seed in seeds[0]}


def test_a_limit_asks_so_many_questions_and_the_next_run_goes_on(library):
    """Runs of at most ten questions end with all thirty, none asked twice."""
    with gr.MockServer() as server:
        answered = [
            gr.attempt(library, model(server), settings(samples=2, limit=limit), engine=QUICK).answered
            for limit in (0, 10, 10, 10, 10)
        ]
        assert answered == [0, 20, 20, 20, 0]
        assert server.stats().repeated == 0


def test_only_the_chosen_sets_are_asked_and_excluded_questions_are_not(tmp_path, library):
    """A set is asked by its name; a contaminated question of the pool is asked as the evaluation set's only."""
    held = write_rows(tmp_path / "eval.jsonl", [question(3), question(500)])
    gr.ingest(library, gr.IngestSettings(path=str(held), set="eval", purpose="eval"))
    with gr.MockServer() as server:
        pool = gr.attempt(library, model(server), settings(sets=["eval"]), engine=QUICK)
        assert pool.answered == 2
        everything = gr.attempt(library, model(server), settings(), engine=QUICK)
        assert (everything.wanted, everything.before, everything.answered) == (31, 2, 29)
        with pytest.raises(gr.UsageError, match="no set named 'nothing'"):
            gr.attempt(library, model(server), settings(sets=["nothing"]), engine=QUICK)


@pytest.mark.parametrize("kind", ["500", "drop", "empty", "malformed", "error_200"])
def test_a_fault_is_kept_as_a_fault_and_asked_again(library, kind):
    """Requests that fail leave a fault each and no attempt; runs without faults give the same as if there were none."""
    with gr.MockServer(gr.MockSettings(faults=((kind, 0.7),), seed=3)) as server:
        first = gr.attempt(library, model(server), settings(), engine=QUICK)
    faults = library.all("SELECT stage, boundary, question FROM faults")
    assert first.faults
    assert first.left == sum(first.faults.values()) == len(faults) == len({row[2] for row in faults})
    assert {row[:2] for row in faults} == {("attempt", "model")}
    assert library.value("SELECT count(*) FROM attempts") == first.answered
    with gr.MockServer() as server:
        second = gr.attempt(library, model(server), settings(), engine=QUICK)
        assert (second.answered, second.left, server.stats().requests) == (first.left, 0, first.left)


def test_faults_leave_the_library_of_an_undisturbed_run(tmp_path):
    """Every kind of fault that passes, and restarts, end with exactly the attempts of a calm server."""
    held = []
    faults = (("429_bare", 0.05), ("500", 0.1), ("drop", 0.1), ("empty", 0.1), ("malformed", 0.1), ("slow", 0.05))
    for name, injected in (("calm.db", ()), ("rough.db", faults)):
        with (
            pool_library(tmp_path, 60, name=name) as library,
            gr.MockServer(gr.MockSettings(faults=injected, drip=0.001)) as server,
        ):
            for _ in range(20):
                if not gr.attempt(library, model(server), settings(samples=2), engine=QUICK).left:
                    break
            assert server.stats().bought_again == 0
            held.append(content(library, ATTEMPTS))
    assert held[0] == held[1]


def test_refused_requests_do_not_end_the_run(library):
    """Prompts that are too long for the context are faults with that reason; all others are answered."""
    overflow = b'{"error": {"message": "This model\'s maximum context length is 2048 tokens", "code": 400}}'
    answers = [Answer(parts=[overflow], status=400) if n % 3 == 0 else Answer(parts=[said()]) for n in range(30)]
    with Scripted(*answers) as server:
        result = gr.attempt(library, model(server, stream=False), settings(), engine=QUICK)
    assert (result.answered, result.faults, result.stopped) == (20, {"context_overflow": 10}, "")


def test_questions_that_were_refused_are_asked_last(tmp_path):
    """Sixty prompts that the server never takes do not keep run after run from the ones behind them."""
    refused = [question(n) | {"problem": f"{MARK} {question(n)['problem']}"} for n in range(60)]
    pool = write_rows(tmp_path / "pool.jsonl", [*refused, *map(question, range(60, 70))])
    overflow = Answer(parts=[b'{"error": {"message": "maximum context length is 9"}}'], status=400)
    with gr.Library(tmp_path / "library.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path=str(pool)))
        few = gr.EngineSettings(concurrency=4, tries=1, max_consecutive_faults=50)
        with Scripted(overflow) as server:
            first = gr.attempt(library, model(server, stream=False), settings(), engine=few)
            assert first.stopped
        with Scripted(Answer(parts=[said()])) as server:
            gr.attempt(library, model(server, stream=False), settings(limit=20), engine=few)
        asked = [row[0] for row in library.all("SELECT prompt FROM questions q JOIN attempts a ON a.question = q.id")]
        assert sum(MARK not in prompt for prompt in asked) == 10


def test_a_wrong_key_ends_the_run_and_what_was_answered_stays(library):
    """A 401 in the middle is a SetupError; answers of before it are in the library, and the next run asks the rest."""
    good = [Answer(parts=[said()])] * 8
    one = gr.EngineSettings(concurrency=1, tries=1)
    with (
        Scripted(*good, Answer(parts=[b"{}"], status=401)) as server,
        pytest.raises(SetupError, match="did not accept the key"),
    ):
        gr.attempt(library, model(server, stream=False), settings(), engine=one)
    assert library.value("SELECT count(*) FROM attempts") == 8
    with gr.MockServer() as server:
        assert gr.attempt(library, model(server), settings(), engine=QUICK).answered == 22


def test_what_a_server_does_not_take_is_said(library):
    """A field that was dropped for a server stands in the result's notes."""
    refusal = Answer(parts=[b'{"error": {"message": "Unrecognized request argument: seed"}}'], status=400)
    with Scripted(refusal, Answer(parts=[said()])) as server:
        result = gr.attempt(
            library, model(server, stream=False), settings(limit=3), engine=gr.EngineSettings(concurrency=1)
        )
    assert result.answered == 3
    assert [note for note in result.notes if "does not take seed" in note]


def test_a_cut_answer_is_an_attempt_and_not_bought_again(library):
    """finish_reason `length` is the server's word, kept as it is; the same settings do not ask again."""
    with gr.MockServer() as server:
        first = gr.attempt(library, model(server), settings(max_tokens=5), engine=QUICK)
        assert (first.answered, first.faults) == (30, {})
        assert library.all("SELECT DISTINCT finish_reason FROM attempts") == [("length",)]
        assert gr.attempt(library, model(server), settings(max_tokens=5), engine=QUICK).answered == 0
        assert gr.attempt(library, model(server), settings(max_tokens=500), engine=QUICK).answered == 30


def _config(tmp_path, server, *, budget, price=None, samples=4):
    models = {"base": gr.ModelSettings(model="mock", base_url=server.url, concurrency=4, price=price)}
    asked = gr.AttemptSettings(samples=samples, max_tokens=64, temperature=0.8, budget=budget)
    return gr.Config(library=str(tmp_path / "library.db"), models=models, attempt=asked)


def test_a_budget_of_tokens_holds_over_restarts(tmp_path, library):
    """Five runs with one limit spend less than it together, each goes on where the last stopped, and says why."""
    from gradatim.config import BudgetSettings

    limit = 4000
    with gr.MockServer() as server:
        config = _config(tmp_path, server, budget=BudgetSettings(tokens=limit))
        results = [do_attempt(library, config) for _ in range(5)]
    total = library.value("SELECT sum(prompt_tokens + completion_tokens) FROM attempts")
    assert 0 < total <= limit
    assert results[0].answered > 0
    assert all("budget" in one.stopped for one in results)
    assert [one.answered for one in results[2:]] == [0, 0, 0]


def test_a_budget_of_money_holds_over_restarts(tmp_path, library):
    """Costs that were kept with the attempts count against the next run's limit."""
    from gradatim.config import BudgetSettings, PriceSettings

    price = PriceSettings(input=2.0, output=8.0)
    with gr.MockServer() as server:
        config = _config(tmp_path, server, budget=BudgetSettings(money=0.02), price=price)
        results = [do_attempt(library, config) for _ in range(3)]
    cost = library.value("SELECT sum(prompt_tokens * 2.0 + completion_tokens * 8.0) / 1e6 FROM attempts")
    assert 0 < cost <= 0.02
    assert sum(one.cost for one in results) == pytest.approx(cost)
    assert results[-1].answered == 0


def test_what_no_server_counted_counts_as_the_worst_case_in_the_next_run(tmp_path, library):
    """An answer without usage is charged with its prompt's bound and all of max_tokens after a restart too."""
    from gradatim.config import BudgetSettings, PriceSettings

    with Scripted(Answer(parts=[said(usage=None)])) as server:
        price = PriceSettings(input=2.0, output=8.0)
        config = _config(tmp_path, server, budget=BudgetSettings(tokens=3000), price=price)
        results = [do_attempt(library, config) for _ in range(3)]
    count = library.value("SELECT count(*) FROM attempts")
    tokens, money = spent(library, Role.BASE, "mock")
    assert [one.answered for one in results[1:]] == [0, 0]
    assert count * (64 + 256) < tokens <= 3000
    assert spent(library, Role.BASE, "mock", price=gr.Price(input=2.0, output=8.0))[1] >= count * 64 * 8 / 1e6
    assert money >= count * 64 * 8 / 1e6


def test_a_second_thread_may_stop_the_run_and_nothing_is_lost(tmp_path):
    """What was answered before an interrupt is kept; the next run asks exactly the rest."""
    import _thread

    with pool_library(tmp_path, 300) as library, gr.MockServer(gr.MockSettings(latency=0.02)) as server:
        timer = threading.Timer(0.5, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            gr.attempt(library, model(server), settings(samples=8), engine=gr.EngineSettings(concurrency=4))
        timer.join()
        kept = library.value("SELECT count(*) FROM attempts")
        assert 0 < kept == server.stats().answered
        result = gr.attempt(library, model(server), settings(samples=2), engine=gr.EngineSettings(concurrency=64))
        assert result.left == 0
        assert server.stats().bought_again == 0
