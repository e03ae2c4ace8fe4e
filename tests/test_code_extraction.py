"""The program is found in an answer: which block, what of it, and in how much time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.checkers.code.extraction import extract

CHATTY = "Let us think.\n\n```python\nprint(1)\n```\n\nBetter:\n\n```python\nprint(2)\nprint(3)\n```\nThis prints it.\n"


@pytest.mark.parametrize(
    ("which", "text"),
    [("last_fence", "print(2)\nprint(3)\n"), ("first_fence", "print(1)\n"), ("longest_fence", "print(2)\nprint(3)\n")],
)
def test_the_rule_names_the_block(which, text):
    """The last, the first or the longest complete block is the program, and the span is where it stands."""
    program = extract(CHATTY, which)
    assert program.text == text
    assert CHATTY[slice(*program.span)] == text
    assert program.found_by == "fence"


def test_whole_takes_everything():
    """The rule `whole` takes the answer as it is, and nothing of an answer of white space."""
    assert extract("print(1)\n", "whole").text == "print(1)\n"
    assert extract("print(1)\n", "whole").found_by == "whole"
    assert extract(" \n", "whole") is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("```\nx = 1\n```", "x = 1\n"),
        ("~~~~py\nx = 1\n~~~~~", "x = 1\n"),
        ("```Python3\nx = 1\n```", "x = 1\n"),
        ("``` python title=a\nx = 1\n```", "x = 1\n"),
        ("```{.python .numberLines}\nx = 1\n```", "x = 1\n"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\n"),
        ("```python\nx = 1\n```   \t\nBye", "x = 1\n"),
        ("\ufeff```python\nif x:\n    y\n```", "if x:\n    y\n"),
        ("\u00a0```python\nx = 1\n\u00a0```", "x = 1\n"),
        ("````python\n'''\n```\ninner\n```\n'''\n````", "'''\n```\ninner\n```\n'''\n"),
        ("~~~python\n```\nx\n```\n~~~", "```\nx\n```\n"),
        ("1. First\n   ```python\n   if x:\n       y = 1\n   ```\n", "if x:\n    y = 1\n"),
        ("- ```python\n  if x:\n      y = 1\n  ```\n", "if x:\n    y = 1\n"),
        ("  ```python\nif x:\n    y = 1\n  ```\n", "if x:\n    y = 1\n"),
        ("\t```python\n\tif x:\n\t\ty = 1\n\t```\n", "if x:\n    y = 1\n"),
        ("> ```python\n> if x:\n>     y = 1\n> ```\n", "if x:\n    y = 1\n"),
        ("```python\n    return 1\n```", "    return 1\n"),
        ("`````python\nx\n```\n`````", "x\n```\n"),
        ("```python\nx = 1\n```\nOutput:\n```\n1\n```\n", "x = 1\n"),
        ("```python\nx = 1\n```\nIn the end:\n```\nimport sys\nx = 2\n```\n", "import sys\nx = 2\n"),
        ("```python\nx = 1\n```\n```text\n1\n```\n```json\n{}\n```", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\nunclosed", "x = 1\n"),
        ("```python\nunclosed\n\nAgain:\n```python\nx = 1\n```\n", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\n\n```\n", "x = 1\n"),
        ("```print(1)``` is short.\n```python\nx = 1\n```", "x = 1\n"),
    ],
)
def test_blocks_are_found_as_they_are_written(answer, text):
    """Fences of any length, in lists and quotations, with carriage returns, tabs and blanks that do not break."""
    assert extract(answer).text == text


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The answer is 4.",
        "```python\nprint(1)",
        "```python\nprint(1)\n``",
        "```python\nprint(1)\n~~~",
        "````python\nprint(1)\n```",
        "```python\n```",
        "```python\n  \n\n```",
        "```text\n1\n```",
        "```output\n1\n```",
        "```bash\nls\n```",
        "```cpp\nint x;\n```",
        "```pycon\n>>> 1\n```",
        "```python-repl\n>>> 1\n```",
        "Say ```python\nprint(1)\n```",
        "`print(1)`",
    ],
)
def test_what_is_no_program(answer):
    """There is no program without a complete block of Python, nor in an empty one or one of another language."""
    assert extract(answer) is None


@pytest.mark.parametrize(
    "unit",
    ["`", "`\n", "```\n", "```python\n", "~~~\n`", " ", "> ", "- ", "\t`", "```x\n", "x=", "\u00a0", "1. ", "import "],
)
def test_hostile_answers_take_linear_time(unit):
    """Megabytes of anything are read in seconds of CPU time, within a block too."""
    many = unit * (10_000_000 if len(unit) == 1 else 300_000)
    start = time.process_time()
    for answer in (many, f"```python\n1\n```\n```\n{many}\n```"):
        extract(answer)
    assert time.process_time() - start < 20


words = st.text(st.characters(codec="utf-8", exclude_characters="`~\n\r>"), max_size=30)
code = st.lists(words, min_size=1, max_size=8).map("\n".join).filter(str.strip)


@given(prose=st.lists(words, max_size=4), text=code, mark=st.sampled_from("`~"), length=st.integers(3, 9))
def test_what_is_fenced_is_found(prose, text, mark, length):
    """A block between any prose comes out as it went in, whatever its fence."""
    talk = "\n".join(prose)
    answer = f"{talk}\n{mark * length}python\n{text}\n{mark * length}\n{talk}"
    program = extract(answer)
    assert program.text == f"{text}\n"
    assert answer[slice(*program.span)] == f"{text}\n"


@given(
    pieces=st.lists(
        st.sampled_from(["```", "~~~~", "````python", "\n", "x = 1", " ", "> ", "- ", "```text", "\r\n", "\t"])
    )
)
def test_a_program_is_part_of_the_answer(pieces):
    """Whatever the pieces, a span lies in the answer, no fence is in it that could close it, and the rules agree."""
    answer = "".join(pieces)
    found = [extract(answer, which) for which in ("last_fence", "first_fence", "longest_fence")]
    assert len({program is None for program in found}) == 1
    for program in found:
        if program is not None:
            start, end = program.span
            assert 0 <= start <= end <= len(answer)
            assert program.text.strip()
            assert "".join(program.text.split()) in "".join(answer.split())
