"""What a run would do: for each stage what is done, what is to do, and about what it costs. Asks and writes nothing.

Tokens and costs are estimated from this model's answers so far, with the interval that holds the total with 95 %: a
pilot (`attempt --limit 50`) is what makes one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from gradatim.library import attempts, draws, furthers, questions
from gradatim.library.store import Library
from gradatim.method.estimates import LEAST, Interval, Yield, total_of, total_to_reach
from gradatim.types import Role, content_id
from gradatim.work.desk import Desk
from gradatim.work.opening import price_of
from gradatim.work.truncation import Furthers, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.config import Config, ModelSettings
    from gradatim.config.settings import Asking
    from gradatim.library.draws import Draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One stage's share of a plan."""

    stage: str
    done: int | None
    to_do: int | None
    """None where an earlier stage decides it."""
    unit: str
    tokens: int | None = None
    """Estimated, prompt and completion, from this model's attempts so far; None where there are none."""
    at_most: int | None = None
    """Completion tokens if every answer took all of `max_tokens`, and what is asked further all of its own limit."""
    cost: float | None = None
    """Of the estimated tokens, in the currency of the price."""
    tokens_low: int | None = None
    """The lower end of the 95 % interval of `tokens`; None where there are too few answers to say."""
    tokens_high: int | None = None
    cost_low: float | None = None
    cost_high: float | None = None
    based_on: int | None = None
    """How many questions' answers the estimate is made from."""
    note: str = ""


def plan(config: Config, *, stages: int | None = None) -> list[Planned]:
    """Return what `run` would do, in its first `stages` stages or all. Works without a library too.

    What a later stage needs of the settings is not asked for.
    """
    if not Path(config.library).exists():
        return _from_nothing(config)[:stages]
    with Library(config.library) as library:
        planners: list[Callable[[], Planned]] = [
            lambda: _ingest(library, config),
            lambda: _attempt(library, config),
            lambda: _verify(library),
            lambda: _grade(library, config),
            lambda: _sample(library, config),
            lambda: _teach(library, config),
            lambda: _curate(library, config),
            lambda: _export(config),
        ]
        return [planned() for planned in planners[:stages]]


def _from_nothing(config: Config) -> list[Planned]:
    first = Planned(
        stage="ingest", done=0, to_do=len(config.ingest), unit="sources", note=f"{config.library} will be made"
    )
    return [
        first,
        *(
            Planned(stage=stage, done=0, to_do=None, unit=unit, note="known after ingest")
            for stage, unit in (
                ("attempt", "attempts"),
                ("verify", "verdicts"),
                ("grade", "questions"),
                ("sample", "draws"),
                ("teach", "chains"),
                ("curate", "attempts"),
                ("export", "files"),
            )
        ),
    ]


def _ingest(library: Library, config: Config) -> Planned:
    count = int(library.value("SELECT count(*) FROM question"))
    return Planned(
        stage="ingest",
        done=count,
        to_do=None,
        unit="questions",
        note=f"{len(config.ingest)} sources, each read again only if it has changed",
    )


def _attempt(library: Library, config: Config) -> Planned:
    chosen = config.model(config.attempt.model)
    if not questions.sets(library):
        return Planned(stage="attempt", done=0, to_do=None, unit="attempts", note="known after ingest")
    sets = questions.chosen_sets(library, config.attempt.sets)
    wanted = questions.count_active(library, sets) * config.attempt.samples
    setting = _setting(library, Role.BASE, chosen.model, attempts.sampling_text(config.attempt.sampling()))
    done = 0 if setting is None else attempts.count_done(library, setting, sets, config.attempt.samples)
    cut = furthers.count(library, setting, sets, config.attempt.samples)
    further = 0 if config.attempt.truncated == "keep" else cut.waiting
    planned = Planned(
        stage="attempt",
        done=done,
        to_do=wanted - done,
        unit="attempts",
        at_most=_most(config.attempt, wanted - done, further),
        note=_cut_off(cut, config.attempt.truncated),
    )
    pilot = _pilot(library, Role.BASE, chosen, config.attempt)
    return _costed(planned, pilot, wanted - done, lambda values: total_of(values, wanted - done))


