"""Files appear whole or not at all, hold the same bytes for the same rows, and are read back as they were."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradatim.errors import SetupError, UsageError
from gradatim.formats.card import Card, LevelCount, render, size_category
from gradatim.formats.manifest import Manifest, read_manifest, write_manifest
from gradatim.formats.read import rows
from gradatim.formats.shapes import Column, Example, Shape, Thinking, shaped, typical
from gradatim.formats.write import SUFFIXES, beside, write_rows, write_text

ROW = {"x": "1", "n": 1}
COLUMNS = (Column.ID, Column.LEVEL)


def examples(count=3000):
    return [
        Example(prompt=f"{i}+{i}?", answer=f"It is {2 * i}, né?", thinking="add " * (i % 7), id=f"id{i}", level=i % 6)
        for i in range(count)
    ]


def write_shape(path, shape, thinking=Thinking.TAGS, count=3000):
    made = (shaped(example, shape, thinking=thinking, columns=COLUMNS) for example in examples(count))
    return write_rows(path, made, typical=typical(shape, thinking=thinking, columns=COLUMNS))


def needs(suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")


def left(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("thinking", Thinking)
def test_what_is_written_is_read_back(tmp_path, shape, suffix, thinking):
    """Each shape in each format comes back, through our own reader, as the rows that were written."""
    needs(suffix)
    path = tmp_path / f"set{suffix}"
    written = write_shape(path, shape, thinking, 50)
    back = [dict(row.data) for row in rows(str(path))]
    expected = [shaped(example, shape, thinking=thinking, columns=COLUMNS) for example in examples(50)]
    if suffix == ".parquet" and shape is Shape.MESSAGES and thinking is Thinking.FIELD:
        # A Parquet column has one type for all turns, so the user's turn has a null where JSON has nothing.
        for row in back:
            assert row["messages"][0].pop("reasoning_content") is None
    assert back == expected
    assert (written.rows, written.name) == (50, path.name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_rows_give_the_same_bytes(tmp_path, suffix):
    """Two runs write the same bytes, whatever the name and the folder, and the hash is that of the file."""
    needs(suffix)
    (tmp_path / "other").mkdir()
    first = write_shape(tmp_path / f"a{suffix}", Shape.MESSAGES)
    second = write_shape(tmp_path / "other" / f"b{suffix}", Shape.MESSAGES)
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert (first.sha256, first.size) == (second.sha256, second.size)
    assert first.sha256 == hashlib.sha256(data).hexdigest()
    assert first.size == len(data)
    assert str(tmp_path).encode() not in data


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_datasets_loads_what_is_written(tmp_path, suffix, monkeypatch):
    """The `datasets` library, which trainers read with, loads the files with the rows and types they have."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / f"set{suffix}"
    write_shape(path, Shape.MESSAGES)
    kind = "json" if suffix == ".jsonl" else "parquet"
    stream = datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)
    loaded = list(stream)
    assert len(loaded) == 3000
    assert loaded[7]["messages"] == shaped(examples(8)[7], Shape.MESSAGES)["messages"]
    assert [row["level"] for row in loaded[:7]] == [0, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_half_way_leaves_nothing_and_keeps_the_old_file(tmp_path, suffix):
    """When the rows end in an error, no temporary file is left and what stood there before still does."""
    needs(suffix)
    path = tmp_path / f"set{suffix}"
    old = write_rows(path, [ROW], typical=ROW)

    def failing():
        yield from [ROW] * 2000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, failing(), typical=ROW)
    assert left(tmp_path) == [path.name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == old.sha256


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [0, 100_000])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, suffix, room):
    """When the system refuses to write on, the error is a `SetupError` and no part of the file is left."""
    needs(suffix)
    code = (
        "import sys, os, resource; sys.path[:0] = sys.argv[4:]\n"
        "from pathlib import Path\n"
        "from gradatim.errors import SetupError\n"
        "from gradatim.formats.write import write_rows\n"
        "path = Path(sys.argv[1], 'set' + sys.argv[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))\n"
        "made = ({'x': os.urandom(500).hex()} for _ in range(3000))\n"
        "try: write_rows(path, made, typical={'x': ''})\n"
        "except SetupError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), suffix, str(room), *sys.path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"set{suffix} could not be written: File too large; nothing of it was kept." in run.stdout
    assert run.stderr == ""
    assert left(tmp_path) == []


def test_a_full_file_system_is_a_sentence(tmp_path):
    """On a file system that really has no room left, the same holds."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from gradatim.errors import SetupError\n"
        "from gradatim.formats.write import write_rows\n"
        "try: write_rows(Path(sys.argv[1], 'set.jsonl'), ({'x': 'y' * 1000} for _ in range(5000)), typical={'x': ''})\n"
        "except SetupError as error: print(error, list(Path(sys.argv[1]).iterdir()))\n"
    )
    mount = 'mount -t tmpfs -o size=256k none "$0" || exit 77; exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, str(tmp_path), sys.executable, "-c", code, str(tmp_path), *sys.path]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if run.returncode == 77 or run.stderr.startswith("unshare:"):
        pytest.skip("this user may not mount a file system")
    assert "could not be written: No space left on device" in run.stdout
    assert run.stdout.strip().endswith("[]")


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    """SIGKILL in the middle of writing never shows a part of a file under its name."""
    path = tmp_path / "set.jsonl"
    write_rows(path, [ROW], typical=ROW)
    code = (
        "import sys, os, signal; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from gradatim.formats.write import write_rows\n"
        "def made():\n"
        "    yield from ({'x': 'y' * 1000} for _ in range(5000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_rows(Path(sys.argv[1]), made(), typical={'x': ''})\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path), *sys.path], check=False, timeout=60)
    assert run.returncode == -9
    assert path.read_bytes() == b'{"x":"1","n":1}\n'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("set.txt", "end the name in .jsonl"),
        ("set", "end the name in .jsonl"),
        (".jsonl", "end the name in .jsonl"),
        ("nowhere/set.jsonl", "no folder"),
        ("folder.jsonl", "is a folder"),
    ],
)
def test_a_wrong_target_gets_one_sentence(tmp_path, name, words):
    """A target that cannot be is refused with what to do, and nothing is written."""
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match=words):
        write_rows(tmp_path / name, [ROW], typical=ROW)
    assert left(tmp_path) == ["folder.jsonl"]


def test_a_folder_without_permission_gets_one_sentence(tmp_path):
    """A folder that may not be written in is a sentence."""
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(UsageError, match="may not be written"):
            write_rows(tmp_path / "set.jsonl", [ROW], typical=ROW)
    finally:
        tmp_path.chmod(0o700)


def test_a_link_stays_a_link(tmp_path):
    """Writing to a link replaces what it points to."""
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    write_rows(tmp_path / "link.jsonl", [ROW], typical=ROW)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == '{"x":"1","n":1}\n'


def test_gzip_holds_no_time_and_no_name(tmp_path):
    """The gzip header holds neither a time nor a file name."""
    write_rows(tmp_path / "set.jsonl.gz", [ROW], typical=ROW)
    data = (tmp_path / "set.jsonl.gz").read_bytes()
    assert data[3:8] == b"\0\0\0\0\0"
    assert gzip.decompress(data) == b'{"x":"1","n":1}\n'


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_make_a_file_without_rows(tmp_path, suffix):
    """An empty set is a valid file of its format."""
    needs(suffix)
    written = write_rows(tmp_path / f"set{suffix}", [], typical=ROW)
    assert written.rows == 0
    with pytest.raises(UsageError, match="is empty"):
        list(rows(str(tmp_path / f"set{suffix}")))


def test_parquet_types_do_not_depend_on_gaps(tmp_path):
    """A column that is null in all first rows has the type of the typical row, and later values fit."""
    pytest.importorskip("pyarrow")
    made = ({"x": str(i), "level": i if i > 1500 else None} for i in range(2000))
    write_rows(tmp_path / "set.parquet", made, typical={"x": "", "level": 0})
    back = list(rows(str(tmp_path / "set.parquet")))
    assert back[0].data == {"x": "0", "level": None}
    assert back[-1].data == {"x": "1999", "level": 1999}


@pytest.mark.parametrize("late", [{"x": "1", "n": 1, "new": 2}, {"x": "1", "n": "word"}])
def test_parquet_drops_no_column_and_bends_no_value(tmp_path, late):
    """A row that does not fit the first ones stops the writing, and never loses a column without a word."""
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="row"):
        write_rows(tmp_path / "set.parquet", [ROW] * 1500 + [late], typical=ROW)
    assert left(tmp_path) == []


def test_companions_stand_beside_the_set():
    """The card and the manifest are named after the set, without its format's ending."""
    for suffix in SUFFIXES:
        path = Path("out", f"math-2k{suffix}")
        assert beside(path, "card.md") == Path("out", "math-2k.card.md")
        assert beside(path, "manifest.json") == Path("out", "math-2k.manifest.json")
    assert beside(Path("v1.2.jsonl"), "card.md") == Path("v1.2.card.md")


CARD = Card(
    name="math-2k: a | test",
    files=("math-2k.jsonl",),
    rows=2000,
    shape="messages",
    columns=("messages", "level"),
    levels=(
        LevelCount(level=0, rows=0, asked=0),
        LevelCount(level=1, rows=1333, asked=1333),
        LevelCount(level=5, rows=1),
    ),
    settings=(("mix", "curriculum:5,4,3,2,1"), ("seed", "7")),
    provenance=(("teacher", "big|model\n<b>x</b>"),),
    left_out=(("too_long", 12),),
)


def test_the_card_is_markdown_with_front_matter():
    """The card has the hub's front matter, the histogram and the tables, and no cell breaks out of its line."""
    yaml = pytest.importorskip("yaml")
    text = render(CARD)
    _, front, body = text.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert "license" not in meta
    assert "# license: left open" in front
    assert meta["size_categories"] == ["1K<n<10K"]
    assert meta["pretty_name"] == CARD.name
    assert meta["configs"][0]["data_files"] == [{"split": "train", "path": ["math-2k.jsonl"]}]
    assert "| 1 | 1,333 | 1,333 | ████████████████████████████████████████ |" in body
    assert "| 5 | 1 |  | █ |" in body
    assert "| teacher | big\\|model &lt;b>x&lt;/b> |" in body
    assert "| too_long | 12 |" in body
    assert render(CARD) == text


@pytest.mark.parametrize(
    ("count", "word"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2000, "1K<n<10K"), (10**9, "n>100M")]
)
def test_sizes_are_the_hubs_words(count, word):
    """A number of rows has the hub's word for it."""
    assert size_category(count) == word


