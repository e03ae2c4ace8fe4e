"""Mixes: how many questions of each level a draw asks for (arXiv 2504.11919).

`observed` is the paper's P_eval, the level histogram of the same model on an evaluation set. `curriculum` is its P_C,
weights w1 > w2 > ... > w5 that favour the easier of the questions the model cannot solve. `explicit` is ours, any
weights. The paper leaves open whether level 0 is part of P_C: here it is not, unless `easy` gives it a weight.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from gradatim.errors import LimitError, UsageError
from gradatim.method.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EXAMPLES = "curriculum:5,4,3,2,1, observed:NAME (an evaluation set), explicit:1,2,3,4,5 or explicit:0=1,3=2"
_NUMBER = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)")


class MixKind(StrEnum):
    """Where a mix's weights come from."""

    OBSERVED = "observed"
    CURRICULUM = "curriculum"
    EXPLICIT = "explicit"


class WhenDry(StrEnum):
    """What happens when a level has fewer questions than its quota."""

    FAIL = "fail"
    NEAREST = "nearest"
    SHORT = "short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A distribution over levels."""

    kind: MixKind
    weights: tuple[float, ...]
    """One for each of the levels 0 to 5; only their ratios matter."""
    text: str
    """As it was asked for: `curriculum:5,4,3,2,1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A mix that waits for the histogram of an evaluation set: `observed_mix` makes the `Mix`."""

    set_name: str
    easy: float | None = None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Questions that one level gives in place of another that is dry."""

    wanted: int
    given: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What a draw can have."""

    quotas: dict[int, int]
    """Questions per level after moving and shortening."""
    short: dict[int, int]
    """Questions that nothing replaces, by the level that was asked for them; only levels with some."""
    moved: tuple[Move, ...]


def _number(text: str, where: str) -> float:
    """Return a weight; raise `UsageError` for anything but a plain number of at least 0."""
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"{text or 'nothing'!r} in the mix {where!r} is no weight: a plain number of at least 0.")
    return float(text)


def _checked_easy(easy: float | None) -> None:
    """Raise `UsageError` for a weight of level 0 that cannot be."""
    if easy is not None and not (math.isfinite(easy) and easy >= 0):
        raise UsageError(f"The weight of easy questions is a number of at least 0, not {easy:g}.")


def parse_mix(text: str, easy: float | None = None) -> Mix | Observed:
    """Return the mix that `text` names; raise `UsageError`, one sentence with what to type, for any other text.

    Forms: `curriculum:w1,w2,w3,w4,w5`, falling and positive (the paper's P_C); `explicit:` with the same
    five numbers in any order, or with `level=weight` pairs, levels left out getting 0; `observed:NAME`. `easy`, the
    weight of level 0, is 0 by default, in pairs what they say, and for `observed` what was observed.
    """
    _checked_easy(easy)
    kind, colon, rest = text.strip().partition(":")
    kind, rest = kind.strip().lower(), rest.strip()
    if kind not in list(MixKind):
        raise UsageError(f"{text!r} is no mix: type one of {_EXAMPLES}.")
    if not colon or not rest:
        raise UsageError(f"The mix {text!r} lacks what comes after {kind!r}: type one of {_EXAMPLES}.")
    if kind == MixKind.OBSERVED:
        return Observed(set_name=rest, easy=easy, text=text.strip())
    parts = [part.strip() for part in rest.split(",")]
    pairs = "=" in rest
    if pairs and kind == MixKind.CURRICULUM:
        raise UsageError(f"The mix {text!r} takes five falling weights; for level=weight pairs type explicit:{rest}.")
    weights = _pairs(parts, text) if pairs else _five(parts, text)
    if kind == MixKind.CURRICULUM:
        _check_falling(weights[1:], text)
    if easy is not None:
        weights[0] = easy
    if sum(weights) == 0:
        raise UsageError(f"All weights of the mix {text!r} are 0: give at least one level a weight above 0.")
    return Mix(kind=MixKind(kind), weights=tuple(weights), text=text.strip())


def _five(parts: list[str], text: str) -> list[float]:
    """Return the weights of levels 0 to 5 from those of 1 to 5."""
    if len(parts) != 5:
        raise UsageError(
            f"The mix {text!r} has {len(parts)} weights, but takes 5, for the levels 1 to 5; "
            "give level 0 its weight as `easy`, or all in pairs: explicit:0=1,3=2."
        )
    return [0.0, *(_number(part, text) for part in parts)]


def _pairs(parts: list[str], text: str) -> list[float]:
    """Return the weights of levels 0 to 5 from `level=weight` pairs."""
    found: dict[int, float] = {}
    for part in parts:
        level, equals, weight = (piece.strip() for piece in part.partition("="))
        if not equals or level not in {str(known) for known in LEVELS}:
            raise UsageError(f"{part!r} in the mix {text!r} is no pair of a level from 0 to 5 and a weight, like 3=2.")
        if int(level) in found:
            raise UsageError(f"The mix {text!r} names level {level} twice: give it one weight.")
        found[int(level)] = _number(weight, text)
    return [found.get(level, 0.0) for level in LEVELS]


