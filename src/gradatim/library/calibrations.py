"""Calibrations in the library: what they are made from, and the cuts that they gave."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.library.grades import QUESTIONS
from gradatim.library.scores import score_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.method.aggregation import Aggregation
    from gradatim.method.calibration import Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A question that can say something: the attempt that is graded, and what the others came to."""

    attempt: int
    right: bool
    score: float | None
    """The PRM's, where it has scored the attempt."""
    correct: int
    """Of the other decided attempts."""
    decided: int
    """At least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCalibration:
    """A calibration to be kept."""

    name: str
    model: str
    setting: int
    rates: int
    """The setting whose attempts gave the pass rates."""
    prm: int
    aggregation: Aggregation
    """How the PRM's step scores became the score that was held against the pass rate."""
    method: str
    cuts: tuple[float, ...]
    """Falling; none where the scores did not give any."""
    questions: int
    all: Correlation
    wrong: Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One that was kept."""

    name: str
    prm: int
    aggregation: Aggregation
    cuts: tuple[float, ...]


def candidates(
    library: Library, graded: Setting, rates: Setting, prm: int, how: Aggregation = "mean"
) -> Iterator[Candidate]:
    """Give the questions whose first decided attempt under `graded` has others, decided too, beside it under `rates`.

    In the order of their keys, some thousands at a time. Where both are one setting, the graded attempt is not among
    the others. Code questions are left out: their wrong programs are graded by tests. `how` says how step scores
    become the attempt's score.
    """
    sql = (
        "SELECT a.question, a.pk, a.setting, "
        "(SELECT v.outcome FROM fresh v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1) AS outcome, "
        f"(SELECT {score_of(how)} FROM score x WHERE x.attempt = a.pk AND x.prm = ?) "
        "FROM attempt a JOIN question q ON q.pk = a.question AND q.domain <> 'code' WHERE a.setting IN (?, ?) "
        "AND a.question > ? AND a.question <= ? "
        "AND outcome IN ('correct', 'wrong') ORDER BY a.question, a.sample"
    )
    last = library.value("SELECT max(question) FROM attempt WHERE setting = ?", (graded.pk,)) or 0
    for after in range(0, last, QUESTIONS):
        page = library.all(sql, (prm, graded.pk, rates.pk, after, after + QUESTIONS))
        for _, rows in itertools.groupby(page, key=lambda row: row[0]):
            found = list(rows)
            first = next((row for row in found if row[2] == graded.pk), None)
            if first is None:
                continue
            others = [row[3] for row in found if row[2] == rates.pk and row[1] != first[1]]
            if others:
                yield Candidate(
                    attempt=first[1],
                    right=first[3] == "correct",
                    score=first[4],
                    correct=others.count("correct"),
                    decided=len(others),
                )


def most_attempts(library: Library, setting: Setting) -> int:
    """Return how many attempts a question of the setting has at most."""
    sql = "SELECT max(n) FROM (SELECT count(*) AS n FROM attempt WHERE setting = ? GROUP BY question)"
    return int(library.value(sql, (setting.pk,)) or 0)


def write(library: Library, one: NewCalibration) -> None:
    """Keep a calibration. An older one of its name stays; the newest is meant by the name."""
    with library.transaction() as connection:
        connection.execute(
            "INSERT INTO calibration (name, model, setting, rates, prm, method, cuts, questions, correlation_all, "
            "correlation_wrong, made_at, aggregation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                one.name,
                one.model,
                one.setting,
                one.rates,
                one.prm,
                one.method,
                json.dumps(one.cuts),
                one.questions,
                json.dumps(asdict(one.all)),
                json.dumps(asdict(one.wrong)),
                time.time(),
                one.aggregation,
            ),
        )


def find(library: Library, name: str, model: str) -> Calibration:
    """Return the model's newest calibration of this name. Raises `UsageError` where there is none."""
    sql = "SELECT name, prm, cuts, aggregation FROM calibration WHERE name = ? AND model = ? ORDER BY pk DESC LIMIT 1"
    for row in library.all(sql, (name, model)):
        return Calibration(name=row[0], prm=row[1], cuts=tuple(json.loads(row[2])), aggregation=row[3])
    there = library.all("SELECT DISTINCT name, model FROM calibration ORDER BY name, model")
    known = f"There are: {', '.join(f'{one} (of {whose})' for one, whose in there)}. " if there else ""
    raise UsageError(
        f"There is no calibration {name!r} of {model} in {library.path}. {known}Make one: gradatim calibrate {name} "
        f"--model {model}"
    )
