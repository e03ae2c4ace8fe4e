"""Arms held against a baseline: Student's t against published tables, and a table from results made by hand."""

import math

import pytest

from gradatim.method.comparison import Score, mean_over_seeds, table
from gradatim.method.stats import student_quantile


@pytest.mark.parametrize(
    ("mass", "freedom", "expected"),
    [
        (0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 4, 2.776), (0.95, 9, 2.262), (0.95, 30, 2.042),
        (0.99, 1, 63.657), (0.99, 4, 4.604), (0.90, 4, 2.132), (0.80, 10, 1.372), (0.95, 1e7, 1.960),
    ],
)  # fmt: skip
def test_students_t_is_as_in_the_tables(mass, freedom, expected):
    """The quantiles agree with the printed tables (NIST Handbook 1.3.6.7.2) in every digit that these have."""
    assert round(student_quantile(mass, freedom), 3) == expected


@pytest.mark.parametrize(("mass", "freedom"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_no_t_where_there_is_none(mass, freedom):
    """A mass of 0 or 1, or no degree of freedom, is refused."""
    with pytest.raises(ValueError, match="no t"):
        student_quantile(mass, freedom)


def test_a_mean_has_its_interval():
    """Five values by hand: mean 3, standard error sqrt(0.5), interval 2.776 of these to each side."""
    found = mean_over_seeds([1, 2, 3, 4, 5])
    assert (found.value, found.seeds) == (3, 5)
    assert found.error == pytest.approx(math.sqrt(0.5))
    assert found.low == pytest.approx(3 - 2.7764451 * math.sqrt(0.5))
    assert found.high == pytest.approx(3 + 2.7764451 * math.sqrt(0.5))


def test_one_seed_has_no_interval():
    """A single seed gives a mean and says nothing of its uncertainty; none is no mean at all."""
    found = mean_over_seeds([0.4])
    assert (found.value, found.error, found.low, found.high) == (0.4, None, None, None)
    with pytest.raises(ValueError, match="no seed"):
        mean_over_seeds([])


def score(arm, seed, accuracy, *, replay=0.0, kept=None):
    return Score(
        arm=arm, replay=replay, seed=seed, accuracy=accuracy, kept=kept, gained=0.25, chains=10, replayed=0,
        steps=4, tokens=100 + seed,
    )  # fmt: skip


def test_differences_are_paired_by_seed_and_replay():
    """An arm that is always two points above a baseline that swings has a narrow difference, and a wide mean."""
    baseline = [score("random", seed, accuracy) for seed, accuracy in enumerate([0.5, 0.6, 0.7])]
    better = [score("p_c", seed, accuracy) for seed, accuracy in enumerate([0.52, 0.62, 0.72])]
    other = [score("random", 0, 0.9, replay=1.0), score("p_c", 0, 0.8, replay=1.0)]
    lines = {(line.arm, line.replay): line for line in table([*baseline, *better, *other], "random")}
    assert lines["random", 0.0].difference is None
    line = lines["p_c", 0.0]
    assert line.accuracy.value == pytest.approx(0.62)
    assert line.accuracy.error == pytest.approx(0.1 / math.sqrt(3))
    assert line.difference.value == pytest.approx(0.02)
    assert line.difference.error == pytest.approx(0, abs=1e-12)
    assert lines["p_c", 1.0].difference.value == pytest.approx(-0.1)


def test_seeds_without_a_partner_are_not_compared():
    """A seed that only one of the two has counts in its mean, and in no difference."""
    lines = table([score("random", 0, 0.5), score("p_c", 0, 0.6), score("p_c", 1, 0.9)], "random")
    assert lines[1].accuracy.value == pytest.approx(0.75)
    assert (lines[1].difference.seeds, lines[1].difference.value) == (1, pytest.approx(0.1))


def test_the_rest_is_averaged():
    """Shares kept are averaged over the seeds that have one; tokens over all; notes stand with their arm."""
    scores = [score("random", 0, 0.5, kept=0.8), score("random", 1, 0.5, kept=0.9), score("random", 2, 0.5)]
    (line,) = table(scores, "random", {"random": ("2 of level 1 from level 2",)})
    assert line.kept == pytest.approx(0.85)
    assert line.tokens == pytest.approx(101)
    assert line.notes == ("2 of level 1 from level 2",)
