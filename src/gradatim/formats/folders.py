"""Rows out of folders and data sets with splits: data files in a folder, `save_to_disk` folders, the hub.

What the hub offers is read through the `datasets` library (extra `[hub]`), streaming, and never runs code that a
data set brings along.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gradatim.errors import SetupError, UsageError
from gradatim.formats.columnar import BATCH, plain
from gradatim.formats.row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatim.formats.row import Json

DEFAULT_SPLIT = "train"

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "test",
}
_ABOUT = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "metadata.json"})
"""JSON files that describe a data set and hold no rows of it."""


def data_files(
    folder: Path, *, split: str | None, config_name: str | None, is_data: Callable[[Path], bool]
) -> list[Path]:
    """Return the folder's data files of one split, in the order of their names.

    A file's split is read from its name or the folder it lies in (`train-00000-of-00002.parquet`, `test/1.jsonl`).
    Without `split`, files of `train` are taken where some are, and all files where none has a split.

    Raises:
        UsageError: the folder has no data, or not of that split or configuration.
    """
    root = folder / config_name if config_name else folder
    if not root.is_dir():
        inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        raise UsageError(f"{folder} has no configuration {config_name!r}; there are: {', '.join(inner) or 'none'}.")
    try:
        files = sorted(file for file in root.rglob("*") if file.is_file() and _is_visible(file, root) and is_data(file))
    except OSError as error:
        raise UsageError(f"{root} may not be read: {error.strerror}.") from error
    if not files:
        raise UsageError(f"{root} holds no data: no .jsonl, .json, .csv, .tsv or .parquet file.")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(root)), []).append(file)
    return _choose(by_split, split, root)


def _choose(by_split: dict[str, list[Path]], split: str | None, root: Path) -> list[Path]:
    wanted = _SPLIT_WORDS.get(split, split) if split else DEFAULT_SPLIT
    if wanted in by_split:
        return by_split[wanted]
    if split is None and len(by_split) == 1:
        return next(iter(by_split.values()))
    named = ", ".join(sorted(filter(None, by_split))) or "none"
    raise UsageError(f"{root} has no split {wanted!r}; there are: {named}. Choose with --split.")


def _is_visible(file: Path, root: Path) -> bool:
    parts = file.relative_to(root).parts
    return file.name not in _ABOUT and not any(part.startswith((".", "_")) for part in parts)


def _split_of(file: Path) -> str:
    """Return the split that a file's name or folders say, the nearest to the file first; empty where none does."""
    for part in reversed(file.parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return ""


def is_saved_dataset(folder: Path) -> bool:
    """Return whether `datasets.save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def _datasets() -> Any:
    try:
        import datasets  # noqa: PLC0415 - an extra, and takes seconds to load
    except ImportError as error:
        raise SetupError("Hugging Face data sets need an extra: pip install 'gradatim[hub]'") from error
    return datasets


def saved_rows(folder: Path, *, split: str | None, config_name: str | None) -> Iterator[Row]:
    """Give the rows of a folder written by `save_to_disk`; its files are mapped, not loaded.

    Raises:
        UsageError: the folder is damaged, or has no such split.
        SetupError: the `datasets` library is not installed.
    """
    if config_name:
        raise UsageError(f"{folder} was written by save_to_disk and has no configurations.")
    datasets = _datasets()
    try:
        data = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{folder} cannot be read as a saved data set: {_first_line(error)}.") from error
    if isinstance(data, datasets.DatasetDict):
        wanted = split or (DEFAULT_SPLIT if DEFAULT_SPLIT in data or len(data) != 1 else next(iter(data)))
        if wanted not in data:
            raise UsageError(f"{folder} has no split {wanted!r}; there are: {', '.join(data)}. Choose with --split.")
        return _saved(data[wanted], f"{folder.name}/{wanted}")
    if split:
        raise UsageError(f"{folder} holds one data set without splits; leave out --split.")
    return _saved(data, folder.name)


def _saved(data: Any, name: str) -> Iterator[Row]:
    number = 0
    for batch in data.with_format("arrow").iter(batch_size=BATCH):
        for row in batch.to_pylist():
            number += 1
            yield Row(place=f"{name}:{number}", data=cast("dict[str, Json]", plain(row)))


def hub_rows(name: str, *, split: str | None, config_name: str | None) -> Iterator[Row]:
    """Give the rows of a data set that the `datasets` library finds under this name: on the hub, or in a folder.

    Raises:
        UsageError: there is no such data set, configuration or split, or it is one that brings its own code.
        SetupError: the `datasets` library is not installed, or the hub cannot be reached.
    """
    datasets = _datasets()
    if Path(name).is_dir() and is_saved_dataset(Path(name)):
        return saved_rows(Path(name), split=split, config_name=config_name)
    try:
        data = datasets.load_dataset(name, config_name, split=split or DEFAULT_SPLIT, streaming=True)
    except ConnectionError as error:
        raise SetupError(f"The hub cannot be reached for {name}: {_first_line(error)}.") from error
    except OSError as error:
        if type(error).__module__.startswith(("huggingface_hub", "requests", "httpx")):
            raise SetupError(f"The hub refused {name}: {_first_line(error)}.") from error
        raise UsageError(f"There is no data set {name}: {_first_line(error)}.") from error
    except (ValueError, RuntimeError, ImportError) as error:
        raise UsageError(f"{name} cannot be read: {_first_line(error)}.") from error
    # A folder's own name is enough to find a row by, and does not tell where on the machine it lies.
    short = Path(name).name if Path(name).exists() else name
    return _streamed(data, "/".join(filter(None, (short, config_name, split or DEFAULT_SPLIT))))


def _streamed(data: Any, name: str) -> Iterator[Row]:
    try:
        for number, row in enumerate(data, 1):
            yield Row(place=f"{name}:{number}", data=cast("dict[str, Json]", plain(row)))
    except OSError as error:
        raise SetupError(f"The connection failed while reading {name}: {_first_line(error)}.") from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{name} cannot be read: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
