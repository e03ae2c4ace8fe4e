"""What an endpoint really does is found out before a run, in few tokens, and what the run needs is refused or noted."""

import asyncio
import json
import random
import re
from dataclasses import replace

import pytest

import gradatim as gr
from gradatim.errors import SetupError, UsageError
from gradatim.models.capabilities import (
    NAMES,
    Found,
    Tried,
    certainty,
    context_of,
    finish_finding,
    logprobs_finding,
    max_tokens_finding,
    n_finding,
    reasoning_finding,
    sampling_finding,
    seed_finding,
    stop_finding,
    tried,
    usage_finding,
)  # fmt: skip
from gradatim.models.endpoint import Endpoint
from gradatim.models.mock_choices import IGNORED
from gradatim.models.needs import Needs, notes
from gradatim.models.probe import REQUESTS, Tally, probe, worst_case
from gradatim.types import Request, Sampling, Usage
from gradatim.work import probing
from pools import pool_library
from scripted_server import Answer, Scripted

ASKED = Sampling(temperature=0.8, max_tokens=200, system="Think step by step.")
HONEST = {
    "model_name": "yes", "sampling": "yes", "seed": "yes", "stop": "yes", "max_tokens": "yes", "finish_reason": "yes",
    "usage": "yes", "reasoning": "unknown", "n": "yes", "logprobs": "yes",
}  # fmt: skip
LIES = {
    "n": {"n": "no"},
    "logprobs": {"logprobs": "no"},
    "seed": {"seed": "no"},
    "temperature": {"sampling": "no", "seed": "unknown"},
    "stop": {"stop": "no"},
    "max_tokens": {"max_tokens": "no"},
    "model": {"model_name": "no"},
    "usage": {"usage": "no"},
    "finish_reason": {"finish_reason": "no"},
}


def probed(server, sampling=ASKED, name="mock", **more):
    endpoint = Endpoint(name=name, base_url=server.url, **more)
    tally = Tally()
    return endpoint, asyncio.run(probe(endpoint, sampling, tally=tally)), tally


def table(found):
    return {name: str(getattr(found, name).found) for name in NAMES}


def chat(text="one two", *, finish="stop", **more):
    choice = {"index": 0, "message": {"content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    return Answer(parts=[json.dumps({"model": "m", "choices": [choice], "usage": usage} | more).encode()])


@pytest.mark.parametrize("ignored", [None, *IGNORED])
def test_what_a_server_ignores_is_found_out(ignored):
    """An honest server has everything; of one that ignores a thing and answers 200, that thing is found missing."""
    with gr.MockServer(gr.MockSettings(ignores=(ignored,) if ignored else (), models=("mock", "base"))) as server:
        asked = "base" if ignored == "model" else "mock"
        _, found, tally = probed(server, name=asked)
        assert table(found) == HONEST | LIES.get(ignored, {}), found
        stats = server.stats()
    assert (stats.requests, stats.probes) == (0, found.requests)
    assert 0 < found.requests == tally.requests <= REQUESTS
    if ignored not in {"max_tokens", "usage"}:
        assert found.tokens < 500
    if ignored != "max_tokens":
        assert tally.prompt <= worst_case(ASKED)[0]
        assert tally.completion <= worst_case(ASKED)[1]


@pytest.mark.parametrize(
    ("how", "says"), [("field", "in reasoning_content"), ("reasoning", "in reasoning"), ("think", "tags")]
)
def test_reasoning_is_found_where_it_stands(how, says):
    """The field that reasoning comes in is named, or the tags in the text."""
    with gr.MockServer(gr.MockSettings(reasoning=how)) as server:
        _, found, _ = probed(server)
    assert found.reasoning.found is Found.YES
    assert says in found.reasoning.how


@pytest.mark.parametrize("stream", [True, False])
def test_context_and_clock_come_with_the_list_of_models(stream):
    """The list of models costs nothing and says the context; its Date header tells the clocks apart."""
    with gr.MockServer(gr.MockSettings(context=300)) as server:
        _, found, _ = probed(server, stream=stream)
    assert (found.context, found.clock, found.listed) == (300, 0.0, ("mock",))
    late = {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}
    listing = Answer(parts=[b'{"data": [{"id": "mock", "context_length": 77}]}'], headers=late)
    with Scripted(listing, chat()) as server:
        _, found, _ = probed(server)
    assert found.context == 77
    assert found.clock < -300_000_000


@pytest.mark.parametrize(
    ("entry", "context"),
    [
        ({"id": "m", "max_model_len": 512}, 512),
        ({"id": "m", "context_length": 8192, "top_provider": {"context_length": 4096}}, 8192),
        ({"id": "m", "top_provider": {"context_length": 4096}}, 4096),
        ({"id": "m", "meta": {"n_ctx": 2048, "n_ctx_train": 131072}}, 2048),
        ({"id": "m", "meta": {"n_ctx_train": 131072}}, None),
        ({"id": "m", "context_window": "8192"}, None),
        ({"id": "m", "meta": [1]}, None),
        ("m", None),
    ],
)
def test_contexts_of_several_servers_are_read(entry, context):
    """The context is read under each server's name for it; what a model was trained with is not what is served."""
    assert context_of(entry) == context


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer(parts=[b"<html><h1>Hi</h1></html>"]), SetupError, "answers with a web page"),
        (Answer(parts=[b'{"ok": true}']), SetupError, "no chat answer"),
        (Answer(parts=[b"not here"], status=404), SetupError, "there is no chat server at http://"),
        (
            Answer(parts=[b"<!DOCTYPE HTML><html><p>Unsupported method</p></html>"], status=501),
            SetupError,
            "(HTTP 501: a web page): base_url usually ends in /v1",
        ),
        (
            Answer(parts=[b"<HTML>Forbidden by the gateway</HTML>"], status=400),
            SetupError,
            "there is no chat server at",
        ),
        (Answer(parts=[b'{"detail":"Method Not Allowed"}'], status=405), SetupError, "there is no chat server at"),
        (Answer(parts=[b'{"error":"bad key"}'], status=401), SetupError, "did not accept the key"),
        (Answer(parts=[b"moved"], status=301, headers={"Location": "https://x/v1"}), SetupError, "redirects"),
        (
            Answer(parts=[b'{"detail":"Unexpected fields in the request: {\'top_k\'}"}'], status=422),
            UsageError,
            "top_k",
        ),
        (Answer(parts=[b'{"error":{"message":"model `m` does not exist"}}'], status=404), SetupError, "has no model m"),
    ],
)
def test_what_no_request_can_pass_is_said_at_once(answer, error, says):
    """A server that cannot be asked is one sentence with the next step, after three requests at most."""
    with Scripted(answer) as server, pytest.raises(error, match=re.escape(says)) as raised:
        probed(server, name="m")
    assert str(raised.value).startswith("m: ")
    assert len(server.heads) <= 4
    assert "Traceback" not in str(raised.value)


