"""What every command starts from: the settings and the library, opened when they are needed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradatim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.config import Config
    from gradatim.library.store import Library

SETTINGS = "gradatim.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The options that stand before the command."""

    config_path: str | None
    library_path: str | None

    def config(self) -> Config:
        """Return the settings: of --config, of ./gradatim.toml, or the defaults; --library wins over what they say."""
        from gradatim import config as settings

        if self.config_path == "":
            raise UsageError("--config: it is empty.")
        if self.config_path is not None or Path(SETTINGS).exists():
            loaded = settings.load(self.config_path or SETTINGS)
        else:
            loaded = settings.Config()
        if self.library_path is None:
            return loaded
        loaded = settings.updated(loaded, library=self.library_path)
        settings.check(loaded, settings.COMMAND_LINE)
        return loaded

    @contextmanager
    def library(self, *, write: bool) -> Iterator[Library]:
        """Open the library."""
        from gradatim.library.store import Library

        with Library(self.config().library, write=write) as library:
            yield library


pass_start = click.pass_obj


def pairs(values: tuple[str, ...], option: str, example: str = "prompt=problem") -> dict[str, str]:
    """Return `NAME=VALUE` options as a mapping. Raises `UsageError` for one without `=`."""
    found: dict[str, Any] = {}
    for value in values:
        name, equals, right = value.partition("=")
        if not equals or not name.strip() or not right.strip():
            raise UsageError(f"{option} {value!r}: a name, = and a value are expected, as in {option} {example}")
        found[name.strip()] = right.strip()
    return found
