"""Tiny PRMs of each architecture score the same in this process and on a vLLM server that Gradatim starts."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pytest
from engine_world import TRANSFORMERS, VLLM, VLLM_ARGS

from gradatim.config import PrmSettings
from gradatim.errors import SetupError
from gradatim.prm import Solution
from gradatim.prm.chat import ChatPRM
from gradatim.prm.critic import critic
from gradatim.serving.commands import Engines
from gradatim.serving.server import Server, Serving
from gradatim.types import StepScores
from gradatim.work.opening import open_prm
from tiny_families import make_shepherd
from tiny_llama import label_probabilities, make_llama
from tiny_prm import make_prm

SOLUTIONS = [
    Solution(
        key=number,
        prompt=f"How many are {number} times {number % 7}?",
        answer="\n\n".join(f"So {step}: {number} times {step} is {number * step}." for step in range(number % 5 + 1)),
    )
    for number in range(24)
]


@pytest.mark.parametrize(
    ("kind", "make"), [("qwen", partial(make_prm, heads=(1, 1))), ("math-shepherd", make_shepherd)]
)
def test_a_prm_scores_the_same_here_and_on_vllm(tmp_path, kind, make):
    """Each step's score on a server is that of the same weights in this process, to 1e-4."""
    folder = make(tmp_path / "prm")
    with closing(open_prm(PrmSettings(model=str(folder), kind=kind, backend="local", device="cpu"))) as local:
        here = dict(local.score(SOLUTIONS))
    served = PrmSettings(
        model="tiny/prm", path=str(folder), kind=kind, serve="vllm", serve_command=VLLM, serve_args=VLLM_ARGS
    )
    with closing(open_prm(served, log=tmp_path / "prm.log")) as there:
        got = dict(there.score(SOLUTIONS))
    assert got.keys() == here.keys()
    for key, scores in got.items():
        assert isinstance(scores, StepScores)
        assert scores.reason == ""
        assert scores.steps == here[key].steps
        assert scores.scores == pytest.approx(here[key].scores, abs=1e-4)
    spread = [score for scores in here.values() for score in scores.scores]
    assert max(spread) - min(spread) > 0.05  # a model whose scores are all alike would prove nothing


def test_chat_prms_score_the_same_here_and_on_vllm(tmp_path):
    """Scores of RLHFlow's format and of a critic, from vLLM's log probabilities, are the model's own to 1e-4."""
    folder = make_llama(tmp_path / "llama")
    with closing(open_prm(PrmSettings(model=str(folder), kind="rlhflow", backend="local", device="cpu"))) as local:
        here = dict(local.score(SOLUTIONS))
    for kind in ("rlhflow", "critic"):
        served = PrmSettings(
            model="tiny/chat",
            path=str(folder),
            kind=kind,
            backend="chat",
            serve="vllm",
            serve_command=VLLM,
            serve_args=VLLM_ARGS,
        )
        with closing(open_prm(served, log=tmp_path / "chat.log")) as there:
            got = dict(there.score(SOLUTIONS))
        for solution in SOLUTIONS:
            scores = got[solution.key]
            want = here[solution.key].scores
            if kind == "critic":
                asked = [critic().turns(solution.prompt, scores.steps, at) for at in range(len(scores.steps))]
                want = label_probabilities(folder, asked, ["yes", "Yes", "Ġyes"], ["no", "No", "Ġno"])
            assert scores.scores == pytest.approx(want, abs=1e-4)


def test_a_server_that_ignores_logprobs_is_refused(tmp_path):
    """`transformers serve` answers 200 without log probabilities: no score comes of it, but a sentence."""
    folder = make_llama(tmp_path / "llama")
    engines = Engines(engine="transformers", path=str(folder), name="tiny/chat", program=TRANSFORMERS, extra=())
    server = Server(
        Serving(name="tiny", command=engines.command, log=tmp_path / "t.log", model="", timeout=300, restarts=0)
    )
    try:
        prm = ChatPRM(model=engines.model, base_url=server.up().url, chat=critic())
        with closing(prm), pytest.raises(SetupError, match="sent no log probabilities"):
            list(prm.score(SOLUTIONS))
    finally:
        server.stop()
