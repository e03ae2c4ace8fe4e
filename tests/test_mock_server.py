"""The shipped mock server: deterministic, countable, faulty on demand, and for this machine alone."""

import contextlib
import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections import Counter

import pytest

from gradatim.errors import SetupError, UsageError
from gradatim.models.mock_answers import Answers, step_scores
from gradatim.models.mock_faults import KINDS, Injection, fault_setting
from gradatim.models.mock_server import MockServer, MockSettings

ROWS = [
    {
        "question": f"Ann has {n} apples and eats {n % 7}. How many are left?",
        "answer": f"{n} - {n % 7}\n#### {n - n % 7}",
    }
    for n in range(20, 320)
]


def post(url, path, body, timeout=5):
    data = json.dumps(body).encode()
    request = urllib.request.Request(
        url.removesuffix("/v1") + path, data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read()


def chat(url, prompt, **more):
    body = {"model": "mock", "messages": [{"role": "user", "content": prompt}], "seed": 1, **more}
    return json.loads(post(url, "/v1/chat/completions", body))


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_same_request_same_answer():
    """An answer is a function of the request: the seed changes it, unless the temperature is 0."""
    with MockServer() as one, MockServer(process=True) as other:
        first = [chat(server.url, "7 and 8?")["choices"] for server in (one, other)]
        assert first[0] == first[1]
        assert len({json.dumps(chat(one.url, "7 and 8?", seed=seed)["choices"]) for seed in range(9)}) > 1
        assert len({json.dumps(chat(one.url, "7 and 8?", seed=s, temperature=0)["choices"]) for s in range(9)}) == 1


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.8, 1.0])
def test_accuracy(answers, accuracy):
    """Known questions are answered right as often as was asked for, in any template, with steps and a box."""
    known = Answers(accuracy=accuracy, accuracies=(), path=answers)
    right = 0
    for at, row in enumerate(ROWS):
        text = f"Solve this. {row['question']}\nPut the answer in a box."
        said = known.say(model="mock", text=text, seed=str(at), max_tokens=None, thinks=False)
        assert said.content.count("\n\n") >= 2
        box = re.findall(r"\\boxed\{(.*?)\}", said.content)
        assert len(box) == 1
        right += box[0] == row["answer"].split("#### ")[1]
    assert right / len(ROWS) == pytest.approx(accuracy, abs=0.08 if 0 < accuracy < 1 else 0)


def test_models_have_accuracies_of_their_own(answers):
    """A named model, such as a teacher, is as good as it is said to be."""
    known = Answers(accuracy=0.0, accuracies=(("teacher", 1.0),), path=answers)
    text, right = ROWS[0]["question"], ROWS[0]["answer"].split("#### ")[1]
    teacher = known.say(model="teacher", text=text, seed="1", max_tokens=None, thinks=False)
    base = known.say(model="base", text=text, seed="1", max_tokens=None, thinks=False)
    assert f"boxed{{{right}}}" in teacher.content
    assert f"boxed{{{right}}}" not in base.content


def test_max_tokens_is_held():
    """An answer that does not fit its limit ends with finish_reason length."""
    with MockServer() as server:
        answer = chat(server.url, "1 and 2?", max_tokens=5)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


def test_counts():
    """The counts tell requests from bodies, and what was bought twice from what was merely asked twice."""
    with MockServer() as server:
        before = time.time()
        for prompt in ("a", "b", "a"):
            chat(server.url, prompt)
        stats = server.stats()
        assert (stats.requests, stats.unique, stats.repeated, stats.bought_again) == (3, 2, 1, 1)
        assert (stats.answered, stats.in_flight, stats.faults) == (3, 0, {})
        assert len(stats.last_answered) == 3
        assert before - 0.1 <= stats.last_answered[0] <= time.time()
        server.reset()
        assert server.stats().requests == 0


def test_client_that_goes_away_is_counted():
    """A request whose client hangs up is under way until then, and aborted after."""
    with MockServer(MockSettings(latency=20)) as server:
        host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
        body = b'{"messages":[]}'
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            wait_for(lambda: server.stats().in_flight == 1)
        wait_for(lambda: server.stats().in_flight == 0)
        assert len(server.stats().aborted) == 1
        assert server.stats().answered == 0


