"""How likely each of two labels is, read from answers that are written here by hand."""

from __future__ import annotations

import json
import math

import pytest

from gradatim.prm.labels import Labels, Read, read_label
from gradatim.types import Fault

YES = Labels(good="yes", bad="no")
RIGHT = Labels(good="correct", bad="incorrect")
PLUS = Labels(good="+", bad="-", exact=True)


def body(*rows, finish="stop"):
    """An answer of these tokens, each with the tokens that might have stood there and their probabilities."""
    content = [
        {"token": token, "top_logprobs": [{"token": name, "logprob": math.log(p)} for name, p in top.items()]}
        for token, top in rows
    ]
    usage = {"prompt_tokens": 7, "completion_tokens": len(rows)}
    choice = {"logprobs": {"content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def score(labels, *rows, last=False, finish="stop"):
    """The score, or the message of the fault."""
    read = read_label(body(*rows, finish=finish), labels, "the server", last=last)
    assert isinstance(read, Read)
    assert (read.prompt_tokens, read.completion_tokens) == (7, len(rows))
    return read.score.message if isinstance(read.score, Fault) else read.score


def plain(*tokens):
    """Tokens that nothing else might have stood for."""
    return [(token, {token: 1.0}) for token in tokens]


@pytest.mark.parametrize(
    ("labels", "top", "want"),
    [
        (YES, {"yes": 0.6, "no": 0.2, "so": 0.2}, 0.75),
        (YES, {" Yes": 0.3, "YES": 0.3, "**yes": 0.15, "No.": 0.25}, 0.75),
        (YES, {"yes": 0.99, "so": 0.001}, 1.0),
        (YES, {"Yes": 0.08, "No": 0.04, "Well": 0.88}, 2 / 3),
        (PLUS, {"+": 0.3, "-": 0.1, " +": 0.4, "plus": 0.2}, 0.75),
        (RIGHT, {"correct": 0.6, "incorrect": 0.2, "in": 0.002}, 0.75),
    ],
)
def test_the_score_is_the_share_of_the_good_label(labels, top, want):
    """All tokens of a label are added up, those of exact labels are not, and other words do not count."""
    assert score(labels, ("any", top)) == pytest.approx(want)


@pytest.mark.parametrize(
    ("labels", "top", "said"),
    [
        (YES, {"<think>": 0.999999, "Yes": 1e-9, "No": 3e-9}, "'yes' and 'no' have 4e-09 of the probability together"),
        (PLUS, {"The": 0.98, "+": 0.006, "-": 0.002}, "0.1 was expected; the likeliest tokens: 'The' 0.980"),
        (YES, {"Yes": 0.5, "so": 0.4, "well": 0.1}, "only one of 'yes' and 'no'"),
        (YES, {"so": 0.5, "yesterday": 0.4}, "neither 'yes' nor 'no' was among the likeliest tokens"),
        (RIGHT, {"in": 0.7, "correct": 0.29, "x": 0.0001}, "each of 'correct' and 'incorrect' is to be one"),
        (RIGHT, {"in": 0.6, "correct": 0.3, " incorrect": 0.00001}, "each of 'correct' and 'incorrect' is to be one"),
    ],
)
def test_no_score_where_it_would_be_an_accident(labels, top, said):
    """A model that would rather say something else, a label that is not listed, and one in several tokens: no score."""
    assert said in score(labels, ("any", top))


def test_the_last_word_that_is_a_label_decides():
    """Not the end of a word nor its beginning, nor an earlier label; wherever blanks stand, and however written."""
    yes = {"yes": 0.25, "no": 0.75}
    assert score(YES, *plain("no", "."), ("yes", yes), *plain("</s>"), last=True) == 0.25
    assert score(YES, ("Ġyes", yes), *plain("Ċ", "no", "thing", "Ġwrong"), last=True) == 0.25
    assert score(YES, ("▁yes", yes), *plain(".", "▁ca", "no", "▁"), last=True) == 0.25
    assert score(YES, ("yes", yes), *plain(""), last=True) == 0.25
    judged = [*plain("\\boxed{", "in"), ("correct", {"correct": 1.0}), *plain("}")]
    assert "neither 'correct' nor 'incorrect'" in score(RIGHT, *judged, last=True)


def test_a_label_that_is_announced_decides():
    """What stands behind a colon or brace comes before what is said afterwards; the last of several does."""
    yes = {"yes": 0.75, "no": 0.25}
    after = plain(".", " There", " is", " no", " error", ".")
    assert score(YES, *plain("Judgement", ":"), (" yes", yes), *after, last=True) == 0.75
    assert score(YES, *plain("Judgement", ": **"), ("yes", yes), *plain("**"), *after, last=True) == 0.75
    assert score(YES, *plain("\\boxed"), ("{yes", yes), *plain("}"), *after, last=True) == 0.75
    assert score(YES, *plain("First", ":", " no", "Judgement", ":"), ("Ġyes", yes), *after, last=True) == 0.75


def test_what_was_cut_off_has_not_decided():
    """An analysis that ended at its limit has no score, also where it holds a label; one token is no analysis."""
    rows = [*plain("there", " is"), (" no", {" no": 0.9, " yes": 0.1})]
    assert score(YES, *rows, last=True, finish="length") is None
    assert score(YES, rows[-1], finish="length") == pytest.approx(0.1)
