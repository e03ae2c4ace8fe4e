"""Grade: the PRM scores what is wrong and not scored yet, then every question's evidence becomes a level.

The grading of arXiv 2504.11919 (rule `paper`), and our rule `rate`. Scores cost something and are kept; levels are
derived from them, so another rule or other cuts call no model.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradatim.config import CALIBRATION, QUINTILES, GradeSettings
from gradatim.errors import UsageError
from gradatim.library import attempts, calibrations, grades, verdicts
from gradatim.method.levels import Evidence, NoLevel, PaperRule, RateRule, quantile_cuts, reachable_levels
from gradatim.method.levels import grade as level_of
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Outcome, Role
from gradatim.work.scoring import Reader, Scored, Scoring

if TYPE_CHECKING:
    from gradatim.library.attempts import Setting
    from gradatim.library.grades import AttemptEvidence, GradingRow
    from gradatim.library.store import Library, Row
    from gradatim.prm import PRM

_GRADES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelLine:
    """How one level relates to its evidence."""

    level: int | None
    """None: questions that have no level."""
    questions: int
    score: float | None
    """Mean PRM score of the level's wrong attempts."""
    pass_rate: float | None
    """Correct of decided attempts."""
    attempts: int
    """Decided ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeResult:
    """What a run of `grade` gave for one model."""

    model: str
    setting: str
    grading: str
    rule: str
    cuts: tuple[float, ...]
    levels: tuple[LevelLine, ...]
    ungraded: dict[str, int]
    """Questions without a level, per reason."""
    scored: int
    """Attempts that the PRM scored in this run."""
    unscored: dict[str, int]
    """Attempts that it could not score, and faults, per reason."""
    faults: dict[str, int]
    """The faults among them: these are tried again by the next run."""
    warning: str = ""
    """What makes these levels less than they seem."""


def grade(
    library: Library,
    settings: GradeSettings | None = None,
    *,
    prm: PRM | None = None,
    text: Literal["answer", "thinking"] = "answer",
    model: str | None = None,
    setting: str | None = None,
    progress: Progress = silent,
) -> list[GradeResult]:
    """Grade the attempts of one model, or of every model with base attempts; one result for each setting, or of one.

    `text` is what the PRM reads of an attempt: the answer; or the reasoning, where there is one, else the answer. The
    scores of the two are kept apart, as those of two PRMs are.

    Raises `UsageError` where nothing was attempted or verified, or the rule `paper` has neither a PRM nor scores.
    """
    settings = settings or GradeSettings()
    there = attempts.settings(library, Role.BASE)
    chosen = [one for one in there if model in (None, one.model) and setting in (None, one.id)]
    if not chosen:
        raise UsageError(
            f"There are no attempts{f' of {model}' if model else ''} to grade. Run first: gradatim "
            "attempt; gradatim verify"
        )
    if library.value("SELECT 1 FROM verdict LIMIT 1") is None:
        raise UsageError("No attempt has a verdict yet. Run first: gradatim verify")
    reader = None if prm is None else Reader(prm=prm, text=text)
    return [_grade_setting(library, setting, settings, reader, progress) for setting in chosen]


def _grade_setting(
    library: Library, setting: Setting, settings: GradeSettings, reader: Reader | None, progress: Progress
) -> GradeResult:
    done = Scored() if reader is None else _score(library, setting, reader, progress, first=settings.rule == "paper")
    prm_pk = _known_prm(library, setting) if reader is None else reader.key(library)
    if prm_pk is None and settings.rule == "paper":
        _check_scored(library, setting)
    rule = _rule(library, setting, settings, prm_pk)
    rule_settings = json.dumps(
        {"cuts": list(rule.cuts), "prior": list(rule.prior), "mass": rule.mass, "asked": settings.cuts}
    )
    grading = grades.ensure_grading(library, setting, prm_pk, settings.rule, rule_settings)
    reasons = _derive(library, setting, grading, rule, progress)
    lines = tuple(
        LevelLine(
            level=row[0], questions=row[1], score=row[2], attempts=row[3], pass_rate=row[4] / row[3] if row[3] else None
        )
        for row in grades.by_level(library, grading)
    )
    return GradeResult(
        model=setting.model,
        setting=setting.id,
        grading=grading.id,
        rule=settings.rule,
        cuts=rule.cuts,
        levels=lines,
        ungraded=dict(reasons),
        scored=done.scored,
        unscored=dict(done.unscored + done.faults),
        faults=dict(done.faults),
        warning=_warning(library, setting, rule, prm_pk),
    )


def _known_prm(library: Library, setting: Setting) -> int | None:
    """Return the PRM that scored most of the setting's attempts, where none is at hand now."""
    sql = (
        "SELECT x.prm FROM score x JOIN attempt a ON a.pk = x.attempt WHERE a.setting = ? "
        "GROUP BY x.prm ORDER BY count(*) DESC, x.prm DESC LIMIT 1"
    )
    found = library.value(sql, (setting.pk,))
    return None if found is None else int(found)


def _check_scored(library: Library, setting: Setting) -> None:
    """Raise `UsageError` where the rule paper needs scores and no PRM has given any."""
    found = (_paper_evidence(found) for _, found in grades.evidence(library, setting, None))
    wrong = sum(one.first is Outcome.WRONG for one in found)
    if wrong:
        raise UsageError(
            f"The rule paper needs the PRM's scores for {wrong} questions that {setting.model} got wrong. "
            "Add a [prm] to gradatim.toml, or grade by pass rate alone: gradatim grade --rule rate"
        )


