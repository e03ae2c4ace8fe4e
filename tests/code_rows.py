"""Rows of code questions as the published data sets write them, all of one question: add two numbers."""

from __future__ import annotations

import base64
import json
import pickle
import zlib

from gradatim.formats.fields import QuestionFields, question_fields
from gradatim.formats.presets import recognise
from gradatim.formats.row import BadRow, Row
from gradatim.suite import Suite, decoded
from gradatim.types import Domain

STDIO = [("1 2\n", "3\n"), ("-5 5\n", "0\n"), ("10 20\n", "30\n")]
CALLS = [([1, 2], 3), ([-5, 5], 0), ([10, 20], 30)]
READS = "a, b = map(int, input().split())\nprint(a + b)\n"
ADDS = "def add(a, b):\n    return a + b\n"
METHOD = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        "
STARTER = METHOD + "\n"


def packed(tests: object) -> str:
    """Tests as LiveCodeBench packs the private ones."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def livecodebench(function: str = "", private: object = packed, **more: object) -> dict[str, object]:
    """A row of LiveCodeBench; `private` packs the tests that are not public."""
    calls = [("\n".join(map(json.dumps, given)), json.dumps(wanted)) for given, wanted in CALLS]
    texts = calls if function else STDIO
    kind = "functional" if function else "stdin"
    tests = [{"input": given, "output": wanted, "testtype": kind} for given, wanted in texts]
    return {
        "question_title": "Sum",
        "question_content": "Add two numbers.",
        "platform": "leetcode" if function else "atcoder",
        "question_id": "abc_1",
        "contest_id": "abc",
        "contest_date": "2024-01-06T00:00:00",
        "starter_code": STARTER if function else "",
        "difficulty": "easy",
        "public_test_cases": json.dumps(tests[:1]),
        "private_test_cases": private(tests[1:]),
        "metadata": json.dumps({"func_name": function} if function else {}),
    } | more


def taco(function: str = "", wrap: bool = False, **more: object) -> dict[str, object]:
    """A row of TACO; APPS has fewer columns, of the same names."""
    pairs = [(given, [wanted] if wrap else wanted) for given, wanted in CALLS] if function else STDIO
    tests = {"inputs": [given for given, _ in pairs], "outputs": [wanted for _, wanted in pairs]}
    return {
        "question": "Add two numbers.",
        "solutions": json.dumps([ADDS if function else READS] * 2),
        "starter_code": "def add(a, b):\n\t" if function else "",
        "input_output": json.dumps(tests | ({"fn_name": function} if function else {})),
        "difficulty": "EASY",
        "raw_tags": "['Math']",
        "time_limit": None if function else "2.0 seconds",
        "memory_limit": None if function else "256.0 megabytes",
    } | more


def codeforces(**more: object) -> dict[str, object]:
    """A row of open-r1/codeforces."""
    tests = [{"input": given, "output": wanted} for given, wanted in STDIO]
    return {
        "id": "1/A",
        "title": "Sum",
        "description": "Add two numbers.",
        "input_format": "Two numbers.",
        "output_format": "Their sum.",
        "interaction_format": None,
        "note": None,
        "time_limit": 1.0,
        "memory_limit": 256.0,
        "examples": tests[:1],
        "official_tests": tests,
        "official_tests_complete": True,
        "input_mode": "stdio",
        "generated_checker": None,
        "executable": True,
    } | more


def codecontests(**more: object) -> dict[str, object]:
    """A row of DeepMind's CodeContests."""

    def beside(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
        return {"input": [given for given, _ in pairs], "output": [wanted for _, wanted in pairs]}

    return {
        "name": "1_A. Sum",
        "description": "Add two numbers.",
        "public_tests": beside(STDIO[:1]),
        "private_tests": beside(STDIO[1:2]),
        "generated_tests": beside(STDIO[2:]),
        "source": 2,
        "difficulty": 7,
        "solutions": {"language": [2, 3, 1], "solution": ["int main() {}", READS, "print raw_input()"]},
        "incorrect_solutions": {"language": [3], "solution": ["print(0)"]},
        "time_limit": {"seconds": 1, "nanos": 500_000_000},
        "memory_limit_bytes": 256 * 10**6,
        "input_file": "",
        "output_file": "",
    } | more


def humaneval(**more: object) -> dict[str, object]:
    """A row of HumanEval."""
    return {
        "task_id": "HumanEval/0",
        "prompt": 'def add(a: int, b: int) -> int:\n    """Add two numbers."""\n',
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-5, 5) == 0\n",
    } | more


def mbpp(**more: object) -> dict[str, object]:
    """A row of MBPP."""
    return {
        "task_id": 1,
        "text": "Add two numbers.",
        "code": "import math\r\ndef add(a, b):\r\n    return a + b\r\ndef other():\r\n    pass",
        "test_list": ["assert add(1, 2) == 3", "assert math.isclose(add(-5, 5), 0)"],
        "test_setup_code": "import math",
        "challenge_test_list": ["assert add(10, 20) == 30"],
    } | more


def mbpp_sanitized(**more: object) -> dict[str, object]:
    """A row of MBPP's sanitized part."""
    row = mbpp()
    names = ("task_id", "code", "test_list")
    return {name: row[name] for name in names} | {"prompt": row["text"], "test_imports": ["import math"]} | more


def outputs(*values: object, starter: str = "", inputs: list | None = None) -> dict:
    """A row of TACO with a function and these outputs."""
    tests = {"fn_name": "f", "inputs": inputs or [[1]] * len(values), "outputs": list(values)}
    return taco(input_output=json.dumps(tests), starter_code=starter)


def read(row: dict, named: dict | None = None, others: int = 0) -> QuestionFields | BadRow:
    """The question of one row; `others` rows of the same shape stand beside it."""
    sample = [Row(place=f"pool.jsonl:{number}", data=row) for number in range(1, 2 + others)]
    preset = recognise(sample, named)
    assert preset.domain is Domain.CODE
    return question_fields(sample[0], preset)


def suite(row: dict, named: dict | None = None) -> Suite:
    """The tests of a row that is a question."""
    found = read(row, named)
    assert isinstance(found, QuestionFields), found
    kept = decoded(found.tests)
    assert found.reference == kept.reference()
    return kept


def reason(row: dict, named: dict | None = None) -> str:
    """Why a row is no question."""
    found = read(row, named)
    assert isinstance(found, BadRow), found
    return found.reason
