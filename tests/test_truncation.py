"""Answers that were cut off: kept, or given one further request, which all readers then read; never a third."""

import json
from collections import Counter

import pytest

import gradatim as gr
from gradatim.config import BudgetSettings, ModelSettings, PriceSettings
from gradatim.errors import UsageError
from gradatim.library import attempts, counts, furthers, questions, verdicts
from gradatim.pipeline import do_attempt, spent
from gradatim.reasoning import joined
from gradatim.types import Domain, Role
from pools import pool_library
from scripted_server import Answer, Scripted
from test_attempt import said

QUICK = gr.EngineSettings(concurrency=8, tries=1, backoff=0.01)
FIRST, LARGE = 15, 400
FIRSTS = "SELECT a.*, t.content, t.reasoning FROM attempt a JOIN attempt_text t ON t.attempt = a.pk ORDER BY a.pk"
NOW = (
    "SELECT question, content, reasoning, finish_reason, completion_tokens FROM attempts "
    "WHERE sampling LIKE ? ORDER BY question, sample"
)


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 20) as library:
        yield library


def server(library, **settings) -> gr.MockServer:
    """Return a mock server that knows the pool, of which some answers are wrong."""
    path = str(library.path.parent / "pool.jsonl")
    return gr.MockServer(gr.MockSettings(**{"accuracy": 0.7, "answers": path, **settings}))


def attempt(library, running, what="keep", *, first=FIRST, limit=LARGE, way=None, **more) -> gr.AttemptResult:
    larger = {} if what == "keep" else {"truncated": what, "truncated_max_tokens": limit}
    settings = gr.AttemptSettings(max_tokens=first, **larger)
    return gr.attempt(
        library, gr.Endpoint(name="m", base_url=running.url, continues=way, probe=False), settings, engine=QUICK, **more
    )


def reasons(library) -> Counter:
    """Count the newest verdicts on the answers as they are, of settings with the small limit."""
    sql = "SELECT v.outcome || ' ' || v.reason FROM answer a JOIN fresh v ON v.attempt = a.pk AND v.checker = "
    return Counter(row[0] for row in library.all(f"{sql} (SELECT max(checker) FROM fresh w WHERE w.attempt = a.pk)"))


WAYS = [
    ("none", FIRST, "retry", None, "honest"),
    ("none", FIRST, "continue", "vllm", "honest"),
    ("none", FIRST, "continue", "prefix", "honest"),
    ("none", FIRST, "continue", "mistral", "echo"),
    ("field", 40, "continue", "vllm", "honest"),
    ("reasoning", 40, "continue", "prefix", "honest"),
    ("think", 40, "continue", "vllm", "honest"),
    ("think", 40, "retry", None, "honest"),
]


@pytest.mark.parametrize(("reasoning", "first", "what", "way", "mode"), WAYS)
def test_a_further_request_ends_with_the_uncut_answer(library, reasoning, first, what, way, mode):
    """Continued in each way or retried, every answer reads as one that was not cut off; two requests each, no third."""
    with server(library, reasoning=reasoning, continues=mode) as running:
        kept = attempt(library, running, first=first)
        assert kept.cut_off.first == kept.cut_off.still == kept.cut_off.waiting > 5
        before = library.all(FIRSTS)
        done = attempt(library, running, what, first=first, way=way)
        assert (done.answered, done.asked_further, done.left) == (0, kept.cut_off.first, 0)
        kind = "continued" if what == "continue" else "retried"
        assert (getattr(done.cut_off, kind), done.cut_off.still, done.notes) == (kept.cut_off.first, 0, ())
        again = attempt(library, running, what, first=first, way=way)
        assert (again.asked_further, again.cut_off) == (0, done.cut_off)
        assert running.stats().requests == 20 + kept.cut_off.first
        assert library.all(FIRSTS) == before
        attempt(library, running, first=LARGE)
        short, whole = (library.all(NOW, (f'%"max_tokens": {limit},%',)) for limit in (first, LARGE))
        assert short == whole


