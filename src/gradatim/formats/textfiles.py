"""Rows out of JSON Lines, JSON and CSV text. One bad row never stops the rest."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, cast

from gradatim.errors import UsageError
from gradatim.formats.jsontext import decode
from gradatim.formats.row import BadRow, Row, bad_row
from gradatim.formats.streams import MAX_LINE, lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradatim.formats.row import Json
    from gradatim.formats.streams import Stream

MAX_JSON = 100 * 10**6
"""Bytes. A JSON document must be held in memory whole, at several times its size; JSON Lines need not."""
MAX_FIELD = 10 * 10**6
"""Characters of one CSV field. A quote that is never closed swallows this much at most."""


def jsonl_rows(stream: Stream, name: str) -> Iterator[Row | BadRow]:
    """Give a row per line; blank lines are passed over."""
    for number, line in lines(stream):
        place = f"{name}:{number}"
        if line is None:
            yield BadRow(place=place, reason="line_too_long", text="")
        elif not line.isspace():
            yield _jsonl_row(place, line)


def _jsonl_row(place: str, line: bytes) -> Row | BadRow:
    try:
        value = decode(line)
    except UnicodeDecodeError:
        return bad_row(place, "bad_encoding", line)
    except ValueError:
        # Only a last line has no end; there, a writer that was killed is likelier than a wrong format.
        return bad_row(place, "bad_json" if line.endswith(b"\n") else "torn_line", line)
    return _object_row(place, value, line)


def _object_row(place: str, value: object, raw: bytes | str) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(place=place, data=cast("dict[str, Json]", value))
    return bad_row(place, "not_an_object", raw)


def json_rows(stream: Stream, name: str) -> Iterator[Row | BadRow]:
    """Give the objects of a JSON array, of the one array of objects inside an object, or a single object.

    Raises:
        UsageError: the document is not JSON, holds no such array or several, or is larger than `MAX_JSON`.
    """
    raw = stream.read(MAX_JSON + 1)
    if len(raw) > MAX_JSON:
        raise UsageError(
            f"{name} is a JSON document of more than {MAX_JSON // 10**6} MB, which would have to be held in memory "
            f"whole; write it as JSON Lines, one object per line (jq -c '.[]' {name} > pool.jsonl)."
        )
    try:
        value = decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text (byte {error.start}); convert it with iconv.") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:
        raise UsageError(f"{name} is not JSON that can be used: {error}.") from error
    for index, item in enumerate(_array(value, name), 1):
        yield _object_row(f"{name}:{index}", item, str(item))


def _array(value: object, name: str) -> Sequence[object]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UsageError(f"{name} holds neither an array of objects nor an object with one.")
    found = {key: item for key, item in value.items() if isinstance(item, list) and any(map(_is_object, item))}
    if len(found) > 1:
        raise UsageError(f"{name} holds several arrays ({', '.join(sorted(found))}); keep one of them in the file.")
    return next(iter(found.values())) if found else [value]


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def csv_rows(stream: Stream, name: str, delimiter: str = ",") -> Iterator[Row | BadRow]:
    """Give a row per record of a CSV file with a header; every value is text.

    A record may span lines inside quotes; its place is its first line.

    Raises:
        UsageError: the header cannot be read or names a column twice, or a line is beyond `MAX_LINE`.
    """
    # The limit belongs to the process; it is only ever raised here, so no other reader in it loses anything.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    reader = csv.reader(_text_lines(stream, name), delimiter=delimiter, strict=True)
    header = _header(reader, name)
    while True:
        place = f"{name}:{reader.line_num + 1}"
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            torn = "unexpected end" in str(error)
            yield BadRow(place=place, reason="torn_line" if torn else "bad_csv", text=str(error))
            continue
        if record:
            yield _csv_row(place, header, record)


def _text_lines(stream: Stream, name: str) -> Iterator[str]:
    """Decode line by line, so that bytes which are no UTF-8 spoil one record only; they become lone surrogates."""
    for number, line in lines(stream):
        if line is None:
            raise UsageError(f"{name}:{number} is longer than {MAX_LINE // 2**20} MiB; is it really CSV text?")
        yield line.decode("utf-8", "surrogateescape")


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise UsageError(f"The header of {name} cannot be read: {error}.") from error
    if not header or not all(map(_is_unicode, header)):
        raise UsageError(f"{name} has no header line of UTF-8 column names.")
    refuse_repeated(header, name)
    return header


def refuse_repeated(columns: Sequence[str], name: str) -> None:
    """Raise `UsageError` where two columns have one name."""
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise UsageError(f"{name} has more than one column named {', '.join(map(repr, repeated))}; rename one.")


def _csv_row(place: str, header: list[str], record: list[str]) -> Row | BadRow:
    if not all(map(_is_unicode, record)):
        raw = ",".join(record).encode("utf-8", "surrogateescape")
        return bad_row(place, "bad_encoding", raw)
    if len(record) != len(header):
        return bad_row(place, "wrong_number_of_fields", ",".join(record))
    return Row(place=place, data=dict(zip(header, record, strict=True)))


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
