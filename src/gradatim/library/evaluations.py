"""Evaluations in the library: how each question of a set was answered, and what may make a set less than held out.

An evaluation is nothing but attempts of the role `eval` and their newest verdicts: nothing is stored twice, and a new
verdict changes the figures.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradatim.library import attempts, questions
from gradatim.library.text import unpack
from gradatim.library.trainings import REPLAYED
from gradatim.types import Outcome, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradatim.library.attempts import Setting
    from gradatim.library.grades import GradingRow
    from gradatim.library.questions import QuestionSet
    from gradatim.library.store import Library, Row

_NEWEST = "v.checker = (SELECT max(w.checker) FROM fresh w WHERE w.attempt = a.pk)"


@dataclass(slots=True, kw_only=True)
class Answered:
    """One question's samples by outcome."""

    question: int
    correct: int = 0
    wrong: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    """By reason."""
    unjudged: int = 0
    """Attempts without a verdict yet."""
    tokens: int = 0
    """Written, where the server counted them."""
    counted: int = 0
    """Attempts whose tokens were counted."""

    @property
    def decided(self) -> int:
        """Samples that are correct or wrong."""
        return self.correct + self.wrong

    @property
    def judged(self) -> int:
        """Samples with a verdict of any kind."""
        return self.decided + self.undecided.total()