@pytest.mark.parametrize("reasoning", ["field", "think"])
def test_thinking_that_is_not_over_is_retried_where_a_chat_cannot_show_it(library, reasoning):
    """Through a chat no server can go on with open thinking, so `continue` asks anew for such an answer."""
    with server(library, reasoning=reasoning) as running:
        done = attempt(library, running, "continue", first=12, way="vllm")
        assert (done.cut_off.continued, done.cut_off.retried, done.cut_off.still) == (0, 20, 0)
        assert running.stats().requests == 40


@pytest.mark.parametrize(("way", "reasoning", "first"), [
    ("vllm", "none", FIRST), ("prefix", "none", FIRST), ("mistral", "none", FIRST),
    ("vllm", "field", 40), ("prefix", "think", 40), ("mistral", "think", 40),
])  # fmt: skip
def test_a_server_that_begins_anew_is_found_out_at_the_first_request(library, way, reasoning, first):
    """One request shows it; nothing is joined, the first answers and their verdicts hold, and the user is told."""
    with server(library, reasoning=reasoning, continues="ignore") as running:
        kept = attempt(library, running, first=first)
        gr.verify(library)
        before, judged = library.all(NOW, ("%",)), reasons(library)
        done = attempt(library, running, "continue", first=first, way=way)
        assert (done.asked_further, done.cut_off.anew, done.cut_off.still) == (1, 1, kept.cut_off.first)
        assert running.stats().requests == 21
        assert [note for note in done.notes if "began anew" in note and 'truncated = "retry"' in note]
        assert library.all(NOW, ("%",)) == before
        assert gr.verify(library).judged == 0
        assert reasons(library) == judged
        # What was paid for is kept, and the others can be retried; that one had its further request.
        assert library.all("SELECT kind, content <> '' FROM furthers") == [("anew", 1)]
        later = attempt(library, running, "retry", first=first)
        assert (later.cut_off.retried, later.cut_off.still) == (kept.cut_off.first - 1, 1)
        assert running.stats().requests == 20 + kept.cut_off.first


def test_a_verdict_on_the_first_answer_does_not_count_for_the_whole(library):
    """Judged as truncated, then continued: until it is judged anew it has no verdict, then the one of the whole answer.

    No row is edited, `verify` judges those and no others, and the next version of the checker judges all once.
    """
    with server(library) as running:
        attempt(library, running)
        gr.verify(library)
        assert reasons(library) == {"undecided truncated": 20}
        rows = library.all("SELECT * FROM verdict ORDER BY 1, 2")
        attempt(library, running, "continue", way="vllm")
        assert reasons(library) == {}
        assert verdicts.count_unjudged(library, Domain.MATH, 1) == 20
        assert verdicts.count_unjudged(library, Domain.MATH, 1, role=Role.BASE) == 20
        done = gr.verify(library)
        assert (done.judged, set(done.outcomes)) == (20, {"correct", "wrong"})
        assert set(reasons(library)) <= {"correct equal_text", "correct equal_number", "wrong different_number"}
        assert library.all("SELECT * FROM verdict ORDER BY 1, 2")[::2] == rows
        assert library.all("SELECT round, stale, count(*) FROM verdicts GROUP BY 1, 2") == [(0, 1, 20), (1, 0, 20)]
        assert gr.verify(library).judged == 0
        assert gr.verify(library, again=True).judged == 20
        assert gr.verify(library).judged == 0
        assert verdicts.count_unjudged(library, Domain.MATH, 3) == 0


def test_a_run_that_goes_on_asks_further_for_each_answer_once(library):
    """Answers of an earlier run and of this one are apart: none gets two further requests at the same time."""
    with server(library, latency=0.02) as running:
        half = gr.AttemptSettings(max_tokens=FIRST, limit=10)
        gr.attempt(library, gr.Endpoint(name="m", base_url=running.url), half, engine=QUICK)
        (setting,) = attempts.settings(library)
        there = furthers.waiting(library, setting, questions.sets(library), 1)
        price = gr.Price(input=1.0, output=10.0)
        done = attempt(library, running, "retry", price=price, budget=gr.Budget(tokens=10**6, price=price))
        assert (done.answered, done.asked_further, running.stats().requests) == (10, 20, 40)
        assert library.value("SELECT count(*) FROM ledger WHERE why = 'answer'") == 30
        # What was asked for before the run is not what came in it.
        with library.transaction() as connection:
            connection.execute("DELETE FROM further_text")
            connection.execute("DELETE FROM further")
        assert len(list(there)) == 10


