"""Teach: a teacher writes chains for a draw until each level has its quota of verified ones.

It works down each level's order. A chain that does not verify, or that curation would drop, is asked for again up to
`tries` times, then the next question of the level's reserve takes its place: the finished set has the mix that was
asked for, not what filtering left of it (arXiv 2504.11919 keeps correct chains only). Never more requests are out
than chains are missing. An answer that was cut off by `max_tokens` is kept, and not bought again with the same limit.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gradatim.config import CurateSettings, TeachSettings
from gradatim.errors import LimitError
from gradatim.library import attempts, draws, questions, verdicts
from gradatim.library.attempts import NewAttempt, NewFault
from gradatim.library.text import unpack
from gradatim.progress import Progress, Tick, silent
from gradatim.types import Domain, Outcome, Role, Verdict
from gradatim.work.asking import Asking, request
from gradatim.work.judging import judge, make_checker
from gradatim.work.keeping import drop_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.checkers import Checker
    from gradatim.config import VerifySettings
    from gradatim.library.attempts import Setting
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library
    from gradatim.library.verdicts import Unjudged
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings, EngineStats
    from gradatim.types import Request, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachLine:
    """What one level has come to."""

    level: int
    quota: int
    chains: int
    """Verified and not dropped by the filters; at most the quota."""
    questions: int
    """Asked at least once."""
    attempts: int
    correct: int
    completion_tokens: int
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachResult:
    """What a run of `teach` did, and where the draw stands."""

    draw: str
    teacher: str
    asked: int
    """Answers bought in this run."""
    faults: dict[str, int]
    lines: tuple[TeachLine, ...]
    stopped: str
    """Why it ended before all quotas were met; empty where they are met."""

    @property
    def missing(self) -> int:
        """Chains that are still to be had."""
        return sum(line.quota - line.chains for line in self.lines)


def teach(
    library: Library,
    name: str,
    model: Model,
    settings: TeachSettings | None = None,
    *,
    curate: CurateSettings | None = None,
    verify: VerifySettings | None = None,
    engine: EngineSettings | None = None,
    price: Price | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> TeachResult:
    """Have chains written for a draw.

    Raises `UsageError` where there is no such draw, `SetupError` where the server refuses all. A budget that is used up
    or a level that is dry ends the run with `stopped` set; everything that was bought is kept and judged.
    """
    settings = settings or TeachSettings()
    draw = draws.chosen_draw(library, name)
    sampling = settings.sampling()
    setting = attempts.ensure_setting(library, Role.TEACHER, model.name, attempts.sampling_text(sampling))
    desk = _Desk(library, draw, setting, sampling, settings, curate or CurateSettings())
    judge_ = _Judge(library, desk, verify)
    stopped, faults, asked = "", dict[str, int](), 0
    try:
        judge_.catch_up()
        desk.open_books()
        if desk.wanted():
            asking = Asking(library, model, setting, stage="teach", price=price, committed=judge_.put)
            judge_.start(asking.wake)
            stats = None

            def tick(now: EngineStats) -> Tick:
                nonlocal stats
                stats = now
                return Tick(
                    done=desk.chains(),
                    total=sum(draw.quotas.values()),
                    tokens=now.prompt_tokens + now.completion_tokens,
                    cost=asking.cost if price else None,
                    faults=now.faults,
                    note=f"{now.in_flight} in flight",
                )

            try:
                asking.run(desk, engine, budget, tick, progress)
            except LimitError as error:
                stopped = str(error)
            finally:
                judge_.finish()
            faults, asked = asking.faults, 0 if stats is None else stats.replies
    finally:
        judge_.close()
    lines = _lines(library, draw, setting, desk)
    return TeachResult(
        draw=draw.name,
        teacher=model.name,
        asked=asked,
        faults=faults,
        lines=lines,
        stopped=stopped or _why_short(lines, faults),
    )


def _why_short(lines: Sequence[TeachLine], faults: dict[str, int]) -> str:
    """Say why quotas are not met, where they are not."""
    short = {line.level: line.quota - line.chains for line in lines if line.chains < line.quota}
    if not short:
        return ""
    what = ", ".join(f"{count} of level {level}" for level, count in short.items())
    if faults:
        return (
            f"{what} missing after {sum(faults.values())} faults of the server: run the same "
            "command again to ask once more."
        )
    return (
        f"{what} missing: the draw's reserve is used up. Draw again with a larger --reserve, "
        "allow more --tries, or take what there is."
    )


@dataclass(slots=True)
class _Level:
    """One level's work."""

    quota: int
    order: deque[int]
    """Questions not yet asked."""
    again: deque[int] = field(default_factory=deque)
    """Questions that may be asked again."""
    chains: int = 0
    out: int = 0
    """Requests sent and not yet judged."""
    held: int = 0
    """Answers that a fault of ours kept from a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What an attempt has come to."""

    chain: bool
    unjudged: bool
    """A fault of ours kept it from a verdict: it may be a chain yet, so nothing is bought in its place."""
    again: bool
    """Its question may be asked again: it was not cut off."""


