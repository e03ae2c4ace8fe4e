"""Supervised fine-tuning on TRL's SFTTrainer, of all weights or of adapters, on one device.

Loss is on the answers only; examples come in the order that `order.py` made; a killed run goes on from its newest
complete checkpoint and ends, on a processor, with the weights that it would have had. More than one card is the work
of the trainers that `handoff.py` writes configurations for.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.errors import GradatimError, SetupError
from gradatim.templates import fix_day
from gradatim.training import folder
from gradatim.training.order import arranged, split
from gradatim.training.template import encode, manner_of
from gradatim.types import content_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gradatim.training.folder import Base
    from gradatim.training.recipe import Exchange, Recipe
    from gradatim.training.template import Encoded, Manner

INSTALL = 'pip install "gradatim[train]"'
_NOT_WRITTEN = ("PytorchStreamWriter", "inline_container", "os error", "No space left")
"""In what torch and safetensors say where a file cannot be written."""
_VERSION = "1"
"""Of what a training makes of the same settings and examples; part of its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A training before it starts: all that decides the weights."""

    id: str
    """A hash of the base's weights, the examples' tokens in their order, and the recipe."""
    base: Base
    recipe: Recipe
    manner: Manner
    ends: tuple[int, ...]
    """Tokens that end an answer, the first one that this model is taught."""
    examples: tuple[Encoded, ...]
    left_out: dict[str, list[str]]
    """Ids per reason."""
    batches: tuple[tuple[int, ...], ...]

    @property
    def steps(self) -> int:
        """Steps of the optimiser in all."""
        return len(self.batches)

    def tokens(self) -> list[int]:
        """Return for each step how many answer tokens have been trained on by then."""
        sums, total = [], 0
        for batch in self.batches:
            total += sum(len(self.examples[one].ids) - self.examples[one].answer_from for one in batch)
            sums.append(total)
        return sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a training."""

    step: int
    epoch: float
    loss: float
    """Mean over the step's answer tokens, in nats."""
    learning_rate: float
    tokens: int
    """Answer tokens up to and with this step."""


def plan(base: str, exchanges: Sequence[Exchange], recipe: Recipe) -> Plan:
    """Tokenise the examples and settle the order; reads no weights. Raises `UsageError`, `SetupError`."""
    found = folder.read_base(base)
    tokenizer, ends, context = tokenizer_of(found)
    fix_day(tokenizer)
    manner = manner_of(tokenizer, ends, base)
    limit = min(recipe.max_length, context)
    examples, left_out = encode(tokenizer, exchanges, manner, max_length=limit, where=base)
    digest = hashlib.blake2b(digest_size=16)
    for one in examples:
        digest.update(f"{one.answer_from} {one.ids}\n".encode())
    lengths = [len(one.ids) for one in examples]
    epochs = recipe.epochs
    if recipe.steps is not None:
        epochs = math.ceil(recipe.steps * recipe.batch_size / max(1, len(lengths)))
    batches = arranged(lengths, epochs=epochs, batch_size=recipe.batch_size, seed=recipe.seed)[: recipe.steps]
    return Plan(
        id=content_id(_VERSION, found.fingerprint, digest.hexdigest(), recipe.text()),
        base=found,
        recipe=recipe,
        manner=manner,
        ends=tuple(dict.fromkeys([manner.ending_id, *ends])),
        examples=tuple(examples),
        left_out=left_out,
        batches=tuple(map(tuple, batches)),
    )


def tokenizer_of(base: Base) -> tuple[Any, list[int], int]:
    """Return the tokenizer, the tokens that end an answer, and the longest text that the model reads."""
    transformers = _imported("transformers")
    local = base.folder is not None
    try:
        with _quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(base.path, local_files_only=local)
            config = transformers.AutoConfig.from_pretrained(base.path, local_files_only=local)
    except Exception as error:  # the readers of a damaged folder raise all kinds
        raise _unreadable(base, error) from error
    ends: list[int] = []
    if base.folder is not None and (base.folder / "generation_config.json").is_file():
        said = _json(base.folder / "generation_config.json").get("eos_token_id")
        ends = said if isinstance(said, list) else [] if said is None else [said]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends = [*ends, tokenizer.eos_token_id]
    return tokenizer, ends, int(getattr(config, "max_position_embeddings", None) or 2**31)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read: {error}. Fetch the model's folder again.") from error
    return found if isinstance(found, dict) else {}


