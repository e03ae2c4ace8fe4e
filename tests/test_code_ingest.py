"""Code questions on their way in: what is put around all of them makes none a copy of another."""

import math

import pytest

import gradatim as gr
from gradatim.suite import Case, Suite, decoded
from pools import write_rows

TEXTS = (
    "Add up two numbers.",
    "Reverse the word.",
    "Count the vowels.",
    "Sort a list.",
    "Find the largest.",
    "Halve it.",
)
SHAPES = {
    "stdin": {"tests": [{"input": "1", "output": "1"}]},
    "call": {"function": "solve", "tests": [{"input": [1], "output": 1}]},
    "starter": {
        "function": "solve",
        "starter_code": "def solve(self, values: list[int], number_of_values: int, names: list[str]) -> int:",
        "tests": [{"input": [1, 1, []], "output": 1}],
    },
    "assert": {"tests": ["assert solve(1) == 1"]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_template_is_no_passage_that_questions_share(tmp_path, shape):
    """Short questions with the same long instruction below are neither near duplicates nor contaminated."""
    rows = [{"prompt": text, **SHAPES[shape]} for text in TEXTS]
    copy = {"prompt": f"{TEXTS[0]} Thank you.", **SHAPES[shape]}
    with gr.Library(tmp_path / "library.db", write=True) as library:
        for name, purpose, some in (("pool", "pool", rows[:3]), ("test", "eval", rows[3:]), ("more", "pool", [copy])):
            path = str(write_rows(tmp_path / f"{name}.jsonl", some))
            result = gr.ingest(library, gr.IngestSettings(path=path, set=name, purpose=purpose, ngram=8))
            assert (result.added, result.dropped, result.excluded) == (len(some), {}, 0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, [1, {"a": (math.inf,)}]], ids=str)
@pytest.mark.parametrize("place", ["input", "output"])
def test_a_suite_with_infinity_is_not_kept_as_another(value, place):
    """JSON has no Infinity and no NaN: a suite that holds one is refused, where None would be wanted in its place."""
    for suite in (
        Suite(style="call", function="f", cases=(Case(input=[1], output=1), Case(**{place: value}))),
        Suite(style="stdio", cases=(Case(input="1", output="1"),), tolerance=math.inf),
    ):
        with pytest.raises(ValueError, match="NaN or Infinity"):
            suite.encoded()
    fine = Suite(style="call", function="f", cases=(Case(input=[1.5, "inf"], output={"a": [None, 10**30]}),))
    assert decoded(fine.encoded()) == fine
