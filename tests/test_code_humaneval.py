"""The 164 questions of HumanEval, their references and what becomes of changed ones, in the real sandbox."""

import ast
import random
import subprocess
import sys

import pytest

from code_world import fenced, humaneval, humaneval_suite, needs_humaneval, needs_sandbox
from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker, Reference, Rules
from gradatim.types import Verdict

pytestmark = [needs_sandbox, needs_humaneval, pytest.mark.slow, pytest.mark.timeout(900)]

BUSY = 3


@pytest.fixture(scope="module")
def rows():
    """The questions."""
    return humaneval()


@pytest.fixture(scope="module")
def checker():
    """A checker as the settings have it by default."""
    checker = CodeChecker(Rules())
    yield checker
    checker.close()


def verdicts(checker, rows, body):
    """The verdicts of one answer per question, by question; `body` gives the function's."""
    items = (
        Item(key=key, answer=fenced(row["prompt"] + body(row)), reference="", tests=humaneval_suite(row))
        for key, row in enumerate(rows)
    )
    return dict(checker.check(items))


def reference(row):
    """The body that HumanEval has."""
    return row["canonical_solution"]


def reasons(found):
    """The questions per reason, of verdicts and faults."""
    return {
        reason: [key for key, one in found.items() if one.reason == reason]
        for reason in {one.reason for one in found.values()}
    }


def test_all_references_pass(checker, rows):
    """164 of 164 answers that hold the reference pass all their tests, and as references of questions too."""
    found = verdicts(checker, rows, reference)
    assert {reason: len(keys) for reason, keys in reasons(found).items()} == {"tests_passed": 164}
    assert all(verdict.passed == verdict.total > 0 for verdict in found.values())
    references = (
        Reference(key=key, suite=humaneval_suite(row), solutions=(row["prompt"] + reference(row),))
        for key, row in enumerate(rows)
    )
    assert {(index, verdict.reason) for _, index, verdict in checker.check_references(references)} == {
        (0, "tests_passed")
    }


def test_no_empty_body_passes(checker, rows):
    """164 of 164 functions that return None fail."""
    found = verdicts(checker, rows, lambda _: "    return None\n")
    assert "tests_passed" not in reasons(found)
    assert all(isinstance(verdict, Verdict) for verdict in found.values())


class Mutation(ast.NodeTransformer):
    """Changes some of the places where a number, a comparison or an operation could be another."""

    def __init__(self, chosen):
        self.chosen, self.seen = chosen, 0

    def _mine(self):
        self.seen += 1
        return self.seen - 1 in self.chosen

    def visit_Constant(self, node):
        """Add one to an int."""
        if type(node.value) is int and self._mine():
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Compare(self, node):
        """Turn the first comparison around."""
        self.generic_visit(node)
        if isinstance(node.ops[0], ast.Lt | ast.Gt | ast.Eq | ast.NotEq) and self._mine():
            turned = {ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
            node.ops[0] = turned[type(node.ops[0])]()
        return node

    def visit_BinOp(self, node):
        """Subtract for add, and the other way."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Add | ast.Sub) and self._mine():
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        return node


def mutated(row, count):
    """The reference with so many places changed, or as many as it has; chosen by the question's name."""
    tree = ast.parse(row["prompt"] + reference(row))
    counting = Mutation(frozenset())
    counting.visit(tree)
    places = random.Random(row["task_id"]).sample(range(counting.seen), min(count, counting.seen))
    return ast.unparse(Mutation(set(places)).visit(tree))


def test_the_share_of_tests_passed_falls_with_mutation(rows):
    """The more places of a reference are changed, the fewer of its tests pass, on the average of fifty questions."""
    checker = CodeChecker(Rules(seconds=2.0))
    counts = (0, 1, 3, 9)
    try:
        items = (
            Item(key=count * 1000 + key, answer=fenced(mutated(row, count)), reference="", tests=humaneval_suite(row))
            for count in counts
            for key, row in enumerate(rows[:50])
        )
        found = dict(checker.check(items))
    finally:
        checker.close()
    shares = [
        sum(one.passed / one.total for key, one in found.items() if key // 1000 == count) / 50 for count in counts
    ]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert shares[1] - shares[3] > 0.1


def test_a_loaded_machine_makes_no_reference_wrong(checker, rows):
    """With busy processes beside it, every reference passes."""
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(BUSY)]
    try:
        found = verdicts(checker, rows, reference)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert {reason: len(keys) for reason, keys in reasons(found).items()} == {"tests_passed": 164}
