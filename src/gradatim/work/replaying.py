"""The base model's own verified-correct answers beside a draw's chains: what `train` replays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.formats.shapes import Thinking, unfit
from gradatim.library import draws, trainings
from gradatim.method.replay import ranked
from gradatim.work.chains import Kept, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.formats.shapes import Example
    from gradatim.library.store import Library


def replayed(
    library: Library, chains: Sequence[Kept], *, model: str, count: int, seed: int, shortest: bool
) -> list[Example]:
    """Return up to `count` answers of the model's own, one per question.

    Never to a question of an evaluation set, an excluded one, or one that a chain of this training answers. The draw's
    reserve is not left out: it can be most of a pool, and nothing of it is trained on.
    """
    if not count:
        return []
    never = draws.undrawable(library) | {one.question for one in chains}
    found: list[Example] = []
    for answer in ranked(trainings.correct_answers(library, model, never), seed=seed, shortest=shortest):
        one = Kept(id=answer.question, question=0, attempt=answer.attempt, level=0)
        (example,) = examples(library, [one], "")
        if not unfit(example, Thinking.TAGS):
            found.append(example)
        if len(found) == count:
            break
    return found
