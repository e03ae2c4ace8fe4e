"""Hand-off: a draw's examples with a complete configuration for a trainer that uses many cards.

The folder appears whole or not at all, and is never written over: a trainer may be at work in it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from gradatim.errors import SetupError, UsageError
from gradatim.formats.shapes import Example, Shape, Thinking, shaped, target
from gradatim.formats.write import Written, write_rows, write_text
from gradatim.training import families, handoff, sft
from gradatim.training.folder import Base
from gradatim.work.gathering import gathered
from gradatim.work.recipes import recipe_of

if TYPE_CHECKING:
    from gradatim.config import TrainSettings
    from gradatim.formats.row import Json
    from gradatim.library.store import Library
    from gradatim.training.handoff import Order, Trainer

_VERSIONS = {"llamafactory": "LLaMA-Factory 0.9.5", "axolotl": "Axolotl 0.19.0", "trl-accelerate": "TRL 1.16.0"}
_INSTALL = {
    "llamafactory": 'pip install "llamafactory==0.9.5" deepspeed',
    "axolotl": 'pip install "axolotl[deepspeed]==0.19.0"',
    "trl-accelerate": 'pip install "trl==1.16.0" deepspeed',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffResult:
    """What was written."""

    draw: str
    trainer: str
    folder: str
    rows: int
    chains: int
    replayed: int
    files: tuple[Written, ...]
    notes: tuple[str, ...] = ()


def hand_off(library: Library, name: str, settings: TrainSettings, *, trainer: Trainer, gpus: int = 8) -> HandoffResult:
    """Write data and configuration for `trainer` into `settings.out`.

    Raises `UsageError` where nothing is kept, the folder is there, the batch cannot be shared, or the model's template
    would lose the reasoning.
    """
    if trainer not in get_args(handoff.Trainer):
        raise UsageError(f"{trainer!r} is no trainer that is known here: {', '.join(get_args(handoff.Trainer))}.")
    if gpus < 1:
        raise UsageError(f"--gpus: a number of at least 1 is expected, not {gpus}.")
    if settings.optimizer != "adamw":
        raise UsageError('A hand-off is for AdamW: set optimizer = "adamw" in [train], or train here.')
    if settings.base is None:
        raise UsageError("Nothing says which model is to be trained. Give its folder or hub id: --base MODEL.")
    found = gathered(library, name, settings)
    examples = (*found.chains, *found.replayed)
    order, notes = _order(settings, settings.base, gpus, len(examples), trainer)
    texts = handoff.files(order, trainer)
    texts["README.md"] = _readme(order, trainer, len(found.chains), len(found.replayed))
    thinking = Thinking(settings.thinking)
    rows = [_row(one, trainer, thinking) for one in examples]
    out = Path(settings.out)
    place = _place(out)
    try:
        data = write_rows(place / handoff.DATA, rows, typical=_row(_typical(), trainer, thinking))
        files = (data, *(write_text(place / file, text) for file, text in texts.items()))
        place.rename(out)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return HandoffResult(
        draw=found.draw.name,
        trainer=trainer,
        folder=settings.out,
        rows=len(rows),
        chains=len(found.chains),
        replayed=len(found.replayed),
        files=files,
        notes=tuple(filter(None, (found.note(), *notes))),
    )


def _place(out: Path) -> Path:
    """Return the folder to write in until it is renamed."""
    if out.exists():
        raise UsageError(
            f"{out} is there already, and a hand-off is not written over. Give another place: --out FOLDER."
        )
    if not out.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {out.resolve().parent} to make {out.name} in; make it first.")
    place = out.resolve().with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        place.mkdir()
    except OSError as error:
        raise SetupError(f"{place} cannot be made: {error.strerror}. Choose another place: --out FOLDER.") from error
    return place


def _order(settings: TrainSettings, base: str, gpus: int, rows: int, trainer: Trainer) -> tuple[Order, list[str]]:
    """Look at the model where it is at hand, and otherwise at its name."""
    family = families.family_of(base)
    notes: list[str] = []
    template = family.template if family else None
    if Path(base).is_dir():
        template = None
        if trainer != "llamafactory":
            tokenizer, ends, _ = sft.tokenizer_of(Base(path=base, fingerprint=""))
            template = families.keeping_template(tokenizer, ends, base)
    elif trainer != "llamafactory" and family is None:
        notes.append(
            f"{base} is not on this machine and its name tells nothing, so whether its chat template keeps the "
            "reasoning was not checked. Give a folder with its tokenizer as --base to have it checked."
        )
    if trainer == "llamafactory" and family is None:
        notes.append(
            f"The name of {base} tells no template of LLaMA-Factory's, so it will read the tokenizer's own. Set "
            "template in train.yaml where it has one."
        )
    recipe = recipe_of(settings)
    order = handoff.Order(
        base=str(Path(base).resolve()) if Path(base).is_dir() else base,
        recipe=recipe,
        gpus=gpus,
        rows=rows,
        thinking=settings.thinking == "tags",
        family=family,
        template=template,
    )
    return order, notes


def _row(example: Example, trainer: Trainer, thinking: Thinking) -> dict[str, Json]:
    if trainer == "llamafactory":
        return shaped(example, Shape.SHAREGPT, thinking=thinking)
    if trainer == "axolotl":
        return shaped(example, Shape.MESSAGES, thinking=thinking)
    # TRL's conversational prompt and completion: the loss is on what the second adds to the first.
    whole = shaped(example, Shape.MESSAGES, thinking=thinking)["messages"]
    assert isinstance(whole, list)
    return {"prompt": whole[:-1], "completion": [{"role": "assistant", "content": target(example, thinking)}]}


def _typical() -> Example:
    return Example(prompt="1+1?", answer="2", thinking="one and one", system="Be exact.")


def _readme(order: Order, trainer: Trainer, chains: int, replayed: int) -> str:
    """Say what the folder is, how to start it, and what to look at."""
    recipe = order.recipe
    length = f"{recipe.epochs} epochs, " if recipe.steps is None else ""
    long = {"llamafactory": "cut", "axolotl": "left out", "trl-accelerate": "trained on whole"}[trainer]
    offloaded = "; the optimiser is kept in main memory" if order.offloads() else ""
    text = f"""# Train {order.base} with {_VERSIONS[trainer]}

{chains:,} chains and {replayed:,} of the model's own verified answers, {length}batch
{recipe.batch_size} on {order.gpus} cards: {order.steps():,} steps. The loss is on the answers only.

Install `{_INSTALL[trainer]}` for the CUDA of your machine, then run `sh run.sh`.
The model comes into `{handoff.OUT}`.

* Examples longer than {recipe.max_length:,} tokens are {long} by this trainer.
* Weights, gradients and AdamW take about 16 bytes a weight over all cards{offloaded}.
  Long chains need room besides.
"""
    if order.template is not None and trainer != "llamafactory":
        text += """* `chat_template.jinja` leaves the answer whole; the model's own drops its reasoning.
  The trained model is saved with it: copy the base's back before you serve chats of several turns.
"""
    return text
