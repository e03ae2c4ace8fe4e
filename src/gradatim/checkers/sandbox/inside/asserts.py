"""Rewrites test code so that each of its assertions is recorded, and the code goes on after one that fails.

    assert f(x) == y, "message"

becomes, with a number for the statement,

    try:
        if RECORDER.begin(3) and RECORDER.left(f(x)) == RECORDER.right(y): RECORDER.passed(3)
        else: RECORDER.failed(3)
    except BaseException: RECORDER.raised(3)

The message is not evaluated: both sides of the comparison say more. An assertion of constants that holds
(`assert True`) is none; one that does not (`assert False`, after a call that is to raise) fails where it is reached.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

RECORDER = "gradatim_recorder_"
_TEXT = 300
_CONSTANT = (
    ast.Constant, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.List, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """One assert statement of the test code."""

    line: int
    text: str


class Rewriter(ast.NodeTransformer):
    """Replaces assert statements; `found` are those replaced, in their order."""

    def __init__(self, code: str) -> None:
        self.lines = code.splitlines()
        self.found: list[Statement] = []

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Replace one."""
        if _always_holds(node.test):
            return ast.copy_location(ast.Pass(), node)
        number = len(self.found)
        text = " ".join(" ".join(self.lines[node.lineno - 1 : node.end_lineno]).split())
        self.found.append(Statement(node.lineno, text if len(text) <= _TEXT else text[: _TEXT - 3] + "..."))
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            sides = (_call("left", test.left), _call("right", test.comparators[0]))
            test = ast.Compare(left=sides[0], ops=test.ops, comparators=[sides[1]])
        both = ast.BoolOp(op=ast.And(), values=[_call("begin", ast.Constant(number)), test])
        passed, failed, raised = (
            ast.Expr(_call(name, ast.Constant(number))) for name in ("passed", "failed", "raised")
        )
        handler = ast.ExceptHandler(type=ast.Name("BaseException", ast.Load()), name=None, body=[raised])
        choice = ast.If(test=both, body=[passed], orelse=[failed])
        new = ast.Try(body=[choice], handlers=[handler], orelse=[], finalbody=[])
        return ast.fix_missing_locations(ast.copy_location(new, node))


def _always_holds(test: ast.expr) -> bool:
    if not all(isinstance(one, _CONSTANT) for one in ast.walk(test)):
        return False
    try:
        return bool(eval(compile(ast.Expression(test), "tests.py", "eval")))  # noqa: S307 - constants, in the sandbox
    except Exception:  # noqa: BLE001 - `assert 1 / 0` does not hold
        return False


def _call(name: str, argument: ast.expr) -> ast.Call:
    place = ast.Attribute(value=ast.Name(RECORDER, ast.Load()), attr=name, ctx=ast.Load())
    return ast.Call(func=place, args=[argument], keywords=[])


def rewritten(code: str) -> tuple[ast.Module, list[Statement]]:
    """Return the tree of test code, and its assertions. Raises `SyntaxError` and what else the compiler may."""
    rewriter = Rewriter(code)
    tree = rewriter.visit(ast.parse(code, "tests.py"))
    return tree, rewriter.found
