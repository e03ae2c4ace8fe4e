"""The vLLM backend, against a server on a real socket that runs the tiny PRM; and what a server can do wrong."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local], for the server's model")
pytest.importorskip("transformers", reason="needs the extra [local], for the server's model")

from gradatim.errors import SetupError, UsageError  # noqa: E402 - after the skips
from gradatim.prm import Solution  # noqa: E402 - after the skips
from gradatim.prm.local import LocalPRM  # noqa: E402 - after the skips
from gradatim.prm.pooling import PoolingPRM  # noqa: E402 - after the skips
from gradatim.prm.server import _base, _seconds  # noqa: E402 - after the skips
from gradatim.types import Fault, StepScores  # noqa: E402 - after the skips
from tiny_prm import make_prm  # noqa: E402 - after the skips
from tiny_prm_server import MODEL, TinyPRMServer  # noqa: E402 - after the skips

torch.set_num_threads(1)

SOLUTIONS = [
    Solution(
        key=i,
        prompt=f"How many are {i} times {i % 7}?",
        answer="\n\n".join(f"Step {j}: é, {i} \\times {j} = {i * j}." for j in range(i % 5 + 1)),
    )
    for i in range(24)
]
ONE = [Solution(key=0, prompt="?", answer="We add.\n\nSo the answer is 3.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_prm(tmp_path_factory.mktemp("prm") / "Tiny-PRM")


@pytest.fixture
def server(folder):
    with TinyPRMServer(folder) as made:
        yield made


@pytest.fixture
def prm(server):
    with closing(PoolingPRM(model=MODEL, base_url=server.url, backoff=0.01, idle_timeout=5.0)) as made:
        yield made


def test_closing_is_no_fault_where_no_connection_was_opened_yet(prm, monkeypatch):
    """What stops the work before there are connections is what is raised, also after `close`."""

    async def interrupted(_):
        raise InterruptedError

    monkeypatch.setattr("gradatim.prm.server.Server._new_session", interrupted)
    with pytest.raises(InterruptedError), closing(prm):
        list(prm.score(ONE))


def test_both_backends_give_the_same_scores(folder, prm):
    """The server's scores are those of the in-process backend, to 1e-5, one for each step."""
    with closing(LocalPRM(path=folder, device="cpu")) as local:
        want = dict(local.score(SOLUTIONS))
    got = dict(prm.score(SOLUTIONS))
    assert got.keys() == want.keys()
    for key, scores in got.items():
        assert scores.steps == want[key].steps
        assert scores.scores == pytest.approx(want[key].scores, abs=1e-5)


def test_the_request_is_what_vllm_takes(server, prm):
    """One request a solution: the model, the whole chat as text, the task, and no special tokens added."""
    list(prm.score(ONE))
    (request,) = server.requests
    assert request["model"] == MODEL
    assert request["input"].endswith("We add.<extra_0>So the answer is 3.<extra_0><|im_end|>\n")
    assert (request["task"], request["add_special_tokens"]) == ("token_classify", False)


@pytest.mark.parametrize(
    ("tasks", "needs_task", "taken"),
    [(("encode",), False, None), (("encode",), True, "encode"), (("reward",), True, "reward")],
)
def test_older_names_of_the_task_are_tried_once(server, prm, tasks, needs_task, taken):
    """A server that refuses today's name of the task is asked by an older one, which is then kept."""
    server.tasks = tasks
    server.needs_task = needs_task
    got = dict(prm.score(SOLUTIONS))
    assert all(isinstance(scores, StepScores) and scores.scores for scores in got.values())
    before = len(server.requests)
    list(prm.score(SOLUTIONS))
    assert [request.get("task") for request in server.requests[before:]] == [taken] * len(SOLUTIONS)


def test_refused_whatever_the_task_is_a_setup_error(server, prm):
    """A server that takes the task by no name is refused, not asked for ever."""
    server.faults = {"<extra_0>": [(400, "Unsupported task: 'classify' Supported tasks: ('embed',)")]}
    with pytest.raises(SetupError, match="takes none of the tasks"):
        list(prm.score(ONE))
    assert len(server.requests) == 4


