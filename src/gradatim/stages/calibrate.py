"""Calibrate: do a PRM's scores predict how often this model solves a question, and where are they to be cut?

On questions with several attempts: the PRM scores the one that would be graded, the others say how often the model is
right. The paper leaves its cuts open; these are fitted to the model, kept under a name, and used by it:
`[grade] cuts = "calibration:NAME"`. Questions without an attempt that is decided beside the graded one say nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradatim.config import CalibrateSettings
from gradatim.errors import UsageError
from gradatim.library import attempts, calibrations, verdicts
from gradatim.library.calibrations import NewCalibration
from gradatim.method.calibration import (
    LEAST_POINTS,
    Bin,
    Correlation,
    Point,
    binned,
    by_level,
    isotonic_cuts,
    rank_correlation,
)
from gradatim.method.levels import quantile_cuts
from gradatim.progress import Progress, silent
from gradatim.types import Role
from gradatim.work.scoring import Reader, Scoring

if TYPE_CHECKING:
    from gradatim.library.attempts import Setting
    from gradatim.library.calibrations import Candidate
    from gradatim.library.store import Library
    from gradatim.method.aggregation import Aggregation
    from gradatim.prm import PRM

WEAK = 0.2
"""A rank correlation on wrong answers below this orders hardly anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """What a PRM's scores are worth for one model."""

    name: str
    model: str
    setting: str
    rates: str
    """The setting whose attempts gave the pass rates."""
    prm: str
    aggregation: Aggregation
    """How its step scores became an attempt's one."""
    questions: int
    wrong: int
    """Questions whose graded attempt is wrong: those that cuts are for."""
    correlation: Correlation
    """Score and pass rate, all questions."""
    correlation_wrong: Correlation
    """The same where the graded attempt is wrong."""
    bins: tuple[Bin, ...]
    """Tenths by score, of all."""
    bins_wrong: tuple[Bin, ...]
    method: str
    cuts: tuple[float, ...]
    """Falling; none where the scores do not give five levels."""
    levels: tuple[Bin | None, ...]
    """Levels 1 to 5 of the wrong ones with these cuts; on the questions that the cuts are from."""
    says: str
    """In plain words, whether to rely on it."""
    scored: int
    unscored: dict[str, int]
    """Attempts that the PRM could not score, and faults, per reason."""
    faults: dict[str, int]
    notes: tuple[str, ...] = ()
    """What became of the PRM's server, where it was started for this and died."""


def calibrate(
    library: Library,
    settings: CalibrateSettings | None = None,
    *,
    prm: PRM,
    text: Literal["answer", "thinking"] = "answer",
    aggregation: Aggregation | None = None,
    progress: Progress = silent,
) -> CalibrateResult:
    """Have the PRM score what it has not, and hold its scores against pass rates; keep the cuts under the name.

    `text` is what the PRM reads of an attempt, and `aggregation` how its step scores become one, as for `grade`.

    Raises `UsageError` where there are too few questions with several decided attempts, or it is not clear whose.
    """
    settings = settings or CalibrateSettings()
    graded, rates = _settings(library, settings)
    reader = Reader(prm=prm, text=text)
    key, how = reader.key(library), aggregation or prm.aggregation
    chosen = list(itertools.islice(calibrations.candidates(library, graded, rates, key, how), settings.limit))
    _check_enough(chosen, graded)
    lacking = [one.attempt for one in chosen if one.score is None]
    scoring = Scoring(library=library, setting=graded, reader=reader, stage="calibrate", progress=progress)
    done = scoring.run(verdicts.to_score(library, lacking), len(lacking))
    found = itertools.islice(calibrations.candidates(library, graded, rates, key, how), settings.limit)
    points = [_point(one, one.score) for one in found if one.score is not None]
    wrong = [one for one in points if not one.right]
    everything, only = rank_correlation(points), rank_correlation(wrong)
    cuts, reason = _cuts(wrong, settings.cuts)
    calibrations.write(
        library,
        NewCalibration(
            name=settings.name,
            model=graded.model,
            setting=graded.pk,
            rates=rates.pk,
            prm=key,
            aggregation=how,
            method=settings.cuts,
            cuts=cuts,
            questions=len(points),
            all=everything,
            wrong=only,
        ),
    )
    return CalibrateResult(
        name=settings.name,
        model=graded.model,
        setting=graded.id,
        rates=rates.id,
        prm=prm.name,
        aggregation=how,
        questions=len(points),
        wrong=len(wrong),
        correlation=everything,
        correlation_wrong=only,
        bins=tuple(binned(points)) if points else (),
        bins_wrong=tuple(binned(wrong)) if wrong else (),
        method=settings.cuts,
        cuts=cuts,
        levels=tuple(by_level(wrong, cuts)) if cuts else (),
        says=_says(only, reason),
        scored=done.scored,
        unscored=dict(done.unscored + done.faults),
        faults=dict(done.faults),
    )