def test_the_right_base_url_is_proposed():
    """Where the API stands one folder further down, the sentence has the URL to set."""
    lists = Answer(parts=[b'{"data": []}'])
    lost = Answer(parts=[b"no"], status=404)
    with Scripted(lost, lost, lists) as server:
        root = server.url.removesuffix("/v1")
        endpoint = Endpoint(name="m", base_url=root)
        with pytest.raises(SetupError, match=f"set base_url to {root}/v1"):
            asyncio.run(probe(endpoint, ASKED))


def test_a_server_that_is_not_there_is_said_in_a_second():
    """Nobody listens: one sentence names the URL, and nothing is tried again."""
    endpoint = Endpoint(name="m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(
        SetupError, match=r"m: cannot reach http://127.0.0.1:9/v1: Connection refused. Start the server"
    ):
        asyncio.run(probe(endpoint, ASKED))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_not_refused(status):
    """What may pass is left to the run, which waits: nothing is known, and that is noted."""
    with Scripted(Answer(parts=[b'{"error":"busy"}'], status=status)) as server:
        endpoint, found, _ = probed(server)
    assert set(table(found).values()) == {"unknown"}
    assert "could not be asked what it can do" in endpoint.notes[0]


def test_a_stop_text_that_breaks_a_server_is_not_sent():
    """Where a server answers 500 to a stop text, requests go without it, and answers are cut here."""
    broken = Answer(parts=[b"Internal Server Error"], status=500)
    stopping = Sampling(temperature=0.8, extra_body='{"stop": ["two"]}')
    with Scripted(Answer(parts=[b"{}"]), broken, chat("one two three")) as server:
        endpoint, found, _ = probed(server, stopping)
        assert found.stop.found is Found.NO
        sent = len(server.bodies)
        reply = asyncio.run(asked_once(endpoint, stopping))
        assert all("stop" not in body for body in server.bodies[sent:])
    assert (reply.content, reply.finish_reason) == ("one ", "stop")


async def asked_once(endpoint, sampling):
    try:
        return await endpoint.ask(Request(key=1, messages=sampling.messages("Hi"), sampling=sampling, seed=1))
    finally:
        await endpoint.close()


