"""Writes the generated pages: `cli.md` from the commands' help, `settings.md` from the records in `gradatim.config`.

    python docs/generate.py

`tests/test_docs.py` holds both to what this gives, so they cannot drift.
"""

from __future__ import annotations

import ast
import inspect
import json
import typing
from pathlib import Path

import click
import msgspec

from gradatim import config
from gradatim.cli.main import cli

DOCS = Path(__file__).parent
WIDTH = 100
"""Columns of the help texts, whatever the terminal is."""
GROUPS = (
    ("Questions", ("init", "ingest")),
    ("Grades", ("attempt", "verify", "calibrate", "grade", "levels")),
    ("Chains", ("sample", "teach", "curate", "export")),
    ("Training and proof", ("train", "evaluate", "report", "compare")),
    ("All of it", ("run",)),
    ("Looking", ("status", "show", "query", "batches", "spending", "prices", "doctor")),
    ("Trying it out", ("mock-server", "tiny")),
)
TABLES = (
    ("", config.Config),
    ("[[ingest]]", config.IngestSettings),
    ("[models.NAME]", config.ModelSettings),
    ("price", config.PriceSettings),
    ("batch", config.BatchSettings),
    ("budget", config.BudgetSettings),
    ("[attempt]", config.AttemptSettings),
    ("[verify]", config.VerifySettings),
    ("[verify.code]", config.CodeSettings),
    ("[prm]", config.PrmSettings),
    ("[calibrate]", config.CalibrateSettings),
    ("[grade]", config.GradeSettings),
    ("[sample]", config.SampleSettings),
    ("[teach]", config.TeachSettings),
    ("[curate]", config.CurateSettings),
    ("[export]", config.ExportSettings),
    ("[train]", config.TrainSettings),
    ("[evaluate]", config.EvaluateSettings),
    ("[report]", config.ReportSettings),
    ("[compare]", config.CompareSettings),
)

CLI_HEAD = """\
# The command line

<!-- Written by docs/generate.py from the commands' own help. Change the commands, not this page. -->

Results go to stdout, everything else to stderr. A progress bar is drawn on a terminal only. Options of `gradatim`
itself (`--config`, `--library`) stand before the command: `gradatim --library other.db status`.

| exit code | means |
|---:|:---|
| 0 | all done |
| 1 | something is left to do; the same command goes on |
| 2 | wrong use: a command, setting, file, column or name |
| 3 | the library cannot be used: not ours, newer, damaged, or held by another writer |
| 4 | the machine lacks something: an extra, a key, a server, disk space |
| 5 | a limit that you set was reached: a budget, a dry level, too many faults |
| 70 | a bug of ours; `GRADATIM_TRACEBACK=1` shows where |
| 130 | interrupted; what was done is saved |
"""
SETTINGS_HEAD = """\
# The settings

<!-- Written by docs/generate.py from the records in gradatim.config. Change those, not this page. -->

`gradatim.toml` in the folder that a command is run in, or the file of `--config`. Paths in it are relative to the
file's own folder. Every key is optional where it has a default; an unknown key is an error that names the nearest one.
An option of the command line wins over the file. The same records are what Python users pass to the stages
(`gr.SampleSettings(size=500)`). `gradatim init FOLDER` writes a commented file to start from.

A default is ours unless it says that it is the paper's.
"""


def cli_page() -> str:
    """Return cli.md."""
    root = click.Context(cli, info_name="gradatim", terminal_width=WIDTH, **cli.context_settings)
    parts = [CLI_HEAD, _block(cli.get_help(root))]
    for title, names in GROUPS:
        parts.append(f"## {title}\n")
        for name in names:
            parts += _command(name, cli.commands[name], root)
    return "\n".join(parts)


def _command(name: str, command: click.Command, parent: click.Context) -> list[str]:
    """Return a command's section, and those of the commands below it."""
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent, terminal_width=WIDTH)
    parts = [f"### {name}\n", _block(command.get_help(context))]
    for below, one in command.commands.items() if isinstance(command, click.Group) else ():
        parts += _command(f"{name} {below}", one, context)
    return parts


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def settings_page() -> str:
    """Return settings.md."""
    return "\n".join([SETTINGS_HEAD, *(_table(name, record) for name, record in TABLES)])


def _table(name: str, record: type) -> str:
    """Return one table's section: its docstring, then a line per key."""
    title = f"`{name}`" if name else "The top of the file"
    lines = [f"## {title}\n", inspect.cleandoc(record.__doc__ or ""), ""]
    lines += ["| key | type | default | |", "|:---|:---|:---|:---|"]
    notes = field_notes(record)
    hints = typing.get_type_hints(record)
    for field, default in zip(record.__struct_fields__, _defaults(record), strict=True):
        if not _is_table(hints[field]):
            lines.append(f"| `{field}` | {_type(hints[field])} | {default} | {_cell(notes[field])} |")
    return "\n".join([*lines, ""])


def field_notes(record: type) -> dict[str, str]:
    """Return each field's docstring, those of the record itself before those it inherits."""
    notes: dict[str, str] = {}
    for kind in reversed(record.__mro__):
        if not _ours(kind):
            continue
        body = ast.parse(inspect.getsource(kind)).body[0].body
        for index, statement in enumerate(body):
            if isinstance(statement, ast.AnnAssign):
                after = body[index + 1] if index + 1 < len(body) else None
                text = after.value.value if isinstance(after, ast.Expr) else notes.get(statement.target.id, "")
                notes[statement.target.id] = text
    return notes


def _is_table(hint: object) -> bool:
    """Tell whether a key of the whole file is a table with a section of its own."""
    found = [hint, *typing.get_args(hint)]
    inline = {config.PriceSettings, config.BudgetSettings, config.BatchSettings, config.CodeSettings}
    return any(map(_ours, found)) and not inline & set(found)


def _ours(kind: object) -> bool:
    """Tell whether this is a record of settings."""
    return getattr(kind, "__module__", "").startswith(config.__name__)


def _defaults(record: type) -> list[str]:
    """Return the defaults as TOML would write them; a dash for none, `required` where there must be a value."""
    fields = {field.name: field for field in msgspec.structs.fields(record)}
    return [_default(fields[name]) for name in record.__struct_fields__]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "*required*"
    factory = field.default_factory
    value = field.default if factory is msgspec.NODEFAULT else factory()
    if value is None or isinstance(value, config.BudgetSettings | config.CodeSettings):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return "`" + json.dumps(value).replace("|", "\\|") + "`"
    return f"`{value}`"


def _type(hint: object) -> str:
    """Return a type in the words of TOML."""
    args = [one for one in typing.get_args(hint) if one is not type(None)]
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in args)
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return "table"
    if args:
        return " or ".join(_type(one) for one in args)
    names = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}
    return names.get(hint, "table")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES = {"cli.md": cli_page, "settings.md": settings_page}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