def _most(asking: Asking, requests: int, further: int) -> int:
    """Return what so many first requests and so many further ones write at most: each first may need a further one."""
    larger = 0 if asking.truncated == "keep" else asking.truncated_max_tokens or 0
    return requests * (asking.max_tokens + larger) + further * larger


def _cut_off(cut: furthers.CutOff, what: str) -> str:
    """Say how many answers are cut off, and what is to become of them."""
    if not cut.still:
        return ""
    words = {"keep": "kept", "continue": "to be continued", "retry": "to be retried"}[what]
    further = f", {cut.waiting} {words}" if cut.waiting else ""
    further += " (not in the estimate)" if cut.waiting and what != "keep" else ""
    return f"{cut.still} answers are cut off{further}"


def _setting(library: Library, role: Role, model: str, sampling: str) -> attempts.Setting | None:
    return attempts.find_setting(library, content_id(role, model, sampling)[:10])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pilot:
    """What a model's answers took so far: for each question the mean of its answers."""

    tokens: list[float]
    costs: list[float] | None


def _pilot(library: Library, role: Role, chosen: ModelSettings, asking: Asking) -> _Pilot:
    """Return what the last thousand answers of this model's newest setting took.

    With their further requests, where such are to be made.
    """
    price = price_of(chosen)
    written, table = ("completion_tokens", "attempt") if asking.truncated == "keep" else ("written_tokens", "answer")
    # Last by question, which an index finds at once: the newest by key would be looked for among all.
    sql = (
        f"SELECT avg(prompt_tokens), avg({written}), avg(min(coalesce(cached_tokens, 0), prompt_tokens)) FROM "
        f"(SELECT * FROM {table} WHERE setting = ? ORDER BY question DESC, sample DESC LIMIT 1000) "
        f"WHERE prompt_tokens IS NOT NULL AND {written} IS NOT NULL GROUP BY question"
    )
    for setting in reversed(attempts.settings(library, role)):
        if setting.model == chosen.model and (rows := library.all(sql, (setting.pk,))):
            costs = None
            if price is not None:
                cached = price.input if price.cached_input is None else price.cached_input
                costs = [((p - c) * price.input + c * cached + w * price.output) / 1e6 for p, w, c in rows]
            return _Pilot(tokens=[prompt + written for prompt, written, _ in rows], costs=costs)
    return _Pilot(tokens=[], costs=None)


def _costed(
    planned: Planned, pilot: _Pilot, requests: float, total: Callable[[Sequence[float]], Interval | None]
) -> Planned:
    """Add the estimate of tokens and cost, where this model has answered before; `total` gives its interval."""
    if not pilot.tokens:
        some = "; attempt --limit 50 gives some" if planned.stage == "attempt" else ""
        none = f"no estimate before the first answers{some}" if requests else ""
        return replace(planned, note="; ".join(filter(None, (none, planned.note))))
    costs = pilot.costs
    planned = replace(
        planned,
        tokens=round(requests * fmean(pilot.tokens)),
        cost=None if costs is None else requests * fmean(costs),
        based_on=len(pilot.tokens),
    )
    found = total(pilot.tokens)
    if found is None:
        few = f"too few answers for an interval, which takes those of {LEAST} questions" if requests else ""
        return replace(planned, note="; ".join(filter(None, (planned.note, few))))
    planned = replace(planned, tokens_low=round(found.low), tokens_high=round(found.high))
    money = None if costs is None else total(costs)
    return planned if money is None else replace(planned, cost_low=money.low, cost_high=money.high)


def _verify(library: Library) -> Planned:
    total = int(library.value("SELECT count(*) FROM attempt"))
    judged = int(library.value("SELECT count(*) FROM (SELECT attempt FROM verdict GROUP BY attempt)"))
    unread = "NOT EXISTS (SELECT 1 FROM fresh v WHERE v.attempt = f.attempt)"
    judged -= int(library.value(f"SELECT count(*) FROM further f WHERE f.stale > 0 AND {unread}"))
    return Planned(
        stage="verify", done=judged, to_do=total - judged, unit="verdicts", note="a newer checker judges all again"
    )


