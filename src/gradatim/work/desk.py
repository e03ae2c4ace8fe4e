"""Who is asked next, when a teacher works down a draw: each level's quota, order, tries, and what is out.

The feed of `teach`. It counts what the library has when it opens its books, and from then on what it is told; two
threads use it, the engine's and the judge's. Never more requests are out than chains are missing.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gradatim.errors import GradatimError
from gradatim.library import batches, draws, furthers, questions
from gradatim.library.text import unpack
from gradatim.types import CUT_OFF
from gradatim.work.keeping import drop_reason
from gradatim.work.requests import question_and_sample, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.config import CurateSettings, TeachSettings
    from gradatim.library.attempts import Setting
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library
    from gradatim.types import Question, Request, Sampling
    from gradatim.work.truncation import Furthers

_PAGE = 500
_RUNS_TO_JUDGE = 3
"""How often the checker may fail on one answer before another is bought in its place: else a level waits for ever."""


@dataclass(slots=True)
class _Level:
    """One level's work."""

    quota: int
    order: deque[int]
    """Questions not yet asked."""
    again: deque[int] = field(default_factory=deque)
    """Questions that may be asked again."""
    further: deque[tuple[int, int]] = field(default_factory=deque)
    """Questions whose answer to this sample was cut off, and that get a further request."""
    chains: int = 0
    out: int = 0
    """Requests sent and not yet judged."""
    held: int = 0
    """Answers that a fault of ours kept from a verdict."""
    away: int = 0
    """Requests in batches of an earlier run, which nobody has taken up yet: they may become chains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an attempt has come to."""

    chain: bool
    unjudged: bool
    """A fault of ours kept it from a verdict: it may be a chain yet, so nothing is bought in its place."""
    again: bool
    """Its question may be asked again: it was not cut off."""
    further: bool = False
    """It was cut off, and a further request may be made for it."""


