"""A model in this process goes on with an answer that was cut off, exactly as if it had not been."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local]")
pytest.importorskip("transformers", reason="needs the extra [local]")

import gradatim as gr  # noqa: E402 - after the skips
from gradatim.models.faults import Refused  # noqa: E402 - after the skips
from gradatim.models.local import LocalModel  # noqa: E402 - after the skips
from gradatim.reasoning import joined  # noqa: E402 - after the skips
from gradatim.types import Request, Sampling  # noqa: E402 - after the skips
from pools import pool_library  # noqa: E402 - after the skips
from tiny_lm import CONTEXT, make_lm  # noqa: E402 - after the skips

torch.set_num_threads(1)
WHOLE = 60
SAMPLINGS = [
    Sampling(max_tokens=WHOLE, temperature=0),
    Sampling(max_tokens=WHOLE),
    Sampling(max_tokens=WHOLE, temperature=0.8, top_p=0.9, extra_body='{"repetition_penalty": 1.3}'),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_lm(tmp_path_factory.mktemp("lm") / "tiny")


def asked(sampling: Sampling, count: int = 12) -> list[Request]:
    return [
        Request(key=number, messages=sampling.messages(f"What is {number} + 7?"), sampling=sampling, seed=number)
        for number in range(count)
    ]


def answered(folder, requests, **settings) -> list:
    async def ask(model):
        try:
            return await asyncio.gather(*map(model.ask, requests), return_exceptions=True)
        finally:
            await model.close()

    return asyncio.run(ask(LocalModel(name="m", path=folder, **settings)))


def further(request: Request, first, left: int) -> Request:
    return replace(request, sampling=replace(request.sampling, max_tokens=left), further=True, begun=first)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["likeliest", "plain", "filters"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept tokens", "tokens read again"])
def test_a_cut_answer_is_continued_to_the_uncut_one(folder, sampling, kept):
    """Cut at any number of tokens and continued, each answer is the uncut one, to the character and the token."""
    whole = answered(folder, asked(sampling))
    for cut in (1, 7, 20):
        requests = asked(replace(sampling, max_tokens=cut))
        firsts = answered(folder, requests)
        short = [number for number, one in enumerate(firsts) if one.cut_off]
        assert short
        assert all(len(firsts[number].ids) == cut for number in short)
        begun = [firsts[number] if kept else replace(firsts[number], ids=()) for number in short]
        # In batches with others that begin elsewhere, and in small ones.
        more = [further(requests[number], first, WHOLE - cut) for number, first in zip(short, begun, strict=True)]
        for number, first, reply in zip(short, begun, answered(folder, more, batch=5), strict=True):
            text = joined((first.content, first.reasoning), (reply.content, reply.reasoning))[0]
            uncut = whole[number]
            assert (text, reply.finish_reason) == (uncut.content, uncut.finish_reason)
            assert reply.usage.completion == uncut.usage.completion - cut
            assert reply.usage.prompt == uncut.usage.prompt + cut


def test_what_its_text_does_not_tell_is_refused(folder):
    """Without the tokens, a text that can be read in several ways is not continued: the fault says to retry it."""
    request = asked(SAMPLINGS[0], 1)[0]
    first = answered(folder, [replace(request, sampling=replace(request.sampling, max_tokens=9))])[0]
    odd = replace(first, ids=(), content=first.content[:-1] + "\ufffd")
    (fault,) = answered(folder, [further(request, odd, 20)])
    assert isinstance(fault, Refused)
    assert fault.fault.reason == "cannot_continue"
    assert "retry it instead" in fault.fault.message


def test_an_answer_that_filled_the_context_is_refused(folder):
    """Where the model reads no more, there is nothing to go on with, and the fault says how much it reads."""
    endless = make_lm(folder.parent / "endless", eos=-50)
    request = asked(Sampling(max_tokens=CONTEXT, temperature=0), 1)[0]
    (first,) = answered(endless, [request])
    assert first.cut_off
    (fault,) = answered(endless, [further(request, first, 20)])
    assert fault.fault.reason == "too_long"
    assert str(CONTEXT) in fault.fault.message


def test_attempts_of_a_local_model_are_continued(folder, tmp_path):
    """Through the library: a run that continues ends with the very answers of one that was not cut off."""
    model = LocalModel(name="m", path=folder)
    rows = "SELECT question, content, finish_reason, completion_tokens FROM attempts WHERE sampling LIKE ? ORDER BY 1"
    with pool_library(tmp_path, 25) as library:
        uncut = gr.attempt(library, model, gr.AttemptSettings(max_tokens=WHOLE, temperature=0.7))
        assert uncut.left == 0
        keep = gr.AttemptSettings(max_tokens=9, temperature=0.7)
        first = gr.attempt(library, model, keep)
        assert first.cut_off.first == first.cut_off.still > 5
        settings = gr.AttemptSettings(max_tokens=9, temperature=0.7, truncated="continue", truncated_max_tokens=WHOLE)
        done = gr.attempt(library, model, settings)
        assert (done.answered, done.asked_further) == (0, first.cut_off.first)
        assert done.cut_off.continued == first.cut_off.first
        short, whole = (library.all(rows, (f'%"max_tokens": {limit},%',)) for limit in (9, WHOLE))
        assert short == whole
        assert gr.attempt(library, model, settings).asked_further == 0