def _score(library: Library, setting: Setting, reader: Reader, progress: Progress, *, first: bool) -> Scored:
    """Have the PRM score every wrong attempt that lacks scores; with `first` only those that decide a question."""
    prm = reader.key(library)
    scoring = Scoring(library=library, setting=setting, reader=reader, stage="grade", progress=progress)
    total = verdicts.count_unscored(library, setting, prm, first=first)
    return scoring.run(verdicts.unscored(library, setting, prm, first=first), total)


def _rule(library: Library, setting: Setting, settings: GradeSettings, prm_pk: int | None) -> PaperRule | RateRule:
    """Return the rule with its cuts. Raises `UsageError` for cuts that cannot be."""
    if settings.rule == "rate":
        return RateRule(cuts=tuple(settings.cuts)) if isinstance(settings.cuts, list) else RateRule()
    if settings.cuts is None:
        return PaperRule()
    if isinstance(settings.cuts, list):
        return PaperRule(cuts=tuple(settings.cuts))
    if settings.cuts != QUINTILES:
        return PaperRule(cuts=_calibrated(library, settings.cuts, prm_pk))
    means = [
        evidence.score
        for _, found in grades.evidence(library, setting, prm_pk)
        if (evidence := _paper_evidence(found)).first is Outcome.WRONG and evidence.score is not None
    ]
    try:
        return PaperRule(cuts=quantile_cuts(means))
    except UsageError as error:
        raise UsageError(f"{setting.model}: {error}") from error


def _calibrated(library: Library, asked: str, prm_pk: int | None) -> tuple[float, ...]:
    """Return the cuts of a calibration. Raises `UsageError` where it has none, or they are another PRM's."""
    one = calibrations.find(library, asked.removeprefix(CALIBRATION))
    if not one.cuts:
        raise UsageError(f"The calibration {one.name!r} found no cuts: its PRM does not tell five levels apart.")
    if prm_pk is not None and one.prm != prm_pk:
        raise UsageError(
            f"The calibration {one.name!r} was made with another PRM, or another text of it to read, than the scores "
            "that are to be graded. Calibrate this one: gradatim calibrate"
        )
    return one.cuts


def _derive(
    library: Library, setting: Setting, grading: GradingRow, rule: PaperRule | RateRule, progress: Progress
) -> Counter[str]:
    """Write the grade of every question that was attempted; return the reasons of those without a level."""
    reasons = Counter[str]()
    summed = _paper_evidence if isinstance(rule, PaperRule) else _rate_evidence
    rows: list[Row] = []
    done = 0
    for question, found in grades.evidence(library, setting, grading.prm):
        evidence = summed(found)
        result = level_of(evidence, rule)
        # There are attempts of every question here: what has none that counts was not judged yet.
        reason = "not_verified" if result.reason == NoLevel.NO_ATTEMPT else result.reason
        if result.level is None:
            reasons[reason] += 1
        rows.append(
            (
                grading.pk,
                question,
                result.level,
                result.difficulty,
                result.low,
                result.high,
                evidence.correct,
                evidence.wrong,
                evidence.undecided,
                evidence.score,
                reason,
            )
        )
        if len(rows) >= _GRADES:
            done += len(rows)
            _save(library, rows)
            progress("grade", Tick(done=done, total=None))
    _save(library, rows)
    return reasons


def _save(library: Library, rows: list[Row]) -> None:
    with library.transaction() as connection:
        grades.write(connection, rows)
    rows.clear()


def _paper_evidence(found: list[AttemptEvidence]) -> Evidence:
    """The first decided attempt decides (one attempt, as in the paper); the score is that attempt's own."""
    first = next((one for one in found if one.outcome in (Outcome.CORRECT, Outcome.WRONG)), None)
    score = first.score if first is not None and first.outcome == Outcome.WRONG else None
    return _counted(found, None if first is None or first.outcome is None else Outcome(first.outcome), score)


def _rate_evidence(found: list[AttemptEvidence]) -> Evidence:
    """All decided attempts count; the score is the mean over the wrong ones that were scored."""
    means = [one.score for one in found if one.outcome == Outcome.WRONG and one.score is not None]
    return _counted(found, None, sum(means) / len(means) if means else None)


def _counted(found: list[AttemptEvidence], first: Outcome | None, score: float | None) -> Evidence:
    outcomes = [one.outcome for one in found]
    return Evidence(
        correct=outcomes.count(Outcome.CORRECT),
        wrong=outcomes.count(Outcome.WRONG),
        undecided=outcomes.count(Outcome.UNDECIDED),
        first=first,
        score=score,
    )


def _warning(library: Library, setting: Setting, rule: PaperRule | RateRule, prm_pk: int | None) -> str:
    """Say which levels these attempts cannot reach."""
    sql = "SELECT max(n) FROM (SELECT count(*) AS n FROM attempt WHERE setting = ? GROUP BY question)"
    most = library.value(sql, (setting.pk,)) or 1
    missing = sorted(set(range(6)) - set(reachable_levels(int(most), rule, scored=prm_pk is not None)))
    if not missing:
        return ""
    levels = ", ".join(map(str, missing))
    return (
        f"With {most} attempt{'s' if most > 1 else ''} per question, level {levels} cannot "
        "occur: more samples, other cuts or a PRM would open it."
    )
