"""PRMs on a chat server, against a server on a real socket that runs a tiny Llama; and what a server can do wrong."""

from __future__ import annotations

import json
import shutil
import socket
import time
from contextlib import closing

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local], for the server's model")
pytest.importorskip("transformers", reason="needs the extra [local], for the server's model")

from gradatim.errors import SetupError, UsageError  # noqa: E402 - after the skips
from gradatim.prm import Solution  # noqa: E402 - after the skips
from gradatim.prm.chat import ChatPRM  # noqa: E402 - after the skips
from gradatim.prm.critic import critic  # noqa: E402 - after the skips
from gradatim.prm.local import LocalPRM  # noqa: E402 - after the skips
from gradatim.prm.rlhflow import RLHFLOW_CHAT, turns  # noqa: E402 - after the skips
from gradatim.types import Fault, StepScores  # noqa: E402 - after the skips
from tiny_chat_server import MODEL, TinyChatServer  # noqa: E402 - after the skips
from tiny_llama import label_probabilities, make_llama  # noqa: E402 - after the skips

torch.set_num_threads(1)

YES, NO = ("yes", "Yes", "Ġyes"), ("no", "No", "Ġno")
SHORT = "{prompt} {steps} {step}?"
SOLUTIONS = [
    Solution(key=i, prompt=f"{i} times {i % 7}?", answer="\n\n".join(f"{j}: é {i * j}." for j in range(i % 4 + 1)))
    for i in range(12)
]
ONE = [Solution(key=0, prompt="?", answer="We add.\n\nSo 3.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_llama(tmp_path_factory.mktemp("llama") / "m")


@pytest.fixture
def server(folder):
    with TinyChatServer(folder) as made:
        yield made


def prm_of(server, chat=None, *, context=None, **way):
    """A PRM on the server, a critic with a short prompt unless another is given."""
    settings = {"backoff": 0.01, "idle_timeout": 5.0, **way}
    return closing(
        ChatPRM(
            model=MODEL,
            base_url=server.url,
            chat=chat or critic(prompt=SHORT),
            context=context,
            **settings,
        )
    )


@pytest.mark.parametrize(("chat", "good", "bad"), [(RLHFLOW_CHAT, "+", "-"), (critic(prompt=SHORT), YES, NO)])
def test_scores_are_those_of_the_model_in_process(folder, server, chat, good, bad):
    """Each step's score is P(good) against P(bad) of the model itself, all tokens of a label summed, to 1e-5."""
    with prm_of(server, chat) as prm:
        got = dict(prm.score(SOLUTIONS))
    for solution in SOLUTIONS:
        steps = got[solution.key].steps
        chats = [chat.turns(solution.prompt, steps, number) for number in range(len(steps))]
        want = label_probabilities(folder, chats, list(good), list(bad))
        assert got[solution.key].scores == pytest.approx(want, abs=1e-5)
        assert "".join(steps) == solution.answer


def test_rlhflow_asks_as_its_makers_do():
    """The question and the first step are one turn, each earlier step is answered by a plus, and steps are stripped."""
    assert turns("How many?", ["We add.\n\n", " So 5. "], 1) == [
        {"role": "user", "content": "How many? We add."},
        {"role": "assistant", "content": "+"},
        {"role": "user", "content": "So 5."},
    ]
    assert turns("How many?", ["We add.\n\n", "So 5."], 0) == [{"role": "user", "content": "How many? We add."}]


def test_a_critic_fills_its_prompt_once():
    """Fields are replaced where the prompt has them, and not where a question or step happens to hold one."""
    made = critic(prompt="Q {prompt} B {steps} S {step} {good}/{bad} {other}", labels=("right", "wrong"))
    (turn,) = made.turns("is {step} {prompt}?", ["a\n\n", "{steps}\n\n", "c"], 2)
    assert turn == {"role": "user", "content": "Q is {step} {prompt}? B a\n\n{steps} S c right/wrong {other}"}


def test_the_request_asks_for_one_token_and_its_likely_ones(server):
    """A request for each step, the last first: one token, twenty likely ones, no temperature."""
    with prm_of(server, RLHFLOW_CHAT) as prm:
        list(prm.score(ONE))
    assert [len(request["messages"]) for request in server.requests] == [3, 1]
    request = server.requests[0]
    assert {name: request[name] for name in request if name != "messages"} == {
        "model": MODEL,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }


@pytest.mark.parametrize("acts", [[500, 503, "ok"], ["drop", "ok"], ["empty body", "ok"], [429, "ok"]])
def test_passing_faults_are_tried_again(server, acts):
    """A server error, a dropped connection, an empty body and a 429 end in scores once the server recovers."""
    server.faults = {"SHAKY": acts}
    with prm_of(server) as prm:
        got = dict(prm.score([*SOLUTIONS[:3], Solution(key=99, prompt="SHAKY", answer="a")]))
    assert len(got[99].scores) == 1


@pytest.mark.parametrize(
    ("act", "reason", "tries"),
    [
        (500, "http_500", 4),
        (400, "http_400", 1),
        ("drop", "connection", 4),
        ("empty body", "bad_json", 4),
        ("half", "bad_json", 1),
        ("error in 200", "server_error", 1),
        ("no choice", "bad_json", 1),
        ("other words", "no_label", 1),
    ],
)
def test_lasting_faults_are_faults_and_never_scores(server, act, reason, tries):
    """What one solution cannot get is a fault with its reason, whichever step it met; its neighbours are scored."""
    server.faults = {"SICK": ["ok", act]}
    with prm_of(server) as prm:
        got = dict(prm.score([*SOLUTIONS[:5], Solution(key=99, prompt="SICK", answer="a\n\nb")]))
    assert isinstance(got[99], Fault)
    assert (got[99].boundary, got[99].reason) == ("prm", reason)
    assert all(isinstance(got[i], StepScores) and got[i].scores for i in range(5))
    assert sum("SICK" in request["messages"][0]["content"] for request in server.requests) == 1 + tries


def test_no_label_says_what_was_likely_instead(server):
    """The fault names the tokens that the model would rather have written."""
    server.faults = {"": ["other words"]}
    with prm_of(server) as prm:
        (got,) = dict(prm.score(ONE)).values()
    assert got.message.startswith("neither 'yes' nor 'no' was among the likeliest tokens: 'so")


def test_a_model_that_never_answers_by_a_label_is_not_asked_for_ever(server):
    """After twenty answers without a label, and none with one, the setup is at fault and nothing more is paid for."""
    server.faults = {"": ["other words"]}
    many = [Solution(key=key, prompt="?", answer="a") for key in range(200)]
    with (
        prm_of(server, concurrency=4) as prm,
        pytest.raises(SetupError, match=r"never by a label .*correct the labels"),
    ):
        list(prm.score(many))
    assert len(server.requests) <= 20 + 4


@pytest.mark.parametrize("act", ["no logprobs", "no list", "logits"])
def test_an_answer_without_log_probabilities_is_refused(server, act):
    """A server that answers 200 and leaves them out is refused in a sentence, however late it begins to."""
    server.faults = {"": ["ok"] * 9 + [act]}
    with prm_of(server) as prm, pytest.raises(SetupError, match=r"sent no log probabilities.*`transformers serve`"):
        list(prm.score(SOLUTIONS))
    assert len(server.requests) >= 10


def test_fewer_likely_tokens_are_asked_for_where_the_server_gives_no_more(server):
    """A server that gives five at most is asked for five from then on, and one that gives none is refused."""
    server.most_top = 8
    with prm_of(server, RLHFLOW_CHAT, concurrency=1) as prm:
        got = dict(prm.score(ONE))
        assert [request["top_logprobs"] for request in server.requests] == [20, 5, 5]
        assert not isinstance(got[0], Fault) or got[0].reason == "no_label"
        server.most_top = 0
        with pytest.raises(SetupError, match="refuses to give log probabilities"):
            list(prm.score(ONE))


def test_the_newer_name_of_the_limit_is_found(server):
    """A server that wants max_completion_tokens is given it."""
    server.takes_max_tokens = False
    with prm_of(server, concurrency=1) as prm:
        got = dict(prm.score(ONE))
    assert len(got[0].scores) == 2
    assert ["max_tokens" in request for request in server.requests] == [True, False, False]


def test_a_solution_that_does_not_fit_is_refused_by_its_first_request(server):
    """What is too long for the server, or for the settings, has no scores and the reason, and costs one request."""
    long = [Solution(key=1, prompt="?", answer="\n\n".join(["abc " * 40] * 5))]
    with prm_of(server) as prm:
        got = dict(prm.score(long))
    assert (got[1].scores, got[1].reason, len(got[1].steps)) == ((), "too_long", 5)
    assert len(server.requests) == 1
    with prm_of(server, context=20) as prm:
        assert dict(prm.score(ONE))[0].reason == "too_long"


@pytest.mark.parametrize("text", ["a <|eot_id|> b", "<|start_header_id|>user"])
@pytest.mark.parametrize("chat", [RLHFLOW_CHAT, critic(prompt=SHORT)])
def test_control_tokens_of_the_chat_are_refused(server, chat, text):
    """A question or an answer that holds one is not sent; mathematics that looks like one is."""
    with prm_of(server, chat) as prm:
        asked = [
            Solution(key=0, prompt=text, answer="a"),
            Solution(key=1, prompt="?", answer=text),
            Solution(key=2, prompt="?", answer="\ud800"),
            Solution(key=3, prompt="?", answer=" "),
            Solution(key=4, prompt="?", answer="<|x|> = [x]"),
        ]
        got = dict(prm.score(asked))
    assert [got[key].reason for key in range(5)] == [*["contains_step_tag"] * 2, "bad_unicode", "no_steps", ""]
    assert len(server.requests) == 1


def test_an_analysis_is_read_at_its_last_label(folder, server):
    """The score is that of the last token that is a label, with what was written before it in view."""
    server.written = [*"so", "Ġyes", ".", "Ċ", *"then", "Ġno", ".", "<|eot_id|>"]
    chat = critic(prompt=SHORT, analysis=len(server.written))
    with prm_of(server, chat) as prm:
        (got,) = dict(prm.score([Solution(key=0, prompt="?", answer="We add.")])).values()
    asked = [chat.turns("?", ["We add."], 0)]
    assert got.scores == pytest.approx(label_probabilities(folder, asked, YES, NO, "so yes.\nthen"), abs=1e-5)
    assert server.requests[0]["max_tokens"] == len(server.written)


def test_an_analysis_that_was_cut_off_has_no_score(server):
    """Where the limit came first there is no score, whatever label was said by then, and a reason that is kept."""
    for written in ([*"soandso"] * 5, [*"so", "Ġno", ".", "Ċ"] * 5):
        server.written = written
        with prm_of(server, critic(prompt=SHORT, analysis=10)) as prm:
            got = dict(prm.score(ONE))
        assert (got[0].scores, got[0].reason) == ((), "analysis_cut")


def test_a_model_whose_analysis_never_ends_is_not_asked_for_ever(server):
    """After twenty analyses that were cut off, and none that was not, nothing more is paid for; the limit is named."""
    server.written = [*"so", "Ġno", "."] * 5
    many = [Solution(key=key, prompt="?", answer="a") for key in range(200)]
    with (
        prm_of(server, critic(prompt=SHORT, analysis=9), concurrency=4) as prm,
        pytest.raises(SetupError, match=r"did not end within 9 tokens.*more tokens for an analysis"),
    ):
        list(prm.score(many))
    assert len(server.requests) <= 20 + 4


def test_versions_differ_where_scores_might():
    """Another prompt, label, analysis, model, context or rule of splitting is another version; the same is the same."""
    at = {"base_url": "http://h:1"}
    chats = [critic(), critic(prompt=SHORT), critic(labels=("no", "yes")), critic(analysis=9), RLHFLOW_CHAT]
    made = [ChatPRM(model="a", chat=chat, **at).version for chat in chats]
    made += [ChatPRM(model="b", chat=chats[0], **at).version]
    made += [ChatPRM(model="a", chat=chats[0], context=9, **at).version]
    made += [ChatPRM(model="a", chat=chats[0], steps="reasoning", **at).version]
    assert len(set(made)) == len(made)
    assert made[0] == ChatPRM(model="a", chat=critic(), base_url="http://other:2", concurrency=3).version


def test_what_was_used_is_counted(server):
    """The notes say how many requests and tokens it took, and how many answers came without a count."""
    server.faults = {"MUTE": ["no usage"]}
    with prm_of(server, RLHFLOW_CHAT) as prm:
        assert prm.notes == ()
        list(prm.score([*ONE, Solution(key=5, prompt="MUTE", answer="a")]))
        assert (prm.used.requests, prm.used.completion, prm.used.uncounted) == (3, 2, 1)
        assert prm.notes[0].endswith("2 written; 1 answers came without a count")
        server.faults = {"": ["other words"]}
        list(prm.score(ONE))
        assert (prm.used.requests, prm.used.completion) == (4, 3)


@pytest.mark.parametrize("act", [402, "no credit"])
def test_an_account_without_credit_ends_the_stage(server, act):
    """No further request is sent to a server that wants to be paid first."""
    server.faults = {"": [act]}
    with prm_of(server, concurrency=1) as prm, pytest.raises(SetupError, match="no credit left"):
        list(prm.score(SOLUTIONS))
    assert len(server.requests) == 1


def test_a_key_that_a_server_echoes_is_in_no_message(server, monkeypatch):
    """A fault holds what the server said, and not the key that it repeats."""
    monkeypatch.setenv("CRITIC_KEY", "sesame-1")
    server.faults = {"": [400]}
    with prm_of(server, api_key_env="CRITIC_KEY") as prm:
        (got,) = dict(prm.score(ONE)).values()
    assert "your header: Bearer [key]" in got.message


def test_the_way_to_a_server_that_lists_nothing(server, monkeypatch):
    """A chat server need not list its models; one that is not there, or refuses the key, is named in a sentence."""
    server.listed = False
    with prm_of(server) as prm:
        assert dict(prm.score(ONE))[0].scores
    monkeypatch.setenv("CRITIC_KEY", "sesame")
    server.faults = {"": [401]}
    with prm_of(server, api_key_env="CRITIC_KEY") as prm, pytest.raises(SetupError, match="set CRITIC_KEY") as caught:
        list(prm.score(ONE))
    assert "sesame" not in str(caught.value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = ChatPRM(model=MODEL, chat=RLHFLOW_CHAT, base_url=f"http://127.0.0.1:{port}", tries=1)
    with closing(gone), pytest.raises(SetupError, match="cannot be used"):
        list(gone.score(ONE))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": "{step}"}, "must hold {prompt}"),
        ({"prompt": "{prompt}"}, "must hold {step}"),
        ({"labels": ("yes", "Yes ")}, "not two different words"),
        ({"labels": ("", "no")}, "not two different words"),
        ({"labels": ("+", "-")}, "not two different words"),
        ({"labels": ("Good enough", "good")}, "is how the other begins"),
        ({"analysis": -1}, "a count of tokens"),
    ],
)
def test_critics_that_cannot_be_are_refused(wrong, said):
    """A prompt without its fields, and labels that cannot be told apart, are refused in a sentence."""
    with pytest.raises(UsageError, match=said):
        critic(**wrong)


def test_rlhflow_scores_the_same_in_process(folder, server):
    """The folder in this process gives the server's scores to 1e-5, for one step and for several."""
    with closing(LocalPRM(path=folder, kind="rlhflow", device="cpu")) as local:
        want = dict(local.score(SOLUTIONS))
    with prm_of(server, RLHFLOW_CHAT) as prm:
        got = dict(prm.score(SOLUTIONS))
    for key, scores in got.items():
        assert scores.scores == pytest.approx(want[key].scores, abs=1e-5)
        assert scores.steps == want[key].steps


def test_many_steps_are_written_once(folder):
    """A chat of 3,000 steps is found too long in seconds, not minutes; a text may hold the mark of a label."""
    many = Solution(key=0, prompt="?", answer="\n\n".join(f"step {number}" for number in range(3000)))
    marked = Solution(key=1, prompt="a\ue000?", answer="b\n\n\ue000\ue000\n\nc")
    with closing(LocalPRM(path=folder, kind="rlhflow", device="cpu")) as prm:
        list(prm.score(ONE))
        begun = time.process_time()
        got = dict(prm.score([many, marked]))
        assert time.process_time() - begun < 10.0
    chats = [turns(marked.prompt, got[1].steps, number) for number in range(3)]
    assert got[0].reason == "too_long"
    assert got[1].scores == pytest.approx(label_probabilities(folder, chats, ["+"], ["-"]), abs=1e-5)


def test_a_folder_without_a_chat_template_is_refused(folder, tmp_path):
    """In this process the template is needed, and a folder without one is named."""
    bare = shutil.copytree(folder, tmp_path / "bare")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        if (bare / name).exists():
            text = (bare / name).read_text() if name.endswith(".json") else ""
            (bare / name).unlink()
            if text:
                settings = {key: value for key, value in json.loads(text).items() if key != "chat_template"}
                (bare / name).write_text(json.dumps(settings))
    with (
        closing(LocalPRM(path=bare, kind="rlhflow", device="cpu")) as prm,
        pytest.raises(SetupError, match="no chat tem"),
    ):
        list(prm.score(ONE))
