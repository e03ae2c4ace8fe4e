"""Export: the finished set as files that are the same bytes wherever and whenever they are written."""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gradatim as gr
from gradatim.errors import SetupError
from pools import drawn_library, question, write_rows

CALM = gr.CurateSettings(max_repetition=1.0)
FORMATS = ("messages", "prompt_completion", "sharegpt", "alpaca")


def finished(folder, *, reasoning="none", name="library.db") -> gr.Library:
    """Return a library with a curated draw `d` of fifteen chains."""
    library = drawn_library(folder, name=name)
    answers = str(folder / "pool.jsonl")
    with gr.MockServer(gr.MockSettings(accuracy=1.0, answers=answers, reasoning=reasoning)) as server:
        model = gr.Endpoint(name="teacher", base_url=server.url)
        gr.teach(library, "d", model, curate=CALM, engine=gr.EngineSettings(concurrency=8))
    gr.curate(library, "d", CALM)
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with finished(tmp_path_factory.mktemp("finished"), reasoning="field") as library:
        yield library


def rows_of(path: Path) -> list[dict]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


CHILD = textwrap.dedent("""
    import sys
    import gradatim as gr
    with gr.Library(sys.argv[1]) as library:
        for name in sys.argv[2:]:
            gr.export(library, "d", gr.ExportSettings(out=name, columns=["id", "level", "source"]))
""")


def test_two_exports_are_the_same_bytes_in_any_process_and_folder(tmp_path, library):
    """JSONL, gzip, zstd and Parquet, with card and manifest, in three processes with other hash seeds and folders."""
    names = ["a.jsonl", "b.jsonl.gz", "c.parquet", "d.jsonl.zst"]
    found = []
    for seed in ("0", "1", "4242"):
        folder = tmp_path / f"folder-{seed}"
        folder.mkdir()
        environment = os.environ | {"PYTHONPATH": str(Path(gr.__file__).parents[1]), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", CHILD, str(library.path.absolute()), *names]
        subprocess.run(command, env=environment, cwd=folder, check=True)
        found.append(hashes(folder))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 12


def test_another_library_of_the_same_content_exports_the_same(tmp_path):
    """Two libraries that went through the same stages give the same training file, card and manifest."""
    found = []
    for name in ("one", "two"):
        folder, out = tmp_path / name, tmp_path / f"{name}-out"
        folder.mkdir()
        out.mkdir()
        with finished(folder) as library:
            gr.export(library, "d", gr.ExportSettings(out=str(out / "x.jsonl")))
        found.append(hashes(out))
    assert found[0] == found[1]


def test_the_manifest_and_the_card_say_what_is_there(tmp_path, library):
    """Hashes, sizes and row counts are those of the files; the card has the histogram, the settings and the sources."""
    out = tmp_path / "math.jsonl"
    result = gr.export(library, "d", gr.ExportSettings(out=str(out)))
    manifest = json.loads((tmp_path / "math.manifest.json").read_text())
    for file in manifest["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert (file["sha256"], file["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert [file["name"] for file in manifest["files"]] == ["math.jsonl", "math.card.md"]
    assert manifest["files"][0]["rows"] == result.rows == 15
    card = (tmp_path / "math.card.md").read_text()
    for word in ("curriculum:5,4,3,2,1", "teacher", "pool (pool)", "math 1+", "rate", "15"):
        assert word in card
    assert str(tmp_path) not in card + json.dumps(manifest)


def test_each_kept_chain_is_one_row_in_a_seeded_order(tmp_path, library):
    """The rows are the kept chains and nothing else, levels mixed, with the columns that were asked for."""
    columns = ["id", "level", "source", "model", "reference"]
    gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "x.jsonl"), columns=columns))
    rows = rows_of(tmp_path / "x.jsonl")
    kept = set(library.all("SELECT question, level FROM chains WHERE kept"))
    assert {(row["id"], row["level"]) for row in rows} == kept
    assert len(rows) == 15
    assert [row["level"] for row in rows] != sorted(row["level"] for row in rows)
    assert all(row["model"] == "teacher" and row["source"].startswith("pool.jsonl:") for row in rows)
    assert all(row["reference"] in row["messages"][-1]["content"] for row in rows)


