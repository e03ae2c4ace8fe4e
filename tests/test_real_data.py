"""Real questions and real answers: GSM8K, MATH-500, and what four models answered to the GSM8K test questions.

The files lie outside the project: `GRADATIM_DATA` names their folder. `pytest -s` prints the figures.
"""

import itertools
import os
from pathlib import Path

import msgspec
import pytest

import gradatim as gr
from gradatim.library import grades

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "gsm8k_test.jsonl").exists(), reason=f"the real data is not in {DATA}: set GRADATIM_DATA to its folder"
)
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
RATE = gr.GradeSettings(rule="rate")


def say(text: str) -> None:
    """Print a measured figure."""
    print(text)  # noqa: T201 - `pytest -s` is asked for the figures


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library with the GSM8K test questions and the four models' answers, verified and graded."""
    with gr.Library(tmp_path_factory.mktemp("real") / "library.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path=str(DATA / "gsm8k_test.jsonl"), set="gsm8k-test"))
        for model in MODELS:
            fields = {"prompt": "question", "answer": f"{model}.solution"}
            result = gr.record(library, str(DATA / "gsm8k_solutions.jsonl"), fields, model=model)
            assert (result.added, result.dropped) == (1319, {})
        gr.verify(library)
        gr.grade(library, RATE)
        yield library


@pytest.mark.parametrize(
    ("name", "preset", "purpose", "count"),
    [
        ("gsm8k_train", "gsm8k", "pool", 7473),
        ("gsm8k_test", "gsm8k", "eval", 1319),
        ("math500", "math500", "eval", 500),
    ],
)
def test_real_references_pass_their_own_checker(tmp_path, name, preset, purpose, count):
    """The preset is recognised, at least 99.5 % of the references pass, and every row that was dropped is listed."""
    with gr.Library(tmp_path / "library.db", write=True) as library:
        settings = gr.IngestSettings(path=str(DATA / f"{name}.jsonl"), set=name, purpose=purpose)
        result = gr.ingest(library, settings)
        listed = library.all("SELECT place, reason, detail FROM drops")
    assert result.preset.startswith(f"{preset} ")
    dropped = sum(result.dropped.values())
    assert result.added + dropped == count
    assert len(listed) == dropped
    repeated = sum(result.dropped.get(word, 0) for word in ("duplicate", "near_duplicate"))
    passed = count - dropped + repeated
    say(
        f"\n{name}: {result.added} questions, {passed}/{count} references pass ({passed / count:.2%}), {result.dropped}"
    )
    for place, reason, detail in listed:
        say(f"  {place}: {reason}: {detail}")
    assert passed >= 0.995 * count


def test_a_training_set_is_screened_against_the_test_sets(tmp_path):
    """GSM8K's training questions that share 13 words with a test question are excluded, in either order alike."""
    found = []
    for order in (("gsm8k_train", "gsm8k_test"), ("gsm8k_test", "gsm8k_train")):
        with gr.Library(tmp_path / f"{order[0]}.db", write=True) as library:
            for name in order:
                purpose = "eval" if name == "gsm8k_test" else "pool"
                gr.ingest(library, gr.IngestSettings(path=str(DATA / f"{name}.jsonl"), set=name, purpose=purpose))
            found.append(
                library.all("SELECT q.id, e.detail FROM exclusion e JOIN question q ON q.pk = e.question ORDER BY 1")
            )
    say(f"\nGSM8K train: {len(found[0])} questions share a passage with the test set")
    assert found[0] == found[1]


def test_verdicts_agree_with_the_published_labels(library):
    """Of 5,276 recorded answers at least 99.5 % get the published label; every other one is shown."""
    labels = {}
    for line in (DATA / "gsm8k_solutions.jsonl").read_bytes().splitlines():
        row = msgspec.json.decode(line)
        id_ = gr.Question.make_id("math", row["question"])
        labels |= {(id_, model): row[model]["is_correct"] for model in MODELS}
    verdicts = library.all("SELECT question, model, outcome, reason, answer, reference FROM verdicts")
    assert len(verdicts) == len(labels) == 5276
    other = [row for row in verdicts if (row[2] == "correct") is not labels[row[0], row[1]]]
    agreed = 1 - len(other) / len(verdicts)
    say(f"\nverdicts: {len(verdicts) - len(other)} of {len(verdicts)} agree with the labels ({agreed:.2%})")
    for question, model, outcome, reason, answer, reference in other:
        say(f"  {question} {model}: {outcome} ({reason}), answer {answer!r}, reference {reference!r}")
    assert agreed >= 0.995


def test_four_models_stand_in_one_library_and_their_moves_are_counted(library):
    """Each model has its levels; from one to the next a query says how many questions change theirs."""
    there = {one.model: one for one in grades.gradings(library)}
    assert set(there) == set(MODELS)
    for one in there.values():
        say(f"\n{one.model}: {grades.histogram(library, one)}")
    solved = {model: grades.histogram(library, there[model]).get(1, 0) for model in MODELS}
    assert solved["6b_finetuning"] < solved["175b_verification"]
    for first, second in itertools.pairwise(MODELS):
        table = grades.moves(library, there[first], there[second])
        total, changed = sum(row[2] for row in table), sum(row[2] for row in table if row[0] != row[1])
        say(f"{first} -> {second}: {changed} of {total} questions change level ({changed / total:.1%}): {table}")
        assert total == 1319
        assert 0 < changed < total


def test_a_second_reading_of_real_files_adds_nothing(library):
    """Questions, recorded answers, verdicts: run again, all are there."""
    result = gr.ingest(library, gr.IngestSettings(path=str(DATA / "gsm8k_test.jsonl"), set="gsm8k-test"))
    assert (result.added, result.already) == (0, 1319)
    fields = {"prompt": "question", "answer": "6b_finetuning.solution"}
    again = gr.record(library, str(DATA / "gsm8k_solutions.jsonl"), fields, model="6b_finetuning")
    assert (again.added, again.already) == (0, 1319)
    assert gr.verify(library).judged == 0