class Watch(Protocol):
    """Who is told how a training goes."""

    def began(self, step: int) -> None:
        """The model is loaded; so many steps were done before."""

    def stepped(self, step: Step) -> None:
        """A step is done."""

    def saving(self) -> None:
        """A checkpoint is about to count as complete."""


def fit(plan: Plan, out: Path, watch: Watch) -> int:
    """Train, and write the model where `finish` takes it from. Returns the step that it went on from, 0 at first.

    Raises `SetupError` where memory or disk space runs out, `GradatimError` where the loss is no number any more.
    """
    place = folder.workplace(out, plan.id)
    before = folder.checkpoint(place)
    with _quiet():
        trainer = _trainer(plan, place, watch)
        watch.began(before[1] if before else 0)
        try:
            trainer.train(resume_from_checkpoint=str(before[0]) if before else None)
            _save(plan, trainer, place)
        except OSError as error:
            raise _unwritten(place, error.strerror or str(error)) from error
        except GradatimError:
            raise
        except Exception as error:  # torch and safetensors have errors of their own for a disk that is full
            raise _run_out(plan, place, error) or error from error
    return before[1] if before else 0


def finish(plan: Plan, out: Path, record: dict[str, Any]) -> None:
    """Put the finished model into its place."""
    folder.appear(folder.workplace(out, plan.id), out, {"id": plan.id, **record})


def _unwritten(place: Path, why: str) -> SetupError:
    return SetupError(
        f"{place} could not be written: {why}. Free some space and run the same command again: it goes on from the "
        "last checkpoint."
    )


def _run_out(plan: Plan, place: Path, error: Exception) -> SetupError | None:
    """Return the error for a disk or a device that is full; None for any other."""
    words = " ".join(str(error).split())
    if type(error).__name__ == "SafetensorError" or any(said in words for said in _NOT_WRITTEN):
        return _unwritten(place, words[:200])
    if "out of memory" not in words.lower():
        return None
    size = plan.recipe.micro_batch or plan.recipe.batch_size
    return SetupError(
        f"The device has too little memory for {size} examples at once. Set micro_batch = {max(1, size // 2)} in "
        "[train], train adapters (--lora), or hand the training off to several cards (--handoff)."
    )


def _trainer(plan: Plan, place: Path, watch: Watch) -> Any:
    """Return the trainer with everything that it needs."""
    torch = _imported("torch")
    datasets = _imported("datasets")
    trl = _imported("trl")
    from gradatim.training.trainer import Trainer  # noqa: PLC0415 - needs what was looked for just now

    recipe = plan.recipe
    cuda, half = _device(torch, recipe)
    tokens = plan.tokens()
    seen = [0]
    for batch in plan.batches:
        seen.append(seen[-1] + len(batch))

    def told(step: int, loss: float, rate: float) -> None:
        epoch = seen[step] / len(plan.examples)
        watch.stepped(Step(step=step, epoch=epoch, loss=loss, learning_rate=rate, tokens=tokens[step - 1]))

    return Trainer(
        recipe=recipe,
        batches=[small for batch in plan.batches for small in split(batch, recipe.micro_batch)],
        on_step=told,
        on_saving=watch.saving,
        model=_model(plan, torch, cuda=cuda, half=half),
        args=_arguments(trl, plan, place, cuda=cuda, half=half),
        train_dataset=datasets.Dataset.from_dict(
            {
                "input_ids": [list(one.ids) for one in plan.examples],
                "labels": [one.labels() for one in plan.examples],
            }
        ),
        processing_class=tokenizer_of(plan.base)[0],
        peft_config=_adapters(recipe) if recipe.method == "lora" else None,
    )


