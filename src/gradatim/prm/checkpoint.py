"""Look into a PRM's folder before any weight is read: its config, its tensors' names and shapes, a fingerprint.

Needs neither torch nor transformers, so a wrong folder is refused within milliseconds, with what was found in it. The
trap this guards against: a causal language model loaded in the PRM's place gives a row as long as the vocabulary for
every token, and code that takes whatever comes for scores has been seen to return 380,160 of them for one answer.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import SetupError
from gradatim.weights import sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradatim.prm.family import Architecture

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A folder that holds a PRM of the right architecture."""

    path: Path
    context: int
    """The most tokens the model was trained to read: `max_position_embeddings`."""
    files: tuple[Path, ...]
    """The weight files, in order."""
    shapes: Mapping[str, Shape]
    """Every tensor of safetensors files; empty where the weights are pickled, which only torch reads."""
    fingerprint: str
    """16 hex digits of the config, the tokenizer, the weight files' headers and samples of their bytes."""


def read_checkpoint(path: Path, wanted: Architecture) -> Checkpoint:
    """Read what a PRM's folder says about itself.

    Raises `SetupError` where it is no folder, lacks a file, or holds something other than what is wanted.
    """
    if not path.is_dir():
        raise SetupError(f"{path}: no such folder; give the folder that holds the PRM's config.json and weights")
    config = _read_config(path, wanted)
    _need(path, "tokenizer.json")
    files = _weight_files(path)
    shapes: dict[str, Shape] = {}
    digest = hashlib.blake2b(digest_size=8)
    there = [name for name in wanted.also_read if (path / name).is_file()]
    for name in ("config.json", "tokenizer.json", *there):
        digest.update(hashlib.blake2b((path / name).read_bytes()).digest())
    for file in files:
        header = _header(file) if file.suffix == ".safetensors" else b""
        if header:
            shapes.update(_shapes(file, header))
        digest.update(file.name.encode() + hashlib.blake2b(header).digest())
        sample(file, digest)
    context = config.get("max_position_embeddings")
    if not isinstance(context, int) or context < 1:
        raise SetupError(
            f"{path / 'config.json'}: max_position_embeddings is {context!r}; a count of tokens was expected"
        )
    return Checkpoint(path=path, context=context, files=tuple(files), shapes=shapes, fingerprint=digest.hexdigest())


def check_tensors(
    checkpoint: Checkpoint, shapes: Mapping[str, Shape], expected: Mapping[str, Shape], wanted: Architecture
) -> None:
    """Refuse weights that are not exactly those of the architecture. Raises `SetupError` saying what was found."""
    found = {name: shape for name, shape in shapes.items() if name not in wanted.unused}
    where = f"{checkpoint.path}: not the weights of a {wanted.name}"
    missing = sorted(expected.keys() - found.keys())
    if any(name.startswith(wanted.head) for name in missing):
        has = "a language model's lm_head" if "lm_head.weight" in shapes else "no other head"
        raise SetupError(
            f"{where}: of the score head, {_some(missing)} is missing, and there is {has}; without the head every "
            "token would get a row of numbers that are no scores. Give the PRM's folder, not its base model's"
        )
    if missing:
        raise SetupError(f"{where}: {_some(missing)} missing; fetch the folder again, complete")
    unexpected = sorted(found.keys() - expected.keys())
    if unexpected:
        raise SetupError(f"{where}: {_some(unexpected)} unexpected; a quantised or adapted model cannot be loaded here")
    for name, shape in expected.items():
        if found[name] != shape:
            raise SetupError(f"{where}: {name} has the shape {list(found[name])}, and {list(shape)} was expected")


def _read_config(path: Path, wanted: Architecture) -> dict[str, object]:
    file = _need(path, "config.json")
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise SetupError(f"{file}: not JSON ({error}); fetch the folder again") from error
    if not isinstance(config, dict):
        raise SetupError(f"{file}: a JSON object was expected; fetch the folder again")
    architectures, kind = config.get("architectures"), config.get("model_type")
    named = isinstance(architectures, list) and len(architectures) == 1 and fnmatch(str(architectures[0]), wanted.name)
    if not named or not fnmatch(str(kind), wanted.model_type):
        of = "" if wanted.model_type == "*" else f" of type {wanted.model_type!r}"
        raise SetupError(
            f"{file}: this is a {architectures!r} of type {kind!r}, not a {wanted.name}{of}; give the folder of "
            f"{wanted.called}"
        )
    return config


def _need(path: Path, name: str) -> Path:
    file = path / name
    if not file.is_file():
        raise SetupError(f"{path}: there is no {name}; fetch the PRM's folder again, complete")
    return file


def _weight_files(path: Path) -> list[Path]:
    """Return the weight files, in order: those of an index where there is one, and safetensors before pickled ones."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = path / f"{name}.index.json"
        if index.is_file():
            return _indexed(path, index)
        if (path / name).is_file():
            return [path / name]
    return [_need(path, "model.safetensors")]


def _indexed(path: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{index}: not an index of weight files; fetch the folder again") from error
    # `Path(name).name`: an index names files beside itself, and nothing elsewhere on the machine.
    return [_need(path, Path(str(name)).name) for name in names]


def _header(file: Path) -> bytes:
    """Return a safetensors file's header: 8 bytes of length, little end first, then that much JSON."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise SetupError(
                f"{file}: not a whole safetensors file; fetch it again (a Git LFS pointer looks like this)"
            )
        return stream.read(length)


def _shapes(file: Path, header: bytes) -> dict[str, Shape]:
    try:
        entries = json.loads(header)
        tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        shapes = {name: tuple(entry["shape"]) for name, entry in tensors.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SetupError(f"{file}: not a safetensors file; fetch it again") from error
    if file.stat().st_size != 8 + len(header) + end:
        raise SetupError(f"{file}: cut short, or longer than its header says; fetch it again")
    return shapes


def _some(names: list[str]) -> str:
    """Return the first few names of a list, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
