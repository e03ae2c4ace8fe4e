"""The manifest of an export: which files, how many rows, which hashes. Written last, so that it being there means done.

It holds nothing that differs between two runs of the same export: no time, no machine, no folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gradatim.errors import UsageError
from gradatim.formats.write import Written, write_text

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""Of the manifest's own format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an export consists of."""

    name: str
    """The draw that was exported."""
    gradatim: str
    """The version that wrote it."""
    files: tuple[Written, ...]
    settings: tuple[tuple[str, str], ...] = ()
    """What decided the content, name and value, in a fixed order."""
    version: int = VERSION


def write_manifest(path: Path, manifest: Manifest) -> Written:
    """Write the manifest as JSON; the last step of an export. Raises as `write_rows` does."""
    plain = {
        "version": manifest.version,
        "name": manifest.name,
        "gradatim": manifest.gradatim,
        "files": [
            {"name": file.name, "rows": file.rows, "size": file.size, "sha256": file.sha256} for file in manifest.files
        ],
        "settings": dict(manifest.settings),
    }
    return write_text(path, msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n")


class _Plain(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The manifest as it stands in the file."""

    version: int
    name: str
    gradatim: str
    files: tuple[Written, ...]
    settings: dict[str, str]


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest; None where there is none.

    Raises:
        UsageError: the file is not a manifest, or is of a newer version.
    """
    try:
        plain = msgspec.json.decode(path.read_bytes(), type=_Plain)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a manifest of an export ({error}); remove it and export again.") from error
    if plain.version > VERSION:
        raise UsageError(f"{path} was written by a newer gradatim ({plain.gradatim}); update this one.")
    return Manifest(
        version=plain.version,
        name=plain.name,
        gradatim=plain.gradatim,
        files=plain.files,
        settings=tuple(plain.settings.items()),
    )