def test_a_folder_with_a_card_loads_as_the_hub_would(tmp_path, monkeypatch):
    """With the card as its README, the folder loads by the card's own `configs`."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_shape(tmp_path / "math-2k.jsonl", Shape.MESSAGES, count=5)
    write_text(tmp_path / "README.md", render(CARD))
    assert len(list(datasets.load_dataset(str(tmp_path), split="train", streaming=True))) == 5


def test_the_manifest_comes_back(tmp_path):
    """A manifest is read back as it was written, and names each file with its hash."""
    files = (write_rows(tmp_path / "a.jsonl", [ROW], typical=ROW), write_text(tmp_path / "a.card.md", "card"))
    manifest = Manifest(name="a", gradatim="0.1.0", files=files, settings=(("mix", "observed"), ("a", "b")))
    write_manifest(tmp_path / "a.manifest.json", manifest)
    assert read_manifest(tmp_path / "a.manifest.json") == manifest
    plain = json.loads((tmp_path / "a.manifest.json").read_text())
    assert plain["files"][0]["sha256"] == hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest()
    assert plain["files"][1]["rows"] is None
    assert read_manifest(tmp_path / "none.manifest.json") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not a manifest"), ('{"version": 1}', "not a manifest"), ("[]", "not a manifest")],
)
def test_what_is_no_manifest_gets_a_sentence(tmp_path, text, words):
    """A file that is not a manifest is refused."""
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_manifest(tmp_path / "m.json")


def test_a_newer_manifest_is_refused(tmp_path):
    """A manifest of a newer version is refused with that word."""
    write_manifest(tmp_path / "m.json", Manifest(name="a", gradatim="9.0", files=(), version=99))
    with pytest.raises(UsageError, match=r"newer gradatim \(9.0\)"):
        read_manifest(tmp_path / "m.json")


def test_a_missing_parquet_library_is_named(tmp_path, monkeypatch):
    """Without pyarrow, a Parquet target is refused with the line that installs it, and nothing is left."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match=r"pip install 'gradatim\[parquet\]'"):
        write_rows(tmp_path / "set.parquet", [ROW], typical=ROW)
    assert left(tmp_path) == []
