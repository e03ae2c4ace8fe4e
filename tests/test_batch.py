"""Stages that ask in batches: what is one batch, what a budget leaves of it, what follows from what failed."""

import json

import pytest

import gradatim as gr
from gradatim.errors import SetupError, UsageError
from gradatim.library import batches
from gradatim.models.mock_batches import BATCH_KINDS
from gradatim.work import sending
from pools import drawn_library, pool_library

QUICK = gr.EngineSettings(tries=2, backoff=0.01)
PRICE = gr.Price(input=1.0, output=2.0)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Have nobody wait a minute for a call that was lost."""
    monkeypatch.setattr(sending, "SETTLE", 0.05)


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 20) as library:
        yield library


def served(**settings) -> gr.MockServer:
    return gr.MockServer(gr.MockSettings(**{"batch_seconds": 0.05} | settings))


def batched(server, name="m", **settings) -> gr.BatchEndpoint:
    return gr.BatchEndpoint(gr.Endpoint(name=name, base_url=server.url, probe=False), **{"poll": 0.02} | settings)


def faults(library) -> dict[str, int]:
    return dict(library.all("SELECT reason, count(*) FROM faults GROUP BY 1"))


def requests_of(library) -> list[int]:
    return [count for (count,) in library.all("SELECT requests FROM batches ORDER BY made_at")]


def test_all_that_can_be_asked_is_one_batch(library):
    """Twenty questions with two samples each are one batch of forty, and no request besides; a rerun asks nothing."""
    with served() as server:
        wanted = gr.AttemptSettings(samples=2, temperature=1.0)
        result = gr.attempt(library, batched(server), wanted)
        assert (result.answered, result.left, result.under_way, result.faults) == (40, 0, 0, {})
        assert gr.attempt(library, batched(server), wanted).answered == 0
        stats = server.stats()
    assert (stats.batches, stats.batch_requests, stats.requests) == (1, 40, 0)
    assert library.all("SELECT DISTINCT outcome FROM batch_items") == [("answered",)]


def test_answers_are_those_of_single_requests(tmp_path):
    """A question gets, in a batch, the answer that the same request gets online."""
    found = []
    with served(reasoning="field") as server:
        for number, model in enumerate([batched(server), batched(server).endpoint]):
            (tmp_path / str(number)).mkdir()
            with pool_library(tmp_path / str(number), 8) as library:
                gr.attempt(library, model, gr.AttemptSettings(temperature=1.0))
                sql = "SELECT id, content, reasoning, finish_reason, prompt_tokens, completion_tokens FROM attempts"
                found.append(sorted(library.all(sql)))
    assert found[0] == found[1]


@pytest.mark.parametrize(("limit", "sizes"), [({"requests": 8}, [8, 8, 4]), ({"megabytes": 0.002}, None)])
def test_what_is_too_much_for_one_batch_is_several(library, limit, sizes):
    """No batch has more requests, and no file more bytes, than the settings allow."""
    with served() as server:
        assert gr.attempt(library, batched(server, **limit)).answered == 20
    assert sum(requests_of(library)) == 20
    if sizes is None:
        assert len(requests_of(library)) > 3
    else:
        assert requests_of(library) == sizes


def test_only_what_failed_is_sent_again(library):
    """Lines that failed for a reason that may pass go into the next batch by themselves, up to `tries` batches."""
    with served(batch_faults=(("line_500", 0.4),), seed=3) as server:
        result = gr.attempt(library, batched(server), engine=QUICK)
        stats = server.stats()
    first, second = requests_of(library)
    assert (first, second) == (
        20,
        len(library.all("SELECT 1 FROM batch_items WHERE outcome = 'http_500' AND tries = 1")),
    )
    assert result.left == result.faults["http_500"] == faults(library)["http_500"] > 0
    assert (stats.batch_again, result.answered) == (0, 20 - result.left)


def test_what_can_never_succeed_is_listed_at_once(library):
    """A request that is too long for the context is a fault after one batch."""
    with served(batch_faults=(("line_400", 0.3),)) as server:
        result = gr.attempt(library, batched(server), engine=QUICK)
    assert requests_of(library) == [20]
    assert result.faults == faults(library) == {"context_overflow": result.left}


def test_half_of_an_expired_batch_is_kept(library):
    """Answers of a batch whose time was over are taken, and the rest is in the next one."""
    with served(batch_faults=(("expired", 1.0),)) as server:
        result = gr.attempt(library, batched(server), engine=gr.EngineSettings(tries=3, backoff=0.01))
    assert requests_of(library) == [20, 10, 5]
    assert result.faults == {"batch_expired": result.left}
    assert result.answered == 20 - result.left >= 17


def test_a_cancelled_batch_ends_the_run(library):
    """What a cancelled batch had answered is kept; the rest is listed, and asked by the next run, not by this one."""
    with served(batch_faults=(("cancelled", 1.0),)) as server:
        result = gr.attempt(library, batched(server), engine=QUICK)
        assert (requests_of(library), result.answered) == ([20], 10)
        assert result.faults == {"batch_cancelled": 10}
        assert gr.attempt(library, batched(server), engine=QUICK).answered == 5


def test_a_line_that_is_refused_does_not_hold_up_the_others(library):
    """Where a file is refused for one line, that one is listed and the others are sent again."""
    with served(batch_faults=(("failed_line", 1.0),), batch_seconds=0.01) as server:
        result = gr.attempt(library, batched(server), engine=QUICK)
    assert result.faults == faults(library) == {"invalid_request": 20}
    assert requests_of(library) == list(range(20, 0, -1))


def test_a_batch_that_is_refused_twice_ends_the_run(library):
    """A server that takes no batch ends the run with what it said, and every request is listed."""
    with served(batch_faults=(("failed", 1.0),)) as server:
        with pytest.raises(SetupError, match=r"refuses the batch .*could not be validated\. Put that right"):
            gr.attempt(library, batched(server), engine=QUICK)
        assert server.stats().batch_answered == 0
    assert requests_of(library) == [20, 20]
    assert faults(library) == {"server_error": 20}


def test_a_full_queue_makes_smaller_batches(library):
    """Where too many tokens wait at the server, batches are halved until it takes them; one request must fit."""
    with served(batch_faults=(("crowded", 1.0),)) as server, pytest.raises(SetupError, match="Enqueued token limit"):
        gr.attempt(library, batched(server), engine=QUICK)
    assert requests_of(library) == [20, 10, 5, 2, 1]


def test_nobody_waits_who_does_not_want_to(library):
    """With `wait=False` a run ends when its batch is at the server; the next one takes the answers and asks nothing."""
    with served(batch_seconds=0.6) as server:
        first = gr.attempt(library, batched(server, wait=False))
        assert (first.answered, first.under_way, first.left) == (0, 20, 20)
        assert "goes on at the server: run the same command again" in first.stopped
        online = gr.attempt(library, batched(server).endpoint)
        assert (online.answered, online.under_way) == (0, 20)
        assert "20 requests are in batches, and are not asked again" in online.stopped
        assert server.stats().requests == 0
        assert gr.attempt(library, batched(server)).answered == 20
        assert server.stats().batches == 1


def test_few_requests_are_asked_online(library):
    """A round of at most `online` requests goes to the chat endpoint, and what failed in a batch with it."""
    with served(batch_faults=(("line_500", 0.2),), seed=2) as server:
        result = gr.attempt(library, batched(server, online=8), price=PRICE, engine=QUICK)
        stats = server.stats()
    assert (result.left, stats.batches) == (0, 1)
    assert stats.requests == 20 - stats.batch_answered > 0
    assert (result.answered, stats.batch_again) == (20, 0)
    assert library.value("SELECT count(*) FROM ledger WHERE why = 'answer'") == 20


def test_a_budget_decides_how_large_a_batch_is(library):
    """A batch holds as many requests as the budget has room for, and the next one what the first gave back."""
    with served() as server:
        settings = gr.AttemptSettings(max_tokens=200)
        budget = gr.Budget(tokens=4000)
        result = gr.attempt(library, batched(server), settings, budget=budget)
        billed = server.stats().billed["m"]
    assert "the budget is used up" in result.stopped or result.left == 0
    assert len(requests_of(library)) > 1
    assert budget.spent_tokens == billed.prompt + billed.completion <= 4000


def test_teach_closes_a_batch_when_verdicts_can_add_nothing(tmp_path):
    """A round of a teacher is one batch: what is still missing after all its verdicts goes into the next."""
    with drawn_library(tmp_path) as library:
        with served(accuracy=0.7, answers=str(tmp_path / "pool.jsonl")) as server:
            teacher, curate = batched(server, "t"), gr.CurateSettings(max_repetition=1.0)
            wanted = gr.TeachSettings(temperature=1.0)
            result = gr.teach(library, "d", teacher, wanted, curate=curate, price=PRICE)
            again = server.stats().batch_again
        assert (result.missing, result.under_way, again) == (0, 0, 0)
        sizes = requests_of(library)
        assert sizes[0] == 15
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) == result.asked
        levels = library.all("SELECT count(*) FROM ledger WHERE why = 'answer' AND level IS NOT NULL")
        assert levels == [(result.asked,)]


def test_a_batch_of_another_draw_is_taken_up_and_counts_for_none(tmp_path):
    """Answers to another draw's questions are stored and judged, and are no chains of this one."""
    with drawn_library(tmp_path) as library, served(answers=str(tmp_path / "pool.jsonl"), accuracy=1.0) as server:
        gr.sample(library, gr.SampleSettings(name="e", size=3, mix="explicit:1,0,0,0,0", seed=9))
        curate = gr.CurateSettings(max_repetition=1.0)
        gr.teach(library, "d", batched(server, "t", wait=False), curate=curate)
        result = gr.teach(library, "e", batched(server, "t"), curate=curate)
        assert (result.missing, server.stats().batch_again) == (0, 0)
        assert gr.teach(library, "d", batched(server, "t"), curate=curate).missing == 0
        assert sum(line.chains for line in result.lines) == 3
        assert library.value(
            "SELECT count(*) FROM attempt a JOIN setting s ON s.pk = a.setting WHERE s.role = 'teacher'"
        ) == library.value("SELECT count(*) FROM verdicts WHERE role = 'teacher'")


