"""The engine asks for every request, hands over every answer and every fault once, and ends as it should."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import LimitError, SetupError, UsageError
from gradatim.models.budget import Budget, Price, prompt_bound
from gradatim.models.endpoint import Endpoint
from gradatim.models.engine import Engine
from gradatim.models.faults import Overloaded, Retry
from gradatim.models.limiter import Limiter
from gradatim.models.mock_faults import KINDS
from gradatim.models.mock_server import MockServer, MockSettings
from gradatim.models.pace import EngineSettings, Tries
from gradatim.types import Request, Sampling
from scripted_server import Answer, Scripted

SAMPLING = Sampling(max_tokens=300)
QUICK = {"backoff": 0.01, "longest_backoff": 0.05}
OK = Answer(parts=[b'{"choices":[{"message":{"content":"4"},"finish_reason":"stop"}]}'], pause=0)


def a_request(key):
    return Request(key=key, messages=SAMPLING.messages(f"What is {key} and {key * 3}?"), sampling=SAMPLING, seed=key)


class Feed:
    """Requests 0 to `count` - 1, and what a test adds."""

    def __init__(self, count=0, *, stays_open=False):
        self.waiting = [a_request(key) for key in reversed(range(count))]
        self.stays_open = stays_open
        self.taken = 0

    def take(self):
        if not self.waiting:
            return None
        self.taken += 1
        return self.waiting.pop()

    def open(self):
        return self.stays_open or bool(self.waiting)


class Run:
    """One engine on one server, with what it handed over."""

    def __init__(
        self, url, feed, *, budget=None, model=None, on_reply=None, stream=True, idle_timeout=30.0, **settings
    ):
        self.replies, self.faults, self.calls = {}, {}, Counter()
        self.then = on_reply
        self.feed = feed
        self.model = model or Endpoint(name="mock", base_url=url, stream=stream, idle_timeout=idle_timeout)
        self.engine = Engine(
            self.model,
            feed,
            on_reply=self.on_reply,
            on_fault=self.on_fault,
            settings=EngineSettings(**(QUICK | settings)),
            budget=budget,
        )

    def on_reply(self, request, reply):
        self.calls[request.key] += 1
        self.replies[request.key] = reply
        if self.then:
            self.then(request, reply)

    def on_fault(self, request, fault):
        self.calls[request.key] += 1
        self.faults[request.key] = fault

    def start(self):
        stats = self.engine.run()
        assert all(count == 1 for count in self.calls.values())
        assert stats.in_flight == 0
        return stats


@pytest.fixture(scope="module")
def undisturbed():
    """What the mock server answers when nothing goes wrong."""
    with MockServer() as server:
        run = Run(server.url, Feed(60))
        run.start()
        return {key: reply.content for key, reply in run.replies.items()}


def test_every_request_is_answered_once(undisturbed):
    """Without faults each request is sent once and answered once, never more at a time than was allowed."""
    with MockServer(MockSettings(latency=0.01)) as server:
        run = Run(server.url, Feed(60), concurrency=7)
        stats = run.start()
        seen = server.stats()
    assert {key: reply.content for key, reply in run.replies.items()} == undisturbed
    assert (stats.sent, stats.replies, stats.faults, stats.retries) == (60, 60, 0, 0)
    assert (seen.requests, seen.repeated, seen.most_in_flight) == (60, 0, 7)
    assert stats.completion_tokens == sum(reply.usage.completion for reply in run.replies.values())
    assert stats.prompt_tokens > 0
    assert stats.seconds > 0
    assert abs(stats.started - time.time()) < 60


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_fault_kind_passes(kind, stream, undisturbed):
    """With any kind of fault in two requests of five, every answer still arrives, and is the undisturbed one."""
    faults = ((kind, 0.4),)
    with MockServer(MockSettings(faults=faults, seed=3, retry_after=0.02, drip=0.01)) as server:
        run = Run(server.url, Feed(60), stream=stream, idle_timeout=0.4, tries=40)
        stats = run.start()
        seen = server.stats()
    assert run.faults == {}
    assert len(run.replies) == 60
    assert seen.faults[kind] > 5
    if kind == "truncated":
        cut = {key for key, reply in run.replies.items() if reply.finish_reason == "length"}
        assert len(cut) == seen.faults[kind]
        assert all(undisturbed[key].startswith(reply.content) for key, reply in run.replies.items())
    else:
        assert {key: reply.content for key, reply in run.replies.items()} == undisturbed
        assert seen.bought_again == 0
    assert stats.retries == (0 if kind in {"slow", "truncated"} else seen.faults[kind])
    assert stats.sent == seen.requests


def test_all_faults_together(undisturbed):
    """With every kind of fault at once each request ends answered."""
    kinds = tuple((kind, 0.06) for kind in KINDS if kind != "truncated")
    with MockServer(MockSettings(faults=kinds, seed=11, retry_after=0.02, drip=0.005)) as server:
        run = Run(server.url, Feed(60), idle_timeout=0.4, tries=40, concurrency=16)
        run.start()
        assert server.stats().bought_again == 0
    assert {key: reply.content for key, reply in run.replies.items()} == undisturbed


def test_tries_end_and_siblings_go_on():
    """A request whose tries are used up is given up with its last fault; the others are answered."""
    with MockServer(MockSettings(faults=(("500", 0.5),), seed=1)) as server:
        run = Run(server.url, Feed(200), tries=2, max_consecutive_faults=200)
        stats = run.start()
        assert server.stats().requests == stats.sent
    assert len(run.replies) + len(run.faults) == 200
    assert {fault.reason for fault in run.faults.values()} == {"http_500"}
    assert 20 < len(run.faults) < 90
    assert stats.sent == 200 + stats.retries


def test_failure_budget():
    """When nothing is answered the run ends and names the last fault, long before every request has failed."""
    with MockServer(MockSettings(faults=(("500", 1.0),))) as server:
        run = Run(server.url, Feed(5000), tries=1, max_consecutive_faults=20, concurrency=4)
        with pytest.raises(LimitError, match="20 requests in a row got no answer, the last for http_500"):
            run.start()
    assert 20 <= len(run.faults) <= 24


def test_refused_is_not_tried_again():
    """A request that cannot succeed is sent once."""
    no = Answer(parts=[b'{"error":{"message":"maximum context length is 5"}}'], status=400)
    with Scripted(no, OK) as server:
        run = Run(server.url, Feed(2), concurrency=1)
        stats = run.start()
    assert run.faults[0].reason == "context_overflow"
    assert 1 in run.replies
    assert stats.sent == 2


def test_wrong_key_ends_the_run(monkeypatch):
    """A key that is not accepted ends the run with the variable's name; answers under way are kept."""
    monkeypatch.setenv("A_KEY", "sk-secret-0123456789")
    slow = Answer(parts=OK.parts, pause=0.5)
    with Scripted(slow, Answer(parts=[b"{}"], status=401)) as server:
        model = Endpoint(name="mock", base_url=server.url, api_key_env="A_KEY")
        run = Run(server.url, Feed(50), model=model, concurrency=2)
        with pytest.raises(SetupError, match="environment variable A_KEY") as raised:
            run.start()
        assert len(server.heads) == 2
    assert len(run.replies) == 1
    assert run.faults == {}
    assert "sk-secret" not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_overload_pauses_everyone():
    """After a Retry-After nobody sends anything before its end."""
    times, pauses = [], []
    with Scripted(Answer(parts=[b"{}"], status=429, headers={"Retry-After": "0.6"}), OK) as server:
        start = time.monotonic()
        run = Run(server.url, Feed(6), concurrency=1, on_reply=lambda *_: times.append(time.monotonic() - start))
        threading.Timer(0.3, lambda: pauses.append(run.engine.stats.paused)).start()
        stats = run.start()
        assert len(server.heads) == 7
    assert min(times) >= 0.6
    assert 0 < max(pauses) <= 0.6
    assert (stats.overloads, stats.retries, stats.faults) == (1, 1, 0)


