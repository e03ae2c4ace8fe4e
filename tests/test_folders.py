"""Folders, saved data sets and the hub's library give their rows, of the split that was meant."""

from __future__ import annotations

import pytest

from gradatim.errors import SetupError, UsageError
from gradatim.formats.read import rows
from test_read import LINES, QUESTIONS, contents, parquet, places, write


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    """The data files of a folder are read one after the other; what describes them is not data."""
    write(tmp_path, "pool/part-2.jsonl", LINES[40:])
    write(tmp_path, "pool/part-1.jsonl", LINES[:40])
    write(tmp_path, "pool/README.md", b"# words")
    write(tmp_path, "pool/dataset_infos.json", b"{}")
    write(tmp_path, "pool/.cache/old.jsonl", LINES)
    head, tail = LINES[:40].decode(), LINES[40:].decode()
    found = places(str(tmp_path / "pool"))
    assert len(found) == len(head.splitlines()) + len(tail.splitlines())
    assert found[0] == "pool/part-1.jsonl:1"
    assert found[-1].startswith("pool/part-2.jsonl:")


def test_the_train_split_is_taken_unless_another_is_asked_for(tmp_path):
    """In a folder with splits, `train` is the default and a test split never slips into a pool."""
    parquet(tmp_path, "d/main/train-00000-of-00001.parquet", [{"x": "train"}])
    parquet(tmp_path, "d/main/test-00000-of-00001.parquet", [{"x": "test"}])
    write(tmp_path, "d/socratic/train.jsonl", b'{"x":"socratic"}\n')
    folder = str(tmp_path / "d")
    assert contents(folder, config_name="main") == [{"x": "train"}]
    assert contents(folder, config_name="main", split="test") == [{"x": "test"}]
    assert contents(folder, config_name="socratic") == [{"x": "socratic"}]
    with pytest.raises(UsageError, match="no configuration 'mian'; there are: main, socratic"):
        rows(folder, config_name="mian")
    with pytest.raises(UsageError, match=r"no split 'validation'; there are: test, train"):
        rows(folder, config_name="main", split="dev")


def test_several_splits_without_train_must_be_chosen_from(tmp_path):
    """A folder with test and validation files is not read as one pool by default."""
    write(tmp_path, "d/test.jsonl", LINES)
    assert contents(str(tmp_path / "d")) == QUESTIONS
    write(tmp_path, "d/dev.jsonl", LINES)
    with pytest.raises(UsageError, match=r"there are: test, validation. Choose with --split"):
        rows(str(tmp_path / "d"))


def test_a_folder_without_data_gets_a_sentence(tmp_path):
    """A folder that holds no data file is refused at once."""
    write(tmp_path, "d/README.md", b"# words")
    with pytest.raises(UsageError, match="holds no data"):
        rows(str(tmp_path / "d"))


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The real library, offline, with its cache in the test's folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = pytest.importorskip("datasets")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True)
    return found


def test_folders_written_by_save_to_disk_are_read(tmp_path, datasets):
    """Both kinds of folder that `save_to_disk` writes give their rows, the train split by default."""
    one = datasets.Dataset.from_list(QUESTIONS)
    one.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(tmp_path / "both")
    assert contents(str(tmp_path / "one")) == QUESTIONS
    assert contents(str(tmp_path / "both")) == QUESTIONS
    assert contents(str(tmp_path / "both"), split="test") == QUESTIONS[:1]
    assert places(str(tmp_path / "both"), split="test") == ["both/test:1"]
    with pytest.raises(UsageError, match="no split 'dev'; there are: train, test"):
        rows(str(tmp_path / "both"), split="dev")
    with pytest.raises(UsageError, match="without splits"):
        rows(str(tmp_path / "one"), split="train")


@pytest.mark.usefixtures("datasets")
def test_data_sets_stream_through_the_hub_library(tmp_path):
    """What `hf:` names is read by `datasets` itself, streaming; here from a folder, since tests have no network."""
    write(tmp_path, "d/train.jsonl", LINES)
    write(tmp_path, "d/test.jsonl", LINES[:40])
    source = f"hf:{tmp_path / 'd'}"
    assert contents(source) == QUESTIONS
    assert places(source)[1] == "d/train:2"
    with pytest.raises(UsageError, match="cannot be read"):
        rows(source, split="dev")


@pytest.mark.usefixtures("datasets")
def test_a_hub_that_cannot_be_reached_is_the_machines_fault():
    """Without a network, a hub name is a `SetupError` that names the data set."""
    with pytest.raises(SetupError, match="nobody/nothing-here"):
        rows("nobody/nothing-here")


@pytest.mark.usefixtures("datasets")
def test_a_folder_with_a_loading_script_runs_no_code(tmp_path):
    """A data set that brings its own code is refused, and the code does not run."""
    mark = tmp_path / "ran"
    write(tmp_path, "evil/evil.py", f"open({str(mark)!r}, 'w')\n".encode())
    with pytest.raises((UsageError, SetupError)):
        list(rows(f"hf:{tmp_path / 'evil'}"))
    with pytest.raises((UsageError, SetupError)):
        list(rows(f"hf:{tmp_path / 'evil' / 'evil.py'}"))
    assert not mark.exists()
