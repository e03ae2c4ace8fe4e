"""Pools of every format are read row by row; what is bad in them is named and stops nothing else."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.errors import SetupError, UsageError
from gradatim.formats import jsontext, streams, textfiles
from gradatim.formats.read import rows
from gradatim.formats.row import BadRow, Row, as_text
from gradatim.zstd import ZstdCompressor, ZstdFile

QUESTIONS = [{"question": f"{i}+{i}?", "answer": str(2 * i)} for i in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in QUESTIONS).encode()
COMMAS = b"question,answer\n" + b"".join(f"{row['question']},{row['answer']}\n".encode() for row in QUESTIONS)


def write(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def contents(source, **options):
    return [dict(row.data) if isinstance(row, Row) else row.reason for row in rows(source, **options)]


def places(source, **options):
    return [row.place for row in rows(source, **options)]


@contextmanager
def peak_memory():
    """Measure the most bytes that Python held inside the block."""
    peak = [0]
    tracemalloc.start()
    try:
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def parquet(folder, name, data, **options):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data if isinstance(data, pa.Table) else pa.Table.from_pylist(data), folder / name, **options)
    return str(folder / name)


def named(value):
    """Name a case by its file; bytes would make names that no one can read."""
    return value if isinstance(value, str) else ""


def squeezed(data, kind):
    return gzip.compress(data, mtime=0) if kind == "gz" else ZstdCompressor().compress(data, ZstdCompressor.FLUSH_FRAME)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pool.jsonl", LINES),
        ("pool.ndjson", LINES),
        ("POOL.JSONL", LINES),
        ("pool.jsonl.gz", squeezed(LINES, "gz")),
        ("pool.jsonl.zst", squeezed(LINES, "zst")),
        ("two-members.jsonl.gz", squeezed(LINES[:40], "gz") + squeezed(LINES[40:], "gz")),
        ("two-frames.jsonl.zst", squeezed(LINES[:40], "zst") + squeezed(LINES[40:], "zst")),
        ("compressed-without-a-name.jsonl", squeezed(LINES, "gz")),
        ("pool", LINES),
        ("pool.txt", LINES),
        ("pool.gz", squeezed(LINES, "gz")),
        ("lines-called.json", LINES),
        ("pool.json", json.dumps(QUESTIONS).encode()),
        ("indented.json", json.dumps(QUESTIONS, indent=2).encode()),
        ("inside.json", json.dumps({"version": "1.0", "tags": ["a"], "data": QUESTIONS}).encode()),
        ("inside-indented.json", json.dumps({"data": QUESTIONS}, indent=1).encode()),
        ("pool.json.zst", squeezed(json.dumps(QUESTIONS).encode(), "zst")),
        ("array", json.dumps(QUESTIONS).encode()),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps(QUESTIONS).encode()),
        ("crlf.jsonl", LINES.replace(b"\n", b"\r\n")),
        ("blank-lines.jsonl", LINES.replace(b"\n", b"\n\n  \n")),
        ("no-last-line-end.jsonl", LINES[:-1]),
        ("pool.csv", COMMAS),
        ("pool.csv.gz", squeezed(COMMAS, "gz")),
        ("pool.csv.zst", squeezed(COMMAS, "zst")),
        ("bom-crlf.csv", b"\xef\xbb\xbf" + COMMAS.replace(b"\n", b"\r\n")),
        ("spaces.csv", COMMAS.replace(b"question,answer", b"question , answer")),
        ("pool.tsv", COMMAS.replace(b",", b"\t")),
    ],
    ids=named,
)
def test_every_text_format_gives_the_same_rows(tmp_path, name, data):
    """The same questions come out of each format, compression and line end, in order."""
    assert contents(write(tmp_path, name, data)) == QUESTIONS


def test_parquet_gives_the_same_rows_by_name_and_by_bytes(tmp_path):
    """Parquet is read in batches, with its name or without."""
    path = parquet(tmp_path, "pool.parquet", QUESTIONS, row_group_size=2)
    assert contents(path) == QUESTIONS
    assert places(path)[3] == "pool.parquet:4"
    Path(path).rename(tmp_path / "pool")
    assert contents(str(tmp_path / "pool")) == QUESTIONS


def test_parquet_values_become_json_values(tmp_path):
    """Dates, decimals, bytes, lists and objects of a Parquet file come out as JSON can hold them."""
    from datetime import date
    from decimal import Decimal

    data = {"d": date(2024, 5, 1), "n": Decimal("1.50"), "b": b"hi", "l": [1, 2], "o": {"x": [None, "y"]}}
    assert contents(parquet(tmp_path, "odd.parquet", [data])) == [
        {"d": "2024-05-01", "n": "1.50", "b": "aGk=", "l": [1, 2], "o": {"x": [None, "y"]}}
    ]


def test_places_are_line_numbers(tmp_path):
    """A row's place is its line in the file, blank lines and lines inside quotes counted."""
    assert places(write(tmp_path, "a.jsonl", b'{"x":1}\n\n{"x":2}\n')) == ["a.jsonl:1", "a.jsonl:3"]
    path = write(tmp_path, "a.csv", b'x,y\n"two\nlines",1\nplain,2\n')
    assert contents(path) == [{"x": "two\nlines", "y": "1"}, {"x": "plain", "y": "2"}]
    assert places(path) == ["a.csv:2", "a.csv:4"]