def test_overload_is_no_try_but_ends():
    """Being turned away uses up no tries, and ends with patience."""
    with MockServer(MockSettings(faults=(("429_bare", 0.7),), seed=2)) as server:
        run = Run(server.url, Feed(20), tries=1)
        stats = run.start()
    assert len(run.replies) == 20
    assert stats.overloads > 20
    with MockServer(MockSettings(faults=(("429_bare", 1.0),))) as server:
        run = Run(server.url, Feed(4), patience=0.3)
        run.start()
    assert {fault.reason for fault in run.faults.values()} == {"http_429"}


def test_a_wait_longer_than_patience_gives_up_at_once():
    """A server that asks for an hour does not hold the run for one."""
    with Scripted(Answer(parts=[b"{}"], status=429, headers={"Retry-After": "3600"})) as server:
        run = Run(server.url, Feed(3), patience=5)
        start = time.monotonic()
        run.start()
    assert time.monotonic() - start < 4
    assert len(run.faults) == 3


def test_a_bug_costs_one_item():
    """An exception that nobody foresaw is the fault of its item, with its type and place, and stops nothing."""

    class Buggy(Endpoint):
        async def ask(self, request):
            reply = await super().ask(request)
            return reply if request.key != 3 else {}["choices"]

    with MockServer() as server:
        run = Run(server.url, Feed(10), model=Buggy(name="mock", base_url=server.url))
        run.start()
    assert list(run.faults) == [3]
    assert run.faults[3].reason == "bug:KeyError"
    assert "test_engine.py:" in run.faults[3].message
    assert len(run.replies) == 9


