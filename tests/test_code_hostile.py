"""Hostile programs as answers: each gets a verdict that its index allows, and the next answers are judged right."""

import json

import pytest

from code_world import DATA, humaneval, humaneval_suite, needs_humaneval, needs_sandbox, quick
from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker
from gradatim.suite import Case, Suite
from gradatim.types import Fault

CORPUS = DATA / "hostile"
pytestmark = [
    needs_sandbox,
    pytest.mark.skipif(not CORPUS.exists(), reason=f"the corpus is not in {DATA}: set GRADATIM_DATA to its folder"),
]
VERDICTS = {
    "tests_passed": "AC", "wrong_answer": "WA", "exception": "RE", "syntax_error": "CE", "import_missing": "RE",
    "function_missing": "RE", "time_limit": "TLE", "memory_limit": "MLE", "output_limit": "OLE", "killed": "RE",
}  # fmt: skip
SUITES = {
    "stdio": Suite(style="stdio", cases=(Case(input="1 2 3\n", output="6\n"),)),
    "call": Suite(style="call", function="solve", cases=(Case(input=[[1, 2, 3]], output=6),)),
    "assert": Suite(style="assert", code="assert solve([1, 2, 3]) == 6\nassert solve([]) == 0\n", entries=("solve",)),
}
SLOW = ("m01", "m03", "o05")
"""These are busy for a second before they do what they are there for."""


def answer(program):
    """A program in a fence that is longer than any in it."""
    return f"{'`' * 40}python\n{program}\n{'`' * 40}\n"


def rows():
    """The corpus."""
    lines = (CORPUS / "index.jsonl").read_text(encoding="utf-8").splitlines() if CORPUS.exists() else []
    return [row for row in map(json.loads, lines) if "needs_listener" not in row and row["file"][:3] not in SLOW]


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_humaneval
def test_hostile_answers_get_their_verdicts_and_harm_no_other():
    """Each of the corpus ends as its index says, none is a fault; a hundred honest programs after them pass."""
    found = rows()
    checker = CodeChecker(quick(memory_mb=256))
    try:
        items = (
            Item(
                key=key,
                answer=answer((CORPUS / row["file"]).read_bytes().decode("utf-8", "surrogatepass")),
                reference="",
                tests=SUITES[row["style"]].encoded(),
            )
            for key, row in enumerate(found)
        )
        results = dict(checker.check(items))
        bad = {}
        for key, row in enumerate(found):
            result = results[key]
            if isinstance(result, Fault) or VERDICTS.get(result.reason) not in row["verdict"]:
                bad[row["file"]] = (result.reason, row["verdict"])
        assert bad == {}
        honest = (
            Item(
                key=key,
                answer=answer(row["prompt"] + row["canonical_solution"]),
                reference="",
                tests=humaneval_suite(row),
            )
            for key, row in enumerate(humaneval()[:100])
        )
        assert {verdict.reason for _, verdict in checker.check(honest)} == {"tests_passed"}
    finally:
        checker.close()
