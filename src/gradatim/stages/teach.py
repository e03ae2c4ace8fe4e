"""Teach: a teacher writes chains for a draw until each level has its quota of verified ones.

It works down each level's order. A chain that does not verify, or that curation would drop, is asked for again up to
`tries` times, then the next question of the level's reserve takes its place: the finished set has the mix that was
asked for, not what filtering left of it (arXiv 2504.11919 keeps correct chains only). Never more requests are out
than chains are missing. An answer that was cut off by `max_tokens` is kept, and not bought again with the same limit;
by choice (`truncated`) one further request is made for it, which is no further try. A question that was excluded after
the draw was made (an evaluation set came later) is passed over.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradatim.config import CurateSettings, TeachSettings
from gradatim.errors import LimitError
from gradatim.library import attempts, draws, furthers, questions, verdicts
from gradatim.library.attempts import NewAttempt, NewFault
from gradatim.library.furthers import NONE, CutOff, NewFurther
from gradatim.library.verdicts import Unjudged
from gradatim.progress import Progress, Tick, silent
from gradatim.types import CUT_OFF, Domain, Outcome, Role, Verdict
from gradatim.work.asking import Asking
from gradatim.work.desk import Desk
from gradatim.work.judging import judge, make_checker
from gradatim.work.truncation import furthers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.checkers import Checker
    from gradatim.config import VerifySettings
    from gradatim.library.attempts import Setting
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library
    from gradatim.models import Model
    from gradatim.models.budget import Budget, Price
    from gradatim.models.pace import EngineSettings, EngineStats
    from gradatim.types import Fault
    from gradatim.work.books import Stored

_BATCH = 500


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
    held: int = 0
    """Answers that a fault of the checker kept from a verdict: nothing is bought in their place, the next run judges
    them. One that three runs could not judge counts as a miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachResult:
    """What a run of `teach` did, and where the draw stands."""

    draw: str
    teacher: str
    asked: int
    """Answers bought in this run, further ones not counted."""
    faults: dict[str, int]
    lines: tuple[TeachLine, ...]
    stopped: str
    """Why it ended before all quotas were met; empty where they are met."""
    notes: tuple[str, ...] = ()
    """What was found out about the server: a field that it does not take, say."""
    cut_off: CutOff = NONE
    """Of this teacher's answers for the draw: how many were cut off, and what has become of them."""
    asked_further: int = 0
    """Further answers that came in this run for such answers."""
    under_way: int = 0
    """Requests in batches that go on at the server; `stopped` says so, and the next run takes their answers."""

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
    further = furthers_of(settings, model)
    desk = Desk(library, draw, setting, sampling, settings, curate or CurateSettings(), further)
    judge_ = _Judge(library, desk, verify)
    asking = Asking(library, model, setting, stage="teach", price=price, committed=judge_.put, level_of=desk.level_of)
    asking.further = further
    asking.tries = settings.tries
    stopped, asked = "", 0

    def tick(now: EngineStats) -> Tick:
        return asking.tick(now, done=desk.chains(), total=sum(draw.quotas.values()))

    try:
        judge_.catch_up()
        desk.open_books()
        if desk.wanted() or asking.batched:
            judge_.start(asking.wake)
            try:
                asking.run(desk, engine, budget, tick, progress)
            except LimitError as error:
                stopped = str(error)
            finally:
                judge_.finish()
            asked = asking.engine.stats.replies - asking.second
    finally:
        judge_.close()
    lines = _lines(library, draw, setting, desk)
    return TeachResult(
        draw=draw.name,
        teacher=model.name,
        asked=asked,
        faults=asking.faults,
        lines=lines,
        stopped=stopped or asking.standing or _why_short(lines, asking.faults),
        notes=asking.notes,
        cut_off=_cut_off(library, draw, setting),
        asked_further=asking.second,
        under_way=asking.under_way,
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
    if any(line.held for line in lines if line.level in short):
        return f"{what} missing after faults of the checker: run the same command again, which judges and buys nothing."
    return (
        f"{what} missing: the draw's reserve is used up. Draw again with a larger --reserve, "
        "allow more --tries, or take what there is."
    )


class _Judge:
    """Judges committed answers on a thread of its own, so that the next request waits for no checker.

    While the thread runs it reads nothing by the library's reading connection, which the engine's thread uses: two
    statements of one connection share a snapshot, so that a commit of a moment ago might not be seen.
    """

    def __init__(self, library: Library, desk: Desk, settings: VerifySettings | None) -> None:
        self._library = library
        self._desk = desk
        self._settings = settings
        self._checkers: dict[Domain, tuple[Checker, int]] = {}
        self._queue: queue.SimpleQueue[Sequence[Stored] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], None] = lambda: None
        self._crash: BaseException | None = None

    def put(self, batch: Sequence[Stored]) -> None:
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
        if self._desk.further is not None:
            # Those that did not get their further request in this run; what failed in a checker waits for the next.
            self.catch_up(cut_off=True)

    def close(self) -> None:
        """End the checkers' workers."""
        for checker, _ in self._checkers.values():
            checker.close()

    def catch_up(self, *, cut_off: bool = False) -> None:
        """Judge teacher's answers that were bought and not judged, or of these only those that were cut off."""
        for (name,) in self._library.all("SELECT DISTINCT domain FROM question ORDER BY domain"):
            domain = Domain(name)
            checker, key = self._checker(domain)
            waiting = verdicts.unjudged(self._library, domain, key, role=Role.TEACHER)
            chosen = (one for one in waiting if not cut_off or one.finish_reason in CUT_OFF)
            results = judge(checker, chosen, self._tests(domain))
            while batch := list(itertools.islice(results, _BATCH)):
                self._save(key, batch)

    def _run(self) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                self._one_batch(batch)
                self._wake()
        except BaseException as crash:  # noqa: BLE001 - raised by `finish`, on the caller's thread
            self._crash = crash
            self._desk.give_all_up()
            self._wake()

    def _one_batch(self, batch: Sequence[Stored]) -> None:
        answers: dict[Domain, dict[int, NewAttempt | NewFurther]] = {}
        for item in batch:
            if isinstance(item, NewFault):
                if item.question is not None:
                    self._desk.gave_up(item.question)
            elif isinstance(item, NewAttempt) and item.reply.cut_off and self._desk.further is not None:
                self._desk.cut_off(item.question, item.sample)
            else:
                domain = self._desk.question(item.question).domain
                pk, answer = self._attempt(item)
                answers.setdefault(domain, {})[pk] = answer
        for domain, by_pk in answers.items():
            self._judge(domain, by_pk)

    def _attempt(self, item: NewAttempt | NewFurther) -> tuple[int, NewAttempt | NewFurther]:
        """Return the key of a committed attempt and its answer as it is now, from the connection that wrote it."""
        sql = "SELECT pk FROM attempt WHERE setting = ? AND question = ? AND sample = ?"
        with self._library.transaction() as connection:
            pk = int(connection.execute(sql, (item.setting, item.question, item.sample)).fetchone()[0])
            if isinstance(item, NewFurther):
                return pk, replace(item, reply=furthers.answer_now(connection, pk))
        return pk, item

    def _judge(self, domain: Domain, answers: dict[int, NewAttempt | NewFurther]) -> None:
        checker, key = self._checker(domain)
        waiting = [self._unjudged(pk, item) for pk, item in answers.items()]
        results: list[tuple[int, Verdict | Fault]] = []
        for attempt, result in judge(checker, waiting, self._tests(domain)):
            results.append((attempt, result))
            item = answers[attempt]
            reply = item.reply
            outcome = result.outcome if isinstance(result, Verdict) else None
            self._desk.judged(
                item.question,
                self._desk.standing(
                    outcome, reply.content, reply.reasoning, reply.usage.completion, reply.finish_reason
                ),
                further=isinstance(item, NewFurther),
            )
            self._wake()
        self._save(key, results)

    def _tests(self, domain: Domain) -> Callable[[int], str] | None:
        """Return what reads a code question's tests, by the connection that this thread may use."""

        def read(question: int) -> str:
            with self._library.transaction() as connection:
                return questions.tests(connection, question)

        return read if domain is Domain.CODE else None

    def _unjudged(self, pk: int, item: NewAttempt | NewFurther) -> Unjudged:
        return Unjudged(
            pk=pk,
            question=item.question,
            setting=item.setting,
            finish_reason=item.reply.finish_reason,
            content=item.reply.content,
            reasoning=item.reply.reasoning,
            reference=self._desk.question(item.question).reference,
        )

    def _save(self, checker: int, results: Sequence[tuple[int, Verdict | Fault]]) -> None:
        with self._library.transaction() as connection:
            for attempt, result in results:
                if isinstance(result, Verdict):
                    verdicts.write_verdict(connection, attempt, checker, result)
                else:
                    attempts.write_fault(connection, _fault(attempt, result))

    def _checker(self, domain: Domain) -> tuple[Checker, int]:
        if domain not in self._checkers:
            checker = make_checker(domain, self._settings)
            self._checkers[domain] = checker, verdicts.ensure_checker(self._library, checker.name, checker.version)
        return self._checkers[domain]


def _fault(attempt: int, fault: Fault) -> NewFault:
    return NewFault(stage="verify", fault=fault, attempt=attempt)


def _cut_off(library: Library, draw: Draw, setting: Setting) -> CutOff:
    """Count the teacher's answers for the draw that were cut off."""
    rows = draws.teacher_attempts(library, draw, setting)
    kinds = Counter(row[11] for row in rows if row[11] is not None)
    still = sum(row[6] in CUT_OFF for row in rows)
    waiting = sum(row[6] in CUT_OFF and row[11] is None for row in rows)
    return CutOff(
        first=waiting + kinds.total(),
        continued=kinds[furthers.CONTINUED],
        retried=kinds[furthers.RETRIED],
        anew=kinds[furthers.ANEW],
        still=still,
    )


def _lines(library: Library, draw: Draw, setting: Setting, desk: Desk) -> tuple[TeachLine, ...]:
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
                completion_tokens=sum(row[10] or 0 for row in own),
                cost=sum(costs) if costs else None,
                held=desk.held_of(level),
            )
        )
    return tuple(lines)