def _grade(library: Library, config: Config) -> Planned:
    graded = int(library.value("SELECT count(*) FROM grade WHERE level IS NOT NULL"))
    scored = int(library.value("SELECT count(*) FROM score"))
    what = "no PRM is set" if config.prm is None else f"{scored} attempts are scored"
    if config.grade.code_scores == "tests" and library.value("SELECT min(question) FROM suite") is not None:
        what += "; programs by their tests"
    return Planned(stage="grade", done=graded, to_do=None, unit="grades", note=f"rule {config.grade.rule}; {what}")


def _sample(library: Library, config: Config) -> Planned:
    there = [one for one in draws.draws(library) if one.name == config.sample.name]
    return Planned(
        stage="sample",
        done=len(there),
        to_do=1 - len(there),
        unit="draws",
        note=f"{config.sample.name}: {config.sample.size} by {config.sample.mix}",
    )


def _teach(library: Library, config: Config) -> Planned:
    chosen = config.model(config.teach.model)
    pilot = _pilot(library, Role.TEACHER, chosen, config.teach)
    there = [one for one in draws.draws(library) if one.name == config.sample.name]
    if not there:
        size = config.sample.size
        most = _most(config.teach, round(size * (1 + config.sample.reserve)) * config.teach.tries, 0)
        planned = Planned(stage="teach", done=0, to_do=size, unit="chains", at_most=most)
        costed = _costed(planned, pilot, size, lambda _: None)
        return replace(costed, note="as if every answer became a chain" if pilot.tokens else costed.note)
    levels, desk = _books(library, config, there[0], chosen.model)
    missing = sum(one.missing for one in levels)
    answers, chains = sum(one.answers for one in levels), sum(one.chains for one in levels)
    yield_ = chains / answers if chains else 1.0
    planned = Planned(
        stage="teach",
        done=desk.chains(),
        to_do=missing,
        unit="chains",
        at_most=_most(
            config.teach,
            sum(map(desk.may_be_asked, there[0].quotas)),
            sum(map(desk.waiting_of, there[0].quotas)),
        ),
        note=f"{yield_:.0%} of {answers} answers became chains so far" if answers else "",
    )
    return _costed(planned, pilot, missing / yield_, lambda values: total_to_reach(levels, values))


def _books(library: Library, config: Config, draw: Draw, model: str) -> tuple[list[Yield], Desk]:
    """Return what each level lacks and what its answers came to, counted as `teach` counts it: with the filters."""
    sampling = config.teach.sampling()
    text = attempts.sampling_text(sampling)
    nobody = attempts.Setting(pk=-1, id="", role=Role.TEACHER, model=model, sampling=text)
    setting = _setting(library, Role.TEACHER, model, text) or nobody
    what, limit = config.teach.truncated, config.teach.truncated_max_tokens
    further = None if what == "keep" else Furthers(Policy(what=what, max_tokens=limit or 0, way=None))
    desk = Desk(library, draw, setting, sampling, config.teach, config.curate, further)
    desk.open_books()
    levels = [
        Yield(
            missing=max(0, quota - desk.chains_of(level)),
            answers=desk.answers[level],
            chains=desk.became_chains[level],
        )
        for level, quota in sorted(draw.quotas.items())
    ]
    return levels, desk


def _curate(library: Library, config: Config) -> Planned:
    kept = int(
        library.value(
            "SELECT count(*) FROM chain c JOIN draw d ON d.pk = c.draw WHERE d.name = ? AND c.kept",
            (config.sample.name,),
        )
    )
    return Planned(stage="curate", done=kept, to_do=None, unit="chains", note=f"keep = {config.curate.keep}")


def _export(config: Config) -> Planned:
    there = Path(config.export.out).exists()
    return Planned(
        stage="export", done=int(there), to_do=None, unit="files", note=f"{config.export.out} as {config.export.format}"
    )
