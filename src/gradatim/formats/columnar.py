"""Rows out of and into Parquet files, in batches. Needs the extra `[parquet]`.

The same rows and settings give the same bytes with one version of pyarrow; the file names that version and no time.
"""

from __future__ import annotations

from itertools import islice
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from gradatim.errors import SetupError, UsageError
from gradatim.formats.row import Row
from gradatim.formats.textfiles import refuse_repeated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gradatim.formats.row import Json

BATCH = 1024
"""Rows held at once."""


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to load
        import pyarrow.parquet as pq  # noqa: PLC0415 - part of an extra, and slow to load
    except ImportError as error:
        raise SetupError("Parquet files need pyarrow: pip install 'gradatim[parquet]'") from error
    return pa, pq


def plain(value: object) -> Json:
    """Return the value as JSON: dates as ISO text, decimals as text, bytes as base64, anything else as its `str`."""
    return cast("Json", msgspec.to_builtins(value, str_keys=True, enc_hook=str))


def parquet_rows(path: Path, name: str) -> Iterator[Row]:
    """Give the rows of a Parquet file in order.

    Raises:
        UsageError: the file is not Parquet, is damaged, or names a column twice.
        SetupError: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    try:
        with pq.ParquetFile(path) as file:
            refuse_repeated(file.schema_arrow.names, name)
            number = 0
            for batch in file.iter_batches(batch_size=BATCH):
                for data in batch.to_pylist():
                    number += 1
                    yield Row(place=f"{name}:{number}", data=cast("dict[str, Json]", plain(data)))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"{path} is not a Parquet file that can be read: {reason}.") from error


def write_parquet(stream: IO[bytes], rows: Iterable[Mapping[str, Json]], empty: Mapping[str, Json]) -> int:
    """Write rows as Parquet and return how many there were.

    The first batch decides the columns' types; where it holds only nulls, and where there are no rows at all, the
    row `empty` decides, which has a value of the right type in every column.

    Raises:
        ValueError: a row has a column that the first batch lacks, or a value of another type.
        SetupError: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    pending = iter(rows)
    first = [dict(row) for row in islice(pending, BATCH)]
    schema = _schema(pa, first, empty)
    written = 0
    with pq.ParquetWriter(stream, schema, compression="zstd", compression_level=9, version="2.6") as writer:
        batch = first
        while batch:
            _refuse_unknown(batch, schema.names, written)
            try:
                table = pa.Table.from_pylist(batch, schema=schema)
            except pa.ArrowException as error:
                raise ValueError(f"rows {written + 1} to {written + len(batch)} differ in type: {error}") from error
            writer.write_table(table, row_group_size=BATCH)
            written += len(batch)
            batch = [dict(row) for row in islice(pending, BATCH)]
    return written


def _schema(pa: Any, first: list[dict[str, Json]], empty: Mapping[str, Json]) -> Any:
    known = pa.Table.from_pylist([dict(empty)]).schema
    if not first:
        return known
    fields = []
    for field in pa.Table.from_pylist(first).schema:
        if pa.types.is_null(field.type):
            index = known.get_field_index(field.name)
            fields.append(pa.field(field.name, known.field(index).type if index >= 0 else pa.string()))
        else:
            fields.append(field)
    return pa.schema(fields)


def _refuse_unknown(batch: list[dict[str, Json]], names: list[str], before: int) -> None:
    """Refuse what pyarrow would drop without a word."""
    known = set(names)
    for index, row in enumerate(batch, before + 1):
        if not known.issuperset(row):
            raise ValueError(f"row {index} has columns that the first rows lack: {sorted(set(row) - known)}")