def test_an_answer_that_is_cut_off_again_stays_undecided_and_is_not_asked_again(library):
    """A further answer that ends at its limit too is `truncated`, never wrong; a third request is never made."""
    with server(library) as running:
        for what, way in (("continue", "vllm"), ("continue", "vllm"), ("retry", None)):
            result = attempt(library, running, what, limit=FIRST + 4, way=way)
        assert running.stats().requests == 40
        assert (result.asked_further, result.cut_off.continued, result.cut_off.still) == (0, 20, 20)
        done = gr.verify(library)
        assert (done.outcomes, done.reasons) == ({"undecided": 20}, {"truncated": 20})
    # As many tokens as the larger limit, and no more.
    assert {row[4] for row in library.all(NOW, ("%",))} == {FIRST + 4}


def test_a_further_request_that_failed_is_made_by_the_next_run(library):
    """Faults of further requests are faults: kept, said, and asked again; first answers are not bought again."""
    with server(library) as running:
        attempt(library, running)
    with server(library, faults=(("500", 1.0),)) as broken:
        failed = attempt(library, broken, "retry")
        assert (failed.faults, failed.cut_off.waiting, failed.left) == ({"http_500": 20}, 20, 0)
        # The first to be continued goes alone, but does not hold up the others for ever.
        assert attempt(library, broken, "continue", way="vllm").faults == {"http_500": 20}
    with server(library) as running:
        done = attempt(library, running, "retry")
        assert (done.cut_off.retried, running.stats().requests) == (20, 20)


def test_a_server_that_does_not_take_the_field_is_not_asked_without_it(tmp_path):
    """Asked without `continue_final_message` a server would begin anew, so a refusal of it is a fault."""
    refusal = json.dumps({"error": {"message": "Unrecognized request argument: continue_final_message"}}).encode()
    cut = Answer(parts=[said("We have seven", finish="length", usage=(9, FIRST))])
    with pool_library(tmp_path, 1) as library, Scripted(cut, Answer(parts=[refusal], status=400)) as running:
        done = attempt(library, running, "continue", way="vllm", limit=60)
        assert (done.faults, done.cut_off.waiting) == ({"http_400": 1}, 1)
        first, second = running.bodies
    assert second == first | {
        "continue_final_message": True,
        "add_generation_prompt": False,
        "messages": [*first["messages"], {"role": "assistant", "content": "We have seven"}],
        "max_tokens": 60 - FIRST,
    }


@pytest.mark.parametrize(
    ("second", "prompt", "kind"),
    [
        (said(" eggs, so \\boxed{7}.", usage=(24, 6)), 24, "continued"),
        (said(" eggs, so \\boxed{7}.", usage=None), None, "continued"),
        # The prompt did not hold what was written: a template left it out.
        (said(" eggs, so \\boxed{7}.", usage=(9, 6)), 9, "anew"),
        (said("We count: there are seven eggs.", usage=(24, 6)), 24, "anew"),
        (said("<think>Let us see.</think>The answer is \\boxed{7}.", usage=(24, 6)), 24, "anew"),
    ],
)
def test_what_came_back_is_looked_at_before_it_is_joined(tmp_path, second, prompt, kind):
    """A continuation's prompt held the first half, and it neither thinks again nor begins as the first half does."""
    first = Answer(parts=[said("We count: there are seven", finish="length", usage=(9, FIRST))])
    with pool_library(tmp_path, 1) as library, Scripted(first, Answer(parts=[second])) as running:
        attempt(library, running, "continue", way="prefix", limit=60)
        assert library.all("SELECT kind, prompt_tokens FROM furthers") == [(kind, prompt)]
        whole = "We count: there are seven eggs, so \\boxed{7}."
        content, finish = library.all("SELECT content, finish_reason FROM attempts")[0]
        expected = (whole, "stop") if kind == "continued" else ("We count: there are seven", "length")
        assert (content, finish) == expected
        assert running.bodies[1]["messages"][-1]["prefix"] is True