class _Desk:
    """The feed of `teach`: who is asked next. Used from the engine's thread and the judge's."""

    def __init__(
        self,
        library: Library,
        draw: Draw,
        setting: Setting,
        sampling: Sampling,
        settings: TeachSettings,
        curate: CurateSettings,
    ) -> None:
        self.library = library
        self.draw = draw
        self.setting = setting
        self._sampling = sampling
        self._tries = settings.tries
        self.curate = curate if settings.keep == "correct" else _with_any(curate)
        self._levels: dict[int, _Level] = {}
        self._level_of: dict[int, int] = {}
        self._tried: Counter[int] = Counter()
        self._lock = threading.Lock()

    def open_books(self) -> None:
        """Count what the library has: chains of any teacher, and this one's tries."""
        done, through, held = set[int](), set[int](), set[int]()
        for row in draws.teacher_attempts(self.library, self.draw):
            question, standing = row[2], self.standing(row[3])
            if standing.chain:
                done.add(question)
            elif row[9] == self.setting.pk and standing.unjudged:
                held.add(question)
            elif row[9] == self.setting.pk and not standing.again:
                through.add(question)
            self._tried[question] += row[9] == self.setting.pk
        for level, order in draws.items(self.library, self.draw).items():
            self._level_of.update(dict.fromkeys(order, level))
            open_ = [one for one in order if one not in done | held | through]
            self._levels[level] = _Level(
                quota=self.draw.quotas.get(level, 0),
                order=deque(one for one in open_ if not self._tried[one]),
                again=deque(one for one in open_ if 0 < self._tried[one] < self._tries),
                chains=sum(one in done for one in order),
                held=sum(one in held and one not in done for one in order),
            )

    def standing(self, attempt: int) -> _Standing:
        """Return what a committed attempt has come to."""
        row = self.library.all(
            "SELECT (SELECT v.outcome FROM verdict v WHERE v.attempt = a.pk ORDER BY v.checker "
            "DESC LIMIT 1), t.content, "
            "t.reasoning, a.completion_tokens, a.finish_reason FROM attempt a JOIN attempt_text t "
            "ON t.attempt = a.pk WHERE a.pk = ?",
            (attempt,),
        )[0]
        reason = drop_reason(row[0], unpack(row[1]), unpack(row[2]), row[3], self.curate)
        return _Standing(chain=reason == "", unjudged=row[0] is None, again=row[4] not in ("length", "max_tokens"))

    def chains(self) -> int:
        """Chains so far, of all levels."""
        return sum(min(level.chains, level.quota) for level in self._levels.values())

    def chains_of(self, level: int) -> int:
        """Chains of one level."""
        return self._levels[level].chains if level in self._levels else 0

    def give_all_up(self) -> None:
        """Ask nothing more: the judge is gone."""
        with self._lock:
            self._levels.clear()

    def wanted(self) -> bool:
        """Whether anything is to be asked."""
        return any(self._has_work(level) for level in self._levels.values())

    def _has_work(self, level: _Level) -> bool:
        return level.chains + level.out + level.held < level.quota and bool(level.again or level.order)

    def take(self) -> Request | None:
        """Give the next request of the level that is furthest from its quota."""
        with self._lock:
            ready = [level for level in self._levels.values() if self._has_work(level)]
            if not ready:
                return None
            level = max(ready, key=lambda one: (one.quota - one.chains - one.out - one.held) / one.quota)
            question = level.again.popleft() if level.again else level.order.popleft()
            level.out += 1
        asked = questions.get(self.library, question)
        sample = attempts.next_sample(self.library, self.setting, question)
        return request(question, asked.id, sample, asked.prompt, self._sampling)

    def open(self) -> bool:
        """Whether a judged answer may still make room for a request."""
        with self._lock:
            return any(level.out or self._has_work(level) for level in self._levels.values())

    def judged(self, question: int, standing: _Standing) -> None:
        """Take note of a judged answer."""
        with self._lock:
            level = self._levels[self._level_of[question]]
            level.out -= 1
            self._tried[question] += 1
            if standing.chain:
                level.chains += 1
            elif standing.unjudged:
                level.held += 1
            elif standing.again and self._tried[question] < self._tries:
                level.again.append(question)

    def gave_up(self, question: int) -> None:
        """Take note of a request without an answer: this run asks the level's next question instead."""
        with self._lock:
            self._levels[self._level_of[question]].out -= 1


