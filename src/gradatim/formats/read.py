"""Reading pools: a file, a folder, or a data set of the Hugging Face hub, one row at a time.

    JSON Lines   .jsonl .ndjson, also .gz and .zst     streamed
    CSV, TSV     .csv .tsv, also .gz and .zst          streamed; every value is text
    JSON         .json, also .gz and .zst              held in memory, so refused beyond 100 MB
    Parquet      .parquet                              in batches; extra [parquet]
    a folder     of the files above, or written by     streamed; extra [hub] for the latter
                 `datasets.save_to_disk`
    the hub      openai/gsm8k or hf:openai/gsm8k       streamed; extra [hub]; no remote code is run

The name decides the format, and the first bytes where the name says nothing or `.json` holds JSON Lines. A row that
cannot be read is a `BadRow` and stops nothing; a file that cannot be read is a `UsageError`.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.formats import columnar, folders, textfiles
from gradatim.formats.jsontext import decode
from gradatim.formats.streams import open_bytes, readable, refuse_wide_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.formats.row import BadRow, Row
    from gradatim.formats.streams import Stream

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "hf")
"""What `format` may be; `hf` is a data set by the name or folder that the `datasets` library knows."""

_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def rows(
    source: str,
    *,
    format: str | None = None,  # noqa: A002 - the word that users type
    split: str | None = None,
    config_name: str | None = None,
) -> Iterator[Row | BadRow]:
    """Give the rows of `source` in order, streaming.

    Args:
        source: a file, a folder, or a data set's name on the hub (`openai/gsm8k`, `hf:openai/gsm8k`).
        format: one of `FORMATS`; None lets the name decide, then the first bytes.
        split: for folders and the hub; None means `train`, or all of a folder that has no splits.
        config_name: for folders (a folder inside) and the hub (`main`).

    Raises:
        UsageError: no such source, nothing in it, or not readable as what it is. A source that is not there is
            refused at once; what only reading shows (a file that is cut off), while iterating.
        SetupError: an extra is missing, or the hub cannot be reached.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    if not source.strip():
        raise UsageError("The source has no name; give a file, a folder or owner/name on the hub.")
    return _not_empty(_find(source, format, split, config_name), source)


def _find(source: str, kind: str | None, split: str | None, config_name: str | None) -> Iterator[Row | BadRow]:
    if source == "hf:":
        raise UsageError("After hf: stands the data set's name, as in hf:openai/gsm8k.")
    if source.startswith("hf:") or kind == "hf":
        return folders.hub_rows(source.removeprefix("hf:"), split=split, config_name=config_name)
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise UsageError(f"There is no home folder for {source}; write the whole path.") from error
    if path.is_dir():
        return _folder(path, kind, split, config_name)
    if not path.exists():
        if _HUB_NAME.fullmatch(source) and _by_name(path) is None and kind is None and not path.parent.is_dir():
            return folders.hub_rows(source, split=split, config_name=config_name)
        raise UsageError(_missing(path))
    if split is not None or config_name is not None:
        raise UsageError(f"{source} is one file: it has no splits or configurations to choose from.")
    return file_rows(path, path.name, kind)


def file_rows(path: Path, name: str, kind: str | None = None) -> Iterator[Row | BadRow]:
    """Give the rows of one file; `name` stands in their places. Nothing is opened before the first row is asked for."""
    kind = kind or _by_name(path)
    if kind != "parquet":
        with open_bytes(path) as stream, readable(path):
            head = stream.peek(4096)
            refuse_wide_text(path, head)
            if kind in (None, "json"):
                kind = _by_bytes(path, head, named_json=kind == "json")
            if kind != "parquet":
                yield from _text_rows(stream, name, kind)
                return
    yield from columnar.parquet_rows(path, name)


def _text_rows(stream: Stream, name: str, kind: str | None) -> Iterator[Row | BadRow]:
    if kind == "jsonl":
        return textfiles.jsonl_rows(stream, name)
    if kind == "json":
        return textfiles.json_rows(stream, name)
    return textfiles.csv_rows(stream, name, "\t" if kind == "tsv" else ",")


def _not_empty(found: Iterator[Row | BadRow], source: str) -> Iterator[Row | BadRow]:
    first = next(found, None)
    if first is None:
        raise UsageError(f"{source} is empty: it holds no rows.")
    yield first
    yield from found


def _by_name(path: Path) -> str | None:
    """Return the format that the name says, compression aside; None where it says nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1]) if suffixes else None


def _by_bytes(path: Path, head: bytes, *, named_json: bool) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"PAR1"):
        return "parquet"
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{"):
        line, end, rest = text.partition(b"\n")
        if end and rest.strip() and _is_json(line):
            return "jsonl"
        # One line alone is the same in both; a document over several lines is not JSON Lines.
        return "json" if named_json or (end and not _is_json(line)) else "jsonl"
    if named_json:
        return "json"
    raise UsageError(
        f"What {path} holds is not clear from its name or its first bytes; readable are {', '.join(_BY_SUFFIX)} "
        f"(the text formats also as .gz or .zst), or say --format {'|'.join(FORMATS[:-1])}."
    )


def _is_json(line: bytes) -> bool:
    try:
        decode(line)
    except ValueError:
        return False
    return True


def _folder(path: Path, kind: str | None, split: str | None, config_name: str | None) -> Iterator[Row | BadRow]:
    if folders.is_saved_dataset(path):
        return folders.saved_rows(path, split=split, config_name=config_name)
    files = folders.data_files(
        path, split=split, config_name=config_name, is_data=lambda file: _by_name(file) is not None
    )
    return _chained(path, files, kind)


def _chained(path: Path, files: list[Path], kind: str | None) -> Iterator[Row | BadRow]:
    for file in files:
        yield from file_rows(file, f"{path.name}/{file.relative_to(path).as_posix()}", kind)


def _missing(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = (
        f"did you mean {path.parent / near[0]}?" if near else "check the name (a data set of the hub is hf:owner/name)."
    )
    return f"There is no file or folder {path}; {hint}"
