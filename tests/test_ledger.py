"""The ledger: reserved before it is sent, paid with the answer, lost with its process, and counted once."""

import asyncio
import json
import sqlite3

import pytest

import gradatim as gr
from cli_world import called
from gradatim.config import load
from gradatim.errors import SetupError
from gradatim.library import attempts, ledger, schema, store
from gradatim.library.store import Library
from gradatim.models.budget import Budget, prompt_bound
from gradatim.models.engine import Engine
from gradatim.models.faults import Retry
from gradatim.models.prices import PRICES
from gradatim.types import Reply, Request, Role, Sampling, Spent, Usage
from gradatim.work.spending import COLUMNS, shares, spent
from pools import drawn_library, pool_library

PRICE = gr.Price(input=2.0, output=8.0, cached_input=0.5)
SPENT = Spent(prompt=10, cached=0, completion=20, assumed=0, pico=180_000_000)
ENGINE = gr.EngineSettings(concurrency=4, tries=2, backoff=0.0)
ASKED = gr.AttemptSettings(model="m", max_tokens=50)


class Model:
    """Answers at once, and looks at the library with the eyes of another program while it is asked."""

    name = "m"

    def __init__(self, path, *, fail=lambda _: False):
        self.path, self.fail = path, fail
        self.open, self.asked = [], 0

    async def ask(self, request):
        self.asked = number = self.asked + 1
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)
        sql = "SELECT count(*) FROM reservation WHERE question = ?"
        self.open.append(connection.execute(sql, (request.key >> 20,)).fetchone()[0])
        connection.close()
        await asyncio.sleep(0)
        if self.fail(number):
            raise Retry("disconnected", "gone", billed=number % 2 == 0)
        return Reply(content="\\boxed{1}", finish_reason="stop", usage=Usage(prompt=10, completion=20))

    async def close(self):
        pass


@pytest.fixture
def library(tmp_path):
    with pool_library(tmp_path, 12) as made:
        yield made


def run(library, model, **more):
    return gr.attempt(library, model, ASKED, engine=ENGINE, price=PRICE, **more)


def why(library):
    return dict(library.all("SELECT why, count(*) FROM ledger GROUP BY 1"))


def entry(library, **more):
    account = ledger.ensure_account(library, "attempt", Role.BASE, "m")
    return ledger.Entry(account=account, question=1, prompt=100, completion=50, pico=600_000_000, **more)


def reserve(library, **more):
    made = entry(library, **more)
    with library.transaction() as connection:
        ledger.reserve(connection, made)
    return made


def test_no_request_is_sent_before_its_reservation_is_in_the_file(library):
    """While a request is with the model, its reservation is there for another program to read; afterwards it is not."""
    model = Model(library.path)
    run(library, model)
    assert model.open == [1] * 12
    assert library.value("SELECT count(*) FROM reservation") == 0
    rows = library.all("SELECT why, prompt, completion, money, reserved_tokens FROM ledger")
    bound = prompt_bound(ASKED.sampling().messages("x")) - 1
    assert all(row[:3] == ("answer", 10, 20) and row[4] > bound + 50 for row in rows)
    assert all(row[3] == pytest.approx((10 * 2 + 20 * 8) / 1e6) for row in rows)
    assert library.value("SELECT count(DISTINCT payment) FROM attempt") == len(rows) == 12


def test_failed_tries_are_paid_for_where_they_may_have_been_billed(library):
    """A try that a server may have billed is booked at its worst case; one that it did not bill leaves no trace."""
    model = Model(library.path, fail=lambda number: number <= 4)
    run(library, model)
    assert why(library) == {"answer": 12, "failed": 2}
    failed = "SELECT count(*) FROM ledger WHERE why = 'failed' AND assumed = reserved_tokens AND money = reserved_money"
    assert library.value(failed) == 2


def test_a_run_without_price_and_limit_keeps_no_books(library):
    """Where no money is at stake nothing is reserved, and the attempts count by themselves all the same."""
    gr.attempt(library, Model(library.path), ASKED, engine=ENGINE)
    assert why(library) == {}
    assert spent(library, Role.BASE, "m") == (12 * 30, 0.0)
    assert [row[:3] + row[4:7] for row in shares(library)] == [("attempt", "base", "m", "not booked", 12, 120)]


