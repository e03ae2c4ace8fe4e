"""Sample: a named, seeded draw of graded questions that follows a mix (arXiv 2504.11919, P_eval and P_C).

Quotas by largest remainder; each level's order goes past its quota, as the reserve for chains that do not verify. What
runs dry is reported here, before a teacher is paid. Questions of evaluation sets, and excluded ones, are never drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import SampleSettings
from gradatim.errors import UsageError
from gradatim.library import draws, grades, questions
from gradatim.library.draws import Draw
from gradatim.method.draw import ordered
from gradatim.method.mix import Fill, Mix, WhenDry, fill, observed_mix, parse_mix, quotas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradatim.library.grades import GradingRow
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library

_STALE = (
    "The draw {name!r} was made from another grading of this model and stays as it is: choose another --name "
    "to draw anew."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """A draw, and what it could not have."""

    name: str
    model: str
    grading: str
    mix: str
    weights: tuple[float, ...]
    """Of levels 0 to 5."""
    asked: dict[int, int]
    available: dict[int, int]
    drawn: dict[int, int]
    """Quota per level after dry levels were dealt with."""
    reserve: dict[int, int]
    """Further questions per level, in their order."""
    moved: tuple[str, ...]
    """Questions that one level gives for another: `20 of level 3 from level 4`."""
    short: dict[int, int]
    """Questions that no level could give, by the level that was asked for them."""
    already: bool
    """The same draw was there; nothing was changed."""
    warning: str = ""


def sample(
    library: Library, settings: SampleSettings | None = None, *, model: str | None = None, grading: str | None = None
) -> SampleResult:
    """Draw questions, or find the same draw again.

    Raises `UsageError` for a mix that cannot be or a name that is taken by another draw, `LimitError` where a level is
    dry and `when_dry` is `fail`.
    """
    settings = settings or SampleSettings()
    if not settings.name.strip() or "/" in settings.name:
        raise UsageError(
            f"{settings.name!r} cannot name a draw: it takes letters, digits, and no slash. Give one with --name."
        )
    chosen = grades.chosen_grading(library, model, grading)
    there = _there(library, settings, chosen)
    stale = there is not None and there.grading != chosen.pk
    if there is not None:
        # It stays as it was drawn, whatever was graded since: also where a level has become dry.
        chosen = next(one for one in grades.gradings(library) if one.pk == there.grading)
    sets = None if settings.sets is None else questions.chosen_sets(library, settings.sets)
    mix, warning = _mix(library, settings, chosen)
    asked = quotas(mix.weights, settings.size)
    available = {
        level: count
        for level, count in draws.available(library, chosen, sets).items()
        if asked.get(level) or settings.when_dry == "nearest"
    }
    if there is None:
        filled = fill(asked, available, WhenDry(settings.when_dry))
        draw, keys = _draw(library, settings, chosen, mix, filled, sets)
    else:
        filled = _refilled(there, asked)
        draw, keys = there, draws.items(library, there)
    return SampleResult(
        name=settings.name,
        model=chosen.model,
        grading=chosen.id,
        mix=mix.text,
        weights=tuple(mix.weights),
        asked=asked,
        available=available,
        drawn=dict(draw.quotas),
        reserve={level: len(pks) - draw.quotas[level] for level, pks in keys.items()},
        moved=tuple(f"{move.count} of level {move.wanted} from level {move.given}" for move in filled.moved),
        short=filled.short,
        already=there is not None,
        warning=" ".join(filter(None, (warning, _STALE.format(name=settings.name) if stale else ""))),
    )


def _draw(
    library: Library,
    settings: SampleSettings,
    grading: GradingRow,
    mix: Mix,
    filled: Fill,
    sets: Sequence[QuestionSet] | None,
) -> tuple[Draw, dict[int, list[int]]]:
    """Draw and keep it; return it with the question keys of each level in their order."""
    if not sum(filled.quotas.values()):
        raise UsageError("There is nothing to draw: no graded question is left for this mix. See: gradatim levels")
    wanted = Draw(
        pk=0,
        name=settings.name,
        grading=grading.pk,
        size=settings.size,
        seed=settings.seed,
        mix=mix.text,
        settings=_canonical(settings),
        quotas={level: quota for level, quota in filled.quotas.items() if quota},
    )
    never = draws.undrawable(library)
    keys = {}
    for level, quota in wanted.quotas.items():
        # As they come: the ids of a million questions in a dictionary take 150 MB.
        ids = (id_ for pk, id_ in draws.graded(library, grading, level, sets) if pk not in never)
        keys[level] = draws.keys(library, ordered(ids, settings.seed, quota + math.ceil(quota * settings.reserve)))
    return draws.write(library, wanted, keys), keys


def _refilled(draw: Draw, asked: Mapping[int, int]) -> Fill:
    """Return what a draw of before could not have; what it moved is not remembered."""
    lacking = draw.size - sum(draw.quotas.values())
    short = {level: count - draw.quotas.get(level, 0) for level, count in asked.items()} if lacking else {}
    return Fill(quotas=dict(draw.quotas), short={level: count for level, count in short.items() if count > 0}, moved=())


def _mix(library: Library, settings: SampleSettings, grading: GradingRow) -> tuple[Mix, str]:
    """Return the mix, and what is to be said about it."""
    mix = parse_mix(settings.mix, settings.easy)
    if isinstance(mix, Mix):
        return mix, ""
    sets = {one.name: one for one in questions.sets(library)}
    if mix.set_name not in sets:
        raise UsageError(
            f"The mix {settings.mix!r} needs the set {mix.set_name!r}, which is not in the "
            f"library. There are: {', '.join(sets) or 'none'}."
        )
    counts = {
        level: count
        for level, count in grades.histogram(library, grading, sets[mix.set_name].pk).items()
        if level is not None
    }
    if not counts:
        raise UsageError(
            f"No question of the set {mix.set_name!r} is graded for {grading.model}. Run: gradatim "
            f"attempt --set {mix.set_name}; gradatim verify; gradatim grade"
        )
    observed = observed_mix(counts, mix.set_name, settings.easy)
    pool = {level: count for level, count in grades.histogram(library, grading).items() if level is not None}
    return observed, _same_as_pool(counts, pool)


def _same_as_pool(observed: Mapping[int, int], pool: Mapping[int, int]) -> str:
    """Warn where P_eval is the pool's own distribution: then it is random sampling under another name."""
    total, whole = sum(observed.values()), sum(pool.values())
    if not total or not whole:
        return ""
    distance = sum(abs(observed.get(level, 0) / total - pool.get(level, 0) / whole) for level in range(6)) / 2
    return (
        ""
        if distance > 0.05
        else "The evaluation set's levels are distributed as the pool's (they differ by "
        f"{distance:.1%}): this draw is close to a random one."
    )


def _there(library: Library, settings: SampleSettings, chosen: GradingRow) -> Draw | None:
    """Return the draw that these settings made before, whatever was graded since.

    Raises `UsageError` where another draw has its name.
    """
    there = next((one for one in draws.draws(library) if one.name == settings.name), None)
    if there is None:
        return None
    models = {one.pk: (one.model, one.rule) for one in grades.gradings(library)}
    if there.settings == _canonical(settings) and models[there.grading] == models[chosen.pk]:
        return there
    raise UsageError(
        f"There is another draw named {there.name!r} (mix {there.mix}, size {there.size}, "
        f"seed {there.seed}, of {models[there.grading][0]}). "
        "A draw never changes: choose another --name."
    )


def _canonical(settings: SampleSettings) -> str:
    return msgspec.json.encode(settings, order="sorted").decode()