@pytest.mark.parametrize("acts", [[500, 503, "ok"], ["drop", "ok"], ["empty body", "ok"], ["retry later", "ok"]])
def test_passing_faults_are_tried_again(server, prm, acts):
    """A server error, a dropped connection, an empty body and a 429 end in scores once the server recovers."""
    server.faults = {"SHAKY": acts}
    solutions = [*SOLUTIONS[:3], Solution(key=99, prompt="SHAKY", answer="a\n\nb")]
    got = dict(prm.score(solutions))
    assert len(got[99].scores) == 2
    assert len(server.requests) == 3 + len(acts)


@pytest.mark.parametrize(
    ("act", "reason", "tries"),
    [
        (500, "http_500", 4),
        (429, "http_429", 4),
        ("drop", "connection", 4),
        ("empty body", "bad_json", 4),
        ("half", "bad_json", 1),
        ("error in 200", "server_error", 1),
        ("one row less", "wrong_count", 1),
        ("nulls", "not_finite", 1),
        ((400, "bad things"), "http_400", 1),
    ],
)
def test_lasting_faults_are_faults_and_never_scores(server, prm, act, reason, tries):
    """What one text cannot get is a fault with its reason; its neighbours are scored."""
    server.faults = {"SICK": [act]}
    got = dict(prm.score([*SOLUTIONS[:5], Solution(key=99, prompt="SICK", answer="a\n\nb")]))
    assert isinstance(got[99], Fault)
    assert (got[99].boundary, got[99].reason) == ("prm", reason)
    assert all(isinstance(got[i], StepScores) and got[i].scores for i in range(5))
    assert sum("SICK" in request["input"] for request in server.requests) == tries


def test_a_hanging_server_times_out(server):
    """A request without a byte for `idle_timeout` seconds is a fault, and holds up no other."""
    server.faults = {"STUCK": ["hang"]}
    made = PoolingPRM(model=MODEL, base_url=server.url, idle_timeout=0.3, tries=2, backoff=0.0, concurrency=4)
    with closing(made):
        start = time.perf_counter()
        got = list(made.score([Solution(key=99, prompt="STUCK", answer="a"), *SOLUTIONS]))
    assert time.perf_counter() - start < 5
    assert got[-1][0] == 99
    assert got[-1][1].reason == "timeout"
    assert all(scores.scores for _, scores in got[:-1])


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ({"step_tag": "<extra_1>"}, "looks for another step tag; serve it with --runner pooling"),
        ({"step_tag": None}, "sent a row for each of"),
        ({"softmax": False}, "no probabilities"),
        ({"softmax": "vocabulary"}, "a PRM's have 2"),
    ],
)
def test_a_wrongly_set_up_server_is_refused(server, prm, setup, said):
    """Another tag, no tag, logits, a language model: each answers 200, and each is refused with what to change."""
    for name, value in setup.items():
        setattr(server, name, value)
    with pytest.raises(SetupError, match=said) as caught:
        list(prm.score(ONE))
    assert server.url in str(caught.value)


def test_too_long_is_refused_by_the_server_or_by_us(server, prm):
    """A context overflow is `too_long`; so is a text beyond our context that a more generous server takes."""
    long = Solution(key=1, prompt="?", answer="We add the numbers.\n\n" * 200)
    got = dict(prm.score([long, *ONE]))
    assert (got[1].reason, got[1].scores) == ("too_long", ())
    assert got[0].scores
    server.max_model_len = 100_000
    with closing(PoolingPRM(model=MODEL, base_url=server.url, context=512)) as made:
        assert dict(made.score([long]))[1].reason == "too_long"


def test_what_is_refused_is_not_sent(server, prm):
    """A blank answer or one with a step tag costs no request."""
    answers = ("", "a <extra_0> b", "a <|im_end|>")
    got = dict(prm.score(Solution(key=i, prompt="?", answer=answer) for i, answer in enumerate(answers)))
    assert [got[i].reason for i in range(3)] == ["no_steps", "contains_step_tag", "contains_step_tag"]
    assert server.requests == []


