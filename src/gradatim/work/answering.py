"""What `attempt` and `evaluate` share: a model answers every question of the sets, each missing sample."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import LimitError
from gradatim.library import attempts, batches, furthers, questions
from gradatim.library.attempts import NewAttempt
from gradatim.library.furthers import NONE, CutOff
from gradatim.progress import Progress, Tick, silent
from gradatim.work.asking import Asking
from gradatim.work.requests import request
from gradatim.work.truncation import Furthers, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gradatim.library.attempts import Setting
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings, EngineStats
    from gradatim.types import Request, Role, Sampling
    from gradatim.work.books import Stored


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
    cut_off: CutOff = NONE
    """Of the wanted attempts that are there: how many were cut off, and what has become of them."""
    asked_further: int = 0
    """Further answers that came in this run for such answers."""
    left_further: int = 0
    """Further requests that the settings ask for and that are still to be made."""
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
    """Ask at most so many questions in this run; further requests for answers that were cut off do not count."""
    truncated: Policy | None = None
    """What becomes of answers that are cut off; None: they are kept."""


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
    further = None if wanted.truncated is None else Furthers(wanted.truncated)
    feed = _Missing(library, setting, wanted)
    cut = None if further is None else _CutOff(library, setting, wanted, further, feed)
    committed = None if cut is None else cut.committed
    asking = Asking(library, model, setting, stage=wanted.stage, price=price, committed=committed)
    asking.further = further
    asking.samples = wanted.samples
    if cut is not None:
        cut.wake = asking.wake

    def tick(stats: EngineStats) -> Tick:
        return asking.tick(stats, done=before + stats.replies - asking.second, total=in_all)

    stopped = ""
    try:
        asking.run(cut or feed, means.engine, means.budget, tick, means.progress)
    except LimitError as error:
        stopped = str(error)
    stats = asking.engine.stats
    cut_off = furthers.count(library, setting, wanted.sets, wanted.samples)
    under_way = asking.under_way
    return AttemptResult(
        model=model.name,
        setting=setting.id,
        wanted=in_all,
        before=before,
        answered=stats.replies - asking.second,
        faults=asking.faults,
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
        cost=asking.cost if price else None,
        seconds=stats.seconds,
        stopped=stopped or asking.standing,
        notes=asking.notes,
        cut_off=cut_off,
        asked_further=asking.second,
        left_further=0 if further is None or further.refused else cut_off.waiting,
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


class _CutOff:
    """The requests that are missing, and after them one further request for each answer that was cut off.

    Those of earlier runs come first. An answer of this run is asked further for when it is durable.
    """

    def __init__(
        self, library: Library, setting: Setting, wanted: Wanted, further: Furthers, missing: _Missing
    ) -> None:
        self._library = library
        self._setting = setting
        self._sampling = wanted.sampling
        self._further = further
        self._missing = missing
        self._earlier: Iterator[tuple[int, int]] | None = furthers.waiting(
            library, setting, wanted.sets, wanted.samples
        )
        self._ready: deque[tuple[int, int]] = deque()
        self._given = self._settled = 0
        self.wake: Callable[[], None] = lambda: None

    def take(self) -> Request | None:
        """Give the next request."""
        found = self._missing.take() or self._next_further()
        self._given += found is not None
        return found

    def open(self) -> bool:
        """Whether there is more, or may be when what is under way is durable."""
        if self._missing.open() or self._given > self._settled:
            return True
        return not self._further.refused and bool(self._ready or self._earlier)

    def waiting(self) -> int:
        """What is in batches gets no further request."""
        return 0

    def expect(self, keys: Sequence[int]) -> None:
        """What is in a batch was left out from the beginning."""

    def committed(self, batch: Sequence[Stored]) -> None:
        """Take note of what is durable; called from the journal's thread."""
        self._ready.extend(
            (item.question, item.sample) for item in batch if isinstance(item, NewAttempt) and item.reply.cut_off
        )
        self._settled += len(batch)
        self.wake()

    def _next_further(self) -> Request | None:
        if not self._further.ready:
            return None
        if not self._ready and self._earlier is not None:
            self._ready.extend(itertools.islice(self._earlier, 500))
            if not self._ready:
                self._earlier = None
        if not self._ready:
            return None
        question, sample = self._ready.popleft()
        first = furthers.first_answer(self._library, self._setting.pk, question, sample)
        asked = request(question, questions.get(self._library, question), sample, self._sampling)
        return self._further.request(asked, first)
