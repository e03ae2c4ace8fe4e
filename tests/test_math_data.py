"""What the checkers show on real data: labelled pairs, references, and the recorded answers of four models.

Needs the folder that `GRADATIM_DATA` names (default: `../shared/data` beside the project); skipped without it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from gradatim.checkers import Item
from gradatim.checkers.choice import ChoiceChecker
from gradatim.checkers.extract import extract
from gradatim.checkers.math import MathChecker
from gradatim.types import Outcome, Verdict

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("GRADATIM_DATA", ROOT.parent / "shared" / "data"))
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
# Where we say "equal", and the label says otherwise, on purpose.
LENIENT = {
    "policy:extraction": "an answer may stand on a line of its own between its fences",
    "policy:units": "a unit that only one side names is no difference",
    "policy:list-order": "a list without brackets has no order",
}
INTERVAL_AND_INEQUALITY = (r"$x \in [-2,7]$", r"$-2 \\le x \\le 7$")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}: set GRADATIM_DATA")


def _rows(name):
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def checker():
    checker = MathChecker(deadline=5.0, workers=1)
    yield checker
    checker.close()


@pytest.fixture(scope="module")
def pairs(checker):
    """Return each labelled pair with our verdict."""
    rows = _rows("math_pairs.jsonl")
    results = {}
    texts, choices = [], []
    for key, row in enumerate(rows):
        if row["kind"] == "answer":
            found = extract(row["answer"])
            results[key] = checker.compare(row["gold"], found.text if found else row["answer"])
            continue
        found = extract(row["gold"])
        reference = found.text if found and found.found_by in {"box", "phrase"} else row["gold"]
        item = Item(key=key, answer=row["answer"], reference=reference)
        (choices if row["kind"] == "mcq" else texts).append(item)
    results.update(checker.check(texts))
    results.update(ChoiceChecker().check(choices))
    return [(row, results[key]) for key, row in enumerate(rows)]


def test_every_pair_gets_a_verdict(pairs):
    """None of the 1,163 labelled pairs, hostile ones included, ends as a fault."""
    assert len(pairs) == 1163
    assert all(isinstance(verdict, Verdict) for _, verdict in pairs)


def test_accuracy_on_core_answers(pairs):
    """At least 99 % of the 748 core short answers are decided as labelled, where undecided counts as a mistake."""
    core = [(row, verdict) for row, verdict in pairs if row["core"] and row["kind"] == "answer"]
    right = [
        verdict for row, verdict in core if verdict.outcome is (Outcome.CORRECT if row["expected"] else Outcome.WRONG)
    ]
    print(f"{len(right)} of {len(core)} short answers: {len(right) / len(core):.1%}")  # noqa: T201 - as below
    assert len(core) == 748
    assert len(right) / len(core) >= 0.99


def test_accuracy_on_all_core_rows(pairs):
    """At least 96 % of all 1,074 core rows are decided as labelled, prose that marks no answer included."""
    core = [(row, verdict) for row, verdict in pairs if row["core"]]
    right = sum(verdict.outcome is (Outcome.CORRECT if row["expected"] else Outcome.WRONG) for row, verdict in core)
    print(f"{right} of {len(core)} core rows: {right / len(core):.1%}")  # noqa: T201 - the figure that the README gives
    assert len(core) == 1074
    assert right / len(core) >= 0.96


def test_no_false_equal(pairs):
    """No pair labelled different is called equal, but by the conventions that are listed here with their reasons."""
    for row, verdict in pairs:
        if row["expected"] or verdict.outcome is not Outcome.CORRECT:
            continue
        # An inequality and its interval are one answer, whichever of them is the reference.
        assert LENIENT.keys() & set(row["tags"]) or (row["gold"], row["answer"]) == INTERVAL_AND_INEQUALITY, row


def test_code_is_no_answer(pairs):
    """Python in an answer is wrong, and was not run."""
    assert all(verdict.outcome is Outcome.WRONG for row, verdict in pairs if row["kind"] == "security")
    assert not Path("marker").exists()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("math500.jsonl", lambda row: row["answer"]),
        ("gsm8k_test.jsonl", lambda row: row["answer"].rpartition("####")[2].strip()),
        ("gsm8k_train.jsonl", lambda row: row["answer"].rpartition("####")[2].strip()),
    ],
)
def test_references_pass_their_own_check(checker, name, reference):
    """Every reference of GSM8K and MATH-500 is read by the checker, so answers to it can be decided."""
    references = [reference(row) for row in _rows(name)]
    unread = [text for text in references if checker.check_reference(text).outcome is not Outcome.CORRECT]
    assert unread == []


def test_agreement_with_published_labels(checker):
    """The verdicts on 5,276 recorded answers agree with their labels, but for those that the docs explain."""
    rows = _rows("gsm8k_solutions.jsonl")
    items, labels = [], {}
    for line, row in enumerate(rows, 1):
        for model in MODELS:
            reference = row["ground_truth"].rpartition("A: ")[2].strip()
            labels[len(items)] = (f"{line}:{model}", row[model]["is_correct"])
            items.append(Item(key=len(items), answer=row[model]["solution"], reference=reference))
    outcome = {True: Outcome.CORRECT, False: Outcome.WRONG}
    disagree = {
        labels[key][0] for key, verdict in checker.check(items) if verdict.outcome is not outcome[labels[key][1]]
    }
    table = (ROOT / "docs" / "gsm8k-disagreements.md").read_text(encoding="utf-8").partition("## Disagreements")[2]
    assert len(items) == 5276
    assert len(disagree) / len(items) <= 0.005
    assert disagree == set(re.findall(r"^\| (\d+:\w+) \|", table, re.MULTILINE))
