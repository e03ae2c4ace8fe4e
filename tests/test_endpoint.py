"""One try against any OpenAI-compatible server, as servers were seen to answer, over a real socket."""

import asyncio
import json
import pickle
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import ItemFault, SetupError, UsageError
from gradatim.models.chat import Collector
from gradatim.models.endpoint import Endpoint
from gradatim.models.faults import Overloaded, Refused, Retry, Stop
from gradatim.models.mock_server import MockServer, MockSettings
from gradatim.models.statuses import retry_after
from gradatim.types import Message, Request, Sampling
from scripted_server import Answer, Scripted

CASES = json.loads((Path(__file__).parent / "cases" / "responses.json").read_text(encoding="utf-8"))
OK = Answer(parts=[b'{"choices":[{"message":{"content":"4"},"finish_reason":"stop"}]}'])
KEY = "sk-very/secret-0123456789"


def a_request(*, prompt="2+2?", **sampling):
    return Request(
        key=1, messages=(Message(role="user", content=prompt),), sampling=Sampling(max_tokens=64, **sampling), seed=5
    )


def ask(endpoint, request=None):
    async def main():
        try:
            return await endpoint.ask(request or a_request())
        finally:
            await endpoint.close()

    return asyncio.run(main())


def as_bytes(part):
    return bytes.fromhex(part["hex"]) if isinstance(part, dict) else part.encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_responses(case):
    """Each answer that a server was seen to give becomes the reply or the fault that it is."""
    answer = Answer(
        parts=[as_bytes(part) for part in case["parts"]],
        status=case["status"],
        headers=case["headers"],
        cut=case.get("closes") == "early",
    )
    with Scripted(answer) as server:
        endpoint = Endpoint(name="m", base_url=server.url, stream=case["stream"])
        if "reply" in case:
            reply = ask(endpoint)
            got = {
                "content": reply.content,
                "reasoning": reply.reasoning,
                "finish_reason": reply.finish_reason,
                "server_model": reply.server_model,
                "prompt": reply.usage.prompt,
                "completion": reply.usage.completion,
                "reasoning_tokens": reply.usage.reasoning,
                "cached": reply.usage.cached,
            }
            assert {name: got[name] for name in case["reply"]} == case["reply"]
            assert reply.latency > 0
            return
        with pytest.raises(ItemFault) as raised:
            ask(endpoint)
    fault = raised.value
    got = {
        "type": type(fault).__name__,
        "reason": fault.fault.reason,
        "billed": fault.billed,
        "retry_after": fault.retry_after,
    }
    assert {name: got[name] for name in case["fault"]} == case["fault"]
    assert fault.fault.boundary == "model"


