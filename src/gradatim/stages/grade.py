"""Grade: the PRM scores what is wrong and not scored yet, then every question's evidence becomes a level.

The grading of arXiv 2504.11919 (rule `paper`), and our rule `rate`. Scores cost something and are kept; levels are
derived from them, so another rule or other cuts call no model. For a wrong program the share of tests that it passed
takes the place of the PRM's mean, unless the settings say otherwise: no PRM is asked for code then.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradatim.config import CALIBRATION, QUINTILES, GradeSettings
from gradatim.errors import UsageError
from gradatim.library import attempts, calibrations, grades, verdicts
from gradatim.method.levels import NoLevel, PaperRule, RateRule, levels_of_shares, quantile_cuts, reachable_levels
from gradatim.method.levels import grade as level_of
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Outcome, Role
from gradatim.work.evidence import CodeScores, paper, rate
from gradatim.work.scoring import Reader, Scored, Scoring

if TYPE_CHECKING:
    from gradatim.library.attempts import Setting
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library, Row
    from gradatim.method.aggregation import Aggregation
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
    tests: float | None = None
    """Mean share of tests that the level's wrong programs passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeResult:
    """What a run of `grade` gave for one model."""

    model: str
    setting: str
    grading: str
    rule: str
    aggregation: Aggregation
    """How a PRM's step scores became an attempt's one."""
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
    notes: tuple[str, ...] = ()
    """What became of the PRM's server, where it was started for this and died."""


def grade(
    library: Library,
    settings: GradeSettings | None = None,
    *,
    prm: PRM | None = None,
    text: Literal["answer", "thinking"] = "answer",
    aggregation: Aggregation | None = None,
    ask: bool = True,
    model: str | None = None,
    setting: str | None = None,
    progress: Progress = silent,
) -> list[GradeResult]:
    """Grade the attempts of one model, or of every model with base attempts; one result for each setting, or of one.

    `text` is what the PRM reads of an attempt: the answer; or the reasoning, where there is one, else the answer. The
    scores of the two are kept apart, as those of two PRMs are. `aggregation` is how its step scores become the
    attempt's one; None is the PRM's own way, or the mean where there is no PRM. It asks no PRM for what is scored. With
    `ask=False` the PRM is asked nothing, and only says whose scores are meant.

    Raises `UsageError` where nothing was attempted or verified, the rule `paper` has neither a PRM nor scores, or the
    share of tests that programs pass is not known.
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
    how = aggregation or ("mean" if prm is None else prm.aggregation)
    reading = _Reading(reader=reader, how=how, ask=ask)
    return [_grade_setting(library, setting, settings, reading, progress) for setting in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What there is to score with."""

    reader: Reader | None
    how: Aggregation
    """How a PRM's step scores become an attempt's one."""
    ask: bool
    """Whether the PRM may be asked, or only says whose scores are meant."""


