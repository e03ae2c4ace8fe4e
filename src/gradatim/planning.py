"""What a run would do: for each stage what is done, what is to do, and about what it costs. Asks and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.library import attempts, draws, furthers, questions
from gradatim.library.store import Library
from gradatim.types import CUT_OFF, Role, content_id
from gradatim.work.opening import price_of

if TYPE_CHECKING:
    from gradatim.config import Config
    from gradatim.models.budget import Price


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
    """Completion tokens if every answer took all of `max_tokens`."""
    cost: float | None = None
    """Of the estimated tokens, in the currency of the price."""
    note: str = ""


def plan(config: Config) -> list[Planned]:
    """Return what `run` would do. Works without a library too."""
    if not Path(config.library).exists():
        return _from_nothing(config)
    with Library(config.library) as library:
        return [
            _ingest(library, config),
            _attempt(library, config),
            _verify(library),
            _grade(library, config),
            _sample(library, config),
            _teach(library, config),
            _curate(library, config),
            _export(config),
        ]


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
    prompt, completion = _means(library, Role.BASE, chosen.model)
    return _costed(
        Planned(
            stage="attempt",
            done=done,
            to_do=wanted - done,
            unit="attempts",
            at_most=(wanted - done) * config.attempt.max_tokens + further * (config.attempt.truncated_max_tokens or 0),
            note=_cut_off(cut, config.attempt.truncated),
        ),
        prompt,
        completion,
        wanted - done,
        price_of(chosen),
    )


def _cut_off(cut: furthers.CutOff, what: str) -> str:
    """Say how many answers are cut off, and what is to become of them; the estimate does not hold what that costs."""
    if not cut.still:
        return ""
    words = {"keep": "kept", "continue": "to be continued", "retry": "to be retried"}[what]
    further = f", {cut.waiting} {words}" if cut.waiting else ""
    return f"{cut.still} answers are cut off{further}"


def _setting(library: Library, role: Role, model: str, sampling: str) -> attempts.Setting | None:
    return attempts.find_setting(library, content_id(role, model, sampling)[:10])


def _means(library: Library, role: Role, model: str) -> tuple[float | None, float | None]:
    """Return mean prompt and completion tokens of this model's newest setting: of its last thousand attempts."""
    # Last by question, which an index finds at once: the newest by key would be looked for among all.
    sql = (
        "SELECT avg(prompt_tokens), avg(completion_tokens) FROM (SELECT prompt_tokens, completion_tokens "
        "FROM attempt WHERE setting = ? ORDER BY question DESC, sample DESC LIMIT 1000)"
    )
    for setting in reversed(attempts.settings(library, role)):
        if setting.model == model:
            prompt, completion = library.all(sql, (setting.pk,))[0]
            if prompt is not None and completion is not None:
                return prompt, completion
    return None, None


def _costed(
    planned: Planned, prompt: float | None, completion: float | None, requests: float, price: Price | None
) -> Planned:
    """Add the estimate of tokens and cost, where this model has answered before."""
    if prompt is None or completion is None:
        some = "; attempt --limit 50 gives some" if planned.stage == "attempt" else ""
        note = f"no estimate before the first answers{some}" if requests else ""
        return _with(planned, note="; ".join(filter(None, (note, planned.note))))
    cost = None if price is None else requests * (prompt * price.input + completion * price.output) / 1e6
    return _with(planned, tokens=round(requests * (prompt + completion)), cost=cost)


def _with(planned: Planned, *, tokens: int | None = None, cost: float | None = None, note: str = "") -> Planned:
    return Planned(
        stage=planned.stage,
        done=planned.done,
        to_do=planned.to_do,
        unit=planned.unit,
        at_most=planned.at_most,
        tokens=tokens,
        cost=cost,
        note=note or planned.note,
    )


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
    there = [one for one in draws.draws(library) if one.name == config.sample.name]
    rows = draws.teacher_attempts(library, there[0]) if there else []
    chains = len({row[2] for row in rows if row[5] == "correct" or config.teach.keep == "any"})
    missing = max(0, (sum(there[0].quotas.values()) if there else config.sample.size) - chains)
    yield_ = chains / len(rows) if chains else 1.0
    prompt, completion = _means(library, Role.TEACHER, chosen.model)
    requests = missing / yield_
    cut = sum(row[6] in CUT_OFF for row in rows)
    notes = (f"{yield_:.0%} of the answers verified so far" if rows else "", f"{cut} are cut off" if cut else "")
    return _costed(
        Planned(
            stage="teach",
            done=chains,
            to_do=missing,
            unit="chains",
            at_most=missing * config.teach.tries * config.teach.max_tokens,
            note=", ".join(filter(None, notes)),
        ),
        prompt,
        completion,
        requests,
        price_of(chosen),
    )


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