def _settings(library: Library, settings: CalibrateSettings) -> tuple[Setting, Setting]:
    """Return whose attempts are scored, and whose give the pass rates."""
    base = [one for one in attempts.settings(library, Role.BASE) if settings.model in (None, one.model)]
    models = sorted({one.model for one in base})
    if not models:
        of = f" of {settings.model}" if settings.model else ""
        raise UsageError(f"There are no attempts{of} to calibrate on. Run first: gradatim attempt --samples 8")
    if len(models) > 1:
        raise UsageError(f"Several models have attempts: {', '.join(models)}. Choose one with --model.")
    if settings.rates is not None:
        rates = _named(library, settings.rates, "--rates")
        others = [one for one in base if one.pk != rates.pk] or base
        return _one(library, others, settings.setting), rates
    several = [one for one in base if calibrations.most_attempts(library, one) > 1]
    if not several:
        raise UsageError(
            f"A pass rate needs several attempts of a question, and {models[0]} has one of each. Run: "
            "gradatim attempt --samples 8 --temperature 0.7; gradatim verify"
        )
    graded = _one(library, several, settings.setting)
    return graded, graded


def _named(library: Library, id_: str, option: str) -> Setting:
    found = attempts.find_setting(library, id_)
    if found is None:
        there = ", ".join(f"{one.id} ({one.model}, {one.role})" for one in attempts.settings(library))
        raise UsageError(f"There is no setting {id_!r} for {option}. There are: {there}.")
    return found


def _one(library: Library, there: list[Setting], id_: str | None) -> Setting:
    if id_ is not None:
        return _named(library, id_, "--setting")
    if len(there) > 1:
        words = ", ".join(f"{one.id} (up to {calibrations.most_attempts(library, one)} attempts)" for one in there)
        raise UsageError(f"{there[0].model} was asked in several ways: {words}. Choose whose are graded: --setting ID.")
    return there[0]


def _check_enough(chosen: list[Candidate], graded: Setting) -> None:
    if len(chosen) < LEAST_POINTS:
        raise UsageError(
            f"{len(chosen)} questions of {graded.model} have a decided attempt and others beside it; fewer than "
            f"{LEAST_POINTS} say nothing. Run: gradatim attempt --samples 8; gradatim verify"
        )


def _point(one: Candidate, score: float) -> Point:
    return Point(score=score, right=one.right, correct=one.correct, decided=one.decided)


def _cuts(wrong: list[Point], method: str) -> tuple[tuple[float, ...], str]:
    """Return the cuts, or none and why."""
    try:
        if method == "quintiles":
            return quantile_cuts([one.score for one in wrong]), ""
        return isotonic_cuts(wrong), ""
    except UsageError as error:
        return (), str(error)


def _says(wrong: Correlation, reason: str) -> str:
    """Say in plain words whether the scores of wrong answers are worth anything."""
    if wrong.value is None or wrong.low is None:
        return f"Nothing can be said of wrong answers: too few of them, or all are alike. {reason}".strip()
    if wrong.low <= 0:
        said = (
            "On wrong answers this PRM does not predict the pass rate: its interval holds zero. Levels 1 to 5 by its "
            'scores would be noise; grade by pass rate (rule = "rate").'
        )
    elif wrong.value < WEAK:
        said = "On wrong answers this PRM predicts the pass rate only weakly: neighbouring levels will hardly differ."
    else:
        said = "On wrong answers the scores rise with the pass rate."
    return f"{said} No cuts: {reason}" if reason else said