def test_a_limit_on_tokens_alone_is_booked_without_money(library):
    """A budget of tokens needs no price: the ledger has tokens, and money that is not known."""
    gr.attempt(library, Model(library.path), ASKED, engine=ENGINE, budget=Budget(tokens=10**6))
    assert library.all("SELECT count(*), sum(prompt + completion), sum(money) FROM ledger") == [(12, 360, None)]


def test_a_budget_without_a_price_takes_that_of_the_run(library):
    """Money is booked where the price was given beside the budget."""
    run(library, Model(library.path), budget=Budget(tokens=10**6))
    assert library.value("SELECT count(money) FROM ledger") == 12


def test_what_was_under_way_when_a_process_died_is_lost_once(library):
    """The next writer counts what is open as spent; opening again and again changes nothing more."""
    made = [reserve(library) for _ in range(3)]
    with library.transaction() as connection:
        ledger.pay(connection, made[0], ledger.ANSWER, SPENT)
    assert spent(library, Role.BASE, "m") == (30 + 2 * 150, pytest.approx(0.00018 + 2 * 0.0006))
    assert why(library) == {"answer": 1, "open": 2}
    library.close()
    for _ in range(2):
        with Library(library.path, write=True) as again:
            assert why(again) == {"answer": 1, "lost": 2}
            assert spent(again, Role.BASE, "m") == (30 + 2 * 150, pytest.approx(0.00018 + 2 * 0.0006))
            assert again.value("SELECT sum(assumed) FROM ledger WHERE why = 'lost'") == 300


def test_a_reader_declares_nothing_lost(library):
    """Who only reads, beside a run or after it, finds what is open and leaves it."""
    reserve(library)
    with Library(library.path) as reader:
        assert why(reader) == {"open": 1}
    assert why(library) == {"open": 1}


def test_a_reservation_with_an_owner_outlives_its_process(library):
    """What a batch reserved is still open for the next process, which finds it by its owner and pays it."""
    reserve(library, owner="batch:7", level=3)
    reserve(library)
    library.close()
    with Library(library.path, write=True) as again:
        assert why(again) == {"open": 1, "lost": 1}
        (found,) = ledger.open_entries(again, "batch:7")
        assert (found.level, found.prompt, found.completion) == (3, 100, 50)
        with again.transaction() as connection:
            assert ledger.pay(connection, found, ledger.ANSWER, SPENT) is not None
        assert spent(again, Role.BASE, "m")[0] == 150 + 30


def test_nothing_is_paid_twice(library):
    """A reservation that is closed cannot be closed again, whatever for."""
    made = reserve(library)
    with library.transaction() as connection:
        assert ledger.pay(connection, made, ledger.ANSWER, SPENT) is not None
        assert ledger.pay(connection, made, ledger.FAILED, SPENT) is None
        assert not ledger.release(connection, made)
    assert why(library) == {"answer": 1}


def test_however_many_are_closed_at_once_each_is_closed_once(library):
    """A batch's answers that waited behind a full disk are one commit: more of them than SQLite takes values."""
    account, usual = ledger.ensure_account(library, "attempt", Role.BASE, "m"), 32_766
    made = [ledger.Entry(account=account, prompt=1, completion=1, pico=None) for _ in range(2 * usual + 2)]
    paid, released = made[::2], made[1::2]
    with library.transaction() as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, usual)
        ledger.reserve(connection, *made)
        keys = ledger.pay_all(connection, [(one, ledger.ANSWER, SPENT) for one in paid])
        assert keys == list(range(1, usual + 2))
        assert ledger.release(connection, *released)
        assert not ledger.release(connection, *released)
        again = [(one, ledger.ANSWER, SPENT) for one in paid[:300]]
        assert ledger.pay_all(connection, again) == [None] * 300
    assert why(library) == {"answer": usual + 1}