def _grade_setting(
    library: Library,
    setting: Setting,
    settings: GradeSettings,
    reading: _Reading,
    progress: Progress,
) -> GradeResult:
    reader = reading.reader
    basis = _basis(library, setting, settings, reading.how)
    done = Scored()
    if reader is None or not basis.prm_wanted or not reading.ask:
        prm_pk = _known_prm(library, setting, reader)
    else:
        prm_pk = reader.key(library)
        which = {"first": settings.rule == "paper", "code": not basis.by_tests}
        scoring = Scoring(library=library, setting=setting, reader=reader, stage="grade", progress=progress)
        total = verdicts.count_unscored(library, setting, prm_pk, **which)
        done = scoring.run(verdicts.unscored(library, setting, prm_pk, **which), total)
    if prm_pk is None and settings.rule == "paper" and basis.prm_wanted:
        _check_scored(library, setting, basis)
    rule = _rule(library, setting, settings, (prm_pk, basis))
    grading = grades.ensure_grading(library, setting, prm_pk, settings.rule, _rule_settings(rule, settings, basis))
    reasons = _derive(library, setting, grading, (rule, basis), progress)
    return GradeResult(
        model=setting.model,
        setting=setting.id,
        grading=grading.id,
        rule=settings.rule,
        aggregation=basis.how,
        cuts=rule.cuts,
        levels=tuple(_line(row) for row in grades.by_level(library, grading)),
        ungraded=dict(reasons),
        scored=done.scored,
        unscored=dict(done.unscored + done.faults),
        faults=dict(done.faults),
        warning=_warning(library, setting, rule, (prm_pk, basis)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Basis:
    """What the wrong attempts of a setting are scored by."""

    code: bool
    """Whether there are code questions among those attempted."""
    other: bool
    """Whether there are others."""
    code_scores: CodeScores
    calibrated: bool
    """Whether the cuts are those of a calibration."""
    how: Aggregation
    """How a PRM's step scores become an attempt's one."""

    @property
    def by_tests(self) -> bool:
        """Whether a wrong program's share of tests takes the place of the PRM's mean."""
        return self.code and self.code_scores == "tests"

    @property
    def prm_wanted(self) -> bool:
        """Whether a PRM has anything to score."""
        return self.other or self.code_scores == "prm"


def _basis(library: Library, setting: Setting, settings: GradeSettings, how: Aggregation) -> _Basis:
    """Say what scores wrong attempts. Raises `UsageError` where it is to be tests and not all were run."""
    code, other = grades.attempted(library, setting)
    calibrated = settings.rule == "paper" and isinstance(settings.cuts, str) and settings.cuts != QUINTILES
    basis = _Basis(code=code, other=other, code_scores=settings.code_scores, calibrated=calibrated, how=how)
    stopped = grades.count_stopped(library, setting) if basis.by_tests else 0
    if stopped:
        raise UsageError(
            f"{stopped} wrong programs of {setting.model} were judged up to their first failing test only, so the "
            "share of tests that they pass is not known. Run all tests: gradatim verify --run-all --again (or stop = "
            '"never" in [verify.code]); or grade programs by a PRM: code_scores = "prm" in [grade].'
        )
    return basis


def _rule_settings(rule: PaperRule | RateRule, settings: GradeSettings, basis: _Basis) -> str:
    """Return what tells two gradings of one rule apart."""
    chosen: dict[str, object] = {
        "cuts": list(rule.cuts),
        "prior": list(rule.prior),
        "mass": rule.mass,
        "asked": settings.cuts,
    }
    if basis.code:
        chosen["code_scores"] = basis.code_scores
    if basis.how != "mean":
        chosen["aggregation"] = basis.how
    return json.dumps(chosen)


def _line(row: Row) -> LevelLine:
    level, count, score, decided, correct, _, tests = row
    return LevelLine(
        level=level,
        questions=count,
        score=score,
        attempts=decided,
        pass_rate=correct / decided if decided else None,
        tests=tests,
    )


def _known_prm(library: Library, setting: Setting, reader: Reader | None) -> int | None:
    """Return the PRM that is meant, where it has scored any of the attempts, else the one that scored most of them."""
    sql = (
        "SELECT x.prm FROM score x JOIN attempt a ON a.pk = x.attempt WHERE a.setting = ? "
        "GROUP BY x.prm ORDER BY count(*) DESC, x.prm DESC"
    )
    there = [int(row[0]) for row in library.all(sql, (setting.pk,))]
    meant = None if reader is None else verdicts.find_prm(library, reader.prm.name, reader.version)
    return meant if meant in there else next(iter(there), None)


def _check_scored(library: Library, setting: Setting, basis: _Basis) -> None:
    """Raise `UsageError` where the rule paper needs scores and no PRM has given any."""
    found = (paper(found, basis.code_scores).evidence for _, found in grades.evidence(library, setting, None))
    wrong = sum(one.first is Outcome.WRONG and one.score is None for one in found)
    if wrong:
        raise UsageError(
            f"The rule paper needs the PRM's scores for {wrong} questions that {setting.model} got wrong. "
            "Add a [prm] to gradatim.toml, or grade by pass rate alone: gradatim grade --rule rate"
        )


def _rule(
    library: Library, setting: Setting, settings: GradeSettings, by: tuple[int | None, _Basis]
) -> PaperRule | RateRule:
    """Return the rule with its cuts. Raises `UsageError` for cuts that cannot be."""
    if settings.rule == "rate":
        return RateRule(cuts=tuple(settings.cuts)) if isinstance(settings.cuts, list) else RateRule()
    if settings.cuts is None:
        return PaperRule()
    if isinstance(settings.cuts, list):
        return PaperRule(cuts=tuple(settings.cuts))
    prm_pk, basis = by
    if settings.cuts != QUINTILES:
        if not basis.prm_wanted:
            raise UsageError(
                f"{settings.cuts} has cuts for a PRM's scores, and the programs of {setting.model} are graded by the "
                'share of tests that they passed. Leave the cuts out, or set code_scores = "prm" in [grade].'
            )
        return PaperRule(cuts=_calibrated(library, setting, settings.cuts, by))
    means = [
        evidence.score
        for _, found in grades.evidence(library, setting, prm_pk, basis.how)
        if (evidence := paper(found, basis.code_scores).evidence).first is Outcome.WRONG and evidence.score is not None
    ]
    try:
        return PaperRule(cuts=quantile_cuts(means))
    except UsageError as error:
        if not basis.by_tests:
            raise UsageError(f"{setting.model}: {error}") from error
        raise UsageError(
            f"{setting.model}: the shares of tests that its {len(means)} wrong programs passed take {len(set(means))} "
            f"values, and {means.count(0)} programs passed none, so they cannot be cut into five parts of equal size. "
            "Leave the cuts as they are by default (0.8, 0.6, 0.4, 0.2), or give four numbers."
        ) from error


def _calibrated(library: Library, setting: Setting, asked: str, by: tuple[int | None, _Basis]) -> tuple[float, ...]:
    """Return the cuts of the model's calibration. Raises `UsageError` where it has none, or they are another PRM's."""
    prm_pk, basis = by
    one = calibrations.find(library, asked.removeprefix(CALIBRATION), setting.model)
    if not one.cuts:
        raise UsageError(f"The calibration {one.name!r} found no cuts: its PRM does not tell five levels apart.")
    if prm_pk is not None and one.prm != prm_pk:
        raise UsageError(
            f"The calibration {one.name!r} was made with another PRM, or another text of it to read, than the scores "
            "that are to be graded. Calibrate this one: gradatim calibrate"
        )
    if one.aggregation != basis.how:
        raise UsageError(
            f"The calibration {one.name!r} has cuts for the {one.aggregation} of an answer's step scores, and the "
            f"{basis.how} is to be graded. Calibrate again, gradatim calibrate, or set aggregation in [prm]."
        )
    return one.cuts


def _derive(
    library: Library,
    setting: Setting,
    grading: GradingRow,
    by: tuple[PaperRule | RateRule, _Basis],
    progress: Progress,
) -> Counter[str]:
    """Write the grade of every question that was attempted; return the reasons of those without a level."""
    reasons = Counter[str]()
    rule, basis = by
    weigh = paper if isinstance(rule, PaperRule) else rate
    # Cuts that were calibrated say something of a PRM's scores, and nothing of shares of tests.
    of_tests = PaperRule() if basis.calibrated and basis.by_tests else rule
    rows: list[Row] = []
    done = 0
    for question, found in grades.evidence(library, setting, grading.prm, basis.how):
        weighed = weigh(found, basis.code_scores)
        evidence = weighed.evidence
        result = level_of(evidence, of_tests if found[0].code else rule)
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
                weighed.prm,
                reason,
                weighed.tests,
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


def _warning(library: Library, setting: Setting, rule: PaperRule | RateRule, by: tuple[int | None, _Basis]) -> str:
    """Say which levels these attempts cannot reach."""
    prm_pk, basis = by
    sql = "SELECT max(n) FROM (SELECT count(*) AS n FROM attempt WHERE setting = ? GROUP BY question)"
    most = int(library.value(sql, (setting.pk,)) or 1)
    reached = set(reachable_levels(most, rule, scored=prm_pk is not None or basis.by_tests))
    if isinstance(rule, PaperRule) and basis.by_tests and not basis.other:
        return _few_tests(grades.suite_sizes(library, setting), rule)
    missing = sorted(set(range(6)) - reached)
    if not missing:
        return ""
    levels = ", ".join(map(str, missing))
    ways = "more samples or other cuts" if basis.by_tests and not basis.other else "more samples, other cuts or a PRM"
    return (
        f"With {most} attempt{'s' if most > 1 else ''} per question, level {levels} cannot occur: {ways} would open it."
    )


def _few_tests(sizes: list[int], rule: PaperRule) -> str:
    """Say which levels the share of tests cannot reach, where the questions have few tests."""
    missing = sorted({1, 2, 3, 4, 5} - set(levels_of_shares(sizes, rule))) if sizes else []
    if not missing:
        return ""
    return (
        f"With at most {sizes[0]} test{'s' if sizes[0] > 1 else ''} per question, level "
        f"{', '.join(map(str, missing))} cannot occur: more tests, other cuts, or the rule rate with several attempts "
        "would open it."
    )
