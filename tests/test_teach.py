"""Teach: each level gets its quota of verified chains, and nothing is bought that is not needed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import gradatim as gr
from gradatim.checkers.math import MathChecker
from gradatim.config import BudgetSettings, PriceSettings
from gradatim.errors import LibraryError, SetupError
from gradatim.library import attempts
from gradatim.pipeline import do_teach
from gradatim.stages import teach as stage
from gradatim.types import Boundary, Fault
from pools import drawn_library, question, record_answers, write_rows
from scripted_server import Answer, Scripted

QUICK = gr.EngineSettings(concurrency=8, tries=2, backoff=0.01)
CALM = gr.CurateSettings(max_repetition=1.0)
QUOTAS = {1: 5, 2: 4, 3: 3, 4: 2, 5: 1}
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def library(tmp_path):
    with drawn_library(tmp_path) as library:
        yield library


def server(library, accuracy=1.0, **settings) -> gr.MockServer:
    """Return a mock server that knows the pool."""
    path = str(library.path.parent / "pool.jsonl")
    return gr.MockServer(gr.MockSettings(accuracy=accuracy, answers=path, **settings))


def teach(library, running, *, name="teacher", curate=CALM, engine=QUICK, **settings) -> gr.TeachResult:
    model = gr.Endpoint(name=name, base_url=running.url)
    return gr.teach(library, "d", model, gr.TeachSettings(**settings), curate=curate, engine=engine)


def chains(result) -> dict[int, int]:
    return {line.level: line.chains for line in result.lines}


def per_question(library) -> list[tuple]:
    """Attempts and right ones, of each setting and question."""
    return library.all(
        "SELECT a.setting, a.question, count(*), sum((SELECT v.outcome FROM verdict v WHERE v.attempt = a.pk "
        "ORDER BY v.checker DESC LIMIT 1) = 'correct') FROM attempt a JOIN setting s ON s.pk = a.setting "
        "WHERE s.role = 'teacher' GROUP BY 1, 2"
    )


def right_per_level(library) -> dict[int, int]:
    """Questions with a right answer of a teacher, by level."""
    return dict(
        library.all(
            "SELECT d.level, count(DISTINCT d.question) FROM draws d JOIN verdicts v ON v.question = d.question "
            "WHERE v.role = 'teacher' AND v.outcome = 'correct' GROUP BY 1"
        )
    )


def test_a_teacher_that_is_always_right_is_asked_once_per_chain(library):
    """Fifteen chains cost fifteen requests, in the mix that was asked for; a second run asks nothing."""
    with server(library) as running:
        result = teach(library, running)
        assert chains(result) == QUOTAS == {line.level: line.quota for line in result.lines}
        assert (result.asked, result.missing, result.stopped) == (15, 0, "")
        again = teach(library, running)
        assert (again.asked, again.missing, chains(again)) == (0, 0, QUOTAS)
        assert running.stats().requests == 15


def test_quotas_are_met_exactly_where_the_reserve_allows(library):
    """A teacher that is right half the time needs more requests, and no level gets more or fewer than its quota."""
    with server(library, accuracy=0.7) as running:
        result = teach(library, running, temperature=1.0)
        assert chains(result) == QUOTAS
        assert right_per_level(library) == QUOTAS
        assert max(tried for _, _, tried, _ in per_question(library)) <= 4
        assert result.asked == running.stats().requests == sum(line.attempts for line in result.lines) > 15


def test_a_dry_level_is_reported_and_every_question_was_tried(library):
    """A teacher that is always wrong ends with all questions tried as often as allowed, and says what is missing."""
    with server(library, accuracy=0.0) as running:
        result = teach(library, running, tries=2, temperature=1.0)
        assert result.missing == 15
        assert "the draw's reserve is used up" in result.stopped
        assert "5 of level 1" in result.stopped
        assert {tried for _, _, tried, _ in per_question(library)} == {2}
        assert running.stats().requests == 2 * library.value("SELECT count(*) FROM draw_item")
        assert teach(library, running, tries=2, temperature=1.0).asked == 0
        assert teach(library, running, tries=3, temperature=1.0).asked == library.value(
            "SELECT count(*) FROM draw_item"
        )


def test_cut_answers_are_not_bought_again_and_a_larger_limit_buys_what_is_missing(library):
    """With a small max_tokens each question is asked once; a larger one asks for what has no chain, and only that."""
    with server(library) as running:
        cut = teach(library, running, max_tokens=5)
        assert cut.missing == 15
        assert {tried for _, _, tried, _ in per_question(library)} == {1}
        assert teach(library, running, max_tokens=5).asked == 0
        running.reset()
        done = teach(library, running, max_tokens=5000)
        assert (done.asked, done.missing) == (15, 0)
        assert teach(library, running, max_tokens=6000).asked == 0
        assert running.stats().requests == 15


def test_chains_of_earlier_runs_and_of_other_teachers_count(tmp_path, library):
    """What a recorded teacher has solved is not bought of another one."""
    ids = {id_ for (id_,) in library.all("SELECT question FROM draws WHERE level = 1")}
    numbers = {n for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) in ids}
    record_answers(library, tmp_path, "other", lambda n: [True] if n in numbers else [], role="teacher")
    with server(library) as running:
        result = teach(library, running)
        assert (chains(result), result.asked) == (QUOTAS, 10)


def test_keep_any_takes_wrong_chains_but_none_that_was_cut(library):
    """With keep = any a wrong answer is a chain, so that each question is asked once."""
    with server(library, accuracy=0.0) as running:
        assert teach(library, running, keep="any", max_tokens=5).missing == 15
        result = teach(library, running, keep="any")
        assert (result.missing, result.asked) == (0, 15)


def test_keep_is_the_teachers_whatever_the_filters_say(library):
    """Filters that would keep any chain do not make a wrong one count where [teach] keep is correct."""
    with server(library, accuracy=0.0) as running:
        curate = gr.CurateSettings(keep="any", max_repetition=1.0)
        assert teach(library, running, tries=1, curate=curate).missing == 15


def test_what_the_filters_drop_is_a_miss(library):
    """Chains that are too long for the filters are right and do not count: all questions are tried."""
    with server(library) as running:
        result = teach(library, running, tries=2, curate=gr.CurateSettings(max_tokens=3, max_repetition=1.0))
        assert result.missing == 15
        assert sum(line.correct for line in result.lines) == result.asked == running.stats().requests
        assert teach(library, running, tries=2).asked == 0


def _failing(real, numbers):
    """Return a `check` that gives faults for the answers of these questions."""
    references = {question(n)["answer"] for n in numbers}

    def check(self, items):
        items = list(items)
        for item in items:
            if item.reference in references:
                yield item.key, Fault(boundary=Boundary.CHECKER, reason="worker_crash")
        yield from real(self, iter([item for item in items if item.reference not in references]))

    return check


def test_a_fault_of_the_checker_buys_nothing_and_the_next_run_judges(library, monkeypatch):
    """Answers that could not be judged hold their place; the next run decides them without a request."""
    with server(library) as running:
        with monkeypatch.context() as patched:
            patched.setattr(MathChecker, "check", _failing(MathChecker.check, range(90)))
            result = teach(library, running)
        assert (result.asked, result.missing, result.faults) == (15, 15, {})
        assert sum(line.held for line in result.lines) == 15
        assert "judges and buys nothing" in result.stopped
        again = teach(library, running)
        assert (again.asked, again.missing) == (0, 0)
        assert running.stats().requests == 15


def _broken(_, given):
    """Raise over the first item that is given."""
    for _ in given:
        raise ZeroDivisionError("a bug")
    yield from ()


@pytest.mark.parametrize("where", ["checker", "parser"])
def test_an_exception_in_a_checker_or_a_parser_costs_no_request(library, monkeypatch, where):
    """A bug that raises leaves every answer in the library; without it they are judged, and none is bought again."""
    with server(library) as running:
        with monkeypatch.context() as patched:
            if where == "checker":
                patched.setattr(MathChecker, "check", _broken)
            else:
                patched.setattr("gradatim.library.verdicts.split_reasoning", lambda *_: 1 / 0)
            result = teach(library, running)
            assert (result.asked, sum(line.held for line in result.lines)) == (15, 15)
        assert {row[0] for row in library.all("SELECT reason FROM faults")} == {"bug:ZeroDivisionError"}
        again = teach(library, running)
        assert (again.missing, running.stats().requests, running.stats().bought_again) == (0, 15, 0)


def test_an_answer_that_can_never_be_judged_does_not_hold_its_level_for_ever(library, monkeypatch):
    """What three runs could not judge counts as a miss, and the level gets its chain from another question."""
    (wanted,) = library.all("SELECT question FROM draws WHERE level = 5 AND rank = 0")
    number = next(n for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) == wanted[0])
    monkeypatch.setattr(MathChecker, "check", _failing(MathChecker.check, [number]))
    with server(library) as running:
        missing = [teach(library, running, tries=1).missing for _ in range(5)]
        assert missing[0] > 0
        assert missing[-1] == 0
        assert running.stats().requests <= 15 + 3


def test_a_crash_of_the_judge_ends_the_run_and_loses_nothing(library, monkeypatch):
    """Where verdicts cannot be written the run ends with that error; the next run judges the answers."""

    def full(*_, **__):
        raise SetupError("the disk is full")

    with server(library, latency=0.01) as running:
        with monkeypatch.context() as patched:
            patched.setattr(stage.verdicts, "write_verdict", full)
            with pytest.raises(SetupError, match="disk is full"):
                teach(library, running)
        assert 0 < library.value("SELECT count(*) FROM attempts WHERE role = 'teacher'") == running.stats().requests
        assert teach(library, running).missing == 0
        assert running.stats().requests == 15


@pytest.mark.parametrize("error", [SetupError("the disk is full"), ValueError("a bug")])
def test_answers_that_cannot_be_committed_end_the_run(library, monkeypatch, error):
    """A journal that fails while the teacher waits for its commits is an error, not a wait without end."""

    def full(*_):
        raise error

    monkeypatch.setattr("gradatim.work.books.write", full)
    with server(library) as running, pytest.raises(type(error)):
        teach(library, running)


def test_faults_of_the_server_are_asked_again_by_the_next_run(library):
    """Requests that got no answer leave their quota open, are said, and cost the next run one request each."""
    with server(library, faults=(("500", 0.6),)) as running:
        result = teach(library, running, engine=gr.EngineSettings(concurrency=4, tries=1))
        assert result.faults
    faults = library.value("SELECT count(*) FROM faults WHERE stage = 'teach' AND boundary = 'model'")
    assert faults == sum(result.faults.values())
    if result.missing:
        assert "faults of the server" in result.stopped
    with server(library) as running:
        again = teach(library, running)
        assert (again.missing, again.asked, running.stats().requests) == (0, result.missing, result.missing)


def test_a_server_that_fails_always_ends_the_run(library):
    """With nothing but faults every question is given up once, and the run says why and ends."""
    with server(library, faults=(("500", 1.0),)) as running:
        result = teach(library, running, engine=gr.EngineSettings(concurrency=4, tries=1))
        assert (result.missing, result.asked) == (15, 0)
        assert running.stats().requests <= library.value("SELECT count(*) FROM draw_item")


def test_questions_that_were_excluded_since_are_passed_over(tmp_path, library):
    """An evaluation set that came after the draw: its questions are not taught, and the reserve takes their place."""
    late = [id_ for (id_,) in library.all("SELECT question FROM draws WHERE rank = 0")]
    rows = [question(n) for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) in late]
    path = write_rows(tmp_path / "eval.jsonl", rows)
    gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
    with server(library) as running:
        assert chains(teach(library, running)) == QUOTAS
    asked = {id_ for (id_,) in library.all("SELECT question FROM attempts WHERE role = 'teacher'")}
    assert not asked & set(late)


def _config(library, running, budget) -> gr.Config:
    price = PriceSettings(input=1.0, output=10.0)
    model = gr.ModelSettings(model="teacher", base_url=running.url, concurrency=4, price=price)
    return gr.Config(
        library=str(library.path),
        models={"teacher": model},
        teach=gr.TeachSettings(max_tokens=200, budget=budget, temperature=1.0),
        curate=CALM,
    )


@pytest.mark.parametrize("budget", [BudgetSettings(tokens=3000), BudgetSettings(money=0.012)])
def test_a_budget_holds_over_restarts_and_is_said(library, budget):
    """Runs with one budget spend less than it together, stop with its sentence, and keep what they bought."""
    with server(library, accuracy=0.4) as running:
        config = _config(library, running, budget)
        results = [do_teach(library, config, "d") for _ in range(4)]
        tokens, money = library.all(
            "SELECT sum(prompt_tokens + completion_tokens), sum(cost) FROM attempts WHERE role = 'teacher'"
        )[0]
        assert 0 < tokens <= (budget.tokens or 10**9)
        assert 0 < money <= (budget.money or 10**9)
        assert all("budget" in one.stopped for one in results)
        assert results[0].asked > 0
        assert results[-1].asked == 0
        done = do_teach(library, _config(library, running, BudgetSettings()), "d")
        assert done.missing < results[-1].missing
        assert running.stats().bought_again == 0


def test_what_a_server_does_not_take_is_said(library):
    """Notes about the server stand in the result."""
    refusal = Answer(parts=[b'{"error": {"message": "Unrecognized request argument: seed"}}'], status=400)
    said = Answer(parts=[b'{"choices": [{"message": {"content": "\\\\boxed{0}"}, "finish_reason": "stop"}]}'])
    with Scripted(refusal, said) as running:
        model = gr.Endpoint(name="t", base_url=running.url, stream=False, probe=False)
        settings = gr.TeachSettings(tries=1)
        result = gr.teach(library, "d", model, settings, engine=gr.EngineSettings(concurrency=1))
    assert any("does not take seed" in note for note in result.notes)


def test_a_draw_that_is_not_there_is_named(library):
    """An unknown draw is one sentence with those there are; nothing is asked."""
    with server(library) as running:
        with pytest.raises(gr.UsageError, match=r"no draw named 'e'\. There are: d"):
            gr.teach(library, "e", gr.Endpoint(name="t", base_url=running.url))
        assert running.stats().requests == 0


@examples(max_examples=20, deadline=None)
@given(
    accuracy=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    tries=st.integers(1, 4),
    faults=st.sampled_from([(), (("500", 0.3),), (("empty", 0.2), ("malformed", 0.2)), (("truncated", 0.5),)]),
    reserve=st.sampled_from([0.0, 0.5, 2.0]),
    concurrency=st.integers(1, 32),
    checker=st.booleans(),
    seed=st.integers(0, 9),
)
def test_whatever_fails_no_level_gets_too_much(
    tmp_path_factory, accuracy, tries, faults, reserve, concurrency, checker, seed
):
    """Random accuracies, faults and limits: never over a quota or `tries`, nothing twice, and an end in any case."""
    engine = gr.EngineSettings(concurrency=concurrency, tries=1)
    with (
        drawn_library(tmp_path_factory.mktemp("any"), reserve=reserve) as library,
        server(library, accuracy=accuracy, faults=faults, seed=seed) as running,
    ):
        for run in range(3):
            with pytest.MonkeyPatch.context() as patched:
                if checker and run == 0:
                    patched.setattr(MathChecker, "check", _failing(MathChecker.check, range(0, 90, 2)))
                result = teach(library, running, tries=tries, temperature=1.0, engine=engine)
            assert all(line.chains <= line.quota for line in result.lines)
            assert all(right <= QUOTAS[level] for level, right in right_per_level(library).items())
            assert all(tried <= tries and (right or 0) <= 1 for _, _, tried, right in per_question(library))
            if not result.missing:
                break
            if not (result.faults or any(line.held for line in result.lines)):
                _all_tried(library, result, tries)
        assert running.stats().bought_again == 0


def _all_tried(library, result, tries):
    """Hold that each question of a level that is short was tried as often as it could be."""
    short = [line.level for line in result.lines if line.chains < line.quota]
    marks = ",".join(map(str, short))
    rows = library.all(
        "SELECT (SELECT count(*) FROM attempts a WHERE a.question = d.question AND a.role = 'teacher'), "
        "(SELECT count(*) FROM attempts a WHERE a.question = d.question AND a.role = 'teacher' "
        "AND a.finish_reason = 'length'), (SELECT count(*) FROM verdicts v WHERE v.question = d.question "
        f"AND v.role = 'teacher' AND v.outcome = 'correct') FROM draws d WHERE d.level IN ({marks})"
    )
    assert all(tried == tries or cut or right for tried, cut, right in rows)


CHILD = textwrap.dedent("""
    import sys
    import gradatim as gr
    with gr.Library(sys.argv[1], write=True) as library:
        model = gr.Endpoint(name="teacher", base_url=sys.argv[2])
        curate = gr.CurateSettings(max_repetition=1.0)
        engine = gr.EngineSettings(concurrency=4)
        result = gr.teach(library, "d", model, gr.TeachSettings(temperature=1.0), curate=curate, engine=engine)
        print(result.missing)