@pytest.mark.parametrize("thinking", ["tags", "field", "none"])
@pytest.mark.parametrize("format_", FORMATS)
def test_every_shape_carries_the_question_the_chain_and_the_thinking(tmp_path, library, format_, thinking):
    """In each shape the thinking is where it was asked to be, once, and the answer is the teacher's."""
    out = tmp_path / "x.jsonl"
    settings = gr.ExportSettings(out=str(out), format=format_, thinking=thinking, system="Be exact.", columns=["id"])
    gr.export(library, "d", settings)
    held = {
        row[0]: row[1:] for row in library.all("SELECT question, thinking, answer FROM attempts WHERE role = 'teacher'")
    }
    for row in rows_of(out):
        text = json.dumps(row, ensure_ascii=False)
        thought, answer = held[row["id"]]
        assert "Be exact." in text
        assert json.dumps(answer, ensure_ascii=False)[1:-1] in text
        count = text.count(json.dumps(thought, ensure_ascii=False)[1:-1])
        assert count == (0 if thinking == "none" else 1)
        assert text.count("<think>") == text.count("</think>") == (thinking == "tags")


@pytest.mark.parametrize("reasoning", ["none", "field", "reasoning", "think"])
def test_however_the_server_gave_its_thinking_the_export_is_alike(tmp_path, reasoning):
    """Reasoning in a field, in the other field, or as tags in the text ends as one pair of tags; none ends as none."""
    with finished(tmp_path, reasoning=reasoning) as library:
        gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "x.jsonl")))
    texts = [row["messages"][-1]["content"] for row in rows_of(tmp_path / "x.jsonl")]
    assert all(text.startswith("<think>\n") for text in texts) is (reasoning != "none")
    assert all(text.count("<think>") == text.count("</think>") == (reasoning != "none") for text in texts)
    assert all("\\boxed{" in text.rpartition("</think>")[2] for text in texts)


def test_parquet_holds_the_same_rows(tmp_path, library):
    """The Parquet file reads back as the JSON Lines do."""
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("x.jsonl", "x.parquet"):
        gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / name), columns=["id", "level"]))
    assert parquet.read_table(tmp_path / "x.parquet").to_pylist() == rows_of(tmp_path / "x.jsonl")


def test_late_exclusions_must_be_curated_away(tmp_path):
    """A chain whose question an evaluation set holds since is not exported; the sentence says what to run."""
    with finished(tmp_path) as library:
        (id_,) = library.all("SELECT question FROM chains WHERE kept LIMIT 1")[0]
        number = next(n for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) == id_)
        path = write_rows(tmp_path / "eval.jsonl", [question(number)])
        gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
        settings = gr.ExportSettings(out=str(tmp_path / "x.jsonl"))
        with pytest.raises(gr.UsageError, match="gradatim curate d"):
            gr.export(library, "d", settings)
        assert gr.curate(library, "d", CALM).kept == 14
        assert gr.export(library, "d", settings).rows == 14


def test_what_cannot_be_written_leaves_no_file(tmp_path, library, monkeypatch):
    """A wrong ending, a missing folder, or a full disk in the middle: one sentence, and nothing new in the folder."""
    with pytest.raises(gr.UsageError, match=r"\.jsonl"):
        gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "x.txt")))
    with pytest.raises(gr.UsageError):
        gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "nowhere" / "x.jsonl")))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gradatim.stages.export.shaped", full)
    with pytest.raises((SetupError, OSError)):
        gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "x.jsonl")))
    assert list(tmp_path.iterdir()) == []


def test_nothing_curated_says_what_to_run(tmp_path):
    """Before curate there is nothing to export."""
    with drawn_library(tmp_path) as library, pytest.raises(gr.UsageError, match="gradatim curate d"):
        gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "x.jsonl")))


def test_the_card_says_what_the_questions_are(tmp_path, library):
    """The card's tags name the domains of the kept chains."""
    gr.export(library, "d", gr.ExportSettings(out=str(tmp_path / "math.jsonl")))
    tags = (tmp_path / "math.card.md").read_text().partition("tags:\n")[2].partition("size_categories")[0]
    assert re.findall(r'"(.*)"', tags) == ["gradatim", "math", "reasoning", "chain-of-thought", "curriculum"]
