"""How rows and results are printed: a table for people; JSON, CSV or one JSON object a line for programs.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import sys
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""C0 and C1 controls, and the marks that turn the direction of writing."""
Rows = "Iterable[Sequence[Any]]"


_MEASURED = 2000
"""Rows whose widths a table takes."""


def row_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command has which lists rows."""
    for name, text in (
        ("nl", "One JSON object a line."),
        ("csv", "Comma-separated values."),
        ("json", "A JSON array."),
    ):
        command = click.option(f"--{name}", "shape", flag_value=name, help=text)(command)
    return command


def print_rows(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], shape: str | None, *, whole: Sequence[str] = ()
) -> None:
    """Print rows in the shape that was asked for; streams, save for a table.

    `whole` names columns that a terminal's table shows uncut: ids to type again, sentences that say what to do.
    """
    if shape == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif shape == "nl":
        for row in rows:
            print(json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=False))
    elif shape == "json":
        _print_array(columns, rows)
    else:
        _print_table(columns, rows, whole)


def _print_array(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    before = "["
    for row in rows:
        print(before + json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=False), end="")
        before = ",\n "
    print("[]" if before == "[" else "]")


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it: bytes as their number, and null for a number that is none or has no end."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], whole: Sequence[str]) -> None:
    """Print aligned columns; numbers to the right, long texts cut on a terminal only.

    The first `_MEASURED` rows decide the widths, so that a table of any length streams.
    """
    rows = iter(rows)
    head = list(itertools.islice(rows, _MEASURED))
    longest = max(20, 160 // max(1, len(columns)))
    room = [longest if sys.stdout.isatty() and name not in whole else None for name in columns]
    cells = [_cells(row, room) for row in head]
    widths = [max([len(name), *(len(row[index]) for row in cells)]) for index, name in enumerate(columns)]
    right = [
        bool(head) and all(isinstance(row[index], (int, float, type(None))) for row in head)
        for index in range(len(columns))
    ]
    for line in itertools.chain([list(columns)], cells, (_cells(row, room) for row in rows)):
        padded = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cells(row: Sequence[Any], room: Sequence[int | None]) -> list[str]:
    texts = zip(map(_cell, row), room, strict=True)
    return [text if most is None or len(text) <= most else text[: most - 1] + "…" for text, most in texts]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return printable(" ".join(str(_plain(value)).split()))


def printable(text: str) -> str:
    """Return text with its control characters escaped: what a model or a server wrote moves nobody's cursor."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def print_result(result: object, shape: str | None, sentences: Iterable[str]) -> None:
    """Print what a stage did: sentences for people, the record as JSON for programs."""
    if shape == "json":
        print(json.dumps(plain_record(result), ensure_ascii=False, indent=2))
    else:
        for sentence in sentences:
            print(sentence)


def plain_record(result: object) -> Any:
    """Return a result record as JSON can have it."""
    if isinstance(result, list):
        return [plain_record(one) for one in result]
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def counts(reasons: dict[str, int]) -> str:
    """Return reasons with their counts as a phrase."""
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


def note(text: str) -> None:
    """Tell the user something that is not a result."""
    click.echo(text, err=True)
