"""The other families on a server that speaks `/pooling`: the same scores as in this process, the same refusals."""

from __future__ import annotations

from contextlib import closing

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local], for the server's model")
pytest.importorskip("transformers", reason="needs the extra [local], for the server's model")

import tiny_families as tiny  # noqa: E402 - after the skips
import tiny_prm  # noqa: E402 - after the skips
from gradatim.errors import SetupError  # noqa: E402 - after the skips
from gradatim.prm import Solution  # noqa: E402 - after the skips
from gradatim.prm.local import LocalPRM  # noqa: E402 - after the skips
from gradatim.prm.pooling import PoolingPRM  # noqa: E402 - after the skips
from tiny_prm_server import MODEL, TinyPRMServer, TinyShepherdServer  # noqa: E402 - after the skips

torch.set_num_threads(1)

SOLUTIONS = [
    Solution(
        key=i, prompt=f"What is {i} + {i}?", answer="\n\n".join(f"Add {j}: é\n= {i + j}." for j in range(i % 4 + 1))
    )
    for i in range(10)
]
SERVERS = {
    "reasonflux": (tiny_prm.make_prm, TinyPRMServer),
    "math-shepherd": (tiny.make_shepherd, TinyShepherdServer),
}


@pytest.fixture(params=sorted(SERVERS), scope="module")
def served(request, tmp_path_factory):
    make, server = SERVERS[request.param]
    folder = make(tmp_path_factory.mktemp("served") / "Tiny-PRM")
    with server(folder) as made:
        yield request.param, folder, made


@pytest.fixture
def prm(served):
    kind, _, server = served
    server.requests.clear()
    with closing(PoolingPRM(model=MODEL, base_url=server.url, kind=kind, backoff=0.01)) as made:
        yield made


def test_both_backends_give_the_same_scores(served, prm):
    """The server's scores are those of the in-process backend, to 1e-5, one for each step."""
    kind, folder, _ = served
    with closing(LocalPRM(path=folder, kind=kind, device="cpu")) as local:
        want = dict(local.score(SOLUTIONS))
    got = dict(prm.score(SOLUTIONS))
    assert got.keys() == want.keys()
    for key, scores in got.items():
        assert scores.steps == want[key].steps
        assert scores.scores == pytest.approx(want[key].scores, abs=1e-5)


def test_the_request_is_the_familys(served, prm):
    """Math-Shepherd sends text, for the server to put <s> before it; ReasonFlux sends messages, none of the system."""
    kind, _, server = served
    list(prm.score([Solution(key=0, prompt="Q?", answer="a\n\nb")]))
    (request,) = server.requests
    common = {"model": MODEL, "task": "token_classify"}
    if kind == "math-shepherd":
        assert request == common | {"input": "Q? Step 1: a ки\nStep 2: b ки", "add_special_tokens": True}
    else:
        chat = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "a<extra_0>b<extra_0>"}]
        assert request == common | {"messages": chat, "add_generation_prompt": False, "add_special_tokens": False}


def test_what_is_refused_is_not_sent(served, prm):
    """A text with the family's own tag, or another control token, costs no request."""
    kind, _, server = served
    texts = {"math-shepherd": ("a ки b", "китай", "</s>"), "reasonflux": ("a <extra_0>", "<|im_end|>")}[kind]
    got = dict(prm.score(Solution(key=i, prompt="?", answer=text) for i, text in enumerate(texts)))
    assert [scores.reason for scores in got.values()] == ["contains_step_tag"] * len(texts)
    assert server.requests == []


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ({"step_tag": "</s>"}, "looks for another step tag; serve it with"),
        ({"step_tag": None}, "sent a row for each of"),
        ({"softmax": False}, "no probabilities"),
        ({"softmax": "vocabulary"}, "a PRM's have 2"),
    ],
)
def test_a_wrongly_set_up_server_is_refused(served, prm, monkeypatch, setup, said):
    """Another tag, no tag, logits, a language model: each answers 200, and each is refused with how to serve it."""
    kind, _, server = served
    for name, value in setup.items():
        monkeypatch.setattr(server, name, "<extra_1>" if value == "</s>" and kind == "reasonflux" else value)
    with pytest.raises(SetupError, match=said) as caught:
        list(prm.score(SOLUTIONS[1:2]))
    if said.endswith("serve it with"):
        assert ("classifier_from_token" in str(caught.value)) == (kind == "math-shepherd")


def test_vllms_word_for_a_task_it_was_not_started_for_is_understood(served, prm):
    """Served without the task in its pooler config, vLLM refuses token_classify; that is a setup error, not a fault."""
    kind, _, server = served
    said = "Try switching the model's pooling_task via --pooler-config.task token_classify. (parameter=task)"
    server.faults = {"TASK": [(400, said)]}
    with pytest.raises(SetupError, match="takes none of the tasks") as caught:
        list(prm.score([Solution(key=0, prompt="TASK", answer="a")]))
    server.faults = {}
    assert ('"task": "token_classify"' in str(caught.value)) == (kind == "math-shepherd")