def test_evaluate_asks_in_batches(tmp_path):
    """An evaluation is one batch for each set, and its figures are those of all answers."""
    with pool_library(tmp_path, 6) as library:
        gr.ingest(library, gr.IngestSettings(path=str(tmp_path / "pool.jsonl"), set="eval", purpose="eval", near=0))
        with served(answers=str(tmp_path / "pool.jsonl"), accuracy=1.0) as server:
            settings = gr.EvaluateSettings(sets=["eval"], samples=2, allow_overlap=True)
            (result,) = gr.evaluate(library, batched(server), settings)
            assert (result.left, result.overall.answers, server.stats().batches) == (0, 12, 1)


def test_a_server_without_batches_ends_the_run_at_once(library):
    """Where there is no /files, the run ends with what to change, and no question is listed as failed."""
    with served() as server:
        elsewhere = gr.Endpoint(name="m", base_url=server.url.replace("/v1", "/other/v1"), probe=False)
        with pytest.raises(SetupError, match=r"has no batch API .*HTTP 404.* Take batch out"):
            gr.attempt(library, gr.BatchEndpoint(elsewhere))
        assert (requests_of(library), faults(library)) == ([20], {})
        assert gr.attempt(library, batched(server)).answered == 20


def test_files_stay_unless_they_are_not_wanted(library):
    """Files are left at the server, or removed when the answers are stored."""
    with served() as server:
        gr.attempt(library, batched(server))
        assert len(json.loads(server._call("GET", "/v1/files"))["data"]) == 2
        gr.attempt(library, batched(server, keep_files=False), gr.AttemptSettings(samples=2, temperature=1.0))
        assert len(json.loads(server._call("GET", "/v1/files"))["data"]) == 2