def wait_for(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within 2 s")


def test_faults_come_as_often_as_asked_and_pass():
    """Each kind comes with its probability, by the seed, and the same body meets another fate the next time."""
    injection = Injection(shares=(("500", 0.2), ("429", 0.1)), seed=4)
    kinds = Counter(injection.kind(b"%d" % at, 1) for at in range(10_000))
    assert kinds["500"] / 10_000 == pytest.approx(0.2, abs=0.02)
    assert kinds["429"] / 10_000 == pytest.approx(0.1, abs=0.02)
    assert [injection.kind(b"%d" % at, 1) for at in range(50)] == [injection.kind(b"%d" % at, 1) for at in range(50)]
    half = Injection(shares=(("drop", 0.5),), seed=4)
    assert all("" in {half.kind(b"%d" % at, nth) for nth in range(1, 40)} for at in range(200))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"hang", "slow", "truncated"}])
@pytest.mark.parametrize("stream", [False, True])
def test_faults_are_no_answers(kind, stream):
    """What a fault sends cannot be read as a whole answer."""
    with MockServer(MockSettings(faults=((kind, 1.0),), retry_after=3)) as server:
        failed = None
        try:
            data = post(server.url, "/v1/chat/completions", {"messages": [], "stream": stream})
            if stream:
                assert b"[DONE]" not in data
            else:
                assert b'"choices"' not in data or not is_json(data)
        except urllib.error.HTTPError as error:
            failed = (error.code, error.headers["Retry-After"])
            error.close()
        except (http.client.HTTPException, ConnectionError, urllib.error.URLError):
            failed = "lost"
        expected = {"429": (429, "3"), "429_bare": (429, None), "500": (500, None), "drop": "lost"}
        assert failed == expected.get(kind)
        assert server.stats().faults == {kind: 1}
        assert server.stats().answered == 0


def is_json(data):
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def test_truncated_slow_and_hang():
    """A truncated answer says so, a slow one arrives whole, and a hanging one does not arrive."""
    with MockServer(MockSettings(faults=(("truncated", 1.0),))) as server:
        assert chat(server.url, "1 and 2?")["choices"][0]["finish_reason"] == "length"
    with MockServer() as fast, MockServer(MockSettings(faults=(("slow", 1.0),), drip=0.01)) as slow:
        body = {"model": "mock", "messages": [{"role": "user", "content": "1 and 2?"}]}
        assert post(slow.url, "/v1/chat/completions", body).strip() == post(fast.url, "/v1/chat/completions", body)
        body["stream"] = True
        dripped = post(slow.url, "/v1/chat/completions", body)
        assert dripped.replace(b": keep-alive\n\n", b"") == post(fast.url, "/v1/chat/completions", body)
    with MockServer(MockSettings(faults=(("hang", 1.0),))) as server, pytest.raises(OSError, match="timed out"):
        post(server.url, "/v1/chat/completions", {"messages": []}, timeout=0.3)


def test_pooling_gives_one_row_per_tag():
    """Step scores come in vLLM's shape: a pair per tag that sums to 1, the same each time, none without a tag."""
    texts = ["a<extra_0>b<extra_0>", "c ки", "no tag"]
    with MockServer() as server:
        answer = json.loads(post(server.url, "/pooling", {"model": "prm", "input": texts}))
        again = json.loads(post(server.url, "/pooling", {"model": "prm", "input": texts[0]}))
        ids = json.loads(post(server.url, "/pooling", {"model": "prm", "input": [[1, 151651, 2, 151651]]}))
        assert server.stats().pooling == 3
    assert [len(item["data"]) for item in answer["data"]] == [2, 1, 0]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert again["data"][0]["data"] == answer["data"][0]["data"]
    assert len(ids["data"][0]["data"]) == 2
    assert all(abs(sum(pair) - 1) < 1e-9 and 0 <= pair[1] <= 1 for item in answer["data"] for pair in item["data"])


def test_scores_fill_all_levels():
    """Mean scores of many texts are spread over [0, 1], so that a demonstration has questions of each level."""
    means = [step_scores(f"text {at}<extra_0>")[0][1] for at in range(500)]
    assert all(sum(low <= mean < low + 0.2 for mean in means) > 50 for low in (0.0, 0.2, 0.4, 0.6))


