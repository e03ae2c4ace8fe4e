"""Chat answers come out the same through vLLM, `transformers serve` and transformers in this process."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from engine_world import Answers, ends, make_plain_lm, settings, texts

import gradatim as gr
from gradatim.library import furthers
from gradatim.library.store import Library
from gradatim.types import Sampling
from gradatim.work.opening import engine_settings
from gradatim.work.served import kept
from pools import pool_library

GREEDY = Sampling(temperature=0.0, max_tokens=48)
WARM = Sampling(temperature=0.8, max_tokens=48)
STOPPED = Sampling(temperature=0.0, max_tokens=48, extra_body=json.dumps({"stop": ["e", "Q"]}))
ENGINES = ("vllm", "transformers")
CUT, WHOLE = 9, 48
ROWS = (
    "SELECT question, content, finish_reason, completion_tokens, further FROM attempts WHERE sampling LIKE ? ORDER BY 1"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model, one for all engines."""
    return make_plain_lm(tmp_path_factory.mktemp("lm") / "lm")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Where the library of answers that were cut off and continued is made."""
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def found(folder, library, tmp_path_factory):
    """What each engine answers to the same requests; each is started twice."""
    logs = tmp_path_factory.mktemp("logs")
    made = {}
    for engine in ("local", *ENGINES):
        answers = Answers(settings(engine, folder), logs / f"{engine}.log")
        with kept(answers.model):
            made[engine, "greedy"] = answers.of(GREEDY)
            if engine == "local":
                continue
            made[engine, "warm"] = answers.of(WARM, samples=3, seed=5)
            made[engine, "other"] = answers.of(WARM, samples=1, seed=900)
            made[engine, "stop"] = answers.of(STOPPED)
            if engine == "vllm":
                made["continued"] = cut_and_continued(answers.model, settings(engine, folder), library)
        few = {"concurrency": 3} if engine == "vllm" else {}
        again = Answers(settings(engine, folder, **few), logs / f"{engine}.log")
        made[engine, "again"] = again.of(WARM, samples=3, seed=5)
    return made


def cut_and_continued(model, made, folder):
    """Answer a pool with a small limit, continue what it cut off, and answer it with the large limit at once."""
    engine = replace(engine_settings(made), tries=2)
    cut = {"temperature": 0.0, "max_tokens": CUT}
    with pool_library(folder, 20) as library:
        first = gr.attempt(library, model, gr.AttemptSettings(**cut), engine=engine)
        more = gr.AttemptSettings(**cut, truncated="continue", truncated_max_tokens=WHOLE)
        second = gr.attempt(library, model, more, engine=engine)
        gr.attempt(library, model, gr.AttemptSettings(temperature=0.0, max_tokens=WHOLE), engine=engine)
    return first, second


def test_greedy_answers_are_the_same_through_all(found):
    """At temperature 0, vLLM, `transformers serve` and this process write the same, and end for the same reason."""
    for engine in ENGINES:
        assert texts(found[engine, "greedy"]) == texts(found["local", "greedy"])
        assert ends(found[engine, "greedy"]) == ends(found["local", "greedy"])
    assert set(ends(found["local", "greedy"]).values()) == {"stop", "length"}


@pytest.mark.parametrize("engine", ENGINES)
def test_several_samples_are_several_answers(found, engine):
    """Three samples of a question are three answers that differ, though nobody told the server to sample."""
    warm = texts(found[engine, "warm"])
    differing = [number for number in range(12) if len({warm[number, sample] for sample in range(3)}) == 3]
    assert len(differing) >= 10


@pytest.mark.parametrize("engine", ENGINES)
def test_a_seed_means_the_same_answer_from_the_same_engine(found, engine):
    """The same request with the same seed gets the same answer of a server started anew, another seed another.

    Of vLLM also where other requests run beside it: 36 at a time, and 3.
    """
    assert texts(found[engine, "again"]) == texts(found[engine, "warm"])
    warm, other = texts(found[engine, "warm"]), texts(found[engine, "other"])
    assert sum(warm[number, 0] != other[number, 0] for number in range(12)) >= 10


def test_stop_texts_are_held(found):
    """No answer goes on behind a stop text or holds it, and both engines give the same answers."""
    assert texts(found["vllm", "stop"]) == texts(found["transformers", "stop"])
    assert ends(found["vllm", "stop"]) == ends(found["transformers", "stop"])
    whole, stopped = texts(found["local", "greedy"]), texts(found["vllm", "stop"])
    for key, text in stopped.items():
        ahead = [whole[key].find(stop) for stop in ("e", "Q") if stop in whole[key]]
        assert text == whole[key][: min(ahead, default=None)]
    assert sum(len(stopped[key]) < len(whole[key]) for key in whole) > 3


def test_a_continued_answer_of_vllm_is_the_uncut_one(found, library):
    """Asked with `continue_final_message`, vLLM writes the rest of each answer, and its prompt holds the first half."""
    first, second = found["continued"]
    assert first.cut_off.first > 10
    with Library(library / "library.db") as held:
        seen = held.all("SELECT kind, first_content, content, prompt_tokens, first_prompt_tokens FROM furthers")
        assert (second.faults, second.cut_off.anew, second.left_further) == ({}, 0, 0), seen
        short, whole = (held.all(ROWS, (f'%"max_tokens": {limit},%',)) for limit in (CUT, WHOLE))
        # vLLM read the chat and the first half, and no token more.
        more = "prompt_tokens - first_prompt_tokens - first_completion_tokens"
        assert held.all(f"SELECT DISTINCT {more} FROM furthers WHERE kind = 'continued'") == [(0,)]
    continued = [number for number, row in enumerate(short) if row[4] == furthers.CONTINUED]
    assert len(continued) == first.cut_off.first
    assert [short[number][:4] for number in continued] == [whole[number][:4] for number in continued]
