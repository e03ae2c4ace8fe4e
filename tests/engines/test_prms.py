"""Tiny PRMs of each architecture score the same in this process and on a vLLM server that Gradatim starts."""

from __future__ import annotations

from contextlib import closing

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
from gradatim.work.opening import open_prm, pooling_arguments
from tiny_families import change, make_shepherd
from tiny_llama import label_probabilities, make_llama
from tiny_prm import TEMPLATE, make_prm

SOLUTIONS = [
    Solution(
        key=number,
        prompt=f"How many are {number} times {number % 7}?",
        answer="\n\n".join(f"So {step}: {number} times {step} is {number * step}." for step in range(number % 5 + 1)),
    )
    for number in range(24)
]


def scored(settings: PrmSettings, log=None) -> dict[int, StepScores]:
    """Score all with the PRM that is configured."""
    with closing(open_prm(settings, log=log)) as prm:
        return dict(prm.score(SOLUTIONS))


def here(folder, kind) -> dict[int, StepScores]:
    """Score all in this process."""
    return scored(PrmSettings(model=str(folder), kind=kind, backend="local", device="cpu"))


def assert_alike(got, want) -> None:
    """Each step has the same score to 1e-4, and scores are well apart: all alike they would prove nothing."""
    assert got.keys() == want.keys()
    for key, scores in got.items():
        assert isinstance(scores, StepScores)
        assert (scores.reason, scores.steps) == ("", want[key].steps)
        assert scores.scores == pytest.approx(want[key].scores, abs=1e-4)
    spread = [score for scores in want.values() for score in scores.scores]
    assert max(spread) - min(spread) > 0.05


@pytest.fixture
def served(tmp_path):
    """Start a server with these arguments; what is called returns its URL. It is ended with the test."""
    servers = []

    def start(folder, *extra, engine="vllm", program=VLLM):
        engines = Engines(engine=engine, path=str(folder), name="tiny/prm", program=program, extra=extra)
        listed = engines.name if engine == "vllm" else ""
        serving = Serving(
            name="tiny", command=engines.command, log=tmp_path / "s.log", model=listed, timeout=300, restarts=0
        )
        servers.append(Server(serving))
        return servers[-1].up().url

    yield start
    for server in servers:
        server.stop()


def test_math_shepherd_scores_the_same_here_and_on_vllm(tmp_path):
    """Each step's score on the server that the settings have started is that of the same weights in this process."""
    folder = make_shepherd(tmp_path / "prm")
    there = PrmSettings(
        model="tiny/prm",
        path=str(folder),
        kind="math-shepherd",
        serve="vllm",
        serve_command=VLLM,
        serve_args=VLLM_ARGS,
    )
    assert_alike(scored(there, log=tmp_path / "prm.log"), here(folder, "math-shepherd"))


def test_qwen_and_reasonflux_score_the_same_here_and_on_vllm(tmp_path, served):
    """The same model on one server, asked as Qwen's by a text, and as ReasonFlux's by messages.

    Those vLLM puts into the folder's template, whose own system message is another than the one in Qwen's text.
    """
    folder = make_prm(tmp_path / "prm", heads=(1, 1))
    template = TEMPLATE.replace("Please reason step by step", "Reason with care")
    change(folder, "tokenizer_config.json", chat_template=template)
    url = served(folder, *VLLM_ARGS, *pooling_arguments(folder, "qwen"))
    found = {}
    for kind in ("qwen", "reasonflux"):
        found[kind] = scored(PrmSettings(model="tiny/prm", kind=kind, base_url=url))
        assert_alike(found[kind], here(folder, kind))
    assert found["qwen"][0].scores != pytest.approx(found["reasonflux"][0].scores, abs=1e-3)


def test_chat_prms_score_the_same_here_and_on_vllm(tmp_path, served):
    """Scores of RLHFlow's format and of a critic, from one vLLM's log probabilities, are the model's own."""
    folder = make_llama(tmp_path / "llama")
    url = served(folder, *VLLM_ARGS)
    want = here(folder, "rlhflow")
    assert_alike(scored(PrmSettings(model="tiny/prm", kind="rlhflow", backend="chat", base_url=url)), want)
    got = scored(PrmSettings(model="tiny/prm", kind="critic", backend="chat", base_url=url))
    own = {}
    for solution in SOLUTIONS:
        steps = want[solution.key].steps
        asked = [critic().turns(solution.prompt, steps, at) for at in range(len(steps))]
        scores = label_probabilities(folder, asked, ["yes", "Yes", "Ġyes"], ["no", "No", "Ġno"])
        own[solution.key] = StepScores(steps=steps, scores=tuple(scores))
    assert_alike(got, own)


def test_a_server_that_ignores_logprobs_is_refused(tmp_path, served):
    """`transformers serve` answers 200 without log probabilities: no score comes of it, but a sentence."""
    folder = make_llama(tmp_path / "llama")
    url = served(folder, engine="transformers", program=TRANSFORMERS)
    prm = ChatPRM(model=str(folder), base_url=url, chat=critic())
    with closing(prm), pytest.raises(SetupError, match="sent no log probabilities"):
        list(prm.score(SOLUTIONS))
