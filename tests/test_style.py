"""The house style that a machine can check; the rest is in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").glob("test_*.py"))
CODE = [
    path
    for folder in ("src", "tests", "recipes", "docs", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if (ROOT / folder).exists()
]
TEXTS = [*CODE, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NO_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "handler", "base"}
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b|NotImplemented" r"Error")
OTHER_WORDS = {
    r"\bground[- ]truths?\b": "reference",
    r"\bgold (?:answer|label)s?\b": "reference",
    r"\bgolden answers?\b": "reference",
    r"\bdifficulty levels?\b": "level",
    r"\brollouts?\b": "attempt",
    r"(?<!-)\bCoTs?\b": "chain",
}
"""Other people's words for ours (docs/concepts.md): one word for one thing."""
MARKETING = re.compile(
    r"\b(?:blazing\w*|seamless\w*|effortless\w*|cutting-edge|state-of-the-art|powerful|robust|leverag\w+|revolution\w*"
    r"|game-chang\w*|supercharge\w*|delve\w*)\b",
    re.IGNORECASE,
)


def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file."""
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def local(path: Path) -> str:
    """A path's name in a report."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TESTS, ids=local)
def test_every_test_states_the_fact_it_proves(path):
    """Each test function has a docstring, and it is a sentence."""
    for function in functions(path):
        if function.name.startswith("test_"):
            words = " ".join((ast.get_docstring(function) or "").split())
            assert re.fullmatch(r".+ .+ .+\.", words), f"{function.name}: {words or 'no docstring'}"


@pytest.mark.parametrize("path", SOURCES, ids=local)
def test_files_and_functions_keep_their_size(path):
    """No file has over 500 lines, no function over 60, its docstring aside, or over eight parameters given by place."""
    assert path.read_text(encoding="utf-8").count("\n") <= 500
    for function in functions(path):
        described = (ast.get_docstring(function, clean=False) or "").count("\n") + 1
        assert function.end_lineno - function.lineno + 1 - described <= 60, function.name
        positional = [one for one in function.args.posonlyargs + function.args.args if one.arg not in ("self", "cls")]
        assert len(positional) <= 8, function.name


@pytest.mark.parametrize("path", SOURCES, ids=local)
def test_modules_have_names_that_say_something(path):
    """There is no utils.py or its like, and each module says what it does."""
    assert path.stem not in NO_NAMES
    assert ast.get_docstring(tree(path))


@pytest.mark.parametrize("path", CODE, ids=local)
def test_nothing_is_left_to_be_done_later(path):
    """No file carries a mark of unfinished work."""
    assert UNFINISHED.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in TEXTS if path.name != "test_style.py"], ids=local)
def test_no_file_names_a_machine(path):
    """No path of somebody's machine stands in the project."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"(?:/home/(?!somebody\b)|/root/|/Users/|/work/|/tmp/[a-z])\S*", text) == []


@pytest.mark.parametrize("path", [path for path in TEXTS if "tests" not in path.parts], ids=local)
def test_one_word_for_one_thing(path):
    """Our words stand where others have their own, and nothing is praised."""
    prose = re.sub(r"`[^`]*`|```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for pattern, word in OTHER_WORDS.items():
        assert re.findall(pattern, prose) == [], f"write {word!r}"
    assert MARKETING.findall(prose) == []


@pytest.mark.parametrize("path", SOURCES, ids=local)
def test_ignored_rules_have_a_reason(path):
    """Each `noqa` and `type: ignore` in the package names its rule and says why, there or on the line above."""
    reason = r"# (?:noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*|type: ignore\[[a-z-]+\]) +[-#] *\S"
    lines = path.read_text(encoding="utf-8").splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        for mark in re.findall(r"# (?:noqa|type: ignore)\b.*", line):
            assert re.match(reason, mark) or re.search(r"# \w.*", above), f"{path.name}: {line.strip()}"
