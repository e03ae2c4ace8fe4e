"""What `grade` and `calibrate` share: a PRM scores the attempts that lack its scores; each batch is durable."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradatim.library import attempts, verdicts
from gradatim.library.attempts import NewFault
from gradatim.prm import Solution
from gradatim.progress import Progress, Tick
from gradatim.types import Fault, StepScores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.library.attempts import Setting
    from gradatim.library.store import Library
    from gradatim.library.verdicts import Unscored
    from gradatim.prm import PRM

_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A PRM, and what it is given to read."""

    prm: PRM
    text: str
    """`answer`; or `thinking`: the reasoning, where there is one, else the answer."""

    @property
    def version(self) -> str:
        """The PRM's version; with what it reads, where that is not the answer."""
        return self.prm.version if self.text == "answer" else f"{self.prm.version};text={self.text}"

    def key(self, library: Library) -> int:
        """Return the PRM's key in the library, made if it is new."""
        return verdicts.ensure_prm(library, self.prm.name, self.version)

    def solution(self, one: Unscored) -> Solution:
        """Return what is to be scored of an attempt."""
        thought = self.text == "thinking" and one.thinking.strip()
        return Solution(key=one.pk, prompt=one.prompt, answer=one.thinking if thought else one.answer)


@dataclass(slots=True)
class Scored:
    """What the PRM did in a run."""

    scored: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    """Attempts that it could not score, per reason."""
    faults: Counter[str] = field(default_factory=Counter)
    """Per reason; tried again by the next run."""

    def count(self, result: StepScores | Fault) -> None:
        """Count one result."""
        if isinstance(result, Fault):
            self.faults[result.reason] += 1
        elif result.reason:
            self.unscored[result.reason] += 1
        else:
            self.scored += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """A PRM's work on attempts of one setting, for one stage."""

    library: Library
    setting: Setting
    reader: Reader
    stage: str
    progress: Progress

    def run(self, unscored: Iterable[Unscored], total: int) -> Scored:
        """Score these attempts, `total` of them; a PRM that is not needed is not loaded."""
        done = Scored()
        if not total:
            return done
        prm = self.reader.key(self.library)
        batch: list[tuple[int, StepScores | Fault]] = []

        def solutions() -> Iterator[Solution]:
            for one in unscored:
                yield self.reader.solution(one)

        if waits := getattr(self.reader.prm, "state", ""):
            self.progress(self.stage, Tick(done=0, total=total, note=waits))
        found = self.reader.prm.score(solutions())
        try:
            for attempt, result in found:
                batch.append((attempt, result))
                done.count(result)
                if len(batch) >= _BATCH:
                    self._save(prm, batch)
                count = done.scored + done.unscored.total()
                self.progress(self.stage, Tick(done=count, total=total, faults=done.faults.total()))
        finally:
            self._save(prm, batch)
            # What it has running (requests, threads) ends now, not when the garbage collector comes by.
            getattr(found, "close", lambda: None)()
        return done

    def _save(self, prm: int, batch: list[tuple[int, StepScores | Fault]]) -> None:
        with self.library.transaction() as connection:
            for attempt, result in batch:
                if isinstance(result, StepScores):
                    verdicts.write_scores(connection, attempt, prm, result)
                else:
                    attempts.write_fault(connection, self._fault(attempt, result))
        batch.clear()

    def _fault(self, attempt: int, fault: Fault) -> NewFault:
        return NewFault(stage=self.stage, fault=fault, setting=self.setting.pk, attempt=attempt)
