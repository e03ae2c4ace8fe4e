"""What a report counts, in SQL: at most some thousand rows come out of a library of any size.

Counting accuracy is not here: `library/evaluations.py` does that. An attempt's outcome is its newest verdict's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.library.text import unpack
from gradatim.reasoning import split_reasoning

if TYPE_CHECKING:
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library, Row

_OUTCOME = "(SELECT v.outcome FROM fresh v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1)"

BINS = 20
"""Of the mean step score, over [0, 1]: as wide as 0.05."""


def set_counts(library: Library) -> list[Row]:
    """Each set: name, purpose, questions, how many of them are excluded."""
    return library.all(
        "SELECT s.name, s.purpose, (SELECT count(*) FROM member m WHERE m.question_set = s.pk), "
        "(SELECT count(*) FROM member m WHERE m.question_set = s.pk AND m.question IN "
        "(SELECT question FROM exclusion)) FROM question_set s ORDER BY s.pk"
    )


def graded_levels(library: Library, grading: int) -> list[Row]:
    """Per level, of the pools alone; None is the last.

    Questions, mean PRM score, decided attempts, correct ones, mean share of tests that wrong programs passed.
    """
    return library.all(
        "SELECT g.level, count(*), avg(g.score), sum(g.correct + g.wrong), sum(g.correct), avg(g.tests) FROM grade g "
        "WHERE g.grading = ? AND EXISTS (SELECT 1 FROM member m WHERE m.question_set IN "
        "(SELECT pk FROM question_set WHERE purpose = 'pool') AND m.question = g.question) "
        "GROUP BY g.level ORDER BY g.level IS NULL, g.level",
        (grading,),
    )


def score_bins(library: Library) -> list[Row]:
    """Scored attempts of base models: model, PRM, outcome or None, bin of the mean score, attempts, sum of means."""
    return library.all(
        f"SELECT s.model, p.name, {_OUTCOME} AS outcome, min(CAST(x.mean * {BINS} AS INTEGER), {BINS - 1}) AS bin, "
        "count(*), sum(x.mean) FROM score x JOIN prm p ON p.pk = x.prm JOIN attempt a ON a.pk = x.attempt "
        "JOIN setting s ON s.pk = a.setting WHERE x.mean IS NOT NULL AND s.role <> 'teacher' "
        "GROUP BY s.model, p.name, outcome, bin ORDER BY s.model, p.name, outcome, bin"
    )


def unscored(library: Library) -> list[Row]:
    """Attempts that a PRM looked at and could not score: model, PRM, reason, attempts."""
    return library.all(
        "SELECT s.model, p.name, x.reason, count(*) FROM score x JOIN prm p ON p.pk = x.prm "
        "JOIN attempt a ON a.pk = x.attempt JOIN setting s ON s.pk = a.setting WHERE x.reason <> '' "
        "GROUP BY s.model, p.name, x.reason ORDER BY s.model, p.name, x.reason"
    )


def answer_lengths(library: Library, role: str) -> list[Row]:
    """Answers of a role by their length: model, outcome or None, tokens written or None, answers."""
    return library.all(
        f"SELECT s.model, {_OUTCOME} AS outcome, a.completion_tokens, count(*) FROM setting s "
        "JOIN answer a ON a.setting = s.pk WHERE s.role = ? GROUP BY s.model, outcome, a.completion_tokens "
        "ORDER BY s.model, outcome, a.completion_tokens",
        (role,),
    )


def chain_lengths(library: Library, draw: Draw) -> list[Row]:
    """A draw's kept chains by their length: level, tokens written or None, chains."""
    return library.all(
        "SELECT c.level, a.completion_tokens, count(*) FROM chain c JOIN answer a ON a.pk = c.attempt "
        "WHERE c.draw = ? AND c.kept GROUP BY c.level, a.completion_tokens ORDER BY c.level, a.completion_tokens",
        (draw.pk,),
    )


def teaching(library: Library, draw: Draw) -> list[Row]:
    """Per level: teacher's attempts, correct ones, tokens written, cost or None where nobody counted, kept chains."""
    return library.all(
        f"SELECT i.level, count(*), count(*) FILTER (WHERE {_OUTCOME} = 'correct'), "
        "coalesce(sum(a.written_tokens), 0), sum(a.cost), "
        "count(*) FILTER (WHERE EXISTS (SELECT 1 FROM chain c WHERE c.draw = i.draw AND c.attempt = a.pk AND c.kept)) "
        "FROM draw_item i JOIN setting s ON s.role = 'teacher' "
        "JOIN answer a ON a.setting = s.pk AND a.question = i.question WHERE i.draw = ? GROUP BY i.level "
        "ORDER BY i.level",
        (draw.pk,),
    )


