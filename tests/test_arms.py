"""The arms of a comparison: what each chooses, in what order, and that all get as many."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from gradatim.errors import LimitError, UsageError
from gradatim.method.arms import ARMS, Ask, Known, bands, choose

OBSERVED = {0: 50, 1: 10, 2: 10, 3: 10, 4: 10, 5: 10}


def pool(count=600, seed=0):
    """Questions of a model that solves half of them, graded by two models that disagree."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        level = 0 if dice.random() < 0.5 else dice.randint(1, 5)
        found.append(
            Known(
                id=f"q{number:04}",
                level=level,
                difficulty=0.0 if level == 0 else (level - dice.random()) / 5,
                rate=dice.choice([0.75, 1.0]) if level == 0 else dice.choice([0.0, 0.25, 0.5]),
                length=float(dice.randint(5, 200)),
                static=float(dice.randint(1, 5)),
                other=dice.randint(0, 5),
            )
        )
    return found


def chosen(arm, known, *, size=100, seed=0):
    choice = choose(arm, known, Ask(size=size, seed=seed, observed=OBSERVED))
    by_id = {one.id: one for one in known}
    return choice, [by_id[id_] for id_ in choice.ids[:size]]


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_gets_as_many_and_none_twice(arm):
    """An arm chooses exactly the budget, from the pool, no question twice, and has more behind it."""
    known = pool()
    choice, first = chosen(arm, known)
    assert len(first) == 100 == sum(choice.quotas().values())
    assert len(set(choice.ids)) == len(choice.ids) > 100
    assert set(choice.ids) <= {one.id for one in known}


def test_an_arm_that_knows_too_few_questions_is_refused():
    """Where the column that `static` goes by is there for fewer questions than the budget, nothing is bought for it."""
    known = [replace(one, static=1.0 if at < 60 else None) for at, one in enumerate(pool())]
    with pytest.raises(LimitError, match="arm static can choose among 60 questions"):
        chosen("static", known)
    assert chosen("static", known, size=60)[0].size == 60


@pytest.mark.parametrize("arm", ARMS)
def test_the_same_seed_chooses_the_same_whatever_the_order(arm):
    """A choice depends on questions and seed, not on the order in which the questions come."""
    known = pool()
    assert chosen(arm, known)[0] == chosen(arm, known[::-1])[0]


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm not in ("hardest", "answer_length")])
def test_another_seed_chooses_others(arm):
    """Seeds give different choices, save where an arm takes the extremes."""
    known = pool()
    assert set(chosen(arm, known)[0].ids[:100]) != set(chosen(arm, known, seed=1)[0].ids[:100])


