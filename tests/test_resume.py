"""Nothing lost, nothing bought twice: runs that are killed, interrupted and resumed, against a server that counts."""

import random
import signal
import time

import pytest

from cli_process import ANSWERS, MAIN, Folder, faulty, kill, lost_to_us, wait_until, write_pool
from gradatim.errors import LibraryError
from gradatim.library.store import Library
from gradatim.models.mock_server import MockServer, MockSettings

DURABLE_WITHIN = 0.1
"""Seconds from an answer's last byte until it must be in the library."""
SLOW_JOURNAL = "import gradatim.library.journal as journal; journal._GATHER = 2.0; " + MAIN
"""A broken Gradatim, to show that the tests would notice."""


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.jsonl"
    write_pool(path, 500)
    return path


def folder(tmp_path, name, pool, url, **settings):
    """Return a folder whose library has the pool's questions."""
    made = Folder(tmp_path / name, url, **settings)
    (made.path / "pool.jsonl").write_bytes(pool.read_bytes())
    made.run("ingest", "pool.jsonl")
    return made


class Killer:
    """Kills a command again and again, and holds what the server saw to what each kill may cost."""

    def __init__(self, folder, server, random_, *, role, program=MAIN):
        self.folder, self.server, self.random, self.program = folder, server, random_, program
        self.table = f"attempt WHERE setting IN (SELECT pk FROM setting WHERE role = '{role}')"
        self.kills = self.in_flight = self.fresh = self.lost = 0

    def once(self, command, *, while_starting=False, requests=50):
        """Start the command and kill it: after so many more requests at most, or at any moment of its start."""
        seen = self.server.stats()
        process = self.folder.start(*command, program=self.program)
        if while_starting:
            time.sleep(self.random.uniform(0.0, 0.5))
        else:
            goal = seen.requests + self.random.randint(1, requests)
            wait_until(lambda: self.server.stats().requests >= goal or process.poll() is not None)
            time.sleep(self.random.uniform(0.0, 0.06))
            assert process.poll() is None, ("it ended before it was killed", process.communicate())
        at, after = kill(process, self.server)
        self.kills += 1
        self.in_flight += sum(moment > at - 0.001 for moment in after.aborted)
        fresh = sum(moment > at - DURABLE_WITHIN for moment in after.last_answered)
        self._check(seen, after, fresh)

    def _check(self, before, after, fresh):
        """Hold the counts since the last kill to what that kill could cost, and the library to what was answered."""
        bought_again = after.bought_again - before.bought_again
        assert bought_again <= self.lost
        lost = after.bodies_answered - self.folder.count(self.table)
        newly = lost - (self.lost - bought_again)
        assert newly <= fresh, f"kill {self.kills}: {newly} answers lost, of which {fresh} came in the last 100 ms"
        self.lost, self.fresh = lost, self.fresh + fresh
        self.check_requests(after)

    def check_requests(self, stats):
        """Every request beyond a body's first is a retry after a fault, or the price of a kill."""
        assert stats.requests - stats.unique <= lost_to_us(stats) + self.in_flight + self.fresh
        assert stats.bought_again <= self.fresh


def to_the_end(folder, *command):
    """Run until nothing is missing: a request that was given up is asked again by the next run."""
    for _ in range(3):
        process = folder.start(*command)
        out, err = process.communicate(timeout=100)
        if process.returncode == 0:
            return
        assert process.returncode == 1, (out, err)
    raise AssertionError(err)


def undisturbed(tmp_path, pool, server, *, samples, stream):
    """Return the rows of a run that nobody kills."""
    calm = folder(tmp_path, "calm", pool, server.url, samples=samples, stream=stream)
    to_the_end(calm, "attempt")
    stats = server.stats()
    assert stats.bought_again == 0
    assert set(stats.faults) == {kind for kind, _ in faulty(pool).faults}
    return calm.rows(ANSWERS)


@pytest.mark.alone
@pytest.mark.parametrize(("kills", "samples", "stream"), [(30, 2, True), (5, 1, False)], ids=["streamed", "plain"])
def test_attempt_killed_thirty_times(tmp_path, pool, kills, samples, stream):
    """A run killed at 30 random moments ends with the rows of an undisturbed one, and buys again what a kill may cost.

    What it may cost: what was in flight, and what was answered less than 100 ms before.
    """
    with MockServer(faulty(pool), process=True) as server:
        expected = undisturbed(tmp_path, pool, server, samples=samples, stream=stream)
        server.reset()
        killed = folder(tmp_path, "killed", pool, server.url, samples=samples, stream=stream)
        killer = Killer(killed, server, random.Random(kills), role="base")
        for number in range(kills):
            killer.once(("attempt",), while_starting=number % 6 == 5)
        to_the_end(killed, "attempt")
        stats = server.stats()
        killer.check_requests(stats)
    assert killed.rows(ANSWERS) == expected
    assert len(expected) == stats.unique == 500 * samples
    assert killer.in_flight > 0