def test_other_paths_and_bad_requests():
    """What is no chat request gets an error, and the server goes on."""
    with MockServer(MockSettings(models=("base", "teacher"))) as server:
        with urllib.request.urlopen(f"{server.url}/models") as response:
            assert [model["id"] for model in json.load(response)["data"]] == ["base", "teacher"]
        for path, body in (("/nothing", {}), ("/v1/chat/completions", {"messages": 3}), ("/pooling", {})):
            with pytest.raises(urllib.error.HTTPError) as raised:
                post(server.url, path, body)
            assert raised.value.code in {400, 404}
            raised.value.close()
        assert server.stats().requests == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "0.0.0.0"}, "this machine alone"),
        ({"host": "example.com"}, "this machine alone"),
        ({"host": "::"}, "this machine alone"),
        ({"port": 70000}, "--port"),
        ({"reasoning": "much"}, "--reasoning"),
        ({"latency": -1.0}, "latency"),
        ({"deltas": 0}, "deltas"),
        ({"faults": (("500", 0.7), ("429", 0.7))}, "sum"),
        ({"faults": (("boom", 0.1),)}, "kinds are"),
    ],
)
def test_settings_that_are_refused(settings, says):
    """A wrong setting, or an address that others can reach, is refused before anything listens."""
    with pytest.raises(UsageError, match=says):
        MockSettings(**settings)


def test_fault_setting():
    """A fault is written as kind=probability."""
    assert fault_setting("429=0.05") == ("429", 0.05)
    for wrong in ("429", "429=2", "429=x", "=1"):
        with pytest.raises(UsageError, match="--fault"):
            fault_setting(wrong)


@pytest.mark.parametrize("process", [False, True])
def test_what_keeps_it_from_starting_is_raised(process, tmp_path):
    """A port that is taken, or a file that is wrong, is said where the server was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = MockSettings(port=taken.getsockname()[1])
        with pytest.raises(SetupError, match="cannot listen"), MockServer(settings, process=process):
            pass
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "p", "reference": "r"}\nnot json\n')
    settings = MockSettings(answers=str(bad))
    with (
        pytest.raises((UsageError, SetupError), match=r"bad\.jsonl:2"),
        MockServer(settings, process=process),
    ):
        pass


def test_ipv6():
    """The other loopback address works as well."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with MockServer(MockSettings(host="::1")) as server:
        assert server.url.startswith("http://[::1]:")
        assert server.stats().requests == 0


def test_the_bill_is_what_answers_say_they_used():
    """`billed` sums the counts of the answers, for each model by its name, and a reset sets it to nothing."""
    with MockServer(MockSettings(usage="random")) as server:
        said = [chat(server.url, f"{n} and 8?", seed=n, max_tokens=50, model="a")["usage"] for n in range(40)]
        chat(server.url, "7?", max_tokens=50, model="b")
        billed = server.stats().billed
        server.reset()
        assert server.stats().billed == {}
    assert (billed["a"].requests, billed["b"].requests) == (40, 1)
    assert billed["a"].prompt == sum(one["prompt_tokens"] for one in said)
    assert billed["a"].completion == sum(one["completion_tokens"] for one in said)
    cached = [one["prompt_tokens_details"]["cached_tokens"] for one in said if "prompt_tokens_details" in one]
    assert 0 < billed["a"].cached == sum(cached)
    assert len({one["completion_tokens"] for one in said}) > 10
    assert all(one["completion_tokens"] <= 50 for one in said)
    assert all(0 < one["prompt_tokens"] <= 256 + 16 + len("39 and 8?") for one in said)


def test_some_answers_keep_their_counts_to_themselves():
    """With `untold` one answer in ten says nothing of what it used, and is billed all the same."""
    with MockServer(MockSettings(usage="untold")) as server:
        said = [chat(server.url, f"{n}?", seed=n, max_tokens=50)["usage"] for n in range(100)]
        assert server.stats().billed["mock"].requests == 100
    assert 2 <= sum(one is None for one in said) <= 25


@pytest.mark.parametrize(("kind", "requests"), [("500", 0), ("429", 0), ("empty", 1), ("malformed", 1), ("drop", 1)])
def test_what_a_fault_keeps_from_the_client_is_billed_if_it_was_written(kind, requests):
    """An answer that never arrives costs as much as one that does; what is refused costs nothing."""
    with MockServer(MockSettings(faults=((kind, 1.0),))) as server:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            chat(server.url, "7 and 8?", max_tokens=50)
        billed = server.stats().billed
    assert sum(one.requests for one in billed.values()) == requests


def test_who_goes_away_pays():
    """A request whose client hung up before the answer came is billed."""
    with MockServer(MockSettings(latency=0.5)) as server:
        body = {"model": "mock", "messages": [{"role": "user", "content": "7?"}], "max_tokens": 50}
        with pytest.raises(TimeoutError):
            post(server.url, "/v1/chat/completions", body, timeout=0.1)
        assert server.stats().billed["mock"].completion > 0
        assert server.stats().answered == 0