@pytest.mark.parametrize("arm", ARMS)
def test_a_group_has_its_reserve_behind_its_quota(arm):
    """The stored orders begin with the choice and go past each quota, by no more than the reserve."""
    choice, first = chosen(arm, pool())
    orders, quotas = choice.orders(0.5), choice.quotas()
    begun = {id_ for group, ids in orders.items() for id_ in ids[: quotas[group]]}
    assert begun == {one.id for one in first}
    assert all(quotas[group] <= len(ids) <= quotas[group] + -(-quotas[group] // 2) for group, ids in orders.items())


def test_random_follows_the_pool():
    """A random choice has about the pool's share of solved questions."""
    _, first = chosen("random", pool(4000), size=1000)
    assert 450 < sum(one.level == 0 for one in first) < 550


def test_extremes_are_extreme():
    """Nothing left behind is easier than the easiest choice, harder than the hardest, or longer than the longest."""
    known = pool()
    for arm, key in (
        ("easiest", lambda one: (one.level, one.difficulty)),
        ("hardest", lambda one: (-one.level, -one.difficulty)),
        ("answer_length", lambda one: -one.length),
    ):
        choice, first = chosen(arm, known, size=350)
        rest = [one for one in known if one.id not in set(choice.ids[:350])]
        assert max(map(key, first)) <= min(map(key, rest))


def test_mixes_have_their_proportions():
    """P_C has 5:4:3:2:1 over the levels, its reverse 1:2:3:4:5, P_eval the evaluation set's histogram."""
    known = pool(4000)
    for arm, weights in (
        ("p_c", {1: 100, 2: 80, 3: 60, 4: 40, 5: 20}),
        ("p_c_reversed", {1: 20, 2: 40, 3: 60, 4: 80, 5: 100}),
        ("p_eval", {0: 150, 1: 30, 2: 30, 3: 30, 4: 30, 5: 30}),
    ):
        choice, first = chosen(arm, known, size=300)
        assert Counter(one.level for one in first) == weights
        assert choice.moved == ()


def test_transfer_goes_by_the_other_model():
    """Transfer has P_C's proportions in the other model's levels, and does not look at the base model's."""
    known = pool(4000)
    choice, first = chosen("transfer", known, size=300)
    assert Counter(one.other for one in first) == {1: 100, 2: 80, 3: 60, 4: 40, 5: 20}
    blind = [_with(one, level=0, rate=1.0, difficulty=0.0) for one in known]
    assert chosen("transfer", blind, size=300)[0].ids == choice.ids


def test_static_ignores_the_model():
    """The static arm chooses the same whatever any model did, and more of what is large."""
    known = pool(4000)
    choice, first = chosen("static", known, size=300)
    blind = [_with(one, level=5, rate=0.0, difficulty=1.0, length=1.0, other=0) for one in known]
    assert chosen("static", blind, size=300)[0].ids == choice.ids
    assert Counter(one.static for one in first) == {1: 20, 2: 40, 3: 60, 4: 80, 5: 100}


def test_wrong_takes_what_is_not_solved():
    """The uniform arm takes no solved question while there are others, and says when it has to."""
    known = pool()
    unsolved = sum(one.level > 0 for one in known)
    choice, first = chosen("wrong_uniform", known, size=unsolved)
    assert all(one.level > 0 for one in first)
    assert choice.moved == ()
    choice, first = chosen("wrong_uniform", known, size=unsolved + 7)
    assert sum(one.level == 0 for one in first) == 7
    assert choice.moved == ("7 questions that the model answers fill in",)


def test_the_band_prefers_what_is_solved_now_and_then():
    """Weights p(1-p): a half comes more often than nine tenths, in that proportion, and 0 or 1 never."""
    known = [
        Known(id=f"q{number}", level=1, difficulty=0.5, rate=(0.0, 0.5, 0.9, 1.0)[number % 4], length=1.0)
        for number in range(8000)
    ]
    _, first = chosen("pass_rate_band", known, size=200)
    counts = Counter(one.rate for one in first)
    assert set(counts) == {0.5, 0.9}
    assert 2.0 < counts[0.5] / counts[0.9] < 4.0


def test_a_dry_level_is_filled_from_the_nearest_and_said():
    """What a level lacks comes from its neighbours, from solved questions last, and the choice says so."""
    known = [
        Known(id=f"q{number}", level=number % 3, difficulty=0.1, rate=0.5, length=1.0, other=0) for number in range(120)
    ]
    choice, first = chosen("p_c", known, size=60)
    assert Counter(one.level for one in first) == {1: 20, 2: 40}
    assert sum(int(words.split()[0]) for words in choice.moved) == 60 - 20 - 16
    choice, first = chosen("p_c", known, size=100)
    assert Counter(one.level for one in first) == {0: 20, 1: 40, 2: 40}
    assert any("from level 0" in words for words in choice.moved)


def test_bands_are_about_equal_and_part_no_equals():
    """Five bands of a number hold about as many each, and equal numbers are in one band."""
    values = {f"q{number}": float(number) for number in range(100)}
    assert Counter(bands(values).values()) == dict.fromkeys(range(1, 6), 20)
    assert set(bands(dict.fromkeys(values, 3.0)).values()) == {3}


def test_wrong_use_is_said():
    """An arm that there is not, a pool that is too small and a missing evaluation set are refused."""
    with pytest.raises(UsageError, match="no arm 'best'"):
        chosen("best", pool())
    with pytest.raises(LimitError, match="only 50 questions"):
        chosen("random", pool(50))
    with pytest.raises(UsageError, match="observed in"):
        choose("p_eval", pool(), Ask(size=10, seed=0, observed={}))


def _with(one, **changes):
    values = {name: getattr(one, name) for name in Known.__dataclass_fields__}
    return Known(**(values | changes))
