"""Ways to choose the questions that a teacher's chains are bought for, to be held against each other: `compare`'s arms.

`p_eval` and `p_c` are the mixes of arXiv 2504.11919; the other arms are ours, or others' rules that they have to beat.
An arm is a function of what is known about each question and of a seed. It gives one order of questions that goes past
the budget: the first so many are the choice, what follows is the reserve for chains that do not verify. All arms
shuffle by the same hash of seed and question, so two arms that agree on a question often agree on taking it: that
makes their paired difference less noisy, and each of them is as random as it was.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from gradatim.errors import LimitError, UsageError
from gradatim.method.draw import ordered
from gradatim.method.mix import WhenDry, fill, quotas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

P_C = (0, 5, 4, 3, 2, 1)
"""Weights of levels 0 to 5: a curriculum that falls, as the paper's P_C does. The paper names no numbers."""
REVERSED = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known about one question of the pool before a chain is bought for it. None: not known."""

    id: str
    level: int
    """By the base model's grades."""
    difficulty: float
    """In [0, 1], by the same rule; orders questions of one level."""
    rate: float
    """Share of the base model's decided attempts that were correct."""
    length: float
    """Mean length of the base model's answers, in tokens."""
    static: float | None = None
    """A number that came with the question, whatever the model: how many steps or digits it has."""
    other: int | None = None
    """The level that another base model's grades give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The order that an arm gives."""

    ids: tuple[str, ...]
    """No question twice."""
    groups: Mapping[str, int]
    """The level of each question, or what the arm has in its place: a chain that is not to be had is replaced by the
    next one of the same group."""
    size: int
    """How many from the start are the choice."""
    moved: tuple[str, ...] = ()
    """What had to be taken in place of what the arm asks for."""

    def quotas(self) -> dict[int, int]:
        """Chains per group."""
        return dict(sorted(Counter(self.groups[id_] for id_ in self.ids[: self.size]).items()))

    def orders(self, reserve: float) -> dict[int, list[str]]:
        """Questions per group in their order, up to the quota and `reserve` times as many more."""
        wanted = {group: quota + math.ceil(quota * reserve) for group, quota in self.quotas().items()}
        found: dict[int, list[str]] = {group: [] for group in wanted}
        for id_ in self.ids:
            group = self.groups[id_]
            if group in wanted and len(found[group]) < wanted[group]:
                found[group].append(id_)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What all arms are asked alike."""

    size: int
    seed: int
    observed: Mapping[int, int]
    """Questions per level of the evaluation set that `p_eval` follows."""


def choose(arm: str, known: Sequence[Known], ask: Ask) -> Choice:
    """Return an arm's order. Raises `UsageError` for no such arm, `LimitError` where the pool is too small for it."""
    if arm not in ARMS:
        raise UsageError(f"There is no arm {arm!r}. There are: {', '.join(ARMS)}.")
    if len(known) < ask.size:
        raise LimitError(
            f"{ask.size} chains were asked for, and only {len(known)} questions of the pool are graded. Set a smaller "
            "chains in [compare], or read a larger pool."
        )
    choice = ARMS[arm](known, ask)
    if len(choice.ids) < ask.size:
        raise LimitError(
            f"{ask.size} chains were asked for, and the arm {arm} can choose among {len(choice.ids)} questions: what "
            "it goes by is not known of the others. Set a smaller chains in [compare], or leave the arm out."
        )
    return choice


def _levels(known: Iterable[Known]) -> dict[str, int]:
    return {one.id: one.level for one in known}


def _ranked(known: Sequence[Known], ask: Ask, key: Callable[[Known], tuple[float, ...]]) -> Choice:
    """Return questions by a key, those with equal keys in the seed's order."""
    by_id = {one.id: one for one in known}
    shuffled = ordered(by_id, ask.seed)
    ids = sorted(shuffled, key=lambda id_: key(by_id[id_]))
    return Choice(ids=tuple(ids), groups=_levels(known), size=ask.size)


def _random(known: Sequence[Known], ask: Ask) -> Choice:
    return _ranked(known, ask, lambda _: ())


def _easiest(known: Sequence[Known], ask: Ask) -> Choice:
    return _ranked(known, ask, lambda one: (one.level, one.difficulty))


def _hardest(known: Sequence[Known], ask: Ask) -> Choice:
    return _ranked(known, ask, lambda one: (-one.level, -one.difficulty))


def _longest(known: Sequence[Known], ask: Ask) -> Choice:
    return _ranked(known, ask, lambda one: (-one.length,))