@pytest.mark.alone
def test_a_journal_that_dawdles_is_noticed(tmp_path, pool):
    """The bound has teeth: a Gradatim that commits every 2 seconds breaks it."""
    with MockServer(MockSettings(answers=str(pool), latency=0.02), process=True) as server:
        killer = Killer(
            folder(tmp_path, "slow", pool, server.url), server, random.Random(1), role="base", program=SLOW_JOURNAL
        )
        killer.random.randint = lambda *_: 150
        with pytest.raises(AssertionError, match="answers lost"):
            killer.once(("attempt",))


@pytest.mark.alone
def test_teach_killed_ten_times(tmp_path, pool):
    """Teaching killed ten times meets its quotas, buys no try beyond the limit, and no answer twice."""
    with MockServer(faulty(pool, faults=()), process=True) as easy:
        taught = folder(tmp_path, "taught", pool, easy.url, samples=2, size=120, tries=3)
        taught.run("run", "--until", "sample")
    with MockServer(faulty(pool), process=True) as server:
        Folder(taught.path, server.url, samples=2, size=120, tries=3)
        killer = Killer(taught, server, random.Random(10), role="teacher")
        for number in range(10):
            killer.once(("teach", "draw"), while_starting=number % 5 == 4, requests=16)
        to_the_end(taught, "teach", "draw")
        stats = server.stats()
        killer.check_requests(stats)
    taught.run("curate", "draw")
    quotas = sum(row[0] for row in taught.rows("SELECT value FROM draw, json_each(draw.quotas)"))
    assert taught.rows("SELECT count(*), count(DISTINCT question) FROM chains WHERE kept") == [(quotas, quotas)]
    tries = taught.rows(
        "SELECT question, count(*), count(DISTINCT sample) FROM attempts WHERE role = 'teacher' GROUP BY 1"
    )
    assert all(count == different <= 3 for _, count, different in tries)
    assert sum(count for _, count, _ in tries) == stats.bodies_answered


def test_one_row_more_costs_one_request(tmp_path, pool):
    """A row added to the pool costs exactly one request, and a run with nothing to do costs none."""
    with MockServer(MockSettings(answers=str(pool)), process=True) as server:
        grown = folder(tmp_path, "grown", pool, server.url)
        grown.run("attempt")
        assert server.stats().requests == 500
        grown.run("attempt")
        assert server.stats().requests == 500
        with (grown.path / "pool.jsonl").open("a") as file:
            file.write('{"question": "A clock strikes 4 and then 5. How often in all?", "answer": "#### 9"}\n')
        grown.run("ingest", "pool.jsonl")
        grown.run("attempt")
        assert server.stats().requests == server.stats().unique == 501
    assert grown.count("attempt") == 501


@pytest.mark.alone
def test_ctrl_c_saves(tmp_path, pool):
    """Ctrl-C ends with 130 and a sentence; what was in flight is waited for and saved, and nothing is asked twice."""
    with MockServer(MockSettings(answers=str(pool), latency=0.1), process=True) as server:
        stopped = folder(tmp_path, "stopped", pool, server.url)
        process = stopped.start("attempt")
        wait_until(lambda: server.stats().requests >= 40 and server.stats().in_flight == 16)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        stats = server.stats()
        assert (process.returncode, out) == (130, "")
        assert err.strip() == "gradatim: Stopped. Everything that was done is saved; run the same command to go on."
        assert (stats.in_flight, stats.aborted) == (0, [])
        assert stopped.count("attempt") == stats.answered == stats.requests < 500
        stopped.run("attempt")
        assert server.stats().requests == server.stats().unique == 500


@pytest.mark.alone
def test_sigterm_keeps_what_was_committed(tmp_path, pool):
    """SIGTERM ends the run at once; what was committed stays, and the library opens for the next writer."""
    with MockServer(MockSettings(answers=str(pool), latency=0.05), process=True) as server:
        ended = folder(tmp_path, "ended", pool, server.url)
        process = ended.start("attempt")
        wait_until(lambda: server.stats().answered >= 64)
        with pytest.raises(LibraryError, match=rf"process {process.pid} .*\(gradatim attempt\)"):
            Library(ended.library, write=True)
        at = time.time()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        stats = server.stats()
        assert process.returncode == -signal.SIGTERM
        fresh = sum(moment > at - DURABLE_WITHIN for moment in stats.last_answered)
        there = ended.count("attempt")
        assert stats.answered - fresh <= there
        with Library(ended.library, write=True) as library:
            assert library.value("PRAGMA integrity_check") == "ok"
        ended.run("attempt")
        assert server.stats().bought_again == stats.answered - there
        assert ended.count("attempt") == 500
