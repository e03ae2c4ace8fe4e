"""Sample: a named, seeded draw of graded questions that follows a mix (arXiv 2504.11919, section 3.2).

Quotas by largest remainder; each level's order goes past its quota, as the reserve for chains that do not verify. What
runs dry is reported here, before a teacher is paid. Questions of evaluation sets, and excluded ones, are never drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import SampleSettings
from gradatim.errors import LimitError, UsageError
from gradatim.library import draws, grades, questions
from gradatim.library.draws import Draw
from gradatim.method.draw import ordered
from gradatim.method.mix import Mix, WhenDry, fill, observed_mix, parse_mix, quotas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library
    from gradatim.method.mix import Fill


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
    sets = None if settings.sets is None else questions.chosen_sets(library, settings.sets)
    mix, warning = _mix(library, settings, chosen)
    asked = quotas(mix.weights, settings.size)
    never = draws.undrawable(library)
    found = {
        level: {id_: pk for pk, id_ in draws.graded(library, chosen, level, sets) if pk not in never}
        for level in range(6)
        if asked.get(level) or settings.when_dry == "nearest"
    }
    available = {level: len(ids) for level, ids in found.items()}
    drawn = any(one.name == settings.name for one in draws.draws(library))
    filled = _filled(settings, asked, available, drawn=drawn)
    if not drawn and not sum(filled.quotas.values()):
        raise UsageError("There is nothing to draw: no graded question is left for this mix. See: gradatim levels")
    items = {
        level: ordered(found[level], settings.seed, first=quota + math.ceil(quota * settings.reserve))
        for level, quota in filled.quotas.items()
        if quota
    }
    wanted = Draw(
        pk=0,
        name=settings.name,
        grading=chosen.pk,
        size=settings.size,
        seed=settings.seed,
        mix=mix.text,
        settings=_canonical(settings),
        quotas={level: quota for level, quota in filled.quotas.items() if quota},
    )
    keys = {level: [found[level][id_] for id_ in ids] for level, ids in items.items()}
    before = _keep(library, wanted, keys)
    if before is not None:
        wanted, keys = before, draws.items(library, before)
    return SampleResult(
        name=settings.name,
        model=chosen.model,
        grading=chosen.id,
        mix=mix.text,
        weights=tuple(mix.weights),
        asked=asked,
        available=available,
        drawn=dict(wanted.quotas),
        reserve={level: len(pks) - wanted.quotas[level] for level, pks in keys.items()},
        moved=tuple(f"{move.count} of level {move.wanted} from level {move.given}" for move in filled.moved),
        short=filled.short,
        already=before is not None,
        warning=warning,
    )


def _filled(settings: SampleSettings, asked: dict[int, int], available: dict[int, int], *, drawn: bool) -> Fill:
    """Deal with dry levels. A draw that is there stays as it is, whatever was graded since: nothing fails for it."""
    try:
        return fill(asked, available, WhenDry(settings.when_dry))
    except LimitError:
        if not drawn:
            raise
        return fill(asked, available, WhenDry.SHORT)


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


def _keep(library: Library, wanted: Draw, keys: Mapping[int, list[int]]) -> Draw | None:
    """Write the draw and return None, or return the one that these settings made before, whatever was graded since.

    Raises `UsageError` where another draw has its name.
    """
    there = next((one for one in draws.draws(library) if one.name == wanted.name), None)
    if there is None:
        draws.write(library, wanted, keys)
        return None
    models = {one.pk: (one.model, one.rule) for one in grades.gradings(library)}
    if there.settings == wanted.settings and models[there.grading] == models[wanted.grading]:
        return there
    raise UsageError(
        f"There is another draw named {wanted.name!r} (mix {there.mix}, size {there.size}, "
        f"seed {there.seed}, of {models[there.grading][0]}). "
        "A draw never changes: choose another --name."
    )


def _canonical(settings: SampleSettings) -> str:
    return msgspec.json.encode(settings, order="sorted").decode()