def answered(library: Library, setting: Setting, set_: QuestionSet, samples: int | None = None) -> list[Answered]:
    """Return the set's questions with what the setting's first `samples` attempts came to, by their newest verdicts.

    A question without an attempt is not among them. None: all attempts.
    """
    condition = questions.active([set_])[set_.pk]
    sql = (
        "SELECT a.question, v.outcome, v.reason, count(*), sum(a.written_tokens), count(a.written_tokens) "
        # From the attempts: a pool has a million members, of which an evaluation answers a thousand or none.
        "FROM answer a CROSS JOIN member m ON m.question = a.question "
        f"LEFT JOIN verdict v ON v.attempt = a.pk AND {_NEWEST} "
        f"WHERE a.setting = ? AND (? IS NULL OR a.sample < ?) AND {condition} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    found: dict[int, Answered] = {}
    for question, outcome, reason, count, tokens, counted in library.rows(sql, (setting.pk, samples, samples)):
        one = found.setdefault(question, Answered(question=question))
        one.tokens += tokens or 0
        one.counted += counted
        if outcome == Outcome.CORRECT:
            one.correct += count
        elif outcome == Outcome.WRONG:
            one.wrong += count
        elif outcome == Outcome.UNDECIDED:
            one.undecided[reason] += count
        else:
            one.unjudged += count
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One model's answers to one set under one setting."""

    setting: Setting
    set: QuestionSet
    questions: int
    """Of the set that have an answer."""
    samples: int
    """The most that a question has."""
    answered: int
    correct: int
    wrong: int
    undecided: int


def evaluations(library: Library, model: str | None = None, of: QuestionSet | None = None) -> list[Evaluation]:
    """All evaluations, of one model or of every one, on one set or on each, in the order their settings were made."""
    found = []
    sets_ = questions.sets(library) if of is None else [of]
    for setting in attempts.settings(library, Role.EVAL):
        for set_ in sets_ if model in (None, setting.model) else ():
            rows = answered(library, setting, set_)
            if rows:
                found.append(
                    Evaluation(
                        setting=setting,
                        set=set_,
                        questions=len(rows),
                        samples=max(one.judged + one.unjudged for one in rows),
                        answered=sum(one.judged + one.unjudged for one in rows),
                        correct=sum(one.correct for one in rows),
                        wrong=sum(one.wrong for one in rows),
                        undecided=sum(one.undecided.total() for one in rows),
                    )
                )
    return found


def find(library: Library, model: str, set_: QuestionSet, sampling: str) -> list[Evaluation]:
    """A model's evaluations on a set: those asked in this way first, then the newest."""
    return sorted(
        evaluations(library, model, set_), key=lambda one: (one.setting.sampling != sampling, -one.setting.pk)
    )


def levels(library: Library, grading: GradingRow, set_: QuestionSet) -> dict[int, int]:
    """Return the level of each question of the set that this grading gave one."""
    sql = (
        "SELECT g.question, g.level FROM member m CROSS JOIN grade g ON g.grading = ? AND g.question = m.question "
        "WHERE m.question_set = ? AND g.level IS NOT NULL"
    )
    return dict(library.all(sql, (grading.pk, set_.pk)))


def sources(library: Library, set_: QuestionSet) -> dict[int, str]:
    """Return the file that each question of the set was read from, without its row."""
    sql = "SELECT q.pk, q.source FROM member m CROSS JOIN question q ON q.pk = m.question WHERE m.question_set = ?"
    return {pk: source.rpartition(":")[0] or source for pk, source in library.rows(sql, (set_.pk,))}


def column(library: Library, set_: QuestionSet, name: str) -> dict[int, str]:
    """Return what a column of the source holds for each question of the set that has it; dots reach inside."""
    sql = (
        "SELECT t.question, t.extra FROM member m CROSS JOIN question_text t ON t.question = m.question "
        "WHERE m.question_set = ?"
    )
    found = {pk: _value(json.loads(unpack(extra)), name) for pk, extra in library.rows(sql, (set_.pk,))}
    return {pk: text for pk, text in found.items() if text}


def columns(library: Library, set_: QuestionSet) -> list[str]:
    """Return the columns that the questions of the set have beside their own."""
    sql = (
        "SELECT t.extra FROM member m CROSS JOIN question_text t ON t.question = m.question "
        "WHERE m.question_set = ? LIMIT 100"
    )
    return list(dict.fromkeys(name for (extra,) in library.all(sql, (set_.pk,)) for name in json.loads(unpack(extra))))


def _value(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if value is None and "." in name:
        first, _, rest = name.partition(".")
        inner = row.get(first)
        return _value(inner, rest) if isinstance(inner, dict) else ""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What a set has in common with what a model may have been trained on."""

    questions: int
    """Of the set."""
    drawn: int
    """Those that are in a draw themselves."""
    trained: int
    """Those of them whose chain was kept."""
    near_drawn: int
    """Questions in a draw that share a passage with a question of the set: found so after they were drawn."""
    near_excluded: int
    """Questions of pools that were set aside since they share a passage with one of the set; no draw takes them now."""
    draws: tuple[str, ...]
    """The draws that hold what is counted here."""
    replayed: int = 0
    """Questions of the set, or that share a passage with one, whose answers were replayed in training the model."""

    @property
    def clean(self) -> bool:
        """Whether no draw holds anything of the set, and nothing of it was replayed."""
        return not self.drawn and not self.near_drawn and not self.replayed


def overlap(library: Library, set_: QuestionSet, model: str) -> Overlap:
    """Compare the set with the draws that the model was trained on: where the library does not know, with all."""
    condition = questions.active([set_])[set_.pk]
    keys = {row[0] for row in library.rows(f"SELECT m.question FROM member m WHERE {condition}")}
    sql = "SELECT question FROM exclusion WHERE reason = 'contaminated' AND substr(detail, 1, length(?)) = ?"
    near = {row[0] for row in library.rows(sql, (set_.name + "/",) * 2)} - keys
    drawn, kept, names = set[int](), set[int](), []
    for pk, name in _draws(library, model):
        held = {row[0] for row in library.rows("SELECT question FROM draw_item WHERE draw = ?", (pk,))}
        chains = "SELECT a.question FROM chain c JOIN attempt a ON a.pk = c.attempt WHERE c.draw = ? AND c.kept"
        kept |= {row[0] for row in library.rows(chains, (pk,))}
        drawn |= held
        names += [name] if held & (keys | near) else []
    return Overlap(
        questions=len(keys),
        drawn=len(keys & drawn),
        trained=len(keys & kept),
        near_drawn=len(near & drawn),
        near_excluded=len(near),
        draws=tuple(names),
        replayed=len((keys | near) & _replayed(library, model)),
    )


_LINE = (
    "WITH RECURSIVE line (model) AS (VALUES (?) UNION SELECT t.base FROM training t JOIN line ON t.model = line.model) "
)


def _replayed(library: Library, model: str) -> set[int]:
    """Return the questions whose answers a model, or a model that it was trained from, was trained on again."""
    sql = (
        f"{_LINE}SELECT q.pk FROM training t JOIN line ON t.model = line.model "
        f"CROSS JOIN json_each(iif(json_valid(t.settings), t.settings, '{{}}'), '$.{REPLAYED}') j "
        "JOIN question q ON q.id = j.value"
    )
    return {row[0] for row in library.rows(sql, (model,))}


def _draws(library: Library, model: str) -> list[Row]:
    """Return key and name of the draws that a model, or a model that it was trained from, learnt from, or of all."""
    sql = f"{_LINE}SELECT DISTINCT t.draw FROM training t JOIN line ON t.model = line.model"
    there = library.all("SELECT pk, name FROM draw ORDER BY pk")
    own = {row[0] for row in library.rows(sql, (model,))}
    return there if not own or None in own else [row for row in there if row[0] in own]