def test_settings_mistake_ends_the_run():
    """What only the user can put right, found while asking, is raised and not stored as a fault."""
    request = Request(key=0, messages=(), sampling=Sampling(extra_body="["), seed=0)
    feed = Feed()
    feed.waiting = [request]
    run = Run("http://127.0.0.1:9/v1", feed)
    with pytest.raises(UsageError, match="extra_body"):
        run.start()
    assert run.faults == {}


def test_exception_in_a_callback_is_raised():
    """A callback's exception ends the run and is raised, after the answers under way were handed over."""

    def fail(request, _):
        if request.key == 0:
            raise OSError("disk full")

    with MockServer(MockSettings(latency=0.05)) as server:
        run = Run(server.url, Feed(100), on_reply=fail, concurrency=5)
        with pytest.raises(OSError, match="disk full"):
            run.start()
        assert server.stats().answered == len(run.replies) == 5


def test_exception_in_a_feed_is_raised():
    """A feed's exception ends the run and is raised."""

    class Broken(Feed):
        def take(self):
            if self.taken == 5:
                raise ValueError("broken pool")
            return super().take()

    with MockServer() as server, pytest.raises(ValueError, match="broken pool"):
        Run(server.url, Broken(10), concurrency=2).start()


def test_feed_that_grows_from_its_results():
    """Requests that exist only because of answers are asked for, several at once, before the run ends."""
    feed = Feed(1)

    def grow(request, _):
        if request.key < 31:
            feed.waiting += [a_request(2 * request.key + 1), a_request(2 * request.key + 2)]

    with MockServer(MockSettings(latency=0.02)) as server:
        run = Run(server.url, feed, on_reply=grow, concurrency=16)
        run.start()
        assert len(run.replies) == 63
        assert server.stats().most_in_flight > 8


def test_feed_that_is_filled_from_another_thread():
    """An idle engine takes what another thread adds as soon as it is woken, and ends when the feed is closed."""
    feed, times = Feed(stays_open=True), []
    with MockServer() as server:
        run = Run(server.url, feed, on_reply=lambda *_: times.append(time.monotonic()))
        added = []

        def fill():
            for key in range(5):
                time.sleep(0.05)
                feed.waiting.append(a_request(key))
                added.append(time.monotonic())
                run.engine.wake()
            feed.stays_open = False
            run.engine.wake()

        thread = threading.Thread(target=fill)
        thread.start()
        start = time.monotonic()
        run.start()
        thread.join()
    assert len(run.replies) == 5
    assert all(there - asked < 0.5 for asked, there in zip(added, times, strict=True))
    assert time.monotonic() - start < 3