def _device(torch: Any, recipe: Recipe) -> tuple[bool, bool]:
    """Return whether a CUDA card is used, and whether it computes in bfloat16. Raises `SetupError`."""
    cuda = recipe.device != "cpu" and torch.cuda.is_available()
    if recipe.device == "cuda" and not cuda:
        raise SetupError('There is no CUDA card that torch can use. Set device = "auto" in [train].')
    if cuda and torch.cuda.device_count() > 1:
        raise SetupError(
            f"{torch.cuda.device_count()} cards are visible, and this trains on one: set CUDA_VISIBLE_DEVICES=0, or "
            "use them all with gradatim train --handoff trl-accelerate"
        )
    if recipe.precision == "auto":
        return cuda, cuda and torch.cuda.is_bf16_supported()
    return cuda, recipe.precision == "bfloat16"


def _model(plan: Plan, torch: Any, *, cuda: bool, half: bool) -> Any:
    """Load the weights: float32 to be trained on, or bfloat16 under adapters, which are float32 themselves."""
    transformers = _imported("transformers")
    frozen = half and cuda and plan.recipe.method == "lora"
    local = plan.base.folder is not None
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            plan.base.path, dtype=torch.bfloat16 if frozen else torch.float32, local_files_only=local
        )
    except Exception as error:  # as above
        raise _unreadable(plan.base, error) from error


def _adapters(recipe: Recipe) -> Any:
    peft = _imported("peft")
    return peft.LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        target_modules=list(recipe.lora_targets) or "all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def _arguments(trl: Any, plan: Plan, place: Path, *, cuda: bool, half: bool) -> Any:
    recipe = plan.recipe
    every = recipe.checkpoint_every or math.ceil(len(plan.examples) / recipe.batch_size)
    return trl.SFTConfig(
        output_dir=str(place),
        per_device_train_batch_size=recipe.micro_batch or recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation(),
        num_train_epochs=1,  # the batches given are those of all epochs
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        warmup_steps=round(recipe.warmup * plan.steps),
        weight_decay=recipe.weight_decay,
        adam_beta2=0.95,  # as in s1
        max_length=None,  # what is too long was left out
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=cuda,
        bf16=half,
        use_cpu=not cuda,
        seed=recipe.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=every,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=cuda,
    )


def _save(plan: Plan, trainer: Any, place: Path) -> None:
    """Write the finished model, adapters merged, in the base's own precision, as `place/model`."""
    transformers = _imported("transformers")
    torch = _imported("torch")
    model, target = trainer.accelerator.unwrap_model(trainer.model), place / "model"
    if plan.recipe.method == "lora":
        model.save_pretrained(target / "adapter")
        model = model.merge_and_unload()
    stored = _stored(plan.base, torch) or model.dtype
    model.generation_config = transformers.GenerationConfig()  # written below, as the base has it
    model.to(stored).save_pretrained(target)
    base = plan.base.folder
    if base is not None:
        folder.copy_tokenizer(base, target)
    else:
        tokenizer_of(plan.base)[0].save_pretrained(target)
    folder.write_ends(base, target, list(plan.ends))


def _stored(base: Base, torch: Any) -> Any:
    """Return the precision of the base's weights; None where its config does not say."""
    if base.folder is None:
        return None
    config = _json(base.folder / "config.json")
    return getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or ""), None)


def _unreadable(base: Base, error: Exception) -> SetupError:
    words = " ".join(str(error).split())[:200]
    return SetupError(f"{base.path} cannot be loaded as a language model: {words}. Fetch its folder again, complete.")


def _imported(name: str) -> Any:
    import importlib  # noqa: PLC0415 - beside its one use

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SetupError(f"Training needs {name} ({error}): {INSTALL}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' bars, logs and warnings off the terminal; what they raise is heard all the same."""
    logging = _imported("transformers").utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
