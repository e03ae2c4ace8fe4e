"""Failures are not results: what goes wrong at the server, in a checker or in a parser is a fault and costs nothing."""

import pytest

from cli_process import ALL_FAULTS, FOR_GOOD, MAIN, Folder, faulty, write_pool
from gradatim.models.mock_faults import KINDS
from gradatim.models.mock_server import MockServer, MockSettings

BROKEN_PARSER = """
import gradatim.reasoning as reasoning
whole = reasoning.split_reasoning
def broken(content, reasoned):
    if sum(map(ord, content)) % 3 == 0:
        raise ValueError("a parser broke over " + content[:20])
    return whole(content, reasoned)
reasoning.split_reasoning = broken
"""
BROKEN_CHECKER = """
from gradatim.checkers.math import checker as math
whole = math.extract
def broken(answer):
    if sum(map(ord, answer)) % 3 == 0:
        raise RecursionError("a checker broke")
    return whole(answer)
math.extract = broken
"""
VERDICTS = "SELECT attempt, outcome, reason, answer FROM verdicts ORDER BY 1"


def test_every_fault_there_is_is_injected():
    """The faults of these tests are all that the server knows."""
    assert {kind for kind, _ in ALL_FAULTS} == set(KINDS)


def ready(tmp_path, url, count=60, **settings):
    made = Folder(tmp_path / "work", url, **settings)
    write_pool(made.path / "pool.jsonl", count)
    made.run("ingest", "pool.jsonl")
    return made


@pytest.mark.parametrize(
    ("breakage", "seen", "reason", "message"),
    [
        (BROKEN_PARSER, "content", "bug:ValueError", "a parser broke"),
        (BROKEN_CHECKER, "answer", "checker_error", "a checker broke"),
    ],
    ids=["parser", "checker"],
)
def test_an_exception_costs_no_request_and_is_no_verdict(tmp_path, breakage, seen, reason, message):
    """An exception over an answer is a fault of the checker beside the verdicts of the others, and passes when mended.

    The whole answer was in the library before, so no request is made for it again.
    """
    with MockServer(MockSettings(reasoning="think"), process=True) as server:
        work = ready(tmp_path, server.url)
        work.run("attempt", program=breakage + MAIN)
        broken = sum(sum(map(ord, text)) % 3 == 0 for (text,) in work.rows(f"SELECT {seen} FROM attempts"))
        assert 0 < broken < 60
        _, err = work.run("verify", program=breakage + MAIN, code=1)
        assert err.startswith("gradatim: ")
        assert "Run the same command to try again" in err
        faults = work.rows("SELECT stage, boundary, reason, message FROM faults")
        assert len(faults) == broken
        assert all(row[:3] == ("verify", "checker", reason) and message in row[3] for row in faults)
        assert work.count("verdict") == 60 - len(faults)
        judged = dict.fromkeys(work.rows(VERDICTS))
        work.run("attempt")
        work.run("verify")
        assert server.stats().requests == 60
    assert work.count("attempt") == work.count("verdict") == 60
    assert judged.keys() <= dict.fromkeys(work.rows(VERDICTS)).keys()
    assert work.count("fault") == len(faults)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (BROKEN_PARSER + MAIN, 5),
        ("import gradatim.library.verdicts\n" + BROKEN_PARSER + "import gradatim.work.keeping\n" + MAIN, 70),
    ],
    ids=["before the verdict", "after it"],
)
def test_an_exception_while_teaching_costs_no_chain(tmp_path, program, code):
    """A parser that breaks while `teach` counts leads to a sentence; what was bought is used once it is mended."""
    write_pool(tmp_path / "pool.jsonl", 80)
    with MockServer(MockSettings(answers=str(tmp_path / "pool.jsonl"), accuracy=0.5), process=True) as server:
        work = ready(tmp_path, server.url, count=80, samples=2, size=20)
        work.run("run", "--until", "sample")
        server.reset()
        _, err = work.run("teach", "draw", program=program, code=code)
        assert "Traceback" not in err
        bought = work.rows("SELECT count(*) FROM attempts WHERE role = 'teacher'")[0][0]
        assert server.stats().answered == bought > 0
        work.start("teach", "draw").communicate(timeout=60)
        assert server.stats().requests == server.stats().unique
        work.run("verify")
    assert work.count("attempt") == work.count("verdict")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - FOR_GOOD))
