"""What a model is to be trained on: a draw's chains and answers to replay, put as the model will be asked.

Used by `train` and `handoff`: the same examples, whoever trains on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from gradatim.errors import UsageError
from gradatim.library import draws, trainings
from gradatim.tiny.weights import named
from gradatim.types import Sampling
from gradatim.work import chains
from gradatim.work.replaying import replayed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradatim.config import Config, TrainSettings
    from gradatim.formats.shapes import Example
    from gradatim.library.draws import Draw
    from gradatim.library.store import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The examples of a training."""

    draw: Draw
    base_name: str
    """The name of the model that is trained, and whose answers are replayed."""
    chains: tuple[Example, ...]
    """Each prompt is the user's whole message, and each system message is set."""
    replayed: tuple[Example, ...]
    asked: int
    """How many answers were to be replayed."""

    def note(self) -> str:
        """Say what is missing of the replay; empty where nothing is."""
        if len(self.replayed) >= self.asked:
            return ""
        return (
            f"{self.asked:,} answers of {self.base_name} were to be replayed, and there are {len(self.replayed):,} "
            "verified-correct ones to other questions. More attempts would give more: gradatim attempt --samples N; "
            "gradatim verify"
        )


def gathered(library: Library, name: str, settings: TrainSettings) -> Gathered:
    """Gather a draw's examples. Raises `UsageError` where nothing is kept, or chains were excluded since."""
    draw = draws.chosen_draw(library, name)
    graded, asked = trainings.asked_as(library, draw)
    kept = chains.kept(library, draw)
    wanted = round(settings.replay * len(kept))
    own = settings.replay_from or graded
    again = replayed(
        library, kept, model=own, count=wanted, seed=settings.seed, shortest=settings.replay_choice == "shortest"
    )
    return Gathered(
        draw=draw,
        base_name=own,
        chains=put(chains.examples(library, kept, ""), settings, asked),
        replayed=put(again, settings, asked),
        asked=wanted,
    )


def put(examples: Iterable[Example], settings: TrainSettings, asked: Sampling) -> tuple[Example, ...]:
    """Put each example as the model will be asked it: by the settings, or else as the base model was asked."""
    system = asked.system if settings.system is None else settings.system
    template = asked.template if settings.template is None else settings.template
    found = []
    for one in examples:
        manner = Sampling(system=system, template=template).suited(one.domain)
        found.append(replace(one, prompt=manner.messages(one.prompt)[-1].content, system=manner.system))
    return tuple(found)


def resolved(config: Config) -> TrainSettings:
    """Return `[train]` with the folder of the model that it names. Raises `UsageError` where there is none."""
    settings = config.train
    if settings.base is not None:
        return msgspec.structs.replace(settings, base=named(settings.base))
    chosen = config.models.get(settings.model)
    path = getattr(chosen, "path", None)
    if chosen is None or path is None:
        raise UsageError(
            f"Nothing says where the weights of {settings.model!r} are. Give their folder: --base FOLDER, or set "
            f'[models.{settings.model}] with kind = "local" and path = "FOLDER" in gradatim.toml.'
        )
    return msgspec.structs.replace(settings, base=path, replay_from=settings.replay_from or chosen.model)
