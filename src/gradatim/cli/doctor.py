"""`doctor`: what this machine has, and what it lacks for programs to be run safely."""

from __future__ import annotations

import click

from gradatim.cli.output import print_rows
from gradatim.errors import SetupError

EXTRAS = {
    "local": ("torch", "transformers"),
    "train": ("torch", "transformers", "trl", "peft", "accelerate", "datasets"),
    "parquet": ("pyarrow",),
    "hub": ("datasets", "pyarrow"),
}
"""The extras of the package, and what each brings; a test holds them to the package's own list."""


@click.command(short_help="What this machine has, and what it lacks.")
@click.option("--json", "shape", flag_value="json", help="A JSON array.")
def doctor(shape: str | None) -> None:
    """Print what Gradatim finds on this machine, and try each tier of the sandbox that programs are run in.

    Ends with 0 where the default tier works, and with 4 where it does not.
    """
    from gradatim.checkers.sandbox import Tier, probe

    tiers = probe()
    rows = [*_machine(), *_extras()]
    rows += [
        (f"sandbox {one.tier}", ", ".join(one.layers) if one.available else "not available", one.why) for one in tiers
    ]
    print_rows(("what", "found", "note"), rows, shape)
    default = next(one for one in tiers if one.tier is Tier.DEFAULT)
    if not default.available:
        raise SetupError(
            "The default sandbox does not work here, so the programs of code questions cannot be judged: "
            f"{default.why}. Math and choice questions need none."
        )


def _machine() -> list[tuple[str, str, str]]:
    import os
    import platform
    import shutil
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


def _extras() -> list[tuple[str, str, str]]:
    from importlib.util import find_spec

    rows = []
    for name, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        note = f"pip install 'gradatim[{name}]' (lacks {', '.join(missing)})" if missing else ""
        rows.append((f"extra {name}", "not installed" if missing else "installed", note))
    return rows