def test_empty_feed_ends():
    """A feed with nothing in it ends at once, without a server."""
    assert Run("http://127.0.0.1:9/v1", Feed()).start().sent == 0


def test_stop_keeps_what_is_under_way():
    """After `stop` nothing is taken, and what was sent is answered and handed over."""
    with MockServer(MockSettings(latency=0.3)) as server:
        run = Run(server.url, Feed(1000), concurrency=8)
        threading.Timer(0.4, run.engine.stop).start()
        stats = run.start()
        seen = server.stats()
    assert stats.sent == stats.replies == seen.answered == seen.requests
    assert 8 <= stats.sent <= 24
    assert seen.aborted == []


def test_stop_waits_no_longer_than_grace():
    """A request that hangs holds a stopped run for the grace, not for its timeout."""
    with MockServer(MockSettings(faults=(("hang", 1.0),))) as server:
        run = Run(server.url, Feed(20), grace=0.2)
        threading.Timer(0.3, run.engine.stop).start()
        start = time.monotonic()
        run.start()
    assert 0.4 < time.monotonic() - start < 3
    assert run.calls == {}


def test_stop_before_the_start():
    """An engine that was stopped before it ran sends nothing."""
    run = Run("http://127.0.0.1:9/v1", Feed(5))
    run.engine.stop()
    assert run.start().sent == 0


def test_sigint_keeps_what_arrives():
    """Ctrl-C hands over what arrives within the grace, then raises KeyboardInterrupt and leaves Python's handler."""
    with MockServer(MockSettings(latency=0.3)) as server:
        run = Run(server.url, Feed(1000), concurrency=8)
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            run.start()
        assert len(run.replies) == server.stats().answered == server.stats().requests
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_sigint_does_not_wait():
    """A second Ctrl-C ends the wait for answers."""
    with MockServer(MockSettings(faults=(("hang", 1.0),))) as server:
        run = Run(server.url, Feed(20), grace=60)
        for delay in (0.3, 0.5):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run.start()
    assert time.monotonic() - start < 5


def test_inside_a_running_loop():
    """In a notebook, where an event loop runs already, a run works like anywhere."""

    async def cell():
        with MockServer() as server:
            run = Run(server.url, Feed(5))
            run.start()
            return run

    assert len(asyncio.run(cell()).replies) == 5


def test_one_endpoint_serves_several_runs():
    """An endpoint can be used again after a run has closed its connections."""
    with MockServer() as server:
        model = Endpoint(name="mock", base_url=server.url)
        for _ in range(2):
            assert Run(server.url, Feed(3), model=model).start().replies == 3


def test_token_budget_is_never_exceeded():
    """A budget ends the run with a sentence, and the server has counted no more tokens than it allows."""
    with MockServer(MockSettings(latency=0.005)) as server:
        budget = Budget(tokens=20_000)
        run = Run(server.url, Feed(2000), budget=budget, concurrency=32)
        with pytest.raises(LimitError, match=r"budget is used up \(\d+ of 20000 tokens\)"):
            run.start()
        assert server.stats().answered == len(run.replies)
    counted = sum(reply.usage.prompt + reply.usage.completion for reply in run.replies.values())
    assert counted == budget.spent_tokens <= 20_000
    assert counted > 19_000 - prompt_bound(a_request(0).messages)
    assert budget.open == 0


def test_faults_that_may_be_billed_count():
    """Tries that the server may have billed count as their worst case, those that it turned away as nothing."""
    for kind, counts in (("malformed", True), ("500", False)):
        with MockServer(MockSettings(faults=((kind, 1.0),))) as server:
            budget = Budget(price=Price(input=1, output=1))
            run = Run(server.url, Feed(2), budget=budget, tries=3)
            stats = run.start()
        worst = sum(prompt_bound(a_request(key).messages) + 300 for key in range(2)) * 3
        assert budget.spent_tokens == (worst if counts else 0)
        assert stats.cost == pytest.approx(budget.spent_tokens / 1e6)
        assert budget.open == 0


