"""What a model is told of a code question: the source's own text, and how the answer will be judged.

The wording is ours; it says what LiveCodeBench's says. The templates stand in docs/formats.md.
"""

from __future__ import annotations

import re

_ASK = "Give the whole program in one ```python block."
_READS = "Write a Python program that reads the input from standard input and writes the answer to standard output."
_COMPLETES = "Complete this Python function:"
_PASSES = "Write a Python program that passes these tests:"
_STARTS = "Write a Python program that starts as this one does;"
_CALLED = "Write a Python function"
_DEFINES = "Write a Python program that defines"
_FENCE = re.compile(r"`{3,}")
_ADDED = re.compile(
    rf"^{_COMPLETES}\n|\n\n(?:{re.escape(_READS)}|{_PASSES}|(?:{_CALLED}|{_DEFINES}) `[^\n]*\Z|{_STARTS} `.*\Z)",
    re.DOTALL,
)


def reads_stdin(question: str) -> str:
    """Return the prompt of a question whose program reads stdin and writes stdout."""
    return f"{question}\n\n{_READS} {_ASK}"


def is_called(question: str, function: str, starter: str = "") -> str:
    """Return the prompt of a question whose function is called."""
    if not starter.strip():
        return f"{question}\n\n{_CALLED} `{function}`; it is called with the arguments. {_ASK}"
    return f"{question}\n\n{_STARTS} `{function}` is called with the arguments:\n\n{block(starter)}\n\n{_ASK}"


def completes(stub: str) -> str:
    """Return the prompt of a question that is the beginning of a function, its documentation included."""
    return f"{_COMPLETES}\n\n{block(stub)}\n\n{_ASK}"


def passes(question: str, tests: str) -> str:
    """Return the prompt of a question that shows the tests that decide it."""
    return f"{question}\n\n{_PASSES}\n\n{block(tests)}\n\n{_ASK}"


def defines(question: str, entries: tuple[str, ...]) -> str:
    """Return the prompt of a question whose tests are not shown: the names that the program is to define are."""
    names = ", ".join(f"`{entry}`" for entry in entries)
    return f"{question}\n\n{_DEFINES} {names}. {_ASK}"


def own_text(prompt: str) -> str:
    """Return a prompt without what was added here, which all code questions share; any other prompt as it is.

    Two questions are compared by it. Starter code is left out too: many questions of LeetCode have nearly the same.
    """
    if not prompt.endswith(_ASK):
        return prompt
    return _ADDED.sub("", prompt.removesuffix(_ASK).rstrip()).strip()


def bare_text(prompt: str) -> str:
    """Return a code question's text as its source has it: a stub without its fence, and no tests below a question."""
    own = own_text(prompt)
    if prompt.startswith(f"{_COMPLETES}\n"):
        return own.partition("\n")[2].rpartition("\n")[0]
    shown = prompt.endswith(_ASK) and prompt.rpartition(f"\n\n{_PASSES}\n\n")[0]
    return shown or own


def block(code: str) -> str:
    """Return the code as a fenced block; the fence is longer than any inside."""
    fence = "`" * max(3, 1 + max(map(len, _FENCE.findall(code)), default=0))
    return f"{fence}python\n{code.strip(chr(10)).rstrip()}\n{fence}"
