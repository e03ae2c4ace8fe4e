"""Code questions through all stages: from a pool to the training file, with real programs in the real sandbox."""

import ast
import gzip
import json
import os
import random
from pathlib import Path

import pytest

import gradatim as gr
from code_pool import TESTS, answer, code_library, code_row, numbers, program, record_texts
from gradatim import planning
from gradatim.library import questions
from gradatim.pipeline import run as run_all
from gradatim.suite import decoded
from pools import write_rows

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
HUMANEVAL = DATA / "humaneval.jsonl.gz"
needs_data = pytest.mark.skipif(
    not HUMANEVAL.exists(), reason=f"the real data is not in {DATA}: set GRADATIM_DATA to its folder"
)
COUNT = 36


def scripts(library: gr.Library, path: Path) -> Path:
    """Write what the mock server says: the right program of each question, in a fence."""
    rows = library.all("SELECT prompt, solution FROM questions")
    return write_rows(path, [{"question": prompt, "answer": "0", "solution": answer(code)} for prompt, code in rows])


def quality(number: int) -> int:
    """How many tests the base model's program passes: 0 to 10, of which 10 is all of them."""
    return number * 7 % (TESTS + 1)


def wanted_level(passed: int, total: int) -> int:
    """The level by the paper's rule, counted in whole tests."""
    if passed == total:
        return 0
    return 1 + sum(5 * passed < cut * total for cut in (4, 3, 2, 1))


def test_all_stages_with_questions_of_the_three_styles(tmp_path):
    """Programs of mixed quality are judged and graded by their tests, a teacher's are kept, and the file holds them."""
    with code_library(tmp_path, COUNT) as library:
        record_texts(library, tmp_path, "base", lambda n: [answer(program(n, quality(n)))])
        result = gr.verify(library)
        assert (result.judged, result.faults) == (COUNT, {})
        of = numbers(library)
        found = {of[id_]: passed for id_, passed in library.all("SELECT question, passed FROM verdicts")}
        assert found == {number: quality(number) for number in range(COUNT)}
        (graded,) = gr.grade(library)
        levels = {of[id_]: level for id_, level in library.all("SELECT question, level FROM grades")}
        assert levels == {number: wanted_level(quality(number), TESTS) for number in range(COUNT)}
        assert [line.level for line in graded.levels] == [0, 1, 2, 3, 4, 5]
        gr.sample(library, gr.SampleSettings(name="d", size=12, when_dry="nearest"))
        answers = scripts(library, tmp_path / "scripts.jsonl")
        settings = gr.MockSettings(answers=str(answers), accuracies=(("teacher", 0.7),))
        with gr.MockServer(settings) as server:
            taught = gr.teach(library, "d", gr.Endpoint(name="teacher", base_url=server.url))
        assert (taught.missing, taught.stopped) == (0, "")
        assert library.value("SELECT count(*) FROM verdicts WHERE role = 'teacher' AND outcome = 'wrong'") > 0
        assert gr.curate(library, "d").kept == 12
        out = tmp_path / "chains.jsonl"
        gr.export(library, "d", gr.ExportSettings(out=str(out), columns=["id", "level", "reference"]))
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 12
        for row in rows:
            assert f"```python\n{program(of[row['id']])}\n```" in row["messages"][-1]["content"]
            assert row["reference"].split(":")[0] in ("stdio", "call", "assert")
            assert row["level"] == levels[of[row["id"]]]


def test_run_goes_through_all_and_a_second_run_has_nothing_to_do(tmp_path, monkeypatch):
    """`run` with a pool of code needs no PRM; run again it asks for nothing, and the plan says so."""
    monkeypatch.chdir(tmp_path)
    with code_library(tmp_path, COUNT, name="first.db") as library:
        answers = scripts(library, tmp_path / "scripts.jsonl")
    settings = gr.MockSettings(answers=str(answers), accuracies=(("base", 0.4), ("teacher", 0.9)))
    with gr.MockServer(settings) as server:
        models = {name: gr.ModelSettings(model=name, base_url=server.url) for name in ("base", "teacher")}
        config = gr.Config(
            ingest=[gr.IngestSettings(path="code.jsonl", domain="code")],
            models=models,
            sample=gr.SampleSettings(size=8, when_dry="nearest"),
        )
        assert planning.plan(config)[0].stage == "ingest"
        ran = {one.stage: one.result for one in run_all(config)}
        assert ran["export"].rows == 8
        asked = server.stats().requests
        again = {one.stage: one.result for one in run_all(config)}
        assert (again["ingest"].unchanged, again["verify"].judged, server.stats().requests) == (True, 0, asked)
        planned = {one.stage: one for one in planning.plan(config)}
    assert [planned[stage].to_do for stage in ("attempt", "verify", "sample", "teach")] == [0, 0, 0, 0]


def test_the_same_question_with_other_tests_is_a_conflict(tmp_path):
    """A prompt that is met again is there already with the same tests, and set aside with other ones."""
    rows = [code_row(number) for number in range(3)]
    with code_library(tmp_path, 3) as library:
        same = write_rows(tmp_path / "same.jsonl", rows)
        result = gr.ingest(library, gr.IngestSettings(path=str(same), domain="code"))
        assert (result.added, result.already, result.dropped) == (0, 3, {})
        other = write_rows(tmp_path / "other.jsonl", [row | {"tests": row["tests"][1:]} for row in rows])
        result = gr.ingest(library, gr.IngestSettings(path=str(other), domain="code"))
        assert (result.added, result.already, result.dropped) == (0, 0, {"conflicting_reference": 3})