def answer(text, usage=16):
    message = {"message": {"content": text}, "finish_reason": "length"}
    return Tried(limit=16, status=200, choices=(message,), usage=Usage(prompt=9, completion=usage))


def test_alike_answers_of_a_sure_model_are_no_proof():
    """Log probabilities tell a model that is sure from a server that does not sample; without them it is the server."""
    alike = [answer("a a a")] * 7
    sure = Tried(limit=16, status=200, choices=({"logprobs": {"content": [{"logprob": -0.01}] * 16}},))
    unsure = Tried(limit=16, status=200, choices=({"logprobs": {"content": [{"logprob": -1.5}] * 16}},))
    assert sampling_finding(alike, sure).found is Found.UNKNOWN
    assert sampling_finding(alike, unsure).found is Found.NO
    assert sampling_finding(alike, answer("a a a")).found is Found.NO
    assert seed_finding(alike[0], alike[1], alike[2:]).found is Found.UNKNOWN


def test_a_seed_that_holds_only_alone_is_told():
    """A seed of the whole process holds for requests that come one at a time, and is not called a seed."""
    one, other = answer("a"), answer("b")
    found = seed_finding(one, other, [answer("c")], [one, one])
    assert (found.found, "one at a time" in found.how) == (Found.NO, True)
    assert "different" in seed_finding(one, other, [answer("c")], [one, other]).how


def known(**findings):
    with gr.MockServer(gr.MockSettings(**findings)) as server:
        return probed(server)[1]


def test_needs_come_from_the_settings():
    """What is missing is refused only where the settings need it."""
    greedy = known(ignores=("temperature",))
    with pytest.raises(SetupError, match=r"does not sample .* 4 samples of a question would be one"):
        notes(Needs(sampling=ASKED, samples=4), greedy)
    assert notes(Needs(sampling=ASKED, samples=1), greedy) == []
    assert [topic for topic, _ in notes(Needs(sampling=ASKED, tries=4), greedy)] == ["sampling"]
    assert [topic for topic, _ in notes(Needs(sampling=replace(ASKED, temperature=0.0), samples=4), greedy)] == [
        "sampling"
    ]
    endless = known(ignores=("max_tokens",))
    with pytest.raises(SetupError, match=r"does not hold max_tokens .* no budget can be held"):
        notes(Needs(sampling=ASKED, limited=True), endless)
    assert [topic for topic, _ in notes(Needs(sampling=ASKED), endless)] == ["limit"]
    uncounted = known(ignores=("usage", "n", "logprobs"))
    assert notes(Needs(sampling=ASKED, samples=4), uncounted) == []
    assert [topic for topic, _ in notes(Needs(sampling=ASKED, limited=True), uncounted)] == ["usage"]
    stops = known(ignores=("stop", "seed"))
    asked = replace(ASKED, extra_body='{"stop": "x"}')
    assert [topic for topic, _ in notes(Needs(sampling=asked), stops)] == ["seed", "stop"]


def test_an_answer_longer_than_the_context_is_refused_with_numbers():
    """The sentence has the context, max_tokens, and a value that would do."""
    small = known(context=1024)
    with pytest.raises(UsageError, match=r"takes 1024 tokens .* max_tokens = 1010 .* set max_tokens to \d+ or less"):
        notes(Needs(sampling=replace(ASKED, max_tokens=1010)), small)
    assert notes(Needs(sampling=replace(ASKED, max_tokens=900)), small) == []


def test_a_run_asks_once_and_one_with_nothing_to_send_never(tmp_path):
    """The probe comes before the first request of a run, once for each endpoint; a run that is done asks nothing."""
    settings = gr.AttemptSettings(temperature=0.8)
    with pool_library(tmp_path, 12) as library, gr.MockServer() as server:
        endpoint = Endpoint(name="mock", base_url=server.url)
        gr.attempt(library, endpoint, settings)
        first = server.stats()
        assert (first.requests, 0 < first.probes <= REQUESTS) == (12, True)
        gr.attempt(library, endpoint, gr.AttemptSettings(temperature=0.8, samples=2))
        assert server.stats().probes == first.probes
        gr.attempt(library, Endpoint(name="mock", base_url=server.url), settings)
        gr.attempt(library, Endpoint(name="new", base_url=server.url, probe=False), settings)
        assert (server.stats().requests, server.stats().probes) == (36, first.probes)