def teachers(library: Library, draw: Draw) -> list[str]:
    """Who answered the draw's questions as a teacher."""
    rows = library.all(
        "SELECT DISTINCT s.model FROM draw_item i JOIN setting s ON s.role = 'teacher' "
        "JOIN attempt a ON a.setting = s.pk AND a.question = i.question WHERE i.draw = ? ORDER BY s.model",
        (draw.pk,),
    )
    return [row[0] for row in rows]


def trainings(library: Library) -> list[Row]:
    """Each training that has a step: key, id, model, base, draw or None, chains, replayed, steps, steps done."""
    return library.all(
        "SELECT t.pk, t.id, t.model, t.base, d.name, t.chains, t.replayed, t.steps, max(s.step) FROM training t "
        "JOIN training_step s ON s.training = t.pk LEFT JOIN draw d ON d.pk = t.draw GROUP BY t.pk ORDER BY t.pk"
    )


def loss_curve(library: Library, training: int, points: int) -> list[Row]:
    """A training's steps in at most so many stretches: last step, epoch, mean loss, learning rate, tokens."""
    last = library.value("SELECT max(step) FROM training_step WHERE training = ?", (training,)) or 0
    width = max(1, -(-last // points))
    # Beside max(), SQLite gives the other columns of the row that has it.
    return library.all(
        "SELECT max(step), epoch, avg(loss), learning_rate, tokens FROM training_step WHERE training = ? "
        "GROUP BY (step - 1) / ? ORDER BY step",
        (training, width),
    )


def kept_chains(library: Library, draw: Draw) -> list[Row]:
    """A draw's kept chains: level, question id, question key, attempt key."""
    return library.all(
        "SELECT c.level, q.id, q.pk, c.attempt FROM chain c JOIN attempt a ON a.pk = c.attempt "
        "JOIN question q ON q.pk = a.question WHERE c.draw = ? AND c.kept ORDER BY c.level, q.id",
        (draw.pk,),
    )


def first_attempt(library: Library, setting: int, question: int, outcome: str) -> int | None:
    """Return the first of a setting's attempts at the question that has this outcome; a scored one comes first."""
    found = library.value(
        f"SELECT a.pk FROM attempt a WHERE a.setting = ? AND a.question = ? AND {_OUTCOME} = ? ORDER BY NOT EXISTS "
        "(SELECT 1 FROM score x WHERE x.attempt = a.pk AND x.mean IS NOT NULL), a.sample LIMIT 1",
        (setting, question, outcome),
    )
    return None if found is None else int(found)


def whole_attempt(library: Library, attempt: int, prm: int | None) -> Row:
    """Return an attempt for reading: model, outcome, thinking, answer, tokens, mean score, steps as JSON or None."""
    row = library.all(
        f"SELECT s.model, {_OUTCOME}, t.content, t.reasoning, a.completion_tokens, x.mean, x.steps FROM answer a "
        "JOIN answer_text t ON t.attempt = a.pk JOIN setting s ON s.pk = a.setting "
        "LEFT JOIN score x ON x.attempt = a.pk AND x.prm = ? AND x.mean IS NOT NULL WHERE a.pk = ?",
        (prm, attempt),
    )[0]
    model, outcome, content, reasoning, *rest = row
    thinking, answer = split_reasoning(unpack(content), unpack(reasoning))
    return model, outcome, thinking, answer, *rest


def tests_of(library: Library, attempt: int) -> Row:
    """Return what the newest verdict says of an attempt's tests: reason, passed, total, detail; the last may be empty.

    Of an attempt without a verdict: four times None.
    """
    rows = library.all(
        "SELECT v.reason, v.passed, v.total, x.detail FROM fresh v LEFT JOIN verdict_text x ON x.attempt = v.attempt "
        "AND x.checker = v.checker WHERE v.attempt = ? ORDER BY v.checker DESC LIMIT 1",
        (attempt,),
    )
    if not rows:
        return None, None, None, None
    reason, passed, total, detail = rows[0]
    return reason, passed, total, unpack(detail)
