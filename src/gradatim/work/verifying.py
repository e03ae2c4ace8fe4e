"""What `verify` and `evaluate` share: every attempt without a verdict gets one, or a fault."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gradatim.library import attempts, questions, verdicts
from gradatim.library.attempts import NewFault
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Domain, Fault, Verdict
from gradatim.work.judging import judge, make_checker

if TYPE_CHECKING:
    from gradatim.checkers import Checker
    from gradatim.config import VerifySettings
    from gradatim.library.store import Library
    from gradatim.types import Role

_BATCH = 500
_SECONDS = 2.0
"""How long verdicts may wait to be kept and told: some programs take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What a run of `verify` decided."""

    judged: int
    outcomes: dict[str, int]
    reasons: dict[str, int]
    faults: dict[str, int]


def judge_all(
    library: Library,
    settings: VerifySettings | None = None,
    *,
    again: bool = False,
    role: Role | None = None,
    progress: Progress = silent,
) -> VerifyResult:
    """Judge what is not judged yet, or with `again` everything, as a new round; of one role's attempts, or of all."""
    total = Counter[str](), Counter[str](), Counter[str]()
    for (domain,) in library.all("SELECT DISTINCT domain FROM question ORDER BY domain"):
        checker = make_checker(Domain(domain), settings)
        try:
            key = verdicts.ensure_checker(library, checker.name, checker.version, again=again)
            for counts, more in zip(
                total, _judge_domain(library, checker, key, Domain(domain), role, progress), strict=True
            ):
                counts.update(more)
        finally:
            checker.close()
    outcomes, reasons, faults = total
    return VerifyResult(
        judged=outcomes.total(), outcomes=dict(outcomes), reasons=dict(reasons.most_common()), faults=dict(faults)
    )


def _judge_domain(
    library: Library, checker: Checker, key: int, domain: Domain, role: Role | None, progress: Progress
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    outcomes, reasons, faults = Counter[str](), Counter[str](), Counter[str]()
    total = verdicts.count_unjudged(library, domain, key, role=role)
    batch: list[tuple[int, Verdict | Fault]] = []
    saved = time.monotonic()

    def save() -> None:
        with library.transaction() as connection:
            for attempt, result in batch:
                if isinstance(result, Verdict):
                    verdicts.write_verdict(connection, attempt, key, result)
                else:
                    attempts.write_fault(connection, _fault(attempt, result))
        batch.clear()

    try:
        waiting = verdicts.unjudged(library, domain, key, role=role)
        tests = partial(questions.tests, library) if domain is Domain.CODE else None
        for attempt, result in judge(checker, waiting, tests):
            batch.append((attempt, result))
            if isinstance(result, Verdict):
                outcomes[result.outcome] += 1
                reasons[result.reason] += 1
            else:
                faults[result.reason] += 1
            if len(batch) >= _BATCH or time.monotonic() - saved > _SECONDS:
                save()
                saved = time.monotonic()
                progress("verify", Tick(done=outcomes.total(), total=total, faults=faults.total()))
    finally:
        save()
    progress("verify", Tick(done=outcomes.total(), total=total, faults=faults.total()))
    return outcomes, reasons, faults


def _fault(attempt: int, fault: Fault) -> NewFault:
    return NewFault(stage="verify", fault=fault, attempt=attempt)
