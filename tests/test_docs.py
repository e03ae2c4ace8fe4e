"""The pages hold: blocks run, generated pages are current, names and files that are mentioned exist."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gradatim as gr
from gradatim import config
from gradatim.cli.main import cli
from gradatim.library import schema
from gradatim.models.mock_faults import KINDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = re.compile(r"in [0-9.]+ s")
CLI = "import sys; sys.argv[0] = 'gradatim'; from gradatim.cli.main import main; main()"


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(kind, text, note) of a page's fenced blocks; the note is a comment on the line above."""
    text = page.read_text(encoding="utf-8")
    return [(match["kind"], match["text"], match["note"] or "") for match in BLOCK.finditer(text)]


def generator():
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shell(tmp_path):
    """Runs a script in a folder that looks like a checkout to a reader, with `gradatim` and `python` on the PATH."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, arguments in (("gradatim", f'-c "{CLI}" "$@"'), ("python", '"$@"')):
        (bin_ / name).write_text(f"#!/bin/sh\nexec {sys.executable} {arguments}\n")
        (bin_ / name).chmod(0o755)
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "recipes").symlink_to(ROOT / "recipes")
    environment = {
        **os.environ,
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "DEEPSEEK_API_KEY": "made-up",
    }

    def run(script: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    run.folder, run.environment = folder, environment
    return run


@pytest.fixture
def served(shell):
    """Starts a documented `gradatim mock-server` command on a free port, in a folder; gives its port."""
    processes = []

    def start(command: str, folder: Path) -> str:
        command = command.strip().replace("--port 8000", "--port 0")
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=shell.environment, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        line = process.stderr.readline()
        assert "Serving on" in line, line
        return re.search(r":(\d+)/v1", line)[1]

    yield start
    for process in processes:
        process.terminate()
        process.wait()
        process.stderr.close()


def run_page(page: Path, shell, served, within: str = ".") -> str:
    """Run a page's shell and Python blocks in one shell, one after the other; hold `text` blocks to the output.

    A block that starts the mock server splits the page: what stands before it is run first. Its port takes the place
    of the documented one.
    """
    output, script, port, python = [], [], "8000", 0
    for kind, documented, note in blocks(page):
        text = documented.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        if kind == "sh" and text.startswith("gradatim mock-server"):
            output.append(shell("\n".join(script)))
            port = served(text, shell.folder / within)
            script = [f"cd {within}"]
        elif kind == "sh" and "not run" not in note:
            script.append(text)
        elif kind == "python" and "not run" not in note:
            python += 1
            (shell.folder / f"block{python}.py").write_text(text)
            script.append(f"python {shell.folder}/block{python}.py")
    output.append(shell("\n".join(script)))
    found = SECONDS.sub("in a while", "".join(output)).splitlines()
    for kind, text, note in blocks(page):
        for line in SECONDS.sub("in a while", text).splitlines() if kind == "text" and not note else ():
            assert line in found, f"{page.name} shows a line that no block printed: {line}"
    return "".join(output)


def test_the_tutorial_runs(shell, served):
    """Every block of the tutorial runs in order, prints what the page shows, and ends with the files that it names."""
    run_page(DOCS / "tutorial.md", shell, served, within="math")
    rows = (shell.folder / "math" / "math-60.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 60
    assert set(json.loads(rows[0])) == {"messages"}


def test_the_mock_server_page_runs(shell, served):
    """The proof that the page describes, five kills and all, comes out as it says."""
    run_page(DOCS / "mock-server.md", shell, served)


def test_the_evaluate_page_runs(shell, served):
    """Every block of the page on evaluation runs in order and prints the figures that stand there."""
    run_page(DOCS / "evaluate.md", shell, served)


def test_the_python_page_runs(shell, served):
    """Every block of the Python page runs, in order."""
    run_page(DOCS / "python.md", shell, served)


def test_the_readme_runs(shell):
    """The README's settings are valid as they stand, and its commands do the whole loop with them."""
    (toml,) = (text for kind, text, _ in blocks(ROOT / "README.md") if kind == "toml")
    (python,) = (text for kind, text, _ in blocks(ROOT / "README.md") if kind == "python")
    commands = [text for kind, text, note in blocks(ROOT / "README.md") if kind == "sh" and not note]
    pool = "python recipes/pool.py"
    shell(f"{pool} pool.jsonl --questions 300 --seed 1; {pool} eval.jsonl --questions 20 --seed 2")
    config.parse(tomllib.loads(toml))
    names = re.findall(r'^model = "(.*)"', toml, re.MULTILINE)
    answers = str(shell.folder / "pool.jsonl")
    settings = gr.MockSettings(models=tuple(names), accuracies=((names[0], 0.4),), accuracy=0.95, answers=answers)
    with gr.MockServer(settings) as server:
        anywhere = re.compile(r'^(?:base_url|serve) = "[^"]*".*$', re.MULTILINE)
        served = anywhere.sub(f'base_url = "{server.url}"', toml).replace("size = 2000", "size = 20")
        (shell.folder / "gradatim.toml").write_text(served)
        shell("\n".join(commands))
        (shell.folder / "block.py").write_text(python)
        assert "pool 1" in shell("python block.py")
    assert (shell.folder / "math-2k.manifest.json").exists()


