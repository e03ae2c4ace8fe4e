"""Suites, answers and checkers for the tests of code questions, with the real sandbox."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker, Rules
from gradatim.checkers.sandbox import Tier, open_box
from gradatim.errors import SetupError
from gradatim.suite import Case, Suite

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
HUMANEVAL = DATA / "humaneval.jsonl.gz"
needs_humaneval = pytest.mark.skipif(
    not HUMANEVAL.exists(), reason=f"HumanEval is not in {DATA}: set GRADATIM_DATA to its folder"
)


def no_sandbox() -> str:
    """Say why this machine has no sandbox; empty where it has one."""
    try:
        open_box(Tier.DEFAULT).close()
    except SetupError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif(bool(reason := no_sandbox()), reason=f"no sandbox here: {reason}")

ADD = Suite(style="stdio", cases=(Case(input="1 2\n", output="3\n"), Case(input="5 6\n", output="11\n"))).encoded()
SUM = "print(sum(map(int, input().split())))"


def fenced(program: str) -> str:
    """A program as a model gives it."""
    return f"Let us think step by step.\n\n```python\n{program}\n```\n\nThis runs in linear time.\n"


def item(key: int, program: str, tests: str = ADD) -> Item:
    """An answer that holds a program."""
    return Item(key=key, answer=fenced(program), reference="", tests=tests)


def judged(checker: CodeChecker, programs: list[str], tests: str = ADD) -> list:
    """The verdicts of programs, in their order."""
    found = dict(checker.check(item(key, program, tests) for key, program in enumerate(programs)))
    return [found[key] for key in range(len(programs))]


def many_cases(count):
    """A suite whose case `i` reads and wants `i`."""
    return Suite(style="stdio", cases=tuple(Case(input=f"{i}", output=f"{i}") for i in range(count))).encoded()


def quick(**rules) -> Rules:
    """The default rules with a shorter time limit."""
    return Rules(**{"seconds": 1.0, "workers": 2, **rules})


def humaneval() -> list[dict]:
    """The questions of HumanEval."""
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def humaneval_suite(row: dict) -> str:
    """A question's tests."""
    name = row["entry_point"]
    code = f"{row['test']}\ncheck({name})\n"
    return Suite(style="assert", code=code, setup=row["prompt"], entries=(name,)).encoded()