def test_a_batch_at_another_server_is_not_taken_for_lost(library):
    """With another base_url, or at a server that knows nothing of it, a batch is never bought again unasked."""
    with served(batch_seconds=5.0) as server, served() as other:
        gr.attempt(library, batched(server, wait=False))
        with pytest.raises(UsageError, match=r"was sent to http://.* and base_url is now"):
            gr.attempt(library, batched(other))
        with library.transaction() as connection:
            connection.execute("UPDATE batch SET base_url = ?", (other.url,))
        with pytest.raises(SetupError, match=r"does not show the batch batch_0001 .*buy its 20 answers again"):
            gr.attempt(library, batched(other))
        assert batches.forget(library, batches.named(library, "batch_0001")) == 20
        assert gr.attempt(library, batched(other)).answered == 20


def test_what_is_forgotten_counts_as_spent(library):
    """A batch that is given up is booked at its worst case, as lost."""
    with served(batch_seconds=9.0) as server:
        gr.attempt(library, batched(server, wait=False), price=PRICE)
        assert library.all("SELECT DISTINCT why FROM ledger") == [("open",)]
        batches.forget(library, batches.named(library, "batch_0001"))
    assert library.all("SELECT why, count(*), sum(assumed > 0) FROM ledger GROUP BY 1") == [("lost", 20, 20)]
    assert library.all("SELECT DISTINCT outcome FROM batch_items") == [("forgotten",)]


def test_every_fault_of_the_batch_api_is_documented(request):
    """mock-server.md has the kinds with the words of the code."""
    page = (request.config.rootpath / "docs" / "mock-server.md").read_text(encoding="utf-8")
    for kind, words in BATCH_KINDS.items():
        assert f"| `{kind}` | {words} |" in page