def test_concurrency_is_bounded_and_used(server):
    """As many requests are under way as `concurrency` says, never more, and no more solutions are read than that."""
    server.delay = 0.02
    read = []
    with closing(PoolingPRM(model=MODEL, base_url=server.url, concurrency=3)) as made:
        stream = made.score(read.append(solution.key) or solution for solution in SOLUTIONS)
        next(stream)
        assert len(read) == 3
        assert len(list(stream)) == len(SOLUTIONS) - 1
    assert server.most_at_once == 3


def test_an_abandoned_stream_leaves_nothing_running(server):
    """Closing a stream half way cancels what is under way, and the PRM can be used again."""
    server.faults = {"STUCK": ["hang"]}
    with closing(PoolingPRM(model=MODEL, base_url=server.url, concurrency=2)) as made:
        stream = made.score([Solution(key=99, prompt="STUCK", answer="a"), *SOLUTIONS])
        next(stream)
        stream.close()
        assert len(dict(made.score(SOLUTIONS))) == len(SOLUTIONS)
        made.close()
        assert len(dict(made.score(SOLUTIONS[:2]))) == 2


def test_an_unreachable_server_and_an_unknown_model_are_setup_errors(server):
    """No server at the address, a server without the model: each is one sentence that says what to correct."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for model, base_url, said in (
            (MODEL, url, "cannot be used"),
            ("Qwen/Other", server.url, "does not have 'Qwen/Other'; it has 'Qwen/Tiny-PRM'"),
            (MODEL, f"{server.url}/deep", "is not there"),
        ):
            made = PoolingPRM(model=model, base_url=base_url, tries=2, backoff=0.0)
            with closing(made), pytest.raises(SetupError, match=said):
                list(made.score(ONE))


def test_the_key_is_sent_and_never_shown(server, monkeypatch):
    """The key comes from the named variable, goes out as a bearer token, and is cut out of what the server says."""
    monkeypatch.setenv("TINY_KEY", "s3cret-key")
    server.faults = {"SICK": [500], "SHUT": [401]}
    with closing(PoolingPRM(model=MODEL, base_url=server.url, api_key_env="TINY_KEY", tries=1)) as made:
        got = dict(made.score([Solution(key=0, prompt="SICK", answer="a")]))
        assert server.headers[0]["Authorization"] == "Bearer s3cret-key"
        assert "[key]" in got[0].message
        assert "s3cret" not in got[0].message
        with pytest.raises(SetupError, match="set TINY_KEY") as caught:
            list(made.score([Solution(key=0, prompt="SHUT", answer="a")]))
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in made.version
    with pytest.raises(SetupError, match="NO_SUCH_KEY"):
        PoolingPRM(model=MODEL, base_url=server.url, api_key_env="NO_SUCH_KEY")


def test_wrong_settings_are_refused():
    """A URL that is none, a password in it, a count below 1: each is refused before anything is sent."""
    for url in ("localhost:8000", "ftp://a", "http://", "http://a:b@c", "http://h:99999", "http://h/?x=1"):
        with pytest.raises(UsageError):
            PoolingPRM(model=MODEL, base_url=url)
    for settings in ({"concurrency": 0}, {"context": 0}, {"tries": 0}, {"idle_timeout": 0.0}, {"backoff": -1.0}):
        with pytest.raises(UsageError):
            PoolingPRM(model=MODEL, base_url="http://h", **settings)


def test_small_parts():
    """A base URL loses its `/v1`; Retry-After is seconds or a date; the version names what scores hang on."""
    assert {_base(f"http://h:1/p{end}") for end in ("", "/", "/v1", "/v1/")} == {"http://h:1/p"}
    assert (_seconds("3"), _seconds("soon"), _seconds(""), _seconds("-1")) == (3.0, 0.0, 0.0, 0.0)
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert _seconds("Wed, 21 Oct 2095 07:28:00 GMT") > 1e9
    made = PoolingPRM(model=MODEL, base_url="http://h")
    assert made.version == "qwen2.5-math-prm-1;blank-lines-1;vllm-pooling;Qwen/Tiny-PRM;context=4096"
