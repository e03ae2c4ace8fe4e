"""Tiny PRMs of each architecture score the same in this process and on a vLLM server that Gradatim starts."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pytest
from engine_world import VLLM, VLLM_ARGS

from gradatim.config import PrmSettings
from gradatim.prm import Solution
from gradatim.types import StepScores
from gradatim.work.opening import open_prm
from tiny_families import make_shepherd
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
