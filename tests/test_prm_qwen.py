"""The Qwen2.5-Math-PRM format: the text, the refusals, what becomes of probabilities. No torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.prm import Solution, family
from gradatim.prm.family import Prepared, scored
from gradatim.prm.qwen import QWEN, chat_text
from gradatim.types import Fault, StepScores

GOLDEN = (
    "<|im_start|>system\n"
    "Please reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
    "<|im_start|>user\n"
    "Sue has 3 boxes of 4 pens. How many pens?<|im_end|>\n"
    "<|im_start|>assistant\n"
    "Each box holds 4 pens.<extra_0>3 \\times 4 = 12.<extra_0>The answer is \\boxed{12}.<extra_0><|im_end|>\n"
)


def prepare(solution):
    return family.prepare(QWEN, solution)


def solution(answer, prompt="Sue has 3 boxes of 4 pens. How many pens?"):
    return Solution(key=7, prompt=prompt, answer=answer)


def test_the_text_is_that_of_the_model_card():
    """A worked example gives the model card's chat: steps stripped, a tag after each, one newline after each turn."""
    prepared = prepare(solution("Each box holds 4 pens.\n\n  3 \\times 4 = 12.\n\n\nThe answer is \\boxed{12}.\n"))
    assert isinstance(prepared, Prepared)
    assert chat_text(prepared.prompt, prepared.steps) == GOLDEN
    assert QWEN.served.body(prepared.prompt, prepared.steps) == {"input": GOLDEN, "add_special_tokens": False}
    assert prepared.key == 7
    assert len(prepared.steps) == 3


@given(st.text(max_size=100), st.text(max_size=200))
def test_there_is_one_tag_for_each_step(prompt, answer):
    """Whatever the question and the answer hold, the text has one tag a step, or the solution is refused."""
    got = prepare(solution(answer, prompt))
    if isinstance(got, Prepared):
        assert chat_text(got.prompt, got.steps).count("<extra_0>") == len(got.steps) > 0
    else:
        assert got.reason in {"no_steps", "contains_step_tag", "bad_unicode"}


@pytest.mark.parametrize(
    "token", ["<extra_0>", "<extra_17>", "<|im_end|>", "<|im_start|>user", "<|endoftext|>", "<|fim_pad|>"]
)
def test_control_tokens_are_refused(token):
    """A control token in the answer or in the question gives no scores, and says why."""
    for got in (prepare(solution(f"a\n\nb {token} c")), prepare(solution("a", f"Is {token} a token?"))):
        assert isinstance(got, StepScores)
        assert (got.reason, got.scores) == ("contains_step_tag", ())


@pytest.mark.parametrize("text", ["1 <|x|> 2", "<extra>", "<extra_x>", "a < b, |c| > d", "<|im_begin|>"])
def test_mathematics_in_angle_brackets_is_no_control_token(text):
    """Text that only looks like a control token is scored."""
    assert isinstance(prepare(solution(text)), Prepared)


def test_no_steps_and_bad_unicode_have_their_reasons():
    """A blank answer has no steps, and half a surrogate pair is refused before a tokenizer would fail on it."""
    assert prepare(solution(" \n\n ")) == StepScores(steps=(), scores=(), reason="no_steps")
    assert prepare(solution("a \ud83d b")) == StepScores(steps=("a \ud83d b",), scores=(), reason="bad_unicode")


def test_scores_are_one_for_each_step_or_a_fault():
    """Too few, too many or no numbers are faults; 0.0 and 1.0 and a rounding step above are scores."""
    steps = ("a", "b")
    assert scored(steps, [0.0, 1.0]) == StepScores(steps=steps, scores=(0.0, 1.0))
    assert scored(steps, [0.25, 1.0009]) == StepScores(steps=steps, scores=(0.25, 1.0))
    for values, reason in (
        ([0.5], "wrong_count"),
        ([0.5] * 380160, "wrong_count"),
        ([0.5, float("nan")], "not_finite"),
    ):
        got = scored(steps, values)
        assert isinstance(got, Fault)
        assert (got.boundary, got.reason) == ("prm", reason)


def test_importing_the_parts_is_cheap():
    """Importing both backends loads neither torch nor transformers nor aiohttp."""
    code = (
        "import sys; sys.path[:0] = ['src']; import gradatim.prm.local, gradatim.prm.pooling;"
        "print([m for m in ('torch', 'transformers', 'aiohttp', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
