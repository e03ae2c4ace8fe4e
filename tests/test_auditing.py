"""Every answer is held to what was asked for: nothing paid for is thrown away, and each kind of fault is noted once."""

import asyncio
import json

import pytest

import gradatim as gr
from gradatim.models.auditing import audited
from gradatim.types import Message, Reply, Request, Sampling, Usage
from scripted_server import Answer, Scripted


def request(**sampling):
    return Request(key=1, messages=(Message(role="user", content="Hi"),), sampling=Sampling(**sampling), seed=1)


def ask(endpoint, one, times=1):
    async def body():
        try:
            return [await endpoint.ask(one) for _ in range(times)][-1]
        finally:
            await endpoint.close()

    return asyncio.run(body())


@pytest.mark.parametrize(
    ("extra", "text", "kept"),
    [
        ({"stop": "END"}, "one END two END", "one "),
        ({"stop": ["never", "two", "one"]}, "zero one two", "zero "),
        ({"stop": ["END"], "include_stop_str_in_output": True}, "one END two", "one END"),
        ({"stop": ["END"], "include_stop_str_in_output": True}, "one END", "one END"),
        ({"stop": ["END"]}, "one two", "one two"),
        ({"stop": [""]}, "one two", "one two"),
        ({"stop": None}, "one two", "one two"),
        ({}, "one END", "one END"),
    ],
)
def test_answers_are_cut_where_a_server_should_have_stopped(extra, text, kept):
    """What stands behind the first stop text is taken off, and the reason becomes `stop`; all else stays as served."""
    reply = Reply(content=text, finish_reason="length", usage=Usage(prompt=1, completion=4))
    held, found = audited(reply, request(extra_body=json.dumps(extra)), "m")
    assert held.content == kept
    cut = kept != text
    assert ([topic for topic, _ in found] == ["stop"]) is cut
    assert held.finish_reason == ("stop" if cut else "length")
    assert held.usage == reply.usage


@pytest.mark.parametrize(
    ("reply", "topics"),
    [
        (Reply(content="x", finish_reason="stop", server_model="m-2024"), []),
        (Reply(content="x", finish_reason="stop", server_model="other"), ["model"]),
        (Reply(content="x", finish_reason="stop", usage=Usage(completion=11)), ["limit"]),
        (Reply(content="x", finish_reason="stop", usage=Usage(completion=10)), []),
        (Reply(content="x"), ["finish"]),
    ],
)
def test_each_breach_has_its_note(reply, topics):
    """Another model, too many tokens and no end are noted; the answer is kept as it is."""
    held, found = audited(reply, request(max_tokens=10), "m")
    assert held is reply
    assert [topic for topic, _ in found] == topics


def event(index, text, finish=None):
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def test_choices_that_come_interleaved_are_not_mixed():
    """A stream of two answers to a request for one gives the first, whole, and a note."""
    parts = [event(0, "a"), event(1, "X"), event(0, "b"), event(1, "Y"), event(1, "", "stop"), event(0, "", "stop")]
    with Scripted(Answer(parts=[*parts, b"data: [DONE]\n\n"])) as server:
        endpoint = gr.Endpoint(name="m", base_url=server.url)
        assert ask(endpoint, request(), times=2).content == "ab"
    assert endpoint.notes == [
        f"m: the server at {server.url} gave several answers to a request for one; the first is kept"
    ]


def test_several_whole_choices_give_the_first():
    """Of an answer with two choices that came whole the first is kept, with a note, also where they count from 1."""
    choices = [{"index": at, "message": {"content": f"c{at}"}, "finish_reason": "stop"} for at in (1, 2)]
    with Scripted(Answer(parts=[json.dumps({"choices": choices}).encode()])) as server:
        endpoint = gr.Endpoint(name="m", base_url=server.url, stream=False)
        assert ask(endpoint, request()).content == "c1"
    assert "several answers" in endpoint.notes[0]


def test_a_run_keeps_what_a_server_wrote_too_much(tmp_path):
    """Answers longer than max_tokens are in the library, with a note at the end of the run."""
    from pools import pool_library

    with (
        pool_library(tmp_path, 5) as library,
        gr.MockServer(gr.MockSettings(ignores=("max_tokens", "finish_reason", "stop"))) as server,
    ):
        settings = gr.AttemptSettings(max_tokens=5, temperature=0.8, extra_body={"stop": ["\n"]})
        result = gr.attempt(library, gr.Endpoint(name="mock", base_url=server.url, probe=False), settings)
        assert result.answered == 5
        said = " ".join(result.notes)
        assert "where at most 5 were asked for" in said
        assert "no finish_reason" in said
        assert "answers are cut there" in said
        assert library.value("SELECT max(instr(content, char(10))) FROM attempts") == 0