def test_a_question_whose_own_program_fails_is_set_aside_with_the_test(tmp_path):
    """The reason is counted, the detail says which test failed, and the program that passed is kept."""
    rows = [code_row(number) for number in range(6)]
    for number in range(3):
        rows[number]["solution"] = program(number, 4)
    rows[4]["solution"] = [program(4, 2), program(4)]
    del rows[5]["solution"]
    pool = write_rows(tmp_path / "pool.jsonl", rows)
    with gr.Library(tmp_path / "library.db", write=True) as library:
        result = gr.ingest(library, gr.IngestSettings(path=str(pool), domain="code"))
        assert (result.added, result.dropped) == (3, {"reference_fails": 3})
        details = [detail for (detail,) in library.all("SELECT detail FROM drops")]
        assert all("in test 5 of 10" in detail for detail in details), details
        kept = dict(library.all("SELECT source, solution FROM questions"))
        assert set(kept.values()) == {"", program(3), program(4)}


def test_tests_come_back_as_they_were_read_and_only_where_asked_for(tmp_path):
    """A question's suite is in the library once; pages of questions do not carry it."""
    with code_library(tmp_path, 3) as library:
        for pk in (1, 2, 3):
            text = questions.tests(library, pk)
            assert decoded(text).style
            assert questions.get(library, pk).tests == ""
            assert library.value("SELECT tests FROM questions WHERE id = ?", (questions.get(library, pk).id,)) == text
            with library.transaction() as connection:
                assert questions.tests(connection, pk) == text


class _Mutant(ast.NodeTransformer):
    """Changes one place of a program: a comparison, a number, a sign, or a value that is returned."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _turn(self) -> bool:
        self._left -= 1
        return self._left == -1

    def visit_Compare(self, node):
        other = {ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.LtE: ast.Lt, ast.GtE: ast.Gt, ast.Eq: ast.NotEq}
        if type(node.ops[0]) in other and self._turn():
            node.ops[0] = other[type(node.ops[0])]()
        return self.generic_visit(node)

    def visit_Constant(self, node):
        if type(node.value) is int and self._turn():
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_BinOp(self, node):
        if type(node.op) in (ast.Add, ast.Sub) and self._turn():
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        return self.generic_visit(node)

    def visit_Return(self, node):
        if self._turn():
            return ast.copy_location(ast.Return(ast.Constant(None)), node)
        return self.generic_visit(node)


def mutants(code: str, count: int, seed: str) -> list[str]:
    """Return up to so many programs that differ from this one in one place each."""
    whole = ast.unparse(ast.parse(code))
    found = []
    for at in range(60):
        changed = ast.unparse(_Mutant(at).visit(ast.parse(code)))
        if changed == whole:
            break
        found.append(changed)
    random.Random(seed).shuffle(found)
    return found[:count]


def humaneval(tmp_path: Path, every: int) -> gr.Library:
    """Return a library with one in `every` questions of HumanEval, and mutants of the references as the answers."""
    with gzip.open(HUMANEVAL, "rt") as file:
        lines = file.read().splitlines()[::every]
    pool = write_rows(tmp_path / "humaneval.jsonl", lines)
    library = gr.Library(tmp_path / "library.db", write=True)
    result = gr.ingest(library, gr.IngestSettings(path=str(pool), near=0))
    assert (result.added, result.dropped, result.faults) == (len(lines), {}, {})
    rows = []
    for number, line in enumerate(lines):
        row = json.loads(line)
        right = row["prompt"] + row["canonical_solution"]
        texts = [right] if number % 5 == 0 else mutants(right, 1, row["task_id"]) or [right]
        rows.append({"task_id": row["task_id"], "a": answer(texts[0])})
    path = write_rows(tmp_path / "base.jsonl", rows)
    gr.record(library, str(path), {"source_id": "task_id", "answer": "a"}, model="base")
    return library


@needs_data
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_humaneval_from_mutants_of_its_references_to_chains(tmp_path, every):
    """Levels fall with the share of tests passed, the teacher's references verify, and the file has the mix."""
    with humaneval(tmp_path, every) as library:
        result = gr.verify(library)
        count = library.value("SELECT count(*) FROM question")
        assert (result.judged, result.faults) == (count, {})
        (graded,) = gr.grade(library)
        shares = library.all(
            "SELECT g.level, v.passed, v.total FROM grades g JOIN verdicts v ON v.question = g.question "
            "WHERE g.level IS NOT NULL"
        )
        assert len(shares) == count
        for level, passed, total in shares:
            assert level == (wanted_level(passed, total) if total else 5), (level, passed, total)
        means = [line.tests for line in graded.levels if line.level]
        assert len(means) >= 4
        assert means == sorted(means, reverse=True)
        size = 10 if every > 1 else 60
        gr.sample(library, gr.SampleSettings(name="h", size=size, when_dry="nearest"))
        answers = scripts(library, tmp_path / "scripts.jsonl")
        with gr.MockServer(gr.MockSettings(answers=str(answers), accuracies=(("teacher", 1.0),))) as server:
            assert gr.teach(library, "h", gr.Endpoint(name="teacher", base_url=server.url)).missing == 0
        assert gr.curate(library, "h").kept == size
        assert gr.export(library, "h", gr.ExportSettings(out=str(tmp_path / "h.jsonl"))).rows == size