GOOD = {"x": "ok"}


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("torn.jsonl", b'{"x":"ok"}\n{"x":"o', [GOOD, "torn_line"]),
        ("bad.jsonl", b'{"x":"ok"}\n{x: 1}\n{"x":"ok"}\n', [GOOD, "bad_json", GOOD]),
        ("shapes.jsonl", b'[1]\n"x"\n3\nnull\n{"x":"ok"}\n', ["not_an_object"] * 4 + [GOOD]),
        ("latin1.jsonl", b'{"x":"caf\xe9"}\n{"x":"ok"}\n', ["bad_encoding", GOOD]),
        ("deep.jsonl", b"[" * 100_000 + b'\n{"x":"ok"}\n', ["bad_json", GOOD]),
        ("surrogate.jsonl", b'{"x":"\\ud800"}\n{"x":"ok"}\n', ["bad_json", GOOD]),
        ("nul.jsonl", b'\x00\x00\x00\n{"x":"ok"}\n', ["bad_json", GOOD]),
        ("two.jsonl", b'{"x":1} {"x":2}\n{"x":"ok"}\n', ["bad_json", GOOD]),
        ("digits.jsonl", b'{"x":' + b"9" * 5000 + b'}\n{"x":"ok"}\n', ["bad_json", GOOD]),
        ("latin1.csv", b"x\ncaf\xe9\nok\n", ["bad_encoding", GOOD]),
        ("fields.csv", b"x\nok,1\nok\n", ["wrong_number_of_fields", GOOD]),
        ("quotes.csv", b'x\n"a"b\nok\n', ["bad_csv", GOOD]),
        ("open-quote.csv", b'x\nok\n"and then\nnothing\n', [GOOD, "torn_line"]),
        ("array.json", b'[{"x":"ok"},{"x":"ok"},7,{"x":"ok"}]', [GOOD, GOOD, "not_an_object", GOOD]),
    ],
    ids=named,
)
def test_one_bad_row_stops_none(tmp_path, name, data, expected):
    """Each kind of bad row gets its reason, and the rows around it are read."""
    assert contents(write(tmp_path, name, data)) == expected


def test_a_bad_row_shows_where_and_what(tmp_path):
    """A bad row keeps its place and the beginning of its text, other encodings escaped."""
    (found,) = rows(write(tmp_path, "a.jsonl", b'  {"x":"caf\xe9' + b"y" * 10_000 + b"\n"))
    assert isinstance(found, BadRow)
    assert found.place == "a.jsonl:1"
    assert found.text.startswith('{"x":"caf\\xe9yyy')
    assert len(found.text) == 200


def test_a_huge_line_is_refused_and_the_next_is_read(tmp_path):
    """A line of four times the limit becomes a bad row without being held, and the row after it is read."""
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.write(b'{"x":"')
        file.seek(4 * streams.MAX_LINE)
        file.write(b'"}\n{"x":"ok"}\n')
    with peak_memory() as peak:
        assert contents(str(path)) == ["line_too_long", GOOD]
    assert peak[0] < 3 * streams.MAX_LINE


def test_a_field_beyond_the_limit_is_a_bad_row(tmp_path):
    """A CSV field larger than the usual limit is read, one beyond ours becomes a bad row."""
    wide = "w" * 200_000
    over = "o" * (textfiles.MAX_FIELD + 1)
    path = write(tmp_path, "wide.csv", f"x\n{wide}\n{over}\nok\n".encode())
    assert contents(path) == [{"x": wide}, "bad_csv", GOOD]