def test_halves_are_joined_as_what_they_are():
    """What follows content is content, whatever a server's parser took it for; half a character is not doubled."""
    assert joined(("So 7", ""), (" eggs", "")) == ("So 7 eggs", "")
    assert joined(("So 7", "I think"), ("", " eggs.")) == ("So 7 eggs.", "I think")
    assert joined(("", "I th"), ("So 7", "ink")) == ("So 7", "I think")
    assert joined(("<think>I th", ""), ("ink</think>So 7", "")) == ("<think>I think</think>So 7", "")
    assert joined(("caf\ufffd", ""), ("é", "")) == ("café", "")


def test_every_reader_reads_the_whole_answer_and_both_bills(library):
    """A PRM, a report and the books see one answer: its whole text and tokens, and what both requests cost."""
    price = gr.Price(input=1.0, output=10.0)
    with server(library, accuracy=0.0) as running:
        first = attempt(library, running, price=price)
        further = attempt(library, running, "continue", way="vllm", price=price)
    gr.verify(library)
    (setting,) = attempts.settings(library)
    whole = {row[0]: row for row in library.all("SELECT pk, completion_tokens, written_tokens, cost FROM answer")}
    scored = list(verdicts.unscored(library, setting, 1))
    assert len(scored) == verdicts.count_unscored(library, setting, 1) == 20
    for item in (*scored, *verdicts.to_score(library, whole)):
        assert "\\boxed{" in item.answer
        assert item.answer == counts.whole_attempt(library, item.pk, None)[3]
    assert sum(row[3] for row in whole.values()) == pytest.approx(first.cost + further.cost)
    tokens, money = spent(library, Role.BASE, "m", price=price)
    assert tokens == sum(one.prompt_tokens + one.completion_tokens for one in (first, further))
    assert money == pytest.approx(first.cost + further.cost)
    lengths = sum(count for _, _, tokens, count in counts.answer_lengths(library, "base") if tokens > FIRST)
    assert lengths == 20


def test_a_budget_holds_for_further_requests_too(library):
    """A further request reserves its own worst case, the text so far included; a run that stops goes on later."""
    with server(library) as running:
        models = {"base": ModelSettings(model="m", base_url=running.url, price=PriceSettings(input=1, output=10))}
        spent_before = 0.0
        for limit in (0.004, 0.02, 0.05):
            asked = gr.AttemptSettings(
                max_tokens=FIRST,
                truncated="retry",
                truncated_max_tokens=60,
                budget=BudgetSettings(money=limit),
            )
            result = do_attempt(library, gr.Config(models=models, attempt=asked))
            cost = library.value("SELECT sum(cost) FROM attempts") or 0.0
            assert spent_before <= cost <= limit
            spent_before = cost
        assert (result.left, result.cut_off.retried, result.stopped) == (0, 20, "")
        assert running.stats().requests == 40


def test_settings_that_cannot_be_are_refused(library):
    """The larger limit must be larger, and a server must say how it goes on; both before anything is asked."""
    with server(library) as running:
        with pytest.raises(UsageError, match="truncated_max_tokens above max_tokens, 15"):
            attempt(library, running, "retry", limit=FIRST)
        with pytest.raises(UsageError, match="nothing says how the server of m goes on"):
            attempt(library, running, "continue")
        assert running.stats().requests == 0


def test_the_policy_is_no_part_of_a_settings_id():
    """Attempts keep their setting, ids and keys, whatever becomes of those that are cut off."""
    plain, chosen = gr.AttemptSettings(), gr.AttemptSettings(truncated="retry", truncated_max_tokens=9000)
    assert plain.sampling() == chosen.sampling()
