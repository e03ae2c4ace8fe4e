"""A critic and an RLHFlow PRM from attempts to levels, against the mock server with and without faults."""

from __future__ import annotations

import pytest

import gradatim as gr
from gradatim.models.mock_labels import label
from gradatim.pipeline import do_grade
from gradatim.prm import Solution
from pools import pool_library, record_answers

PROMPT = "{prompt} {steps} {step} {good} or {bad}?"
FAULTS = tuple((kind, 0.06) for kind in ("429_bare", "500", "drop", "empty", "malformed", "truncated", "slow"))


WRONG = "We count {0} things.\n\nThen we add {0} more.\n\nSo the answer is $\\boxed{{0}}$."


@pytest.fixture
def library(tmp_path):
    """A library with 20 questions, each answered wrongly in three steps and judged."""
    with pool_library(tmp_path, 20) as made:
        record_answers(made, tmp_path, "m", lambda number: [WRONG.format(number)])
        gr.verify(made)
        yield made


def scores(library, prm):
    """Grade with a PRM, in as many runs as it takes until no fault is left, and return its scores."""
    while gr.grade(library, prm=prm)[0].faults:
        pass
    return dict(library.rows("SELECT attempt, steps FROM scores WHERE version = ?", (prm.version,)))


@pytest.mark.parametrize("chat", [gr.critic(prompt=PROMPT), gr.RLHFLOW_CHAT], ids=["critic", "rlhflow"])
def test_faults_of_the_server_change_no_score(library, chat):
    """With a tenth and more of all requests failing, the scores end as those of an undisturbed run, one per step."""
    found = []
    for faults in ((), FAULTS):
        with gr.MockServer(gr.MockSettings(faults=faults, drip=0.001, retry_after=0.01)) as server:
            # Another context is another version, whose scores are kept apart.
            prm = gr.ChatPRM(
                model="mock", base_url=server.url, chat=chat, context=9000 + len(faults), tries=2, backoff=0.01
            )
            found.append(scores(library, prm))
            prm.close()
            assert bool(server.stats().faults) == bool(faults)
    assert len(found[0]) == 20
    assert found[0] == found[1]


def test_the_mock_server_s_label_is_the_score():
    """The score of a step is what the server's made-up probabilities say, spellings summed."""
    with gr.MockServer() as server:
        prm = gr.ChatPRM(model="mock", base_url=server.url, chat=gr.critic(prompt=PROMPT))
        (_, got), *_ = prm.score([Solution(key=1, prompt="Q", answer="We add.\n\nSo 3.")])
        prm.close()
    for number, asked in enumerate(("Q  We add. yes or no?", "Q We add. So 3. yes or no?")):
        (row,) = label(asked, 20)["content"]
        likely = {one["token"]: 2.718281828459045 ** one["logprob"] for one in row["top_logprobs"]}
        yes, no = (sum(likely[word] for word in words) for words in (("yes", "Yes", " yes"), ("no", "No", " no")))
        assert got.scores[number] == pytest.approx(yes / (yes + no))


def test_the_tokens_of_a_critic_are_shown(library):
    """`grade` says how many requests and tokens the critic took: one request for each of three steps."""
    with gr.MockServer() as server:
        prm = gr.PrmSettings(model="mock", kind="critic", backend="chat", base_url=server.url)
        (result,) = do_grade(library, gr.Config(prm=prm))
    assert result.scored == 20
    (note,) = result.notes
    assert note.startswith("mock: 60 requests, ")
    assert note.endswith(" tokens read and 60 written")
