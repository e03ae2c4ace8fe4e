"""A budget holds through faults and kills, and nothing paid for is lost; benchmarks/bench_budget.py has 200 runs."""

import pytest

from money_runs import make, run


@pytest.mark.alone
@pytest.mark.parametrize("seed", range(30))
def test_a_killed_run_keeps_its_budget_and_what_it_paid_for(tmp_path, seed):
    """What the server billed never exceeds the budget, kills included, and each answer is in the books once."""
    run(seed, tmp_path)


def test_runs_are_of_every_kind():
    """The seeds make runs of each stage, of each kind of limit, and with each fault."""
    runs = [make(seed) for seed in range(30)]
    assert {one.stage for one in runs} == {"attempt", "evaluate", "teach"}
    assert {(one.tokens is None, one.money is None) for one in runs} == {(True, False), (False, True), (False, False)}
    assert len({kind for one in runs for kind, _ in one.server.faults}) == 10