def _check_falling(weights: Sequence[float], text: str) -> None:
    """Hold the paper's condition on P_C: w1 > w2 > w3 > w4 > w5, all positive."""
    falls = all(easier > harder for easier, harder in pairwise(weights))
    if not falls or weights[-1] <= 0:
        numbers = text.partition(":")[2].strip()
        raise UsageError(
            f"The weights of the mix {text!r} must fall and stay above 0 (w1 > w2 > w3 > w4 > w5 > 0); "
            f"for any other weights type explicit:{numbers}."
        )


def observed_mix(histogram: Mapping[int, int], set_name: str, easy: float | None = None) -> Mix:
    """Return P_eval: weights in proportion to the level histogram of an evaluation set.

    `easy` replaces the share of level 0 and is counted in shares of the whole histogram, so 0 leaves it out. Raises
    `UsageError` for a histogram that has nothing to follow.
    """
    _checked_easy(easy)
    # Counts, not shares: quotas from whole numbers have exact ties.
    weights = [float(histogram.get(level, 0)) for level in LEVELS]
    total = sum(weights)
    if total == 0:
        raise UsageError(
            f"The evaluation set {set_name!r} has no graded questions: attempt, verify and grade it, then draw."
        )
    if easy is not None:
        weights[0] = easy * total
    if sum(weights) == 0:
        raise UsageError(f"The evaluation set {set_name!r} has only easy questions: give `easy` a weight above 0.")
    return Mix(kind=MixKind.OBSERVED, weights=tuple(weights), text=f"observed:{set_name}")


def quotas(weights: Mapping[int, float] | Sequence[float], size: int) -> dict[int, int]:
    """Return how many questions each level gives, adding up to exactly `size`, by the largest remainder (Hamilton).

    A sequence names the levels 0, 1, 2 and so on. Where remainders tie, the easier level gets the question; weights
    count as the decimal numbers they print as, so that ties are exact. Raises `UsageError` for a negative size or
    weight, or for weights that are all 0.
    """
    from fractions import Fraction  # noqa: PLC0415 - 10 ms at every start of the command line otherwise

    by_level = dict(weights.items() if hasattr(weights, "items") else enumerate(weights))
    if size < 0:
        raise UsageError(f"A draw has a size of at least 0, not {size}.")
    if not by_level or not all(math.isfinite(weight) and weight >= 0 for weight in by_level.values()):
        raise UsageError(f"Weights are numbers of at least 0, not {list(by_level.values())}.")
    exact = {level: Fraction(repr(float(weight))) for level, weight in by_level.items()}
    total = sum(exact.values())
    if total == 0:
        raise UsageError("All weights of the mix are 0: give at least one level a weight above 0.")
    shares = {level: size * weight / total for level, weight in exact.items()}
    given = {level: math.floor(share) for level, share in shares.items()}
    left = size - sum(given.values())
    for level in sorted(given, key=lambda level: (given[level] - shares[level], level))[:left]:
        given[level] += 1
    return dict(sorted(given.items()))


def fill(asked: Mapping[int, int], available: Mapping[int, int], when_dry: WhenDry) -> Fill:
    """Return what the library can give of these quotas, and do with dry levels what `when_dry` says.

    `nearest` takes what a dry level lacks from the nearest level that has questions left (of two equally near, the
    harder), serving the hardest dry level first. Level 0 gives some only where the quotas ask for level 0 at all: a
    mix without it leaves easy questions out on purpose. What no level can give stays in `short`. `short` moves
    nothing. `fail` raises `LimitError`, which names every dry level.
    """
    lacking = {level: count - available.get(level, 0) for level, count in asked.items()}
    short = {level: count for level, count in lacking.items() if count > 0}
    given = {level: min(count, available.get(level, 0)) for level, count in asked.items()}
    if short and when_dry is WhenDry.FAIL:
        raise LimitError(_dry_sentence(asked, available, short))
    moved: list[Move] = []
    if when_dry is WhenDry.NEAREST:
        givers = [level for level in sorted(available) if level > 0 or asked.get(0, 0) > 0]
        for wanted in sorted(short, reverse=True):
            for giver in sorted(givers, key=lambda level: (abs(level - wanted), -level)):
                count = min(short[wanted], available[giver] - given.get(giver, 0))
                if count > 0:
                    given[giver] = given.get(giver, 0) + count
                    short[wanted] -= count
                    moved.append(Move(wanted=wanted, given=giver, count=count))
    left = {level: count for level, count in sorted(short.items()) if count > 0}
    return Fill(quotas=dict(sorted(given.items())), short=left, moved=tuple(moved))


def _dry_sentence(asked: Mapping[int, int], available: Mapping[int, int], short: Mapping[int, int]) -> str:
    """Say which levels are dry and what to type, with a size that would fit where there is one."""
    size = sum(asked.values())
    dry = ", ".join(f"level {level} has {available.get(level, 0)} of {asked[level]}" for level in sorted(short))
    # A quota is less than one question off its exact share, so this size fits whatever the weights were.
    fits = min(size * available.get(level, 0) // (count + 1) for level, count in asked.items() if count)
    smaller = f"ask for --size {fits}" if fits > 0 else "grade more questions"
    return (
        f"The library has too few questions for this draw of {size}: {dry}; {smaller}, "
        "or type --when-dry nearest or --when-dry short."
    )
