"""Clients of the batch API that are killed, over a server that fails: nothing is bought twice, nothing is lost."""

import random
import shutil
from dataclasses import replace

import pytest

import batch_world
import gradatim as gr
from batch_world import DONE, FAILED, LEFT, Plan, check_ended, ended, killed, made, random_faults

pytestmark = pytest.mark.timeout(300)


def one_run(folder, seed: int) -> dict[str, int]:
    """Kill clients at random moments, let the last ones end, and hold the library to the promise."""
    random_ = random.Random(seed)
    path = made(folder)
    settings = gr.MockSettings(
        batch_seconds=random_.uniform(0.02, 0.2),
        batch_faults=random_faults(random_),
        seed=seed,
        accuracy=1.0,
        answers=str(folder / "pool.jsonl"),
    )
    with gr.MockServer(settings) as server:
        plan = Plan(library=path, url=server.url, model={"requests": random_.choice([5, 9, 24])})
        kills = 0
        for _ in range(random_.randint(1, 5)):
            kills += killed(plan, random_.uniform(0.0, 0.4)) == -9
        runs = 0
        while (code := ended(plan)) != DONE:
            assert code in (FAILED, LEFT)
            runs += 1
            assert runs < 20, (folder / "error.txt").read_text()
        stats = server.stats()
        missing = check_ended(path, stats)
    return {"kills": kills, "runs": runs + 1, "missing": missing, **stats.batch_faults}


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_client_buys_nothing_twice_and_loses_nothing(tmp_path, seed):
    """Killed at random moments under random faults, every request ends answered once or listed with its reason."""
    one_run(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 100))
def test_a_hundred_runs_keep_the_promise(tmp_path, seed):
    """The same for the rest of a hundred seeds."""
    one_run(tmp_path, seed)


def every_moment(folder, stage: str) -> int:
    """Have a client die at its first event, the next one at its second, and so on; return how many events there are."""
    fresh = batch_world.drawn(folder) if stage == "teach" else made(folder, 5)
    for number in range(1, 200):
        path = shutil.copy(fresh, folder / f"{number}.db")
        accuracy = 0.6 if stage == "teach" else 1.0
        settings = gr.MockSettings(batch_seconds=0.02, accuracy=accuracy, answers=str(folder / "pool.jsonl"))
        with gr.MockServer(settings) as server:
            plan = Plan(library=path, url=server.url, stage=stage, settle=0.05, model={"requests": 6})
            died = ended(replace(plan, die_at=number)) == -9
            assert ended(plan) == DONE
            assert check_ended(path, server.stats(), stage) == 0
        if not died:
            return number
    raise AssertionError("the client never came to its end")


@pytest.mark.slow
def test_there_is_no_moment_at_which_a_client_may_not_die(tmp_path):
    """Killed before or after any commit or call, a client is followed by one that ends as if nothing had happened."""
    assert every_moment(tmp_path, "attempt") > 20


@pytest.mark.slow
def test_there_is_no_moment_at_which_a_teacher_may_not_die(tmp_path):
    """The same for `teach`, whose later batches follow from the verdicts on earlier ones; no quota is overshot."""
    assert every_moment(tmp_path, "teach") > 30


@pytest.mark.parametrize("blind", [False, True], ids=["looks", "does not look"])
def test_only_who_looks_first_buys_nothing_twice(tmp_path, blind):
    """Where each call that makes something is executed and its answer lost, looking for it is what saves the money.

    The client that does not look is there to show that these tests would notice.
    """
    path = made(tmp_path, 5)
    settings = gr.MockSettings(
        batch_seconds=0.1, batch_faults=(("lost", 1.0),), accuracy=1.0, answers=str(tmp_path / "pool.jsonl")
    )
    with gr.MockServer(settings) as server:
        code = ended(Plan(library=path, url=server.url, settle=0.05, blind=blind))
        stats = server.stats()
    if blind:
        assert (code, stats.batch_again > 0) == (FAILED, True)
    else:
        assert (code, check_ended(path, stats)) == (DONE, 0)
