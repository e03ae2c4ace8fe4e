"""What a report says, as records: one per section, made by `stages/report.py` and shown by the page's script.

Every number on the page stands in one of these. Nothing in them tells the time, the machine or a folder, so that the
same library gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the figures that stand above all others."""

    name: str
    value: str
    note: str = ""
    main: bool = False
    """The figure that the report is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCount:
    """A set of questions."""

    name: str
    purpose: str
    questions: int
    excluded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelLine:
    """What is known of the questions of one level."""

    level: int | None
    """None: questions without a level."""
    questions: int
    score: float | None
    """Mean of the PRM's mean step scores."""
    attempts: int
    """Decided ones."""
    correct: int
    tests: float | None = None
    """Mean share of tests that wrong programs passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """One grading: how many questions of the pools stand at each level."""

    model: str
    rule: str
    cuts: str
    grading: str
    lines: tuple[LevelLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """How many questions have one level for the first model and another for the second."""

    first: str
    second: str
    counts: tuple[tuple[int, int, int], ...]
    """Level for the first, level for the second, questions."""
    questions: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MixLine:
    """One level of a draw."""

    level: int
    asked: int
    drawn: int
    finished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawMix:
    """A draw: what was asked for, what was drawn, what is finished."""

    draw: str
    model: str
    mix: str
    size: int
    seed: int
    lines: tuple[MixLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """Attempts of one outcome by their mean step score."""

    outcome: str
    attempts: int
    mean: float
    counts: tuple[int, ...]
    """In bins of equal width over [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSplit:
    """A PRM's scores of one model's attempts against their outcome."""

    model: str
    prm: str
    lines: tuple[ScoreLine, ...]
    unscored: tuple[tuple[str, int], ...]
    """Why attempts have no score, and how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldLine:
    """What the teacher's work on one level came to; level None is all of them."""

    level: int | None
    attempts: int
    correct: int
    share: float
    """Of the attempts, the correct ones."""
    low: float
    high: float
    kept: int
    tokens: int
    """Written, in all attempts at this level."""
    tokens_per_chain: float | None
    cost: float | None
    cost_per_chain: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """What the chains of a draw took."""

    draw: str
    teachers: tuple[str, ...]
    lines: tuple[YieldLine, ...]
    not_kept: tuple[tuple[str, int], ...]
    """Reason and count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthLine:
    """The lengths of one kind of answer, in tokens as the server counted them, thinking included."""

    group: str
    what: str
    answers: int
    uncounted: int
    """Answers whose tokens nobody counted."""
    p5: int
    p25: int
    p50: int
    p75: int
    p95: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """A stretch of steps, with the mean of their losses."""

    step: int
    """The last of the stretch."""
    epoch: float
    loss: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A training and its loss."""

    training: str
    model: str
    base: str
    draw: str | None
    chains: int
    replayed: int
    steps: int
    done: int
    points: tuple[LossPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One model's accuracy on one group of questions, over decided answers."""

    model: str
    value: float
    low: float
    high: float
    at_least: float
    """The same, if every undecided answer were wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second model's accuracy minus the first's, on the same questions."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of the paired randomisation test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLine:
    """A group of questions, and how often each model answers them right."""

    kind: str
    """`all`, `level` or `source`."""
    name: str
    questions: int
    models: tuple[Accuracy, ...]
    difference: Difference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What became of questions from the first model to the second, by the first sample of each."""

    both_right: int
    gained: int
    lost: int
    both_wrong: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Models on one set of questions."""

    set: str
    samples: tuple[tuple[str, int], ...]
    """Model, and samples per question."""
    before: str | None
    after: str | None
    lines: tuple[AccuracyLine, ...]
    flow: Flow | None
    trained_on: int | None
    """Questions with a chain that was kept, or near one; None where the set is held out from all of the models."""
    undecided: tuple[tuple[str, int], ...]
    """Model, and attempts that no checker could decide."""
    left_out: int
    """Further models that were evaluated on the set."""
    notes: tuple[str, ...] = ()
    """What makes the figures less than they seem: models that were asked otherwise, or not about all questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text, cut where it is too long for a page."""

    text: str
    left_out: int = 0
    """Characters that were cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of an answer, and the PRM's score for it."""

    text: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One attempt, for reading."""

    model: str
    outcome: str
    thinking: Text
    steps: tuple[Step, ...]
    """The answer: in steps where a PRM scored them, else whole and without a score."""
    left_out: int
    score: float | None
    """The mean step score."""
    tokens: int | None
    tests: str = ""
    """Of a program: how many of its tests it passed, in words."""
    failed: tuple[tuple[str, str], ...] = ()
    """Of a wrong program: what is known of the first test that it failed, each with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One question and all that became of it."""

    question: str
    kind: str
    """`taught`: its chain is in the draw. `held_out`: it is in an evaluation set, and so has no chain."""
    level: int | None
    prompt: Text
    reference: str
    wrong: Answer
    chain: Answer | None
    after: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A section that has no data, and the command that would give it."""

    section: str
    why: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a page shows."""

    title: str
    version: str
    """Gradatim's."""
    model: str
    """The graded model that the report is about."""
    after: str | None
    """What it was trained to."""
    figures: tuple[Figure, ...]
    sets: tuple[SetCount, ...]
    histograms: tuple[Histogram, ...]
    moves: Moves | None
    draws: tuple[DrawMix, ...]
    scores: tuple[ScoreSplit, ...]
    teaching: tuple[Teaching, ...]
    lengths: tuple[LengthLine, ...]
    curves: tuple[Curve, ...]
    evaluations: tuple[Evaluation, ...]
    stories: tuple[Story, ...]
    missing: tuple[Missing, ...]