def test_time_budget_is_never_exceeded():
    """At the end of the time the run is over, hanging requests included."""
    with MockServer(MockSettings(faults=(("hang", 0.2),), latency=0.01)) as server:
        run = Run(server.url, Feed(100_000), budget=Budget(seconds=1.0), concurrency=4)
        start = time.monotonic()
        with pytest.raises(LimitError, match="time is over"):
            run.start()
    assert 0.8 < time.monotonic() - start < 1.5


def test_stats_are_live():
    """The counts can be read from another thread while the engine runs."""
    with MockServer(MockSettings(latency=0.2)) as server:
        run, seen = Run(server.url, Feed(16), concurrency=4), []
        timer = threading.Timer(0.3, lambda: seen.append(run.engine.stats))
        timer.start()
        run.start()
        timer.join()
    assert (seen[0].replies, seen[0].in_flight, seen[0].limit) == (4, 4, 4)
    assert seen[0].sent == 8


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"tries": 0}, {"backoff": -1.0}, {"grace": float("nan")}])
def test_settings_that_cannot_work(settings):
    """A setting that cannot work is refused."""
    with pytest.raises(UsageError, match=next(iter(settings))):
        EngineSettings(**settings)


def limited(main):
    asyncio.run(main())


def test_limiter_halves_once_per_round_trip():
    """Requests that were sent before a cut do not cut again; one that was sent after it does."""

    async def main():
        limiter = Limiter(most=64)
        sent_at = time.monotonic()
        for _ in range(10):
            limiter.overloaded(sent_at=sent_at)
        assert limiter.limit == 32
        await asyncio.sleep(0.001)
        limiter.overloaded(sent_at=time.monotonic())
        assert limiter.limit == 16

    limited(main)


def test_limiter_adds_one_per_round():
    """A full round of answers raises the limit by one, up to what the user set."""

    async def main():
        limiter = Limiter(most=10)
        limiter.overloaded(sent_at=time.monotonic())
        for _ in range(6):
            limiter.succeeded()
        assert limiter.limit == 6
        for _ in range(1000):
            limiter.succeeded()
        assert limiter.limit == 10

    limited(main)


@given(st.lists(st.sampled_from(["ok", "overload", "take", "give"]), max_size=60), st.integers(1, 8))
def test_limiter_stays_in_its_bounds(events, most):
    """Whatever happens the limit stays between 1 and the most, and no more slots are taken than it allowed."""

    async def main():
        limiter, tasks = Limiter(most=most), []
        for event in events:
            if event == "ok":
                limiter.succeeded()
            elif event == "overload":
                limiter.overloaded(sent_at=time.monotonic())
            elif event == "take":
                tasks.append(asyncio.ensure_future(limiter.acquire()))
            elif limiter.in_flight:
                limiter.release()
            await asyncio.sleep(0)
            assert 1 <= limiter.limit <= most
            assert limiter.in_flight <= most
        while not all(task.done() for task in tasks):
            if limiter.in_flight:
                limiter.release()
            await asyncio.sleep(0)

    limited(main)


def test_limiter_survives_a_cancelled_waiter():
    """A slot that was offered to a task that is cancelled goes to the next one."""

    async def main():
        limiter = Limiter(most=1)
        await limiter.acquire()
        first, second = (asyncio.ensure_future(limiter.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        limiter.release()
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert limiter.in_flight == 1

    limited(main)


def test_backoff_grows_and_is_bounded():
    """Waits have full jitter under an exponential bound, and a Retry-After is waited for at least."""
    settings = EngineSettings(tries=100, backoff=1.0, longest_backoff=8.0)
    tries = Tries(settings=settings)
    waits = [tries.wait_after(Retry("x", ""), sent_at=0.0) for _ in range(40)]
    assert all(0 <= wait <= min(8.0, 2.0**at) for at, wait in enumerate(waits))
    assert len(set(waits)) == 40
    assert Tries(settings=settings).wait_after(Retry("x", "", retry_after=5.0), sent_at=0.0) >= 5.0
    turned_away = Overloaded("x", "", retry_after=30.0)
    assert Tries(settings=settings).wait_after(turned_away, sent_at=time.monotonic()) >= 30.0
    assert Tries(settings=settings).wait_after(turned_away, sent_at=time.monotonic() - 590) is None