def test_numbers_stay_exact_and_odd_ones_are_tolerated(tmp_path):
    """Whole numbers beyond 64 bits stay exact, and NaN, Infinity and numbers beyond a float are taken."""
    path = write(
        tmp_path, "n.jsonl", b'{"x":123456789012345678901234567890}\n{"x":NaN}\n{"x":-Infinity}\n{"x":1e400}\n'
    )
    big, nan, low, high = (row["x"] for row in contents(path))
    assert big == 123456789012345678901234567890
    assert nan != nan  # noqa: PLR0124 - only NaN differs from itself
    assert (low, high) == (float("-inf"), float("inf"))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("empty.csv", b"", "is empty"),
        ("blank.jsonl", b"\n \n", "holds no rows"),
        ("header-only.csv", b"question,answer\n", "holds no rows"),
        ("nothing.json", b"[]", "holds no rows"),
        ("empty.jsonl.gz", squeezed(b"", "gz"), "is empty|holds no rows"),
        ("plain.jsonl.gz", LINES, "is not gzip data"),
        ("plain.jsonl.zst", LINES, "is not zstd data"),
        ("short.jsonl.gz", squeezed(os.urandom(9000).hex().encode(), "gz")[:-300], "cut off"),
        ("short.jsonl.zst", squeezed(os.urandom(9000).hex().encode(), "zst")[:-300], "cut off"),
        ("no-trailer.jsonl.gz", squeezed(LINES, "gz")[:-4], "cut off"),
        ("broken.jsonl.gz", squeezed(LINES, "gz")[:-8] + b"\xff" * 8, "damaged"),
        ("broken.jsonl.zst", squeezed(LINES, "zst")[:4] + b"\xff" * 40, "damaged"),
        ("tail.jsonl.zst", squeezed(LINES, "zst") + b"junk", "damaged"),
        ("utf16.jsonl", LINES.decode().encode("utf-16"), "UTF-16.*iconv"),
        ("utf16.csv", COMMAS.decode().encode("utf-16"), "UTF-16.*iconv"),
        ("latin1.json", b'[{"x":"caf\xe9"}]', "not UTF-8"),
        ("broken.json", b'[{"x":1},\n {"x":}]', "line 2, column 7"),
        ("number.json", b"7", "neither an array"),
        ("two-arrays.json", b'{"train":[{"x":1}],"test":[{"x":2}]}', r"several arrays \(test, train\)"),
        ("twice.csv", b"question,answer,answer\na,b,c\n", "more than one column named 'answer'"),
        ("bad-header.csv", b"caf\xe9,x\n1,2\n", "header"),
        ("book.xlsx", b"PK\x03\x04 not ours", r"not clear.*\.jsonl.*--format"),
        ("notes.txt", b"question one\n", "not clear"),
        ("no.parquet", b"this is not parquet at all", "not a Parquet file"),
        ("zero.parquet", b"", "not a Parquet file|is empty"),
    ],
    ids=named,
)
def test_a_file_that_cannot_be_read_gets_one_sentence(tmp_path, name, data, words):
    """What is wrong with a file as a whole is one sentence that names it, on one line."""
    path = write(tmp_path, name, data)
    with pytest.raises(UsageError, match=words) as caught:
        list(rows(path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_refused_at_once(tmp_path):
    """A missing source is refused before the first row is asked for, with the nearest name."""
    path = write(tmp_path, "pool.jsonl", LINES)
    with pytest.raises(UsageError, match=r"did you mean .*pool\.jsonl\?"):
        rows(str(tmp_path / "pol.jsonl"))
    with pytest.raises(UsageError, match="hf:owner/name"):
        rows(str(tmp_path / "zzz" / "q"))
    with pytest.raises(UsageError, match="no name"):
        rows(" ")
    with pytest.raises(UsageError, match="choose one of jsonl"):
        rows(path, format="xlsx")
    with pytest.raises(UsageError, match="one file"):
        rows(path, split="train")


def test_a_file_that_may_not_be_read_gets_one_sentence(tmp_path):
    """A file without permission to read is a sentence, not a traceback."""
    path = write(tmp_path, "pool.jsonl", LINES)
    Path(path).chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UsageError, match="may not be read"):
        list(rows(path))


def test_format_overrides_the_name(tmp_path):
    """The format that the user gives comes before the name."""
    assert contents(write(tmp_path, "pool.dat", COMMAS), format="csv") == QUESTIONS
    assert contents(write(tmp_path, "pool.csv", LINES), format="jsonl") == QUESTIONS


def test_a_large_json_document_is_refused(tmp_path, monkeypatch):
    """A JSON document beyond the limit is refused with the advice to write JSON Lines."""
    monkeypatch.setattr(textfiles, "MAX_JSON", 100)
    with pytest.raises(UsageError, match="JSON Lines"):
        list(rows(write(tmp_path, "big.json", json.dumps(QUESTIONS).encode())))


def test_a_pipe_can_be_read(tmp_path):
    """Nothing is read twice, so a named pipe works as a source."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(squeezed(LINES, "gz"),))
    writer.start()
    try:
        assert contents(str(path)) == QUESTIONS
    finally:
        writer.join()


def test_reading_half_leaves_nothing_open(tmp_path):
    """A reader that is given up, or never started, leaves no file open (warnings are errors here)."""
    path = write(tmp_path, "pool.jsonl.gz", squeezed(LINES, "gz"))
    rows(path)
    assert len(list(itertools.islice(rows(path), 2))) == 2


def test_a_zstd_bomb_stays_small(tmp_path):
    """A small file that unfolds to half a gigabyte of one line is read with bounded memory."""
    compressor = ZstdCompressor(level=3)
    data = b"".join(compressor.compress(b"y" * 2**20) for _ in range(512)) + compressor.flush()
    assert len(data) < 100_000
    path = write(tmp_path, "bomb.jsonl.zst", data)
    with peak_memory() as peak:
        assert contents(path) == ["line_too_long"]
    # Two copies of the longest line that is kept, and what 1 KiB unfolds to.
    assert peak[0] < 2 * streams.MAX_LINE + 40 * 2**20


@pytest.mark.parametrize(
    ("module", "source", "extra"),
    [("pyarrow", "no.parquet", "gradatim[parquet]"), ("datasets", "hf:openai/gsm8k", "gradatim[hub]")],
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, module, source, extra):
    """Without the library a format needs, the error gives the line that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    if not source.startswith("hf:"):
        source = write(tmp_path, source, b"PAR1")
    with pytest.raises(SetupError, match="pip install") as caught:
        list(rows(source))
    assert extra in str(caught.value)


def test_twice_named_parquet_columns_are_refused(tmp_path):
    """A Parquet file with two columns of one name is refused, since a row could hold only one of them."""
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(UsageError, match="more than one column named 'x'"):
        list(rows(parquet(tmp_path, "twice.parquet", table)))


def test_a_pool_larger_than_memory_streams(tmp_path):
    """Fifty thousand rows of 30 MB pass through without being held."""
    path = tmp_path / "large.jsonl.zst"
    with ZstdFile(path, "wb", level=1) as file:
        for number in range(50_000):
            noise = hashlib.sha512(str(number).encode()).hexdigest()
            file.write(json.dumps({"question": noise + "x" * 400, "answer": "1"}).encode() + b"\n")
    with peak_memory() as peak:
        assert sum(1 for _ in rows(str(path))) == 50_000
    assert peak[0] < 5 * 2**20


# Rows


def test_a_columns_own_name_wins_over_a_path():
    """Dots lead into objects and lists, unless a column has that very name."""
    row = Row(place="p", data={"a": {"b": {"c": 1}, "b.c": 2, "l": [{"x": 5}]}, "a.b": 3})
    assert row.value("a.b") == 3
    assert row.value("a.b.c") == 2
    assert row.value("a.l.0.x") == 5
    assert not row.has("a.l.1")
    assert not row.has("a.z")
    assert row.text("nothing") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (" x ", "x"),
        (7, "7"),
        (7.0, "7"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (float("nan"), ""),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({"k": None}, '{"k":null}'),
    ],
)
def test_values_become_the_text_a_person_would_write(value, text):
    """Each JSON value has one text; a missing one has none."""
    assert as_text(value) == text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES)
