"""Configurations for trainers that use many cards: LLaMA-Factory, Axolotl, and TRL under accelerate.

Each is a folder with data, configuration, ZeRO-3 settings and `run.sh`. Loss is on the answers only, examples are not
packed, and nothing is cut silently save where the trainer cuts at `cutoff_len`, which is then said. Written against
LLaMA-Factory 0.9.5, Axolotl 0.19.0 and TRL 1.16.0.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from gradatim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradatim.training.families import Family
    from gradatim.training.recipe import Recipe

Trainer: TypeAlias = Literal["llamafactory", "axolotl", "trl-accelerate"]
Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"

DATA, OUT = "train.jsonl", "model"
_ROOM = 40
"""GiB of an 80 GB card that weights, gradients and AdamW's state may take before the optimiser goes to main memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be written."""

    base: str
    """A hub id or a folder, as the training machine sees it."""
    recipe: Recipe
    gpus: int
    rows: int
    """Examples."""
    thinking: bool
    family: Family | None
    template: str | None
    """A chat template to train with, where the model's own drops the reasoning."""

    def steps(self) -> int:
        """Return the steps in all, as trainers count them: each epoch ends with a batch that may be short."""
        if self.recipe.steps is not None:
            return self.recipe.steps
        return -(-self.rows // self.recipe.batch_size) * self.recipe.epochs

    def length(self, epochs: str) -> dict[str, Value]:
        """Return how long to train: the recipe's steps, or else its epochs, by the trainer's word for these."""
        steps = self.recipe.steps
        return {epochs: self.recipe.epochs} if steps is None else {"max_steps": steps}

    def warmup(self) -> int:
        """Return the steps of the warm-up: a number, since the trainers differ in how they take a share."""
        return round(self.recipe.warmup * self.steps())

    def accumulation(self) -> int:
        """Return the micro-batches of a step on each card. Raises `UsageError` where the batch cannot be shared."""
        each = self.recipe.micro_batch or 1
        if self.recipe.batch_size % (each * self.gpus):
            fits = max(1, self.recipe.batch_size // (each * self.gpus)) * each * self.gpus
            raise UsageError(
                f"A batch of {self.recipe.batch_size} cannot be shared by {self.gpus} cards with {each} at a time. Set "
                f"--batch-size {fits}, or other --gpus."
            )
        return self.recipe.batch_size // (each * self.gpus)

    def offloads(self) -> bool:
        """Whether the optimiser's state goes to main memory: by the size in the model's name, at 16 bytes a weight."""
        found = re.search(r"(\d+(?:\.\d+)?)b\b", self.base.lower())
        full = self.recipe.method == "full"
        return bool(found) and full and float(found[1]) * 16 / self.gpus / 1.073 > _ROOM if found else False


def files(order: Order, trainer: Trainer) -> dict[str, str]:
    """Return the texts of all files but the data, by name. Raises `UsageError`."""
    written = {"llamafactory": _llamafactory, "axolotl": _axolotl, "trl-accelerate": _trl}[trainer](order)
    if order.template is not None and trainer != "llamafactory":
        written["chat_template.jinja"] = order.template
    return written


def _llamafactory(order: Order) -> dict[str, str]:
    recipe = order.recipe
    settings: dict[str, Value] = {
        "model_name_or_path": order.base,
        "trust_remote_code": False,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": recipe.method,
        **_lora(recipe, rank="lora_rank", alpha="lora_alpha", targets="lora_target", every="all", joined=True),
        "deepspeed": "zero3.json",
        "dataset_dir": ".",
        "dataset": "chains",
        **({"template": order.family.llamafactory} if order.family else {}),
        "cutoff_len": recipe.max_length,
        "train_on_prompt": False,
        "packing": False,
        "enable_thinking": order.thinking,
        "output_dir": OUT,
        "per_device_train_batch_size": recipe.micro_batch or 1,
        "gradient_accumulation_steps": order.accumulation(),
        "lr_scheduler_type": _schedule(recipe),
        "save_strategy": "epoch",
        **_common(order),
    }
    tags = {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "system_tag": "system",
    }
    info = {
        "chains": {
            "file_name": DATA,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
            "tags": tags,
        }
    }
    return {
        "train.yaml": yaml(settings),
        "dataset_info.json": json.dumps(info, indent=2) + "\n",
        "zero3.json": _zero3(order),
        "run.sh": _script(f"FORCE_TORCHRUN=1 NPROC_PER_NODE={order.gpus} llamafactory-cli train train.yaml"),
    }


def _axolotl(order: Order) -> dict[str, str]:
    recipe = order.recipe
    chosen: dict[str, Value] = {"chat_template": "tokenizer_default"}
    if order.template is not None:
        chosen = {"chat_template": "jinja", "chat_template_jinja": "chat_template.jinja"}
    dataset: dict[str, Value] = {
        "path": DATA,
        "ds_type": "json",
        "type": "chat_template",
        **chosen,  # here too: where a data set names no template, Axolotl takes the tokenizer's
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    settings: dict[str, Value] = {
        "base_model": order.base,
        "trust_remote_code": False,
        **chosen,
        **({"eot_tokens": [order.family.ending]} if order.family and order.family.ending else {}),
        "datasets": [dataset],
        "dataset_prepared_path": "prepared",
        "val_set_size": 0.0,
        "output_dir": OUT,
        "sequence_len": recipe.max_length,
        "excess_length_strategy": "drop",
        "sample_packing": False,
        "train_on_inputs": False,
        "adapter": "lora" if recipe.method == "lora" else None,
        **_lora(recipe, rank="lora_r", alpha="lora_alpha", targets="lora_target_modules"),
        **({"lora_target_linear": True} if recipe.method == "lora" and not recipe.lora_targets else {}),
        "deepspeed": "zero3.json",
        "micro_batch_size": recipe.micro_batch or 1,
        "gradient_accumulation_steps": order.accumulation(),
        **order.length("num_epochs"),
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": _schedule(recipe),
        "warmup_steps": order.warmup(),
        "optimizer": "adamw_torch",
        "weight_decay": recipe.weight_decay,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "bf16": True,
        "gradient_checkpointing": True,
        "logging_steps": 1,
        "saves_per_epoch": 1,
        "seed": recipe.seed,
    }
    return {
        "train.yaml": yaml(settings),
        "zero3.json": _zero3(order),
        "run.sh": _script(f"axolotl train train.yaml --launcher torchrun -- --nproc_per_node={order.gpus}"),
    }


def _trl(order: Order) -> dict[str, str]:
    recipe = order.recipe
    settings: dict[str, Value] = {
        "model_name_or_path": order.base,
        "dtype": "bfloat16",  # ZeRO keeps a float32 copy of what is trained
        **({} if order.template is None else {"chat_template_path": "chat_template.jinja"}),
        "datasets": [{"path": "json", "data_files": DATA, "split": "train"}],
        "completion_only_loss": True,
        "max_length": None,
        "packing": False,
        "output_dir": OUT,
        "per_device_train_batch_size": recipe.micro_batch or 1,
        "gradient_accumulation_steps": order.accumulation(),
        "lr_scheduler_type": _schedule(recipe),
        "save_strategy": "epoch",
        "report_to": "none",
        "use_peft": recipe.method == "lora",
        **_lora(recipe, rank="lora_r", alpha="lora_alpha", targets="lora_target_modules", every="all-linear"),
        **_common(order),
    }
    accelerate: dict[str, Value] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "DEEPSPEED",
        "deepspeed_config": {
            "zero_stage": 3,
            "zero3_init_flag": True,
            "zero3_save_16bit_model": True,
            "offload_optimizer_device": "cpu" if order.offloads() else "none",
            "offload_param_device": "none",
            "gradient_accumulation_steps": order.accumulation(),
        },
        "mixed_precision": "bf16",
        "num_machines": 1,
        "num_processes": order.gpus,
        "machine_rank": 0,
        "main_training_function": "main",
        "use_cpu": False,
    }
    return {
        "train.yaml": yaml(settings),
        "accelerate.yaml": yaml(accelerate),
        "run.sh": _script("trl sft --config train.yaml --accelerate_config accelerate.yaml"),
    }


def _common(order: Order) -> dict[str, Value]:
    """Return what LLaMA-Factory and TRL call alike, since both pass it to transformers."""
    recipe = order.recipe
    return {
        **order.length("num_train_epochs"),
        "learning_rate": recipe.learning_rate,
        "warmup_steps": order.warmup(),
        "weight_decay": recipe.weight_decay,
        "adam_beta2": 0.95,
        "bf16": True,
        "logging_steps": 1,
        "seed": recipe.seed,
    }


def _lora(
    recipe: Recipe, *, rank: str, alpha: str, targets: str, every: str | None = None, joined: bool = False
) -> dict[str, Value]:
    if recipe.method != "lora":
        return {}
    named: Value = list(recipe.lora_targets) or every
    if joined and recipe.lora_targets:
        named = ",".join(recipe.lora_targets)
    found: dict[str, Value] = {rank: recipe.lora_rank, alpha: recipe.lora_alpha}
    return found | ({} if named is None else {targets: named})


def _schedule(recipe: Recipe) -> str:
    return "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule


def _zero3(order: Order) -> str:
    auto = "auto"
    zero: dict[str, object] = {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": auto,
        "stage3_prefetch_bucket_size": auto,
        "stage3_param_persistence_threshold": auto,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    if order.offloads():
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    plain = {
        "train_batch_size": auto,
        "train_micro_batch_size_per_gpu": auto,
        "gradient_accumulation_steps": auto,
        "gradient_clipping": auto,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": auto},
        "zero_optimization": zero,
    }
    return json.dumps(plain, indent=2) + "\n"


def _script(command: str) -> str:
    return f'#!/bin/sh\nset -eu\ncd "$(dirname "$0")"\n{command}\n'


def yaml(settings: Mapping[str, Value]) -> str:
    """Return settings as YAML: mappings and lists of mappings in blocks, everything else as JSON, which YAML reads."""
    return "\n".join(_lines(settings, "")) + "\n"


def _lines(settings: Mapping[str, Value], indent: str) -> list[str]:
    found: list[str] = []
    for key, value in settings.items():
        if isinstance(value, dict):
            found += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found.append(f"{indent}{key}:")
            for item in value:
                first, *more = _lines(item, indent + "    ")
                found += [f"{indent}  - {first.strip()}", *more]
        else:
            found.append(f"{indent}{key}: {_scalar(value)}")
    return found


def _scalar(value: Value) -> str:
    if isinstance(value, float):
        # YAML 1.1 reads 1e-05 as text: a point and a sign are needed.
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
"""What YAML would not read as text."""
