"""What `attempt` and `evaluate` share: a model answers every question of the sets, each missing sample."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import LimitError
from gradatim.library import attempts, batches, questions
from gradatim.progress import Progress, Tick, silent
from gradatim.work.asking import Asking
from gradatim.work.requests import request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings, EngineStats
    from gradatim.types import Request, Role, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """What a run of `attempt` did."""

    model: str
    setting: str
    wanted: int
    """Attempts that the sets and samples ask for in all."""
    before: int
    """Those that were there."""
    answered: int
    faults: dict[str, int]
    """Requests given up in this run, per reason; the next run asks them again."""
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """In the currency of the model's price; None where none is set."""
    seconds: float
    stopped: str = ""
    """The limit that ended the run early; empty where none did."""
    notes: tuple[str, ...] = ()
    """What was found out about the server: a field that it does not take, say."""
    under_way: int = 0
    """Requests in batches that go on at the server; `stopped` says so, and the next run takes their answers."""

    @property
    def left(self) -> int:
        """Attempts that are still missing."""
        return self.wanted - self.before - self.answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which answers are to be there when all is done."""

    stage: str
    """Whose work it is; its faults are kept under this name."""
    role: Role
    sets: Sequence[QuestionSet]
    samples: int
    sampling: Sampling
    limit: int | None = None
    """Ask at most so many questions in this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """How fast to ask, and what may be spent."""

    engine: EngineSettings | None = None
    price: Price | None = None
    budget: Budget | None = None
    progress: Progress = silent


def answer(library: Library, model: Model, wanted: Wanted, means: Means) -> AttemptResult:
    """Ask the model for what is missing.

    Raises `SetupError` where the server refuses all (a wrong key), `KeyboardInterrupt` after saving. A budget or a
    limit on faults that is reached ends the run with `stopped` set. In each case what was answered is in the library.
    """
    setting = attempts.ensure_setting(library, wanted.role, model.name, attempts.sampling_text(wanted.sampling))
    in_all = questions.count_active(library, wanted.sets) * wanted.samples
    before = attempts.count_done(library, setting, wanted.sets, wanted.samples)
    price = means.price
    asking = Asking(library, model, setting, stage=wanted.stage, price=price)
    asking.samples = wanted.samples
    feed = _Missing(library, setting, wanted)

    def tick(stats: EngineStats) -> Tick:
        return asking.tick(stats, done=before + stats.replies, total=in_all)

    stopped = ""
    try:
        asking.run(feed, means.engine, means.budget, tick, means.progress)
    except LimitError as error:
        stopped = str(error)
    stats = asking.engine.stats
    under_way = asking.under_way
    return AttemptResult(
        model=model.name,
        setting=setting.id,
        wanted=in_all,
        before=before,
        answered=stats.replies,
        faults=asking.faults,
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
        cost=asking.cost if price else None,
        seconds=stats.seconds,
        stopped=stopped or asking.standing,
        notes=asking.notes,
        under_way=under_way,
    )


def _failed_last(library: Library, setting: Setting, wanted: Wanted) -> Iterator[tuple[int, list[int]]]:
    """Give what is missing; questions that had a fault before come last.

    A server may refuse some of them for ever: they must not keep each run from what is behind them.
    """
    sql = "SELECT DISTINCT question FROM fault WHERE setting = ? AND stage = ? AND question IS NOT NULL"
    failed = {row[0] for row in library.all(sql, (setting.pk, wanted.stage))}
    for last in (False, True) if failed else (False,):
        for question, missing in attempts.missing(library, setting, wanted.sets, wanted.samples):
            if (question in failed) is last:
                yield question, missing


class _Missing:
    """The requests that are missing, made a page at a time."""

    def __init__(self, library: Library, setting: Setting, wanted: Wanted) -> None:
        self._library = library
        self._sampling = wanted.sampling
        self._missing = _failed_last(library, setting, wanted)
        self._left = wanted.limit
        self._ready: deque[Request] = deque()
        self._over = False
        self._under_way = batches.under_way(library, setting)
        """Samples of each question that are in a batch: nobody asks them a second time."""

    def take(self) -> Request | None:
        """Give the next request."""
        if not self._ready and not self._over:
            self._fill()
        return self._ready.popleft() if self._ready else None

    def open(self) -> bool:
        """Whether there is more."""
        return bool(self._ready) or not self._over

    def waiting(self) -> int:
        """No answer makes another request."""
        return 0

    def expect(self, keys: Sequence[int]) -> None:
        """What is in a batch was left out from the beginning."""

    def _fill(self) -> None:
        page = []
        for question, missing in self._missing:
            if self._left is not None and self._left == 0:
                break
            away = self._under_way.get(question, ())
            samples = [sample for sample in missing if sample not in away]
            if not samples:
                continue
            page.append((question, samples))
            self._left = None if self._left is None else self._left - 1
            if len(page) == 500:
                break
        if not page:
            self._over = True
            return
        texts = questions.many(self._library, [question for question, _ in page])
        for question, samples in page:
            asked = texts[question]
            self._ready.extend(request(question, asked, sample, self._sampling) for sample in samples)
