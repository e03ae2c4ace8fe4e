"""What a model is told of a code question: the source's own text, and how the answer will be judged.

The wording is ours; it says what LiveCodeBench's says. The templates stand in docs/formats.md.
"""

from __future__ import annotations

import re

_ASK = "Give the whole program in one ```python block."
_FENCE = re.compile(r"`{3,}")


def reads_stdin(question: str) -> str:
    """Return the prompt of a question whose program reads stdin and writes stdout."""
    return (
        f"{question}\n\nWrite a Python program that reads the input from standard input and writes the answer to "
        f"standard output. {_ASK}"
    )


def is_called(question: str, function: str, starter: str = "") -> str:
    """Return the prompt of a question whose function is called."""
    if not starter.strip():
        return f"{question}\n\nWrite a Python function `{function}`; it is called with the arguments. {_ASK}"
    return (
        f"{question}\n\nWrite a Python program that starts as this one does; `{function}` is called with the "
        f"arguments:\n\n{block(starter)}\n\n{_ASK}"
    )


def completes(stub: str) -> str:
    """Return the prompt of a question that is the beginning of a function, its documentation included."""
    return f"Complete this Python function:\n\n{block(stub)}\n\n{_ASK}"


def passes(question: str, tests: str) -> str:
    """Return the prompt of a question that shows the tests that decide it."""
    return f"{question}\n\nWrite a Python program that passes these tests:\n\n{block(tests)}\n\n{_ASK}"


def defines(question: str, entries: tuple[str, ...]) -> str:
    """Return the prompt of a question whose tests are not shown: the names that the program is to define are."""
    names = ", ".join(f"`{entry}`" for entry in entries)
    return f"{question}\n\nWrite a Python program that defines {names}. {_ASK}"


def block(code: str) -> str:
    """Return the code as a fenced block; the fence is longer than any inside."""
    fence = "`" * max(3, 1 + max(map(len, _FENCE.findall(code)), default=0))
    return f"{fence}python\n{code.strip(chr(10)).rstrip()}\n{fence}"
