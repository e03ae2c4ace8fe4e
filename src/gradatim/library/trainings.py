"""Trainings in the library: what each was made from, its loss curve as it grows, and answers that can be replayed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.method.replay import Answer
from gradatim.types import Outcome, Role, Sampling

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gradatim.library.draws import Draw
    from gradatim.library.store import Library, Row

REPLAYED = "replayed_questions"
"""In a training's settings: the ids of the questions whose answers were replayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTraining:
    """A training that begins."""

    id: str
    """A hash of what it is made from."""
    model: str
    """What the trained model is called."""
    base: str
    """The name of the model that is trained."""
    draw: int | None
    settings: str
    """JSON."""
    chains: int
    replayed: int
    steps: int
    folder: str


def check_name(library: Library, training: str, model: str) -> None:
    """Raise `UsageError` where a name is that of another model with answers here, or of another finished training."""
    other = library.value(
        "SELECT id FROM training t WHERE model = ? AND id <> ? AND steps <= "
        "(SELECT max(step) FROM training_step s WHERE s.training = t.pk)",
        (model, training),
    )
    own = library.value("SELECT 1 FROM training WHERE model = ? AND id = ?", (model, training))
    taken = library.value("SELECT 1 FROM setting WHERE model = ?", (model,))
    if other is not None:
        raise UsageError(
            f"A model named {model!r} was trained before, from other examples, settings or another base ({other}). "
            "Give this one a name of its own: --name NAME --out FOLDER."
        )
    if taken is not None and own is None:
        raise UsageError(
            f"The library holds answers of a model named {model!r} already. Give the trained one a name of its own: "
            "--name NAME."
        )


def ensure(library: Library, training: NewTraining) -> int:
    """Return the key of the training, made if it is new; its name and folder are those given last."""
    with library.transaction() as connection:
        connection.execute(
            "INSERT INTO training (id, model, base, draw, settings, chains, replayed, steps, folder, made_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET model = excluded.model, folder = excluded.folder",
            (
                training.id,
                training.model,
                training.base,
                training.draw,
                training.settings,
                training.chains,
                training.replayed,
                training.steps,
                training.folder,
                time.time(),
            ),
        )
    return int(library.value("SELECT pk FROM training WHERE id = ?", (training.id,)))


def write_steps(library: Library, training: int, steps: Sequence[Row]) -> None:
    """Keep steps: number, epoch, loss, learning rate, answer tokens, time. One that is done again takes its place."""
    with library.transaction() as connection:
        connection.executemany(
            "INSERT OR REPLACE INTO training_step VALUES (?, ?, ?, ?, ?, ?, ?)", [(training, *step) for step in steps]
        )


def losses(library: Library, training: int) -> tuple[float | None, float | None]:
    """Return the loss of the first and of the last step that is kept."""
    rows = library.all("SELECT loss FROM training_step WHERE training = ? ORDER BY step", (training,))
    return (rows[0][0], rows[-1][0]) if rows else (None, None)


def asked_as(library: Library, draw: Draw) -> tuple[str, Sampling]:
    """Return the name of the model that a draw was graded for, and how it was asked; recorded answers tell nothing."""
    model, text = library.all(
        "SELECT s.model, s.sampling FROM grading g JOIN setting s ON s.pk = g.setting WHERE g.pk = ?", (draw.grading,)
    )[0]
    said = json.loads(text)
    return model, Sampling() if "recorded" in said else Sampling(**said)


def correct_answers(library: Library, model: str, never: Collection[int]) -> list[Answer]:
    """A model's answers whose newest verdict is `correct`, save those to the questions in `never` and those cut off."""
    rows = library.rows(
        "SELECT q.id || '-' || s.id || '-' || a.sample, q.id, q.pk, a.pk, "
        "coalesce(a.completion_tokens, (length(t.content) + length(t.reasoning)) / 4.0) "
        "FROM setting s CROSS JOIN answer a ON a.setting = s.pk CROSS JOIN question q ON q.pk = a.question "
        "CROSS JOIN answer_text t ON t.attempt = a.pk "
        "WHERE s.role = ? AND s.model = ? AND a.finish_reason NOT IN ('length', 'max_tokens') "
        "AND (SELECT outcome FROM fresh v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1) = ?",
        (Role.BASE, model, Outcome.CORRECT),
    )
    return [
        Answer(id=id_, question=question, attempt=attempt, length=length)
        for id_, question, pk, attempt, length in rows
        if pk not in never
    ]