def test_no_fault_ends_as_an_answer(tmp_path, kind, stream):
    """A server that only fails gives no attempt and no verdict, but faults that say what it did."""
    settings = MockSettings(faults=((kind, 1.0),), retry_after=1e6)
    with MockServer(settings, process=True) as server:
        work = ready(tmp_path, server.url, count=6, stream=stream, samples=1)
        toml = (work.path / "gradatim.toml").read_text().replace("tries = 12", "tries = 1")
        (work.path / "gradatim.toml").write_text(toml)
        if kind == "429_bare":
            # Nobody waits ten minutes in a test: as long as it is turned away, it is patient.
            patient = "import gradatim.models.pace as p; p.EngineSettings.__init__.__kwdefaults__['patience'] = 0.2\n"
            work.run("attempt", program=patient + MAIN, code=1)
        else:
            work.run("attempt", code=1)
        work.run("verify", code=2)  # there is nothing to judge
        assert server.stats().answered == 0
    assert (work.count("attempt"), work.count("attempt_text"), work.count("verdict")) == (0, 0, 0)
    faults = work.rows("SELECT stage, boundary, model, count(*), count(DISTINCT question) FROM faults GROUP BY 1, 2, 3")
    assert faults == [("attempt", "model", "base", 6, 6)]


def test_what_is_cut_is_kept_and_undecided(tmp_path):
    """A truncated answer is an answer that was paid for: it is kept, is not asked again, and is never called wrong."""
    with MockServer(MockSettings(faults=(("truncated", 0.5), ("slow", 0.2)), drip=0.001), process=True) as server:
        work = ready(tmp_path, server.url)
        work.run("attempt")
        work.run("verify")
        work.run("attempt")
        stats = server.stats()
        assert stats.requests == stats.answered == 60
    reasons = dict(work.rows("SELECT finish_reason, count(*) FROM attempts GROUP BY 1"))
    assert reasons == {"length": stats.faults["truncated"], "stop": 60 - stats.faults["truncated"]}
    cut = work.rows(
        "SELECT outcome, reason, count(*) FROM verdicts v JOIN attempts a ON a.id = v.attempt "
        "WHERE finish_reason = 'length' GROUP BY 1, 2"
    )
    assert cut == [("undecided", "truncated", reasons["length"])]
    assert work.count("verdict") == 60


def test_a_faulty_day_leaves_only_answers(tmp_path):
    """With all faults at once, every row is what the server would have said without them, and no verdict is of one."""
    with MockServer(process=True) as calm_server:
        calm = ready(tmp_path, calm_server.url)
        calm.run("attempt")
    expected = dict(calm.rows("SELECT question, content FROM attempts"))
    (tmp_path / "bad").mkdir()
    with MockServer(
        faulty(calm.path / "pool.jsonl", answers=None, accuracies=(), reasoning="none"), process=True
    ) as bad:
        work = ready(tmp_path / "bad", bad.url)
        for _ in range(3):
            process = work.start("attempt")
            process.communicate(timeout=60)
            if process.returncode == 0:
                break
    rows = work.rows("SELECT question, content, finish_reason FROM attempts")
    assert len(rows) == 60
    for question, content, finish in rows:
        assert content == expected[question] if finish == "stop" else expected[question].startswith(content)
    work.run("verify")
    assert work.count("verdict") == 60
    wrong_without_answer = "SELECT count(*) FROM verdicts WHERE outcome = 'wrong' AND reason = 'no_answer'"
    assert work.rows(wrong_without_answer) == [(0,)]
