"""Chat answers come out the same through vLLM, `transformers serve` and transformers in this process."""

from __future__ import annotations

import json

import pytest
from engine_world import Answers, settings, texts

from gradatim.types import Sampling
from gradatim.work.served import kept
from tiny_lm import make_lm

GREEDY = Sampling(temperature=0.0, max_tokens=48)
WARM = Sampling(temperature=0.8, max_tokens=48)
ENGINES = ("vllm", "transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny chat model, of a width that vLLM's attention for processors takes."""
    return make_lm(tmp_path_factory.mktemp("lm") / "lm", width=128)


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    """What each engine answers to the same requests; each is started twice."""
    logs = tmp_path_factory.mktemp("logs")
    stopped = Sampling(temperature=0.0, max_tokens=48, extra_body=json.dumps({"stop": ["e", "Q"]}))
    made = {}
    for engine in ("local", *ENGINES):
        answers = Answers(settings(engine, folder), logs / f"{engine}.log")
        with kept(answers.model):
            made[engine, "greedy"] = answers.of(GREEDY)
            if engine == "local":
                continue
            made[engine, "warm"] = answers.of(WARM, samples=3, seed=5)
            made[engine, "other"] = answers.of(WARM, samples=1, seed=900)
            made[engine, "stop"] = answers.of(stopped)
        few = {"concurrency": 3} if engine == "vllm" else {}
        again = Answers(settings(engine, folder, **few), logs / f"{engine}.log")
        made[engine, "again"] = again.of(WARM, samples=3, seed=5)
    return made


def test_greedy_answers_are_the_same_through_all(found):
    """At temperature 0, vLLM, `transformers serve` and this process write the same, and end for the same reason."""
    assert texts(found["vllm", "greedy"]) == texts(found["local", "greedy"])
    assert texts(found["transformers", "greedy"]) == texts(found["local", "greedy"])
    for engine in ENGINES:
        ends = {key: reply.finish_reason for key, reply in found[engine, "greedy"].items()}
        assert ends == {key: reply.finish_reason for key, reply in found["local", "greedy"].items()}


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
    whole = texts(found["vllm", "greedy"])
    for key, text in texts(found["vllm", "stop"]).items():
        assert "e" not in text
        assert "Q" not in text
        assert whole[key].startswith(text)
    assert any(len(text) < len(whole[key]) for key, text in texts(found["vllm", "stop"]).items())