@given(st.data())
def test_packets_do_not_matter(data):
    """However a network cuts a stream into packets, the answer is the same."""
    case = data.draw(st.sampled_from([case for case in CASES if "reply" in case and not case.get("closes")]))
    whole = b"".join(as_bytes(part) for part in case["parts"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    collector = Collector()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        collector.feed(whole[start:end])
    assert collector.reply(0.0).content == case["reply"]["content"]


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_reply_or_a_fault(noise, streamed):
    """Whatever bytes a server sends, the reader ends with an answer or with a fault, never with another error."""
    collector = Collector()
    try:
        collector.feed((b"data: " if streamed else b"{") + noise)
        collector.reply(0.0)
    except (Retry, Overloaded, Refused, Stop):
        pass


def test_request_on_the_wire():
    """One request asks for one answer, with its own seed, the sampling that was set, and nothing that was not."""
    with Scripted(OK) as server:
        endpoint = Endpoint(name="base", model="org/base-7b", base_url=server.url)
        ask(endpoint, a_request(temperature=0.5, extra_body='{"top_k": 20}'))
        assert server.bodies == [
            {
                "model": "org/base-7b",
                "messages": [{"role": "user", "content": "2+2?"}],
                "max_tokens": 64,
                "temperature": 0.5,
                "top_k": 20,
                "seed": 5,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]
        assert server.heads[0].startswith("POST /v1/chat/completions HTTP/1.1")
        assert "authorization" not in server.heads[0].lower()


@pytest.mark.parametrize("extra", ["[1]", "{", '{"n": 4}', '{"messages": []}', '{"max_tokens": 5}'])
def test_bad_extra_body(extra):
    """An extra_body that is no object, or sets what Gradatim sets, is a mistake in the settings, and no fault."""
    with Scripted(OK) as server, pytest.raises(UsageError, match="extra_body"):
        ask(Endpoint(name="m", base_url=server.url), a_request(extra_body=extra))


@pytest.mark.parametrize(
    ("field", "body"),
    [
        (
            "seed",
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
        ),
        ("stream_options", {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
        ("top_p", {"detail": "Unsupported fields in the request: {'top_p'}"}),
        ("stream", {"error": {"message": "stream is not supported by this model", "param": "stream"}}),
    ],
)
def test_unknown_field_is_dropped_and_remembered(field, body):
    """A field that a server does not know is left out at once and from then on, and said once."""
    no = Answer(parts=[json.dumps(body).encode()], status=422)
    with Scripted(no, OK) as server:
        endpoint = Endpoint(name="m", base_url=server.url)
        for _ in range(3):
            assert ask(endpoint, a_request(top_p=0.9)).content == "4"
        assert [field in sent for sent in server.bodies] == [True, False, False, False]
        assert len(endpoint.notes) == 1
        assert field in endpoint.notes[0]


def test_max_completion_tokens():
    """Where a server wants max_completion_tokens, the limit is sent under that name."""
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    no = Answer(parts=[json.dumps({"error": {"message": message, "param": "max_tokens"}}).encode()], status=400)
    with Scripted(no, OK) as server:
        ask(Endpoint(name="m", base_url=server.url))
        assert server.bodies[1]["max_completion_tokens"] == 64
        assert "max_tokens" not in server.bodies[1]


def test_wrong_blame_does_not_stay():
    """A field that was left out in vain is sent again with the next request."""
    no = Answer(parts=[b'{"error":{"message":"unknown seed"}}'], status=400)
    worse = Answer(parts=[b'{"error":{"message":"no"}}'], status=400)
    with Scripted(no, worse, OK) as server:
        endpoint = Endpoint(name="m", base_url=server.url)
        with pytest.raises(Refused):
            ask(endpoint)
        ask(endpoint)
        assert ["seed" in body for body in server.bodies] == [True, False, True]
        assert endpoint.notes == []


def test_idle_timeout_is_idle():
    """An answer may take longer than the timeout as long as bytes arrive, and silence ends it."""
    events = [b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'] * 8
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    with Scripted(Answer(parts=[*events, end], pause=0.1)) as server:
        reply = ask(Endpoint(name="m", base_url=server.url, idle_timeout=0.4))
        assert reply.content == "x" * 8
        assert reply.latency > 0.4
    with Scripted(Answer(parts=events, hold=5)) as server, pytest.raises(Retry) as raised:
        ask(Endpoint(name="m", base_url=server.url, idle_timeout=0.3))
    assert (raised.value.fault.reason, raised.value.billed) == ("idle_timeout", True)


def test_done_is_the_end():
    """A server that keeps the connection open after [DONE] delays nothing beyond a second and loses nothing."""
    body = b'data: {"choices":[{"delta":{"content":"4"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    with Scripted(Answer(parts=[body], hold=20)) as server:
        reply = ask(Endpoint(name="m", base_url=server.url, idle_timeout=10))
    assert reply.content == "4"
    assert reply.latency < 5


def test_no_server():
    """Without a server a try is to be repeated, has cost nothing, and `check` says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = Endpoint(name="m", base_url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(Retry) as raised:
        ask(endpoint)
    assert (raised.value.fault.reason, raised.value.billed) == ("no_connection", False)
    with pytest.raises(SetupError, match=r"cannot reach .* is the server running\?"):
        asyncio.run(endpoint.check())


def test_not_http():
    """A server that speaks something else is a fault like any other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(Retry) as raised:
            ask(Endpoint(name="m", base_url=f"http://127.0.0.1:{server.getsockname()[1]}/v1"))
        thread.join()
    assert raised.value.fault.reason == "bad_http"


def test_key_is_sent_and_never_shown(monkeypatch):
    """The key goes into the header, and into nothing that a person or a file could see, whatever the server echoes."""
    monkeypatch.setenv("A_KEY", f" {KEY}\n")
    echoes = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}. Bearer {KEY}" + " x" * 400}})
    escaped = echoes.replace("/", "\\/")
    html = f"<html>{'-' * 485}{KEY}</html>"
    answers = [
        Answer(parts=[echoes.encode()], status=401),
        Answer(parts=[escaped.encode()], status=401),
        Answer(parts=[html.encode()]),
        Answer(parts=[f"data: {{{'-' * 485}{KEY}\n\n".encode()], headers={"Content-Type": "text/event-stream"}),
        Answer(parts=[f'{{"error": {{"code": 429, "message": "{KEY}"}}}}'.encode()]),
    ]
    with Scripted(*answers) as server:
        endpoint = Endpoint(name="m", base_url=server.url, api_key_env="A_KEY")
        for at in range(len(answers)):
            with pytest.raises(ItemFault) as raised:
                ask(endpoint)
            shown = f"{raised.value} {raised.value!r} {raised.value.__cause__!r} {endpoint!r} {endpoint.notes}"
            assert KEY[:8] not in shown, at
            assert f"Authorization: Bearer {KEY}" in server.heads[at]
    with pytest.raises(TypeError, match="key"):
        pickle.dumps(endpoint)


def test_stop_names_the_variable(monkeypatch):
    """What a wrong key raises says which variable to set."""
    monkeypatch.setenv("A_KEY", KEY)
    with Scripted(Answer(parts=[b'{"error":"no"}'], status=401)) as server:
        endpoint = Endpoint(name="teacher", base_url=server.url, api_key_env="A_KEY")
        with pytest.raises(Stop, match=r"teacher: .*environment variable A_KEY"):
            ask(endpoint)
        with pytest.raises(SetupError, match=r"teacher: .*environment variable A_KEY"):
            asyncio.run(endpoint.check())


def test_other_key_header(monkeypatch):
    """A server that wants its key in a header of its own gets it there, without `Bearer`."""
    monkeypatch.setenv("A_KEY", KEY)
    with Scripted(OK) as server:
        ask(Endpoint(name="m", base_url=server.url, api_key_env="A_KEY", key_header="api-key"))
        assert f"api-key: {KEY}" in server.heads[0]


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"base_url": "localhost:8000/v1"}, UsageError, "http://"),
        ({"base_url": "ftp://host/v1"}, UsageError, "http://"),
        ({"base_url": ""}, UsageError, "http://"),
        ({"base_url": "http:///v1"}, UsageError, "no host"),
        ({"base_url": "http://host:notaport/v1"}, UsageError, "port"),
        ({"base_url": "http://host:8000/v1/chat/completions"}, UsageError, "leave that off"),
        ({"base_url": "user:pw@host/v1"}, UsageError, "api_key_env"),
        ({"base_url": "http://user:pw@host/v1"}, UsageError, "api_key_env"),
        ({"base_url": "http://host/v1?key=abc"}, UsageError, "api_key_env"),
        ({"base_url": "http://[::1/v1"}, UsageError, "base_url"),
        ({"name": ""}, UsageError, "name"),
        ({"idle_timeout": 0}, UsageError, "idle_timeout"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, SetupError, "NOT_SET_ANYWHERE"),
    ],
)
def test_settings_that_cannot_be_right(settings, error, says):
    """A wrong setting is refused before anything is sent, with a sentence that says what to write."""
    with pytest.raises(error, match=says) as raised:
        Endpoint(**({"name": "m", "base_url": "http://localhost:8000/v1"} | settings))
    assert "pw@" not in str(raised.value)
    assert "abc" not in str(raised.value)


def test_check_takes_a_404():
    """A server that answers is there, even if it does not list its models."""
    with Scripted(Answer(parts=[b"{}"], status=404)) as server:
        asyncio.run(Endpoint(name="m", base_url=server.url).check())
        assert server.heads[0].startswith("GET /v1/models")


def test_what_was_not_asked_for_is_noted_once():
    """Another model's name in the answer, more tokens than allowed and a missing end are said once each."""
    body = (
        b'{"model":"other","choices":[{"message":{"content":"4"}}],"usage":{"prompt_tokens":1,"completion_tokens":99}}'
    )
    with Scripted(Answer(parts=[body])) as server:
        endpoint = Endpoint(name="m", model="my-model", base_url=server.url)
        ask(endpoint)
        ask(endpoint)
        assert len(endpoint.notes) == 3
        assert "other" in endpoint.notes[0]
        assert "99 tokens" in endpoint.notes[1]
        assert "finish_reason" in endpoint.notes[2]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reasoning", ["none", "field", "reasoning", "think"])
def test_same_answer_streamed_or_not(stream, reasoning):
    """The shipped mock server's answer arrives whole in either mode, with its reasoning where the server put it."""
    with MockServer(MockSettings(reasoning=reasoning)) as server:
        reply = ask(Endpoint(name="mock", base_url=server.url, stream=stream), a_request(prompt="1 and ∑ 𝔸?", seed=3))
    assert reply.finish_reason in {"stop", "length"}
    assert reply.usage.prompt
    assert reply.usage.completion
    assert bool(reply.reasoning) == (reasoning in {"field", "reasoning"})
    assert reply.content.startswith("<think>") == (reasoning == "think")


@given(st.floats(0, 1e6))
def test_retry_after_seconds(seconds):
    """Seconds are read as they are written."""
    assert retry_after(f" {seconds} ") == seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("soon", None),
        ("-5", 0.0),
        ("nan", None),
        ("inf", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
    ],
)
def test_retry_after_other(value, expected):
    """Dates count from now, the past is now, and what is neither is nothing."""
    assert retry_after(value, now=1445412480.0) == expected


def test_proxy_of_the_environment(monkeypatch):
    """Other machines are reached through the proxy that the environment names, this machine never is."""
    with Scripted(OK) as proxy:
        address = proxy.url.removesuffix("/v1")
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask(Endpoint(name="m", base_url="http://model.invalid/v1")).content == "4"
        assert proxy.heads[0].startswith("POST http://model.invalid/v1/chat/completions")
        with Scripted(OK) as server:
            assert ask(Endpoint(name="m", base_url=server.url)).content == "4"
            assert len(server.heads) == 1