def test_an_answer_that_is_there_already_was_paid_for_all_the_same(library):
    """A second answer to the same sample is not stored, and its cost is."""
    setting = attempts.ensure_setting(library, Role.BASE, "m", attempts.sampling_text(Sampling()))
    for _ in range(2):
        made = reserve(library)
        answer = attempts.NewAttempt(
            setting=setting.pk, question=1, sample=0, reply=Reply(content="x"), cost=None, made_at=0.0
        )
        with library.transaction() as connection:
            attempts.write(connection, [answer], payment=ledger.pay(connection, made, ledger.ANSWER, SPENT))
    assert (library.value("SELECT count(*) FROM attempt"), why(library)) == (1, {"answer": 2})


def test_where_nothing_can_be_reserved_nothing_is_sent(library, monkeypatch):
    """On a full disk the run ends with the reason before any request is sent, and the books are as before."""

    def full(*_):
        raise SetupError("no space")

    monkeypatch.setattr("gradatim.work.books.write", full)
    model = Model(library.path)
    with pytest.raises(SetupError, match="no space"):
        run(library, model)
    assert model.asked == 0
    assert why(library) == {}


def test_a_fault_of_the_books_ends_a_run_whose_feed_waits_for_answers():
    """A request that is lost inside the engine is raised, also where the feed stays open until it has its answer."""

    class Broken:
        async def reserved(self, request, reservation):
            pass

        def answered(self, *paid):
            raise KeyError(paid)

        def failed(self, *paid):
            pass

    class Feed:
        asked = 0

        def take(self):
            self.asked += 1
            return Request(key=1, messages=(), sampling=Sampling(), seed=0) if self.asked == 1 else None

        def open(self):
            return True

    class Instant:
        name = "m"

        async def ask(self, _):
            return Reply(content="4", finish_reason="stop", usage=Usage(prompt=1, completion=1))

        async def close(self):
            pass

    ignored = {"on_reply": lambda *_: None, "on_fault": lambda *_: None}
    with pytest.raises(KeyError):
        Engine(Instant(), Feed(), settings=ENGINE, budget=Budget(tokens=10**6), books=Broken(), **ignored).run()


def test_a_run_that_ends_while_requests_wait_for_their_reservations_sends_and_owes_nothing(library, monkeypatch):
    """The time is over before the first commit: no request went out, and nothing is reserved or paid."""
    monkeypatch.setattr("gradatim.work.books.GATHER", 1.0)
    model = Model(library.path)
    result = run(library, model, budget=Budget(seconds=0.3, price=PRICE))
    assert "time is over" in result.stopped
    assert model.asked == 0
    assert why(library) == {}


def test_a_library_from_before_goes_on_with_the_sums_of_its_attempts(tmp_path, monkeypatch):
    """After the migration attempts count as they did, worst cases included, and new ones by the ledger."""
    with monkeypatch.context() as old:
        old.setattr(store, "MIGRATIONS", schema.MIGRATIONS[:5])
        made = pool_library(tmp_path, 12)
        setting = attempts.ensure_setting(made, Role.BASE, "m", attempts.sampling_text(ASKED.sampling()))
        with made.transaction() as connection:
            for question, prompt, completion, cost in ((1, 10, 20, 0.5), (2, 10, None, 0.1), (3, None, None, None)):
                connection.execute(
                    "INSERT INTO attempt (setting, question, sample, finish_reason, prompt_tokens, completion_tokens, "
                    "cost, latency, server_model, made_at) VALUES (?, ?, 0, 'stop', ?, ?, ?, 0, '', 0)",
                    (setting.pk, question, prompt, completion, cost),
                )
                connection.execute("INSERT INTO attempt_text VALUES (last_insert_rowid(), 'x', '')")
        made.close()
    with Library(made.path, write=True) as library:
        tokens, money = spent(library, Role.BASE, "m", price=PRICE)
        bound = tokens - (30 + 10 + 50 + 50)
        assert bound > 256
        assert money == pytest.approx(0.5 + (10 * 2 + 50 * 8 + bound * 2 + 50 * 8) / 1e6)
        assert spent(library, Role.BASE, "m")[1] == 0.5
        run(library, Model(library.path), budget=Budget(tokens=tokens + 10**6, price=PRICE, spent_tokens=tokens))
        assert why(library) == {"answer": 9}
        assert spent(library, Role.BASE, "m", price=PRICE)[0] == tokens + 9 * 30


