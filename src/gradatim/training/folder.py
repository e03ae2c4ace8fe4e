"""A model's folder before and after a training: what it is made from, its checkpoints, and how it appears whole.

While it lasts, a training works in `.OUT.ID.partial` beside its target: checkpoints, each with a mark that is written
when it is complete, and at the end the finished model, which is then renamed to its place. So nothing half written is
ever taken for a model or for a checkpoint, and a training with other settings has another folder.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import SetupError, UsageError

RECORD = "training.json"
"""In a finished folder: what it was made from."""
_MARK = "complete"
_WHOLE, _SAMPLE = 64 * 2**20, 2**20
"""A weight file up to this size is hashed whole, a larger one by samples of this size, evenly spread."""
_SAMPLES = 16
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What a file system answers that has no such thing."""
_KEPT = 2
"""Checkpoints that are kept: the newest, and the one before."""
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The model that is trained: a folder, or an id of the hub."""

    path: str
    fingerprint: str

    @property
    def folder(self) -> Path | None:
        """The folder, where it is one."""
        return Path(self.path) if Path(self.path).is_dir() else None


def read_base(path: str) -> Base:
    """Look at the model to be trained. Raises `SetupError` where the folder is none of a language model."""
    folder = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises where no such home is
    if not folder.is_dir():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", path) and not folder.parent.is_dir():
            return Base(path=path, fingerprint=f"hub:{path}")
        raise SetupError(f"There is no folder {path} with a model to train. Fetch it first: hf download OWNER/NAME")
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not (folder / "config.json").is_file() or not weights:
        missing = "weights (*.safetensors)" if (folder / "config.json").is_file() else "config.json"
        raise SetupError(f"{path} is no folder of a language model: it has no {missing}. Fetch it again, complete.")
    digest = hashlib.blake2b(digest_size=10)
    for name in ("config.json", *_TOKENIZER):
        if (folder / name).is_file():
            digest.update(name.encode() + hashlib.blake2b((folder / name).read_bytes()).digest())
    made = (read_record(folder) or {}).get("id")
    if isinstance(made, str):
        # Samples can miss what adapters of a few layers changed; what our own trainings made is known by name.
        digest.update(made.encode())
    for file in weights:
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        _sample(file, digest)
    return Base(path=str(folder), fingerprint=digest.hexdigest())


def _sample(file: Path, digest: hashlib.blake2b) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _WHOLE:
            digest.update(stream.read())
            return
        for number in range(_SAMPLES):
            stream.seek((size - _SAMPLE) * number // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))


def finished(out: Path, training: str) -> bool:
    """Tell whether this training's model stands in `out`. Raises `UsageError` where something else does."""
    if not out.exists() and not out.is_symlink():
        return False
    record = read_record(out)
    if record is not None and record.get("id") == training:
        return True
    what = "another training's model (other examples, settings or base)" if record else "something else"
    raise UsageError(
        f"{out} holds {what}, which is not written over. Give another place: --out FOLDER, and --name NAME."
    )


def read_record(out: Path) -> dict[str, Any] | None:
    """Return what a finished folder says it was made from; None where it says nothing."""
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def workplace(out: Path, training: str) -> Path:
    """Return the folder of a training that is not finished, made if it is new. Raises `UsageError`, `SetupError`."""
    target = out.resolve()
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent} to make {target.name} in; make it first.")
    place = _partial(out, training)
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise SetupError(f"{place} cannot be made: {error.strerror}. Choose another place: --out FOLDER.") from error
    return place


def _partial(out: Path, training: str) -> Path:
    target = out.resolve()
    return target.with_name(f".{target.name}.{training}.partial")


def unfinished(out: Path, training: str) -> list[str]:
    """Return the folders of other trainings for the same place that were begun and not finished."""
    target = out.resolve()
    own = _partial(out, training)
    return sorted(str(one) for one in target.parent.glob(f".{glob.escape(target.name)}.*.partial") if one != own)


def checkpoint(place: Path) -> tuple[Path, int] | None:
    """Return the newest complete checkpoint and its step; what a kill left half written is removed."""
    found: list[tuple[int, Path]] = []
    for folder in place.glob("checkpoint-*"):
        step = folder.name.rpartition("-")[2]
        if step.isdigit() and (folder / _MARK).is_file():
            found.append((int(step), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(place / "model", ignore_errors=True)
    if not found:
        return None
    newest = max(found)
    return newest[1], newest[0]


def mark(folder: Path) -> None:
    """Say that a checkpoint is complete, and remove those that are two older."""
    sync(folder)
    (folder / _MARK).touch()
    sync(folder, files=False)
    marked = sorted(
        (one for one in folder.parent.glob("checkpoint-*") if (one / _MARK).is_file()),
        key=lambda one: int(one.name.rpartition("-")[2]),
    )
    for old in marked[:-_KEPT]:
        (old / _MARK).unlink()
        shutil.rmtree(old, ignore_errors=True)


def copy_tokenizer(base: Path, model: Path) -> None:
    """Copy the tokenizer's files as they are: what the base reads, the trained model reads."""
    for name in _TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, model / name)


def write_ends(base: Path | None, model: Path, ends: list[int]) -> None:
    """Write generation_config.json: the base's, with every token that ends an answer."""
    settings: dict[str, Any] = {}
    if base is not None:
        with contextlib.suppress(OSError, ValueError):
            settings = json.loads((base / "generation_config.json").read_text(encoding="utf-8"))
    settings["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    (model / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def appear(place: Path, out: Path, record: dict[str, Any]) -> None:
    """Put the finished model, `place/model`, where it belongs, and remove the checkpoints."""
    model = place / "model"
    (model / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    sync(model)
    target = out.resolve()
    try:
        model.rename(target)
    except OSError as error:
        raise SetupError(
            f"{out} could not be made from {model}: {error.strerror}. The trained model is there; run it again."
        ) from error
    sync(target.parent, files=False)
    clear(out, str(record["id"]))


def clear(out: Path, training: str) -> None:
    """Remove what a finished training worked in."""
    shutil.rmtree(_partial(out, training), ignore_errors=True)


def sync(folder: Path, *, files: bool = True) -> None:
    """Make a folder's files and names durable. Raises `OSError` where that failed: a full disk may say so only here.

    A file system that cannot do it at all (some network ones, for folders) is taken as it is.
    """
    for path in (*(one for one in folder.rglob("*") if files and one.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FSYNC:
                raise
        finally:
            os.close(descriptor)