def _wrong(known: Sequence[Known], ask: Ask) -> Choice:
    chosen = _ranked(known, ask, lambda one: (one.level == 0,))
    return _with_filler(chosen, sum(one.level > 0 for one in known), "questions that the model answers")


def _band(known: Sequence[Known], ask: Ask) -> Choice:
    """Draw without replacement with weights p(1-p) (Efraimidis and Spirakis 2006); weight 0 comes last."""

    def key(one: Known) -> tuple[float, ...]:
        weight = one.rate * (1 - one.rate)
        return (0, _exponential(ask.seed, one.id) / weight) if weight > 0 else (1, 0)

    chosen = _ranked(known, ask, key)
    return _with_filler(chosen, sum(0 < one.rate < 1 for one in known), "questions with a pass rate of 0 or 1")


def _exponential(seed: int, id_: str) -> float:
    """Return an exponentially distributed number that seed and question decide."""
    digest = blake2b(f"band:{seed}:{id_}".encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / (2**64 + 1))


def _with_filler(choice: Choice, wanted: int, what: str) -> Choice:
    """Say how much of the choice is not what the arm asks for."""
    filler = max(0, choice.size - wanted)
    moved = (f"{filler} {what} fill in",) if filler else ()
    return Choice(ids=choice.ids, groups=choice.groups, size=choice.size, moved=moved)


def _mixed(groups: Mapping[str, int], weights: Sequence[float] | Mapping[int, float], ask: Ask) -> Choice:
    """Draw by weights of the groups 0 to 5, within each in the seed's order.

    What a dry group lacks comes from the nearest; from group 0, where the weights leave it out, only when all others
    are used up.
    """
    shuffled: dict[int, list[str]] = {}
    for id_ in ordered(groups, ask.seed):
        shuffled.setdefault(groups[id_], []).append(id_)
    available = {group: len(ids) for group, ids in shuffled.items()}
    asked = quotas(weights, ask.size)
    filled = fill(asked, available, WhenDry.NEAREST)
    given = dict(filled.quotas)
    moved = [f"{move.count} of level {move.wanted} from level {move.given}" for move in filled.moved]
    for level, lacking in filled.short.items():
        given[0] = given.get(0, 0) + lacking
        moved.append(f"{lacking} of level {level} from level 0")
    first = {id_ for group, quota in given.items() for id_ in shuffled.get(group, ())[:quota]}
    drawn = [id_ for id_ in ordered(groups, ask.seed) if given.get(groups[id_])]
    ids = (*(id_ for id_ in drawn if id_ in first), *(id_ for id_ in drawn if id_ not in first))
    return Choice(ids=ids, groups=dict(groups), size=ask.size, moved=tuple(moved))


def _observed(known: Sequence[Known], ask: Ask) -> Choice:
    if not sum(ask.observed.values()):
        raise UsageError("The arm p_eval needs a graded evaluation set: name one as observed in [compare].")
    return _mixed(_levels(known), {level: ask.observed.get(level, 0) for level in range(6)}, ask)


def _curriculum(known: Sequence[Known], ask: Ask) -> Choice:
    return _mixed(_levels(known), P_C, ask)


def _curriculum_reversed(known: Sequence[Known], ask: Ask) -> Choice:
    return _mixed(_levels(known), REVERSED, ask)


def _static(known: Sequence[Known], ask: Ask) -> Choice:
    """Draw 1:2:3:4:5 from five bands of the static number, as `p_c_reversed` does from the levels."""
    return _mixed(bands({one.id: one.static for one in known if one.static is not None}), REVERSED, ask)


def _transfer(known: Sequence[Known], ask: Ask) -> Choice:
    return _mixed({one.id: one.other for one in known if one.other is not None}, P_C, ask)


def bands(values: Mapping[str, float]) -> dict[str, int]:
    """Return bands 1 to 5 that hold about equally many questions; equal values are never parted."""
    band: dict[float, int] = {}
    below = 0
    for value, count in sorted(Counter(values.values()).items()):
        band[value] = 1 + int(5 * (below + (count - 1) / 2) / len(values))
        below += count
    return {id_: band[value] for id_, value in values.items()}


ARMS: dict[str, Callable[[Sequence[Known], Ask], Choice]] = {
    "random": _random,
    "easiest": _easiest,
    "hardest": _hardest,
    "static": _static,
    "answer_length": _longest,
    "p_eval": _observed,
    "p_c": _curriculum,
    "p_c_reversed": _curriculum_reversed,
    "transfer": _transfer,
    "pass_rate_band": _band,
    "wrong_uniform": _wrong,
}
