"""Runs that are killed while answers are cut off and asked further for: the rows of an undisturbed run, and no more."""

import random

import pytest

from cli_process import ANSWERS, faulty
from gradatim.models.mock_server import MockServer
from test_resume import Killer, folder, pool, to_the_end

__all__ = ["pool"]

FURTHERS = (
    "SELECT attempt, kind, max_tokens, first_content, first_reasoning, content, reasoning, finish_reason, "
    "prompt_tokens, completion_tokens FROM furthers ORDER BY 1"
)
WHO = "SELECT count(*), count(further), sum(finish_reason = 'length') FROM attempts WHERE role = '{}'"


def truncating(made, what, *, first, limit):
    """Say in a folder's settings what becomes of answers that are cut off."""
    toml = made.path / "gradatim.toml"
    text = toml.read_text().replace("tries = 12\n", 'tries = 12\ncontinues = "vllm"\n')
    said = f'max_tokens = {first}\ntruncated = "{what}"\ntruncated_max_tokens = {limit}\n'
    toml.write_text(text.replace("[attempt]\n", f"[attempt]\n{said}").replace("[teach]\n", f"[teach]\n{said}"))
    return made


class FurtherKiller(Killer):
    """A killer that counts further answers too: each is an answer that was paid for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        condition = self.table.partition(" WHERE ")[2]
        self.table = (
            f"(SELECT pk FROM {self.table} UNION ALL SELECT -f.attempt FROM further f JOIN attempt ON "
            f"attempt.pk = f.attempt WHERE {condition})"
        )


@pytest.mark.alone
@pytest.mark.parametrize(("what", "kills"), [("retry", 5), ("continue", 5)])
def test_attempt_killed_while_answers_are_cut_off(tmp_path, pool, what, kills):
    """Killed at random moments: the rows of an undisturbed run, no sample asked for thrice, no cut-off answer wrong."""
    # By the limit in the answer, by the fault `truncated` in the thinking; some are whole.
    limits = {"first": 33, "limit": 400}
    with MockServer(faulty(pool), process=True) as server:
        calm = truncating(folder(tmp_path, "calm", pool, server.url), what, **limits)
        to_the_end(calm, "attempt")
        expected, further = calm.rows(ANSWERS), calm.rows(FURTHERS)
        kinds = {row[1] for row in further}
        assert kinds == ({"retried"} if what == "retry" else {"continued", "retried"})
        assert 50 < len(further) < 500
        server.reset()
        killed = truncating(folder(tmp_path, "killed", pool, server.url), what, **limits)
        killer = FurtherKiller(killed, server, random.Random(kills), role="base")
        for number in range(kills):
            killer.once(("attempt",), while_starting=number % 6 == 5, requests=90)
        to_the_end(killed, "attempt")
        stats = server.stats()
        killer.check_requests(stats)
    assert killed.rows(ANSWERS) == expected
    assert killed.rows(FURTHERS) == further
    assert stats.unique == 500 + len(further)
    killed.run("verify")
    assert not killed.rows(
        "SELECT 1 FROM attempts a JOIN verdicts v ON v.attempt = a.id WHERE a.finish_reason = 'length' "
        "AND v.outcome <> 'undecided'"
    )


@pytest.mark.alone
def test_teach_killed_while_answers_are_cut_off(tmp_path, pool):
    """Teaching killed while it retries meets its quotas; at most one further answer a sample, none bought twice."""
    with MockServer(faulty(pool, faults=()), process=True) as easy:
        taught = folder(tmp_path, "taught", pool, easy.url, samples=2, size=100, tries=3)
        taught.run("run", "--until", "sample")
    with MockServer(faulty(pool), process=True) as server:
        made = folder(tmp_path, "taught", pool, server.url, samples=2, size=100, tries=3)
        truncating(made, "continue", first=33, limit=400)
        killer = FurtherKiller(made, server, random.Random(4), role="teacher")
        for number in range(5):
            killer.once(("teach", "draw"), while_starting=number % 5 == 4, requests=16)
        to_the_end(made, "teach", "draw")
        stats = server.stats()
        killer.check_requests(stats)
    made.run("curate", "draw")
    quotas = sum(row[0] for row in made.rows("SELECT value FROM draw, json_each(draw.quotas)"))
    assert made.rows("SELECT count(*), count(DISTINCT question) FROM chains WHERE kept") == [(quotas, quotas)]
    tries = made.rows("SELECT question, count(*) FROM attempts WHERE role = 'teacher' GROUP BY 1")
    assert all(count <= 3 for _, count in tries)
    ((answers, further, _),) = made.rows(WHO.format("teacher"))
    assert answers + further == stats.bodies_answered
    assert further > 20
