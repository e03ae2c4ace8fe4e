"""Whole questions for a reader: the wrong attempt, the chain that a teacher wrote, the trained model's answer.

Chosen by a fixed rule, never by eye: of each level at most one of the questions that were taught and one of those that
were held out, the first by the hash order that draws use (seed 0). A question is a story where the base model answered
it wrong; one that the trained model answers right comes before one of which that is not known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.library import attempts, counts, evaluations, questions
from gradatim.method.draw import ordered
from gradatim.reporting.records import Answer, Step, Story, Text
from gradatim.types import Domain, Outcome, Role
from gradatim.work.programs import read_detail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gradatim.library.draws import Draw
    from gradatim.library.evaluations import Evaluation
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library, Row
    from gradatim.types import Question
    from gradatim.work.programs import FailedTest

LIMIT = 6000
"""Characters of one text on the page."""
LOOKED_AT = 500
"""Questions per level that are looked at for one whose story is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Whose stories are told."""

    grading: GradingRow
    """Of the base model."""
    after: str | None
    """The trained model."""

    def before_settings(self, library: Library) -> list[int]:
        """Where the base model's wrong attempt may come from: what it was graded by, then its evaluations."""
        evaluated = [one.pk for one in attempts.settings(library, Role.EVAL) if one.model == self.grading.model]
        return [self.grading.setting, *reversed(evaluated)]

    def after_settings(self, library: Library) -> list[int]:
        """The trained model's evaluations, the newest first."""
        return [one.pk for one in reversed(attempts.settings(library, Role.EVAL)) if one.model == self.after]


def taught(library: Library, cast: Cast, draw: Draw) -> list[Story]:
    """At most one question of each level whose chain was kept."""
    by_level: dict[int, dict[str, Row]] = {}
    for row in counts.kept_chains(library, draw):
        by_level.setdefault(row[0], {})[row[1]] = row
    found = []
    for level, rows in sorted(by_level.items()):
        order = (rows[id_] for id_ in ordered(rows, 0, LOOKED_AT))
        story = _first(library, cast, "taught", level, ((row[1], row[2], row[3]) for row in order))
        found += [story] if story else []
    return found


def held_out(library: Library, cast: Cast, before: Evaluation, after: Evaluation) -> list[Story]:
    """At most one question of each level that the base model never answered right and the trained model always did."""
    never = {
        one.question
        for one in evaluations.answered(library, before.setting, before.set)
        if one.wrong and not one.correct
    }
    always = [
        one.question
        for one in evaluations.answered(library, after.setting, after.set)
        if one.correct == one.judged and one.question in never
    ]
    levels = evaluations.levels(library, cast.grading, after.set)
    by_level: dict[int | None, dict[str, int]] = {}
    for pk in always:
        by_level.setdefault(levels.get(pk), {})[questions.get(library, pk).id] = pk
    # What the base model solved when it was graded, and not when it was evaluated, is luck and no story.
    by_level.pop(0, None)
    found = []
    for level, keys in sorted(by_level.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        order = ordered(keys, 0, LOOKED_AT)
        story = _first(library, cast, "held_out", level, ((id_, keys[id_], None) for id_ in order))
        found += [story] if story else []
    return found


def _first(
    library: Library, cast: Cast, kind: str, level: int | None, candidates: Iterable[tuple[str, int, int | None]]
) -> Story | None:
    """Return the first story that is whole, else the first that lacks only the trained model's answer."""
    partial: tuple[str, int, int | None, int] | None = None
    for id_, pk, chain in candidates:
        wrong = _any(library, cast.before_settings(library), pk, Outcome.WRONG)
        if wrong is None:
            continue
        right = _any(library, cast.after_settings(library), pk, Outcome.CORRECT)
        if right is not None:
            return _story(library, cast, kind, level, (pk, wrong, chain, right))
        partial = partial or (id_, pk, chain, wrong)
    if partial is None:
        return None
    _, pk, chain, wrong = partial
    return _story(library, cast, kind, level, (pk, wrong, chain, None))


def _any(library: Library, settings: Sequence[int], question: int, outcome: Outcome) -> int | None:
    for setting in settings:
        found = counts.first_attempt(library, setting, question, outcome)
        if found is not None:
            return found
    return None


def _story(
    library: Library, cast: Cast, kind: str, level: int | None, parts: tuple[int, int, int | None, int | None]
) -> Story:
    pk, wrong, chain, right = parts
    question = questions.get(library, pk)
    prm = cast.grading.prm
    return Story(
        question=question.id,
        kind=kind,
        level=level,
        prompt=cut(question.prompt),
        reference=_reference(question),
        wrong=_answer(library, wrong, prm),
        chain=None if chain is None else _answer(library, chain, None),
        after=None if right is None else _answer(library, right, None),
    )


def _reference(question: Question) -> str:
    """Return what decides an answer: the word that names a code question's tests says nothing to a reader."""
    if question.domain is Domain.CODE:
        return f"its tests ({question.reference.partition(':')[0]})"
    return clean(question.reference)


def _answer(library: Library, attempt: int, prm: int | None) -> Answer:
    model, outcome, thinking, answer, tokens, score, steps = counts.whole_attempt(library, attempt, prm)
    shown = _steps(answer, steps)
    reason, passed, total, detail = counts.tests_of(library, attempt)
    failed = read_detail(detail or "").failed
    return Answer(
        model=model,
        outcome=outcome or "no verdict",
        thinking=cut(thinking),
        steps=tuple(shown),
        left_out=max(0, len(answer) - LIMIT),
        score=score,
        tokens=tokens,
        tests="" if total is None or passed is None else f"{passed} of {total} tests passed",
        failed=() if failed is None else _failed(reason, failed, total),
    )


def _failed(reason: str, failed: FailedTest, total: int | None) -> tuple[tuple[str, str], ...]:
    """Return what is known of the first failing test, for the page."""
    number = "" if failed.test is None else f"test {failed.test}{f' of {total}' if total else ''}: "
    return (("first failure", f"{number}{reason}"), *((name, clean(text)) for name, text in failed.words()))


def _steps(answer: str, scored: str | None) -> list[Step]:
    """Return the answer in its scored steps, as far as the page has room; whole where nothing was scored."""
    pairs: list[tuple[int, float | None]] = [(length, score) for length, score in json.loads(scored or "[]")]
    if sum(length for length, _ in pairs) != len(answer):
        pairs = [(len(answer), None)]
    steps, at = [], 0
    for length, score in pairs:
        text = answer[at : min(at + length, LIMIT)]
        at += length
        if text:
            steps.append(Step(text=clean(text), score=score))
    return steps


def cut(text: str) -> Text:
    """Return a text with what a page has room for."""
    text = text.strip()
    return Text(text=clean(text[:LIMIT]), left_out=max(0, len(text) - LIMIT))


def clean(text: str) -> str:
    """Return text that can be written as UTF-8: a lone surrogate, which models do write, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