@settings(max_examples=50)
def test_json_comes_back_as_it_was(value):
    """What is encoded is decoded to the same value, and agrees with the standard library."""
    raw = jsontext.encode(value)
    assert jsontext.decode(raw) == value
    assert json.loads(raw) == value
    assert jsontext.decode(json.dumps(value).encode()) == value


@given(st.binary(max_size=80))
@settings(max_examples=100)
def test_no_bytes_stop_the_reader(tmp_path_factory, data):
    """Any bytes between two good lines are rows or bad rows, and the good lines are read."""
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(b'{"x":"ok"}\n' + data + b'\n{"x":"ok"}\n')
    found = contents(str(path))
    assert found[0] == found[-1] == GOOD


def test_importing_the_formats_is_cheap():
    """No heavy library is loaded by importing the formats."""
    code = (
        "import sys; sys.path[:0]=sys.argv[1:]\n"
        "import gradatim.formats.read, gradatim.formats.presets, gradatim.formats.write, gradatim.formats.card\n"
        "import gradatim.formats.manifest, gradatim.formats.recorded, gradatim.formats.shapes\n"
        "print([name for name in ('pyarrow', 'datasets', 'backports.zstd', 'torch', 'numpy') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"


DATA = Path(os.environ.get("GRADATIM_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not at {DATA}")
@pytest.mark.parametrize(
    ("file", "count"),
    [("gsm8k_train.jsonl", 7473), ("math500.jsonl", 500), ("gsm8k_solutions.jsonl", 1319), ("humaneval.jsonl.gz", 164)],
)
def test_real_files_are_read_whole(file, count):
    """Every line of the real data is a row."""
    found = list(rows(str(DATA / file)))
    assert len(found) == count
    assert all(isinstance(row, Row) for row in found)
