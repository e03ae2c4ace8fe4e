"""Look into a language model's folder before any weight is read: what it is, what it lacks, a fingerprint.

Needs neither torch nor transformers, so a wrong folder is refused within milliseconds, with what was found in it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.weights import sample

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST_HEADER = 100_000_000
"""Bytes: the format's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder that holds a causal language model with a chat template."""

    path: Path
    context: int | None
    """The most tokens the model reads, prompt and answer together; None where the config does not say."""
    generation: Mapping[str, Any]
    """`generation_config.json`, empty where there is none."""
    fingerprint: str
    """16 hex digits of the texts beside the weights, the weight files' headers and samples of their bytes."""


def read_folder(path: Path) -> ModelFolder:
    """Read what a model's folder says about itself.

    Raises `SetupError` where it is no folder, lacks a file, or holds something other than a causal language model.
    """
    if not path.is_dir():
        raise SetupError(f"{path}: no such folder; give the folder that holds the model's config.json and weights")
    if not (path / "config.json").is_file():
        raise SetupError(f"{path}: {_instead_of_a_model(path)}")
    config = _json(path / "config.json")
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not any(
        str(one).endswith(("CausalLM", "LMHeadModel")) for one in architectures
    ):
        raise SetupError(
            f"{path / 'config.json'}: this is a {architectures!r}, not a causal language model (...ForCausalLM); "
            "give the folder of a model that writes text"
        )
    if not (path / "tokenizer.json").is_file() and not (path / "tokenizer_config.json").is_file():
        raise SetupError(
            f"{path}: there is no tokenizer.json; fetch or save the model's tokenizer into the same folder"
        )
    _check_template(path)
    generation = _json(path / "generation_config.json") if (path / "generation_config.json").is_file() else {}
    inner = config.get("text_config")
    context = (inner if isinstance(inner, dict) else config).get("max_position_embeddings")
    return ModelFolder(
        path=path,
        context=context if isinstance(context, int) and context > 0 else None,
        generation=generation,
        fingerprint=_fingerprint(path, _weight_files(path)),
    )


def _instead_of_a_model(path: Path) -> str:
    """Say what a folder without config.json is."""
    if (path / "adapter_config.json").is_file():
        return (
            "it holds an adapter, not a whole model; merge it into its base model (PEFT's merge_and_unload) and "
            "give the folder of the result"
        )
    inside = sorted(one.parent.name for one in path.glob("*/config.json"))
    hint = f"; there is one in {', '.join(inside[:3])}" if inside else ""
    return f"there is no config.json, so it is no model's folder{hint}"


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise SetupError(f"{file}: not JSON that can be read ({error}); fetch the folder again") from error
    if not isinstance(found, dict):
        raise SetupError(f"{file}: a JSON object was expected; fetch the folder again")
    return found


def _check_template(path: Path) -> None:
    """Raise `SetupError` where the folder has no chat template."""
    if (path / "chat_template.jinja").is_file() or (path / "chat_template.json").is_file():
        return
    file = path / "tokenizer_config.json"
    if file.is_file() and _json(file).get("chat_template"):
        return
    raise SetupError(
        f"{path}: its tokenizer has no chat template, so a question cannot be put to it; take an instruct model, or "
        "save the template that it was trained with as chat_template.jinja"
    )


def _weight_files(path: Path) -> list[Path]:
    """Return the weight files, in order, each whole. Raises `SetupError`."""
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(_json(index)["weight_map"].values()))
        except (KeyError, TypeError, AttributeError) as error:
            raise SetupError(f"{index}: not an index of weight files; fetch the folder again") from error
    else:
        names = ["model.safetensors"]
    # `Path(name).name`: an index names files beside itself, and nothing elsewhere on the machine.
    files = [path / Path(str(name)).name for name in names]
    for file in files:
        if not file.is_file():
            raise SetupError(f"{path}: there is no {file.name}; fetch the folder again, complete, with its safetensors")
    return files


def _fingerprint(path: Path, files: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        text = (path / name).read_bytes() if (path / name).is_file() else b""
        digest.update(hashlib.blake2b(text).digest())
    # Samples of the weights can miss what adapters of a few layers changed; what `train` made says from what.
    if (path / "training.json").is_file():
        digest.update(str(_json(path / "training.json").get("id")).encode())
    for file in files:
        digest.update(file.name.encode() + hashlib.blake2b(_header(file)).digest())
        sample(file, digest)
    return digest.hexdigest()


def _header(file: Path) -> bytes:
    """Return a safetensors file's header, once the file is as long as it says: 8 bytes of length, JSON, tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        header = stream.read(length) if length <= min(size - 8, _LARGEST_HEADER) else b""
    try:
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SetupError(
            f"{file}: not a whole safetensors file; fetch it again (a Git LFS pointer looks like this)"
        ) from error
    if size != 8 + length + end:
        raise SetupError(f"{file}: cut short, or longer than its header says; fetch it again")
    return header