""")


def test_a_killed_teacher_goes_on_where_it_was(tmp_path):
    """Three SIGKILLs, then a whole run: exact quotas, and only what was in flight at a kill is asked again."""
    with drawn_library(tmp_path, size=60, count=180) as library:
        pool = library
    with gr.MockServer(
        gr.MockSettings(accuracy=0.9, answers=str(tmp_path / "pool.jsonl"), latency=0.05), process=True
    ) as running:
        environment = os.environ | {"PYTHONPATH": str(Path(gr.__file__).parents[1])}
        command = [sys.executable, "-c", CHILD, str(pool.path), running.url]
        kills = 0
        for _ in range(3):
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
                before = running.stats().requests
                while running.stats().requests < before + 12 and child.poll() is None:
                    time.sleep(0.02)
                child.send_signal(signal.SIGKILL)
                kills += child.wait() == -signal.SIGKILL
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "0"
        assert kills == 3
        # Answered less than 100 ms before a kill, or in flight at it: with four at once and 50 ms each, twelve at most.
        assert running.stats().repeated <= 12 * kills
    with gr.Library(pool.path) as library:
        assert right_per_level(library) == {1: 20, 2: 16, 3: 12, 4: 8, 5: 4}
        assert all(tried <= 4 for _, _, tried, _ in per_question(library))


def test_two_writers_cannot_teach_at_once(library):
    """A second writer is refused by name, so that two teachers never buy the same chain."""
    with pytest.raises(LibraryError, match="is being written by"):
        gr.Library(library.path, write=True)
    assert attempts.settings(library)
