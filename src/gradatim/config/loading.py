"""From a file, or from options, to settings that hold."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_type_hints

import msgspec

from gradatim.config.checks import check
from gradatim.config.explaining import fault, option, value_fault
from gradatim.config.settings import Config
from gradatim.config.tables import Settings
from gradatim.errors import UsageError
from gradatim.tiny.weights import named

if TYPE_CHECKING:
    from gradatim.config.models import ModelSettings, PrmSettings
    from gradatim.config.settings import IngestSettings

_S = TypeVar("_S", bound=Settings)


def load(path: str | Path) -> Config:
    """Read and validate a settings file; its relative paths come back as seen from where the program runs.

    Raises `UsageError` with the place and the nearest right name.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"There is no {path}. Make one with: gradatim init FOLDER") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} cannot be read: it is not UTF-8 text (byte {error.start}).") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    return _from_folder(parse(raw, str(path)), path.parent)


def parse(raw: dict[str, object], place: str = "the settings") -> Config:
    """Validate settings that were read. Raises `UsageError`."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}: {fault(raw, Config, '') or str(error)}") from error
    check(config, place)
    return config


def updated(settings: _S, /, **changes: object) -> _S:
    """Return the settings with those changes that are not None. Raises `UsageError` for a value that does not fit.

    An empty tuple is no change either: it is an option that may come several times, and did not come at all.
    """
    wanted = {name: value for name, value in changes.items() if value is not None and value != ()}
    if not wanted:
        return settings
    try:
        new: _S = msgspec.convert(msgspec.to_builtins(settings) | wanted, type(settings))
    except msgspec.ValidationError as error:
        hints = get_type_hints(type(settings))
        found = (f"{option(key)}: {fault}" for key in wanted if (fault := value_fault(wanted[key], hints[key])))
        raise UsageError(next(found, str(error))) from error
    return new


def _from_folder(config: Config, folder: Path) -> Config:
    """Return the settings with their paths seen from the settings' folder, and with `~` as the home folder."""

    def joined(path: str) -> str:
        expanded = os.path.expanduser(path)  # noqa: PTH111 - Path's raises where there is no such home
        return path if path.startswith(("hf:", "tiny:")) else expanded if folder == Path() else str(folder / expanded)

    def source(one: IngestSettings) -> str:
        # Where no such file is, owner/name can be a data set of the hub, as for `formats.read`.
        on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", one.path) and not (folder / one.path).parent.is_dir()
        return one.path if one.format == "hf" or on_hub else joined(one.path)

    def weights(path: str) -> str:
        return named(joined(path))

    def of_hub(path: str) -> bool:
        """Whether a model that is no folder here can be an id of the hub."""
        return re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not (folder / path).is_dir()

    train = config.train
    if train.base and not of_hub(train.base):
        train = updated(train, base=weights(train.base))

    def started(one: ModelSettings | PrmSettings) -> tuple[str, ...]:
        """Return `serve_command` with its program's path seen from here; a program of the PATH is what it is."""
        return tuple(
            joined(word) if place == 0 and "/" in word else word for place, word in enumerate(one.serve_command)
        )

    models = {
        name: one if one.path is None or (one.serve and of_hub(one.path)) else updated(one, path=weights(one.path))
        for name, one in config.models.items()
    }
    models = {name: updated(one, serve_command=started(one)) for name, one in models.items()}
    prm = config.prm
    if prm is not None:
        prm = updated(prm, serve_command=started(prm))
    if prm is not None and prm.path is not None and not of_hub(prm.path):
        prm = updated(prm, path=weights(prm.path))
    if prm is not None and prm.backend == "local":
        prm = updated(prm, model=weights(prm.model))
    return updated(
        config,
        library=joined(config.library),
        ingest=[updated(one, path=source(one)) for one in config.ingest],
        models=models,
        prm=prm,
        export=updated(config.export, out=joined(config.export.out)),
        train=updated(train, out=joined(train.out)),
        compare=updated(config.compare, out=joined(config.compare.out)),
    )