@pytest.mark.parametrize("name", ["cli.md", "settings.md"])
def test_generated_pages_are_current(name):
    """The page is what docs/generate.py gives now: `make docs` writes it again."""
    assert (DOCS / name).read_text(encoding="utf-8") == generator().PAGES[name]()


def test_every_command_and_option_is_documented():
    """cli.md has each command, and each option has a help text."""
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    for name, command in cli.commands.items():
        assert f"### {name}\n" in page
        assert command.help
        assert command.short_help
    undocumented = [
        f"{name} {option.opts[0]}"
        for name, command in cli.commands.items()
        for option in command.params
        if option.param_type_name == "option" and not option.help
    ]
    assert undocumented == []


def test_every_setting_is_documented():
    """Each key of each table has a docstring, and stands in settings.md."""
    module = generator()
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    for _, record in module.TABLES[1:]:
        notes = module.field_notes(record)
        for field in record.__struct_fields__:
            assert notes[field], f"{record.__name__}.{field}"
            assert f"| `{field}` |" in page


def test_every_public_name_stands_in_the_python_page():
    """python.md names all that `import gradatim` offers."""
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    assert [name for name in gr.__all__ if f"`{name}`" not in page and f"`{name}(" not in page] == []


def test_every_view_and_column_stands_in_the_formats_page():
    """formats.md lists each view of the library with its columns, in order."""
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    connection = sqlite3.connect(":memory:")
    for name, arguments in (
        ("unpack", 1),
        ("thinking_of", 2),
        ("answer_of", 2),
        ("whole_content", 5),
        ("whole_reasoning", 5),
    ):
        connection.create_function(name, arguments, lambda *_: "")
    for script in schema.MIGRATIONS:
        connection.executescript(script)
    for (view,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'"):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({view})")]
        assert f"| `{view}` | {', '.join(columns)} |" in page
    connection.close()


def test_the_money_page_runs(shell, served):
    """The page's run is killed, goes on, and stays within its budget by the server's own count."""
    out = run_page(DOCS / "money.md", shell, served)
    assert "answer" in out


def test_every_fault_kind_stands_in_the_mock_server_page():
    """mock-server.md has the kinds with the words of the code."""
    page = (DOCS / "mock-server.md").read_text(encoding="utf-8")
    for kind, words in KINDS.items():
        assert f"| `{kind}` | {words} |" in page


def test_the_readme_tree_is_the_tree():
    """Each path in the README's tree exists, and each module and folder of the package stands in it."""
    (tree,) = (text for kind, text, _ in blocks(ROOT / "README.md") if kind == "text" and text.startswith("src/"))
    named, above = set(), ""
    for line in tree.splitlines():
        path = line.split()[0]
        if not line.startswith(" "):
            above = path
        named.add(above if path == above else above + path)
    for path in named:
        assert (ROOT / path).exists(), path
    package = ROOT / "src" / "gradatim"
    there = {
        f"src/gradatim/{one.name}{'/' if one.is_dir() else ''}"
        for one in package.iterdir()
        if one.suffix == ".py" or (one.is_dir() and one.name != "__pycache__")
    }
    assert there - named == set()


def test_each_figure_names_the_benchmark_that_gives_it():
    """The README names every benchmark, and none that is not there."""
    named = set(re.findall(r"python benchmarks/(\w+\.py)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == {path.name for path in (ROOT / "benchmarks").glob("bench_*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    """Every link to a file of ours finds one, and its section where it names one."""
    for target, section in re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]+)?\)", page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert section[1:] in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_says_why_not(page):
    """A shell or Python block outside the pages that are run carries a comment with the reason."""
    if page.name in ("tutorial.md", "mock-server.md", "money.md", "python.md", "evaluate.md", "README.md"):
        return
    for kind, text, note in blocks(page):
        assert kind not in ("sh", "python") or note, text


def test_the_changelog_has_the_version():
    """CHANGELOG.md has a section for the version that `gradatim --version` prints."""
    assert f"## {gr.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_settings_examples_are_valid():
    """The template of `gradatim init` and the recipe of the paper's settings load without a complaint."""
    for path in (ROOT / "src" / "gradatim" / "cli" / "template.toml", ROOT / "recipes" / "paper-math.toml"):
        assert config.load(path).sample.size == 2000