def test_the_probe_is_paid_from_the_budget(tmp_path):
    """What it took counts as spent; where its worst case does not fit, nothing is asked and the limit is said."""
    settings = gr.AttemptSettings(temperature=0.8, max_tokens=100)
    with pool_library(tmp_path, 12) as library, gr.MockServer() as server:
        budget = gr.Budget(tokens=20_000)
        result = gr.attempt(library, Endpoint(name="mock", base_url=server.url), settings, budget=budget)
        spent = budget.spent_tokens - result.prompt_tokens - result.completion_tokens
        assert 0 < spent < 500
        server.reset()
        small = gr.Budget(tokens=300)
        stopped = gr.attempt(library, Endpoint(name="b", base_url=server.url), settings, budget=small).stopped
        assert "budget is used up" in stopped
        assert server.stats().probes == 0


def test_what_the_probe_took_stands_in_the_ledger(tmp_path):
    """One line of the ledger is the probe's, with its tokens and its price, and the reservation is gone."""
    with pool_library(tmp_path, 4) as library, gr.MockServer() as server:
        endpoint = Endpoint(name="mock", base_url=server.url)
        gr.attempt(library, endpoint, gr.AttemptSettings(temperature=0.8), price=gr.Price(input=1.0, output=2.0))
        (can,) = endpoint.known.values()
        ((tokens, assumed, money),) = library.all(
            "SELECT prompt + completion, assumed, money FROM ledger WHERE why = 'probe'"
        )
        assert (tokens, assumed) == (can.tokens, 0)
        assert can.tokens / 1e6 < money < 2 * can.tokens / 1e6
        assert library.value("SELECT count(*) FROM ledger WHERE why = 'answer'") == 4
        assert library.value("SELECT count(*) FROM reservation") == 0


def test_what_the_probe_had_from_a_cache_is_paid_as_such(tmp_path):
    """Tokens from a cache that costs more than none cost that, by the server's count; the books have its bill."""
    price = gr.Price(input=1.0, cached_input=3.0, output=2.0)
    with pool_library(tmp_path, 4) as library, gr.MockServer(gr.MockSettings(usage="random", seed=3)) as server:
        gr.attempt(library, Endpoint(name="mock", base_url=server.url), gr.AttemptSettings(), price=price)
        bill = server.stats().billed["mock"]
        billed = price.pico(bill.prompt, bill.completion, bill.cached) / 1e12
        assert library.value("SELECT sum(cached) FROM ledger WHERE why = 'probe'") > 0
        assert library.value("SELECT sum(money) FROM ledger") == pytest.approx(billed)


def test_a_run_that_cannot_succeed_spends_nothing(tmp_path):
    """A refused run leaves no fault and no attempt; the same run against a server that can goes on."""
    settings = gr.AttemptSettings(temperature=0.8, samples=3)
    with pool_library(tmp_path, 6) as library:
        with gr.MockServer(gr.MockSettings(ignores=("temperature",))) as server:
            with pytest.raises(SetupError, match="does not sample"):
                gr.attempt(library, Endpoint(name="mock", base_url=server.url), settings)
            assert server.stats().requests == 0
        assert library.value("SELECT count(*) FROM fault") == 0
        with gr.MockServer() as server:
            assert gr.attempt(library, Endpoint(name="mock", base_url=server.url), settings).answered == 18


def test_any_answer_can_be_judged():
    """Whatever JSON a server sends, it is judged without an error; nothing is found in nonsense."""
    rng = random.Random(5)

    def junk(depth=0):
        kinds = [None, True, -1, 1.5, "", "text", "stop", [], {}]
        if depth > 3 or rng.random() < 0.4:
            return rng.choice(kinds)
        if rng.random() < 0.4:
            return [junk(depth + 1) for _ in range(rng.randrange(3))]
        names = ("choices", "message", "content", "usage", "finish_reason", "logprobs", "logprob", "text", "reasoning")
        return {rng.choice(names): junk(depth + 1) for _ in range(rng.randrange(5))}

    for _ in range(3000):
        body = {"choices": [{"message": junk(), "finish_reason": junk(), "logprobs": junk()}, junk()], "usage": junk()}
        one = tried(16, 200, rng.choice([body, junk()]), "said")
        answers = [one, tried(16, 200, body, "said"), tried(16, 500, body, "down")]
        assert sampling_finding(answers, one).found in Found
        assert seed_finding(one, one, answers).found in Found
        assert certainty(one) is None or 0 <= certainty(one) <= 1
        for judge in (n_finding, logprobs_finding):
            assert judge(one).how
        for judge in (max_tokens_finding, reasoning_finding, usage_finding, finish_finding):
            assert judge(answers).how
        assert stop_finding(one, "e").how
        assert context_of(junk()) is None


def test_a_local_model_is_not_asked():
    """Only endpoints are probed."""

    class Local:
        name = "here"

    probing.ensure(Local(), Needs(sampling=ASKED), at_once=1, budget=None)