def _with_any(curate: CurateSettings) -> CurateSettings:
    return msgspec.structs.replace(curate, keep="any")


class _Judge:
    """Judges committed answers on a thread of its own, so that the next request waits for no checker."""

    def __init__(self, library: Library, desk: _Desk, settings: VerifySettings | None) -> None:
        self._library = library
        self._desk = desk
        self._settings = settings
        self._checkers: dict[Domain, tuple[Checker, int]] = {}
        self._queue: queue.SimpleQueue[Sequence[NewAttempt | NewFault] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], None] = lambda: None
        self._crash: BaseException | None = None

    def put(self, batch: Sequence[NewAttempt | NewFault]) -> None:
        """Take what was committed; called from the journal's thread."""
        self._queue.put(list(batch))

    def start(self, wake: Callable[[], None]) -> None:
        """Start the thread."""
        self._wake = wake
        self._thread = threading.Thread(target=self._run, name="gradatim-judge", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Judge what is left and end the thread."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        if self._crash is not None:
            raise self._crash

    def close(self) -> None:
        """End the checkers' workers."""
        for checker, _ in self._checkers.values():
            checker.close()

    def catch_up(self) -> None:
        """Judge teacher's answers that an earlier run bought and did not judge."""
        for (domain,) in self._library.all("SELECT DISTINCT domain FROM question"):
            _, key = self._checker(Domain(domain))
            self._judge(Domain(domain), list(verdicts.unjudged(self._library, Domain(domain), key, role=Role.TEACHER)))

    def _run(self) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                self._one_batch(batch)
                self._wake()
        except BaseException as crash:  # noqa: BLE001 - raised by `finish`, on the caller's thread
            self._crash = crash
            self._desk.give_all_up()
            self._wake()

    def _one_batch(self, batch: Sequence[NewAttempt | NewFault]) -> None:
        for item in batch:
            if isinstance(item, NewFault):
                if item.question is not None:
                    self._desk.gave_up(item.question)
                continue
            row = self._library.all(
                "SELECT a.pk, q.domain FROM attempt a JOIN question q ON q.pk = a.question WHERE "
                "a.setting = ? AND a.question = ? AND a.sample = ?",
                (item.setting, item.question, item.sample),
            )[0]
            self._judge(Domain(row[1]), verdicts.by_attempt(self._library, [row[0]]))
            self._desk.judged(item.question, self._desk.standing(row[0]))

    def _judge(self, domain: Domain, waiting: Sequence[Unjudged]) -> None:
        checker, key = self._checker(domain)
        for attempt, result in judge(checker, iter(waiting)):
            with self._library.transaction() as connection:
                if isinstance(result, Verdict):
                    verdicts.write_verdict(connection, attempt, key, result)
                else:
                    attempts.write_fault(
                        connection,
                        NewFault(
                            stage="verify",
                            fault=result,
                            question=None,
                            setting=None,
                            sample=None,
                            attempt=attempt,
                            made_at=time.time(),
                        ),
                    )

    def _checker(self, domain: Domain) -> tuple[Checker, int]:
        if domain not in self._checkers:
            checker = make_checker(domain, self._settings)
            self._checkers[domain] = checker, verdicts.ensure_checker(self._library, checker.name, checker.version)
        return self._checkers[domain]


def _lines(library: Library, draw: Draw, setting: Setting, desk: _Desk) -> tuple[TeachLine, ...]:
    """Sum up each level from the library."""
    rows = draws.teacher_attempts(library, draw, setting)
    lines = []
    for level, quota in sorted(draw.quotas.items()):
        own = [row for row in rows if row[0] == level]
        costs = [row[8] for row in own if row[8] is not None]
        lines.append(
            TeachLine(
                level=level,
                quota=quota,
                chains=min(quota, desk.chains_of(level)),
                questions=len({row[2] for row in own}),
                attempts=len(own),
                correct=sum(row[5] == Outcome.CORRECT for row in own),
                completion_tokens=sum(row[7] or 0 for row in own),
                cost=sum(costs) if costs else None,
            )
        )
    return tuple(lines)