class Desk:
    """The feed of `teach`: who is asked next. Used from the engine's thread and the judge's."""

    def __init__(
        self,
        library: Library,
        draw: Draw,
        setting: Setting,
        sampling: Sampling,
        settings: TeachSettings,
        curate: CurateSettings,
        further: Furthers | None = None,
    ) -> None:
        self.library = library
        self.further = further
        self.draw = draw
        self.setting = setting
        self._sampling = sampling
        self._tries = settings.tries
        self._curate = msgspec.structs.replace(curate, keep=settings.keep)
        self._levels: dict[int, _Level] = {}
        self._level_of: dict[int, int] = {}
        self.answers: Counter[int] = Counter()
        """What this teacher had written when the books were opened, by level."""
        self.became_chains: Counter[int] = Counter()
        """How many of these can be chains."""
        self._tried: Counter[int] = Counter()
        self._next: Counter[int] = Counter()
        """The first sample index that is free."""
        self._away: set[int] = set()
        """Questions of the draw that are in batches of an earlier run, and may become chains."""
        self._strangers: set[int] = set()
        """Other questions that are out: no level counts them."""
        self._over = False
        self._out: dict[int, Question] = {}
        """Questions that are asked now: the judge needs their references."""
        self._lock = threading.Lock()

    def open_books(self) -> None:
        """Count what the library has: chains of any teacher, and this one's tries."""
        done, through, held = set[int](), set[int](), Counter[int]()
        cut: dict[int, int] = {}
        hopeless = _hopeless(self.library)
        for row in draws.teacher_attempts(self.library, self.draw):
            question, attempt, own = row[2], row[3], row[9] == self.setting.pk
            content, reasoning = self.library.all(
                "SELECT content, reasoning FROM answer_text WHERE attempt = ?", (attempt,)
            )[0]
            standing = self.standing(row[5], unpack(content), unpack(reasoning), row[7], row[6])
            if standing.chain:
                done.add(question)
            elif standing.unjudged and attempt not in hopeless:
                held[question] += 1
            elif own and standing.further and row[11] is None:
                cut[question] = row[4]
            elif own and not standing.again:
                through.add(question)
            if own:
                self.answers[row[0]] += 1
                self.became_chains[row[0]] += standing.chain
                self._tried[question] += 1
                self._next[question] = max(self._next[question], row[4] + 1)
        never = draws.undrawable(self.library)
        under_way = batches.under_way(self.library, self.setting).keys()
        # Once for all: an evaluation set, or what was excluded, can be large.
        closed = done | held.keys() | through | never | under_way
        for level, order in draws.items(self.library, self.draw).items():
            self._level_of.update(dict.fromkeys(order, level))
            away = under_way & set(order) - done - held.keys() - never
            self._away |= away
            open_ = [one for one in order if one not in closed and one not in cut]
            self._levels[level] = _Level(
                quota=self.draw.quotas.get(level, 0),
                order=deque(one for one in open_ if not self._tried[one]),
                again=deque(one for one in open_ if 0 < self._tried[one] < self._tries),
                further=deque((one, cut[one]) for one in order if one in cut and one not in closed),
                chains=sum(one in done and one not in never for one in order),
                held=sum(one in held and one not in done and one not in never for one in order),
                away=len(away),
            )

    def standing(
        self, outcome: str | None, content: str, reasoning: str, completion_tokens: int | None, finish_reason: str
    ) -> Standing:
        """Return what an answer with this outcome has come to; None: it has no verdict."""
        reason = drop_reason(outcome, content, reasoning, completion_tokens, self._curate)
        cut_off = finish_reason in CUT_OFF
        further = cut_off and self.further is not None
        return Standing(chain=reason == "", unjudged=outcome is None, again=not cut_off, further=further)

    def chains(self) -> int:
        """Chains so far, of all levels."""
        return sum(min(level.chains, level.quota) for level in self._levels.values())

    def chains_of(self, level: int) -> int:
        """Chains of one level."""
        return self._levels[level].chains if level in self._levels else 0

    def may_be_asked(self, level: int) -> int:
        """How many requests of one level there can be, if no answer becomes a chain."""
        if level not in self._levels or not self._has_work(self._levels[level]):
            return 0
        own = self._levels[level]
        return len(own.order) * self._tries + sum(self._tries - self._tried[one] for one in own.again)

    def waiting_of(self, level: int) -> int:
        """How many answers of one level were cut off and may get a further request."""
        if level not in self._levels or not self._has_work(self._levels[level]):
            return 0
        return len(self._levels[level].further)

    def held_of(self, level: int) -> int:
        """Answers of one level that could not be judged."""
        return self._levels[level].held if level in self._levels else 0

    def level_of(self, question: int) -> int | None:
        """Return the level at which a question was drawn."""
        return self._level_of.get(question)

    def question(self, key: int) -> Question:
        """Return a question that is being asked."""
        return self._out[key]

    def give_all_up(self) -> None:
        """Ask nothing more: the judge is gone."""
        with self._lock:
            self._over = True
            self._levels.clear()

    def wanted(self) -> bool:
        """Whether anything is to be asked."""
        return any(self._has_work(level) for level in self._levels.values())

    def _has_work(self, level: _Level) -> bool:
        if level.chains + level.out + level.held + level.away >= level.quota:
            return False
        return bool(level.again or level.order) or self._has_further(level)

    def _has_further(self, level: _Level) -> bool:
        return bool(level.further) and self.further is not None and self.further.ready

    def take(self) -> Request | None:
        """Give the next request of the level that is furthest from its quota."""
        with self._lock:
            ready = [level for level in self._levels.values() if self._has_work(level)]
            if not ready:
                return None
            level = max(ready, key=lambda one: (one.quota - one.chains - one.out - one.held - one.away) / one.quota)
            level.out += 1
            if self._has_further(level):
                question, cut = level.further.popleft()
            else:
                question, cut = (level.again or level.order).popleft(), None
        asked = self._out[question] = questions.get(self.library, question)
        if cut is None or self.further is None:
            return request(question, asked, self._next[question], self._sampling)
        first = furthers.first_answer(self.library, self.setting.pk, question, cut)
        return self.further.request(request(question, asked, cut, self._sampling), first)

    def open(self) -> bool:
        """Whether a judged answer may still make room for a request."""
        with self._lock:
            return any(level.out or self._has_work(level) for level in self._levels.values())

    def waiting(self) -> int:
        """Return how many requests are out, at the server or with the judge. Raises where the judge is gone."""
        if self._over:
            raise GradatimError("No answer is judged any more.")
        with self._lock:
            return len(self._out)

    def expect(self, keys: Sequence[int]) -> None:
        """Take note that answers come to what an earlier run asked, for this draw or for another one."""
        for at in range(0, len(keys), _PAGE):
            asked = [question_and_sample(key) for key in keys[at : at + _PAGE]]
            texts = questions.many(self.library, [question for question, _ in asked])
            with self._lock:
                for question, sample in asked:
                    self._out[question] = texts[question]
                    self._next[question] = max(self._next[question], sample)
                    if question not in self._away:
                        self._strangers.add(question)
                        continue
                    level = self._levels[self._level_of[question]]
                    level.away, level.out = level.away - 1, level.out + 1

    def cut_off(self, question: int, sample: int) -> None:
        """Take note of a first answer that was cut off and gets a further request."""
        with self._lock:
            self._tried[question] += 1
            self._next[question] += 1
            level = self._back(question)
            if level is not None:
                level.further.append((question, sample))

    def judged(self, question: int, standing: Standing, *, further: bool = False) -> None:
        """Take note of a judged answer; of a further one, whose try was counted with the first."""
        with self._lock:
            self._tried[question] += not further
            self._next[question] += not further
            level = self._back(question)
            if level is None:
                return
            if standing.chain:
                level.chains += 1
            elif standing.unjudged:
                level.held += 1
            elif standing.again and self._tried[question] < self._tries:
                level.again.append(question)

    def gave_up(self, question: int) -> None:
        """Take note of a request without an answer: this run asks the level's next question instead."""
        with self._lock:
            self._back(question)

    def _back(self, question: int) -> _Level | None:
        """Take a request in again; return its level, if it counts for one."""
        del self._out[question]
        if question in self._strangers:
            return None
        level = self._levels[self._level_of[question]]
        level.out -= 1
        return level


def _hopeless(library: Library) -> set[int]:
    """Attempts that the checker has failed on so often that they count as misses."""
    sql = (
        "SELECT attempt FROM fault WHERE stage = 'verify' AND attempt IS NOT NULL GROUP BY attempt HAVING count(*) >= ?"
    )
    return {row[0] for row in library.all(sql, (_RUNS_TO_JUDGE,))}