def test_sums_beyond_what_sqlite_can_add(library):
    """Ten million of a currency are added without an overflow."""
    huge = Spent(prompt=0, cached=0, completion=0, assumed=0, pico=6 * 10**18)
    for _ in range(3):
        made = reserve(library)
        with library.transaction() as connection:
            ledger.pay(connection, made, ledger.ANSWER, huge)
    assert spent(library, Role.BASE, "m")[1] == pytest.approx(18e6)


def test_teaching_is_booked_by_level_and_counts_per_draw(tmp_path):
    """Each of the teacher's payments has the level at which its question was drawn; another draw has none of them."""
    with drawn_library(tmp_path, size=10) as library, gr.MockServer(gr.MockSettings(accuracy=0.7)) as server:
        teacher = gr.Endpoint(name="m", base_url=server.url, probe=False)
        gr.teach(library, "d", teacher, gr.TeachSettings(tries=2), price=PRICE)
        levels = library.all(
            "SELECT l.level, d.level FROM ledger l JOIN draws d ON d.question = l.question AND d.draw = 'd'"
        )
        assert levels
        assert all(booked == drawn for booked, drawn in levels)
        assert spent(library, Role.TEACHER, "m", "d")[0] == library.value("SELECT sum(prompt + completion) FROM ledger")
        assert spent(library, Role.TEACHER, "m", "another") == (0, 0.0)
        account = ledger.ensure_account(library, "probe", Role.TEACHER, "m")
        made = ledger.Entry(account=account, prompt=5, completion=1, pico=0)
        with library.transaction() as connection:
            ledger.reserve(connection, made)
            ledger.pay(connection, made, ledger.PROBE, SPENT)
        assert spent(library, Role.TEACHER, "m", "another")[0] == 30


def test_spending_is_printed_by_stage_level_and_why(library, monkeypatch):
    """The command gives the sums, as a table and as JSON, and says what is open."""
    monkeypatch.chdir(library.path.parent)
    run(library, Model(library.path, fail=lambda number: number == 2))
    reserve(library)
    shown = called("spending", "--json")
    rows = json.loads(shown.out)
    assert [list(row) for row in rows] == [list(COLUMNS)] * 3
    assert [(row["stage"], row["why"], row["requests"]) for row in rows] == [
        ("attempt", "answer", 12),
        ("attempt", "failed", 1),
        ("attempt", "open", 1),
    ]
    assert rows[0]["money"] == pytest.approx(12 * 180e-6)
    assert "a run that was killed" in shown.err
    assert "answer" in called("spending").out
    assert called("query", "select count(*) from ledger where why = 'open'", "--csv").out == "count(*)\n1\n"


def test_prices_have_a_date_a_source_and_a_line_that_the_settings_take(tmp_path):
    """Each listed price can be copied into gradatim.toml as it is printed; a name that is not listed is an error."""
    shown = json.loads(called("prices", "--json").out)
    assert [row["model"] for row in shown] == [one.model for one in PRICES]
    for row, listed in zip(shown, PRICES, strict=True):
        assert row["source"].startswith("https://")
        assert row["read"] > "2026-01-01"
        path = tmp_path / "gradatim.toml"
        path.write_text(f'[models.t]\nmodel = "m"\nbase_url = "http://localhost:1/v1"\n{row["for gradatim.toml"]}\n')
        taken = load(str(path)).models["t"].price
        assert (taken.input, taken.cached_input, taken.output) == (
            listed.price.input,
            listed.price.cached_input,
            listed.price.output,
        )
    assert [row["model"] for row in json.loads(called("prices", "flash", "--json").out)] == ["deepseek-flash"]
    lines = called("prices", "flash").out.splitlines()
    assert lines[0].startswith("deepseek-flash  USD, as read on ")
    assert lines[1] == f"  {shown[0]['for gradatim.toml']}"
    refused = called("prices", "gpt-9000")
    assert refused.code == 2
    assert "Look it up" in refused.err
