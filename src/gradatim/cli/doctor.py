"""`doctor`: what this machine has, and whether what is configured works."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.cli.context import SETTINGS, Start, pass_start
from gradatim.cli.output import print_rows, printable
from gradatim.errors import GradatimError, LibraryError, SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.config import Config
    from gradatim.work.checkup import Checked

EXTRAS = {
    "local": ("torch", "transformers"),
    "train": ("torch", "transformers", "trl", "peft", "accelerate", "datasets"),
    "parquet": ("pyarrow",),
    "hub": ("datasets", "pyarrow"),
}
"""The extras of the package, and what each brings; a test holds them to the package's own list."""
_WIDTH = 80
_NAME, _FOUND = 16, 13
"""Columns of the table of servers, beside its notes."""
_BYTES_PER_TOKEN = 6
"""Of an answer in the library, uncompressed, with what is kept beside it."""


@click.command(short_help="What this machine has, and whether what is configured works.")
@click.option("--json", "shape", flag_value="json", help="A JSON array.")
@pass_start
def doctor(start: Start, /, shape: str | None) -> None:
    """Print what Gradatim finds on this machine, and try each tier of the sandbox that programs are run in.

    With a gradatim.toml, each model's server is asked what it can do, in ten or so tiny requests (some hundred tokens),
    the PRM's is given two steps to score, and keys are looked for. Servers that Gradatim starts itself are not started.

    Ends with 0 where the default tier and all that is configured work, and with 4 where something does not.
    """
    from gradatim.checkers.sandbox import Tier, probe

    there = start.config_path is not None or Path(SETTINGS).exists()
    config = start.config() if there else None
    tiers = probe()
    rows = [*_machine(), *_extras()]
    rows += [
        (f"sandbox {one.tier}", ", ".join(one.layers) if one.available else "not available", one.why) for one in tiers
    ]
    checked: list[Checked] = []
    failed: list[str] = []
    if config is not None:
        from gradatim.work.checkup import checkup

        disk, usable = _disk(config)
        rows.append(disk)
        checked = checkup(config)
        failed = [*([] if usable else ["the library"]), *(one.what for one in checked if not one.works)]
    if shape is not None:
        print_rows(("what", "found", "note"), [*rows, *((one.what, one.found, one.note) for one in checked)], shape)
    else:
        print_rows(("what", "found", "note"), rows, shape, whole=("found", "note"))
        _print(checked)
    default = next(one for one in tiers if one.tier is Tier.DEFAULT)
    if not default.available:
        raise SetupError(
            "The default sandbox does not work here, so the programs of code questions cannot be judged: "
            f"{default.why}. Math and choice questions need none."
        )
    if failed:
        raise SetupError(f"Not everything that is configured works: {', '.join(failed)}. The notes say what to do.")


def _print(checked: Sequence[Checked]) -> None:
    """Print what is configured: a line for each thing, what belongs to it below, and notes within the width."""
    width = max(_WIDTH, min(shutil.get_terminal_size((_WIDTH, 24)).columns, 120)) if sys.stdout.isatty() else _WIDTH
    name = max([_NAME, *(len(one.what) for one in checked if ": " not in one.what)])
    for one in checked:
        head, colon, part = one.what.partition(": ")
        if not colon:
            print()
        left = f"  {part:{name - 2}}" if colon else f"{head:{name}}"
        found = f"{one.found:{_FOUND}}"
        room = max(24, width - name - 4 - len(found))
        lines = textwrap.wrap(printable(one.note), room, break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            before = f"{left}  {found}" if number == 0 else " " * (name + 2 + len(found))
            print(f"{before}  {line}".rstrip())


def _machine() -> list[tuple[str, str, str]]:
    import os
    import platform
    import sqlite3

    from gradatim import __version__
    from gradatim.cores import cores
    from gradatim.library.schema import MIGRATIONS

    free = shutil.disk_usage(".").free / 2**30
    return [
        ("gradatim", __version__, ""),
        ("python", platform.python_version(), ""),
        ("platform", f"{platform.system()} {platform.release()} {platform.machine()}", ""),
        ("user", "root" if hasattr(os, "geteuid") and os.geteuid() == 0 else "ordinary user", ""),
        ("library format", str(len(MIGRATIONS)), f"SQLite {sqlite3.sqlite_version}"),
        ("cores", str(cores()), "may be used by this process"),
        ("disk", f"{free:,.1f} GiB free", "in this folder"),
    ]


def _disk(config: Config) -> tuple[tuple[str, str, str], bool]:
    """Say how much room there is for the library, how much the answers to come take at most, and if it can be used."""
    from gradatim.planning import plan

    folder = Path(config.library).absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:,.1f} GiB free"
    try:
        most = sum(one.at_most or 0 for one in plan(config)) * _BYTES_PER_TOKEN
    except LibraryError as error:
        return ("disk for library", found, str(error)), False
    except GradatimError:
        # What is wrong with the settings is for the commands that need them to say.
        return ("disk for library", found, config.library), True
    size = f"{most / 2**30:,.1f} GiB" if most >= 2**30 / 10 else f"{most / 2**20:,.1f} MiB"
    note = f"the answers to come take {size} at most" if most else "no answers are planned yet"
    return ("disk for library", found, f"{note}{': too little' if most > free else ''}"), True


def _extras() -> list[tuple[str, str, str]]:
    from importlib.util import find_spec

    rows = []
    for name, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        note = f"pip install 'gradatim[{name}]' (lacks {', '.join(missing)})" if missing else ""
        rows.append((f"extra {name}", "not installed" if missing else "installed", note))
    return rows
