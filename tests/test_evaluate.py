"""Evaluate: known answers give known figures, nothing is asked twice, and what was drawn is not held out."""

import csv
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

import gradatim as gr
from cli_world import called
from gradatim.library import evaluations, questions
from gradatim.method.evaluation import mcnemar_p
from gradatim.pipeline import do_evaluate, read_presets
from gradatim.types import Reply, Usage
from pools import answer, drawn_library, pool_library, question, record_answers, write_rows

QUICK = gr.EngineSettings(concurrency=8, tries=1, backoff=0.01)
CUT = Reply(content="We count what there", finish_reason="length", usage=Usage(prompt=9, completion=90))


class Rule:
    """A model that answers by a known rule: `says(number, sample)` is whether it is right, or its whole reply."""

    def __init__(self, name, says, numbers=range(400)):
        self.name = name
        self.asked = 0
        self._says = says
        self._number_of = {question(number)["problem"]: number for number in numbers}

    async def ask(self, request):
        self.asked += 1
        number, sample = self._number_of[request.messages[-1].content], request.key & (1 << 20) - 1
        said = self._says(number, sample)
        if isinstance(said, Reply):
            return said
        right = int(question(number)["answer"])
        text = answer(str(right if said else right + 1))
        return Reply(content=text, finish_reason="stop", usage=Usage(prompt=9, completion=30))

    async def close(self):
        pass


def held_library(folder, numbers=range(20), name="library.db"):
    """Return a library with an evaluation set of these questions, and their numbers as columns."""
    rows = [question(number) | {"number": number, "parity": "odd" if number % 2 else "even"} for number in numbers]
    path = write_rows(folder / "test.jsonl", rows)
    library = gr.Library(folder / name, write=True)
    gr.ingest(library, gr.IngestSettings(path=str(path), set="test", purpose="eval"))
    return library


@pytest.fixture
def library(tmp_path):
    with held_library(tmp_path) as library:
        yield library


def settings(**changed):
    return gr.EvaluateSettings(**{"samples": 4, **changed})


def fifths(number, sample):
    """Right in as many of four samples as the number's rest by five says."""
    return sample < number % 5


def test_a_known_rule_gives_the_known_figures(library):
    """A model that is right k times of 4 on a fifth of the questions each, k from 0 to 4, has avg 1/2 and no other."""
    (result,) = gr.evaluate(library, Rule("m", fifths), settings(by="parity"), engine=QUICK)
    assert (result.questions, result.left, result.overall.answers, result.overall.decided) == (20, 0, 80, 80)
    assert result.overall.accuracy.value == pytest.approx(0.5)
    assert result.overall.at_least == result.overall.accuracy
    found = {one.k: one.estimate.value for one in result.passes}
    # Of 4 samples with c right, 2 drawn miss all with C(4-c, 2) / 6: 1, 1/2, 1/6, 0, 0.
    assert found == {1: pytest.approx(0.5), 2: pytest.approx(1 - (1 + 1 / 2 + 1 / 6) / 5), 4: pytest.approx(0.8)}
    even = [number % 5 / 4 for number in range(0, 20, 2)]
    assert [(one.group, one.name, one.questions) for one in result.lines] == [
        ("parity", "even", 10),
        ("parity", "odd", 10),
    ]
    assert result.lines[0].accuracy.value == pytest.approx(sum(even) / 10)
    assert result.mean_tokens == 30
    assert result.overlap.clean


def test_a_rerun_asks_nothing_and_says_the_same(library):
    """The same evaluation again asks nobody, by the model's name too; more samples ask for the further ones only."""
    model = Rule("m", fifths)
    (first,) = gr.evaluate(library, model, settings(samples=2), engine=QUICK)
    assert (model.asked, first.asked.answered) == (40, 40)
    (again,) = gr.evaluate(library, model, settings(samples=2), engine=QUICK)
    (named,) = gr.evaluate(library, "m", settings(samples=2))
    assert again.asked is None
    assert again.overall == named.overall == first.overall
    (more,) = gr.evaluate(library, model, settings(samples=4), engine=QUICK)
    assert model.asked == 80
    assert more.overall.accuracy.value == pytest.approx(0.5)
    (fewer,) = gr.evaluate(library, "m", settings(samples=2))
    assert fewer.overall == first.overall


def test_a_named_model_without_all_answers_is_refused(library):
    """Who cannot be asked must have answered all; the sentence says what is missing, and what there is."""
    gr.evaluate(library, Rule("m", fifths), settings(samples=2), engine=QUICK)
    with pytest.raises(gr.UsageError, match=r"40 answers to test are missing. There are: test x 2 \(--setting \w+\)"):
        gr.evaluate(library, "m", settings(samples=4))
    with pytest.raises(gr.UsageError, match=r"'n' has not answered all .* Evaluated are: m"):
        gr.evaluate(library, "n", settings(samples=2))
    (kept,) = (one.setting.id for one in evaluations.evaluations(library))
    (found,) = gr.evaluate(library, "m", gr.EvaluateSettings(temperature=0.1), setting=kept)
    assert (found.samples, found.temperature, found.left) == (2, 0.6, 0)
    with pytest.raises(gr.UsageError, match="no evaluation 'abc' of 'm'"):
        gr.evaluate(library, "m", settings(), setting="abc")


def test_undecided_answers_are_not_wrong_and_not_hidden(library):
    """Cut answers leave the accuracy alone; they are counted by reason, and beside it stands the figure with them."""
    model = Rule("m", lambda number, sample: CUT if sample == 3 or number == 0 else fifths(number, sample))
    (result,) = gr.evaluate(library, model, settings(), engine=QUICK)
    assert result.undecided == {"truncated": 23}
    assert (result.overall.questions, result.overall.answers, result.overall.decided) == (20, 80, 57)
    rates = [min(number % 5, 3) / 3 for number in range(1, 20)]
    assert result.overall.accuracy.value == pytest.approx(sum(rates) / 19)
    assert result.overall.at_least.value == pytest.approx(sum(rates) * 3 / 4 / 20)
    (four,) = (one for one in result.passes if one.k == 4)
    assert (four.estimate, four.left_out) == (None, 20)
    assert four.at_least.value == pytest.approx(0.8 - 0.0)
    assert any("23 of 80 answers are undecided" in one for one in result.notes)


def test_two_models_are_compared_question_by_question(library):
    """Seven fixed and two broken: the difference is 5 of 20, with McNemar's p; the other way round it is negative."""
    gr.evaluate(library, Rule("before", lambda number, _: number < 8), settings(samples=1), engine=QUICK)
    after = Rule("after", lambda number, _: 2 <= number < 15)
    (result,) = gr.evaluate(library, after, settings(samples=1), against="before", engine=QUICK)
    found = result.against.difference
    assert (found.questions, found.better, found.worse) == (20, 7, 2)
    assert found.value == pytest.approx(0.25)
    assert found.p == pytest.approx(mcnemar_p(7, 2))
    assert found.low < 0.25 < found.high
    assert result.against.note == ""
    (back,) = gr.evaluate(library, "before", settings(samples=1), against="after")
    assert back.against.difference.value == pytest.approx(-0.25)
    assert (back.against.difference.better, back.against.difference.worse) == (2, 7)


def test_a_comparison_leaves_out_what_one_did_not_decide(library):
    """Questions that only one decided count in neither accuracy difference, and as wrong in the other figure."""
    gr.evaluate(library, Rule("a", lambda *_: True), settings(samples=1), engine=QUICK)
    half = Rule("b", lambda number, _: CUT if number < 10 else True)
    (result,) = gr.evaluate(library, half, settings(samples=1), against="a", engine=QUICK)
    assert (result.against.difference.questions, result.against.difference.value) == (10, 0)
    assert (result.against.at_least.questions, result.against.at_least.value) == (20, -0.5)


def test_another_way_of_asking_is_said(library):
    """Answers at another temperature are compared with, and the note says in what they differ."""
    gr.evaluate(library, Rule("a", fifths), settings(temperature=0.0), engine=QUICK)
    (result,) = gr.evaluate(library, Rule("b", fifths), settings(), against="a", engine=QUICK)
    assert result.against.note == "a was asked otherwise: temperature 0.0 instead of 0.6."
    gr.evaluate(library, Rule("c", fifths), settings(samples=1), engine=QUICK)
    (result,) = gr.evaluate(library, "b", settings(), against="c")
    assert result.against.note == "c has 20 judged answers here, b 80."
    with pytest.raises(gr.UsageError, match="gradatim evaluate --model d --set test"):
        gr.evaluate(library, "b", settings(), against="d")
    with pytest.raises(gr.UsageError, match="no other answers"):
        gr.evaluate(library, "b", settings(), against="b")


def test_a_pool_is_not_held_out(tmp_path):
    """A pool is refused; with allow_overlap it is evaluated, and the result says so."""
    with pool_library(tmp_path, 10) as library:
        with pytest.raises(gr.UsageError, match="'pool' is a pool to draw from"):
            gr.evaluate(library, Rule("m", fifths), settings(sets=["pool"]), engine=QUICK)
        with pytest.raises(gr.UsageError, match="no evaluation set"):
            gr.evaluate(library, Rule("m", fifths), settings(), engine=QUICK)
        (result,) = gr.evaluate(library, Rule("m", fifths), settings(sets=["pool"], allow_overlap=True), engine=QUICK)
        assert result.overall.accuracy.value == pytest.approx(0.5)
        assert any("not held out" in one for one in result.notes)


def test_an_empty_set_is_refused(tmp_path):
    """A set of which no row became a question gives a sentence, not a division by nothing."""
    with gr.Library(tmp_path / "library.db", write=True) as library:
        path = write_rows(tmp_path / "bad.jsonl", [{"question": "How many?", "answer": ""}])
        gr.ingest(library, gr.IngestSettings(path=str(path), set="bad", purpose="eval"))
        with pytest.raises(gr.UsageError, match="'bad' holds no question to answer"):
            gr.evaluate(library, "m", settings())


def test_no_draw_holds_an_evaluation_question(tmp_path):
    """Questions of an evaluation set that are in the pool too are never drawn: 0 of them, and the result shows it."""
    with pool_library(tmp_path, 60) as library:
        held = write_rows(tmp_path / "test.jsonl", map(question, range(30)))
        gr.ingest(library, gr.IngestSettings(path=str(held), set="test", purpose="eval"))
        record_answers(library, tmp_path, "base", lambda number: [sample < number % 9 for sample in range(8)], count=60)
        gr.verify(library)
        gr.grade(library, gr.GradeSettings(rule="rate"))
        drawn = gr.SampleSettings(name="d", size=200, mix="explicit:0=1,1=1,2=1,3=1,4=1,5=1", when_dry="short")
        gr.sample(library, drawn)
        assert library.value("SELECT count(*) FROM draw_item") == 30
        (result,) = gr.evaluate(library, Rule("m", fifths), settings(), engine=QUICK)
        assert (result.overlap.questions, result.overlap.drawn, result.overlap.near_drawn) == (30, 0, 0)


def test_what_was_drawn_before_is_refused_and_shown(tmp_path):
    """An evaluation set that is read after a draw and shares questions with it is refused, unless one insists."""
    with drawn_library(tmp_path) as library:
        drawn = [json.loads(row[0]) for row in library.all("SELECT json_array(q.prompt) FROM draws d JOIN questions q "
                 "ON q.id = d.question ORDER BY q.id")]  # fmt: skip
        prompts = {row[0] for row in drawn}
        shared = [number for number in range(90) if question(number)["problem"] in prompts][:5]
        path = write_rows(tmp_path / "late.jsonl", map(question, [*shared, *range(200, 210)]))
        gr.ingest(library, gr.IngestSettings(path=str(path), set="late", purpose="eval"))
        with pytest.raises(gr.UsageError, match="not held out from 'm': 5 of its 15 questions are in the draw d"):
            gr.evaluate(library, Rule("m", fifths), settings(sets=["late"]), engine=QUICK)
        assert library.value("SELECT count(*) FROM attempts WHERE role = 'eval'") == 0
        (result,) = gr.evaluate(library, Rule("m", fifths), settings(sets=["late"], allow_overlap=True), engine=QUICK)
        assert (result.overlap.drawn, result.overlap.trained, result.overlap.draws) == (5, 0, ("d",))
        assert any("5 of 15 questions were drawn" in one for one in result.notes)


def test_only_the_draws_that_a_model_learnt_from_count(tmp_path):
    """A model trained on a clean draw is held to that one; a model trained from one of the other draw is not."""
    with drawn_library(tmp_path) as library:
        path = write_rows(tmp_path / "late.jsonl", map(question, range(90)))
        gr.ingest(library, gr.IngestSettings(path=str(path), set="late", purpose="eval"))
        (late,) = questions.chosen_sets(library, ["late"])
        columns = "(id, model, base, draw, settings, chains, replayed, steps, folder, made_at)"
        with library.transaction() as connection:
            connection.execute(
                "INSERT INTO draw (name, grading, size, seed, mix, settings, quotas) "
                "SELECT 'clean', grading, 0, 0, '', '', '{}' FROM draw"
            )
            for model, base, draw in (("tuned", "m", "d"), ("good", "m", "clean"), ("later", "tuned", "clean")):
                connection.execute(
                    f"INSERT INTO training {columns} SELECT ?, ?, ?, pk, '', 1, 0, 1, '', 0 FROM draw WHERE name = ?",
                    (model, model, base, draw),
                )
        drawn = library.value("SELECT count(*) FROM draws WHERE draw = 'd'")
        found = {name: evaluations.overlap(library, late, name) for name in ("tuned", "good", "later", "unknown")}
        assert {name: one.drawn for name, one in found.items()} == {
            "tuned": drawn, "good": 0, "later": drawn, "unknown": drawn,
        }  # fmt: skip
        assert found["good"].clean


def test_questions_set_aside_for_sharing_a_passage_are_counted(tmp_path):
    """A pool question that repeats thirteen words of an evaluation question is excluded, and counted as near."""
    long = "A baker bakes seven loaves on each of the days of a week and sells them for two coins"
    with held_library(tmp_path) as library:
        held = write_rows(tmp_path / "held.jsonl", [{"problem": f"{long}. How many coins?", "answer": "98"}])
        gr.ingest(library, gr.IngestSettings(path=str(held), set="held", purpose="eval"))
        pool = write_rows(tmp_path / "pool.jsonl", [{"problem": f"{long} each. How many loaves?", "answer": "49"}])
        gr.ingest(library, gr.IngestSettings(path=str(pool)))
        sets = {one.name: one for one in questions.sets(library)}
        assert evaluations.overlap(library, sets["held"], "m").near_excluded == 1
        assert evaluations.overlap(library, sets["test"], "m").near_excluded == 0


def test_a_drawn_question_that_shares_a_passage_is_refused(tmp_path):
    """A set whose question repeats a drawn one's words under another number is not held out either."""
    with drawn_library(tmp_path) as library:
        sql = "SELECT q.prompt FROM draws d JOIN questions q ON q.id = d.question ORDER BY q.id LIMIT 1"
        prompt = library.value(sql)
        path = write_rows(tmp_path / "late.jsonl", [{"problem": f"{prompt} And one year later?", "answer": "7"}])
        gr.ingest(library, gr.IngestSettings(path=str(path), set="late", purpose="eval"))
        (late,) = questions.chosen_sets(library, ["late"])
        found = evaluations.overlap(library, late, "m")
        assert (found.drawn, found.near_drawn, found.near_excluded, found.clean) == (0, 1, 1, False)
        with pytest.raises(gr.UsageError, match="0 of its 1 questions, and 1 that share a passage with one of them"):
            gr.evaluate(library, Rule("m", fifths), settings(sets=["late"]), engine=QUICK)


def test_figures_go_by_level_and_source(tmp_path):
    """Levels of the model's own grading and the files of a set of two files each get a line; their questions add up."""
    with held_library(tmp_path) as library:
        more = write_rows(tmp_path / "more.jsonl", map(question, range(20, 30)))
        gr.ingest(library, gr.IngestSettings(path=str(more), set="test", purpose="eval"))
        record_answers(library, tmp_path, "m", lambda number: [sample < number % 9 for sample in range(8)], count=25)
        gr.verify(library)
        gr.grade(library, gr.GradeSettings(rule="rate"))
        model = Rule("m", lambda number, sample: sample < number % 9 / 2)
        (result,) = gr.evaluate(library, model, settings(), engine=QUICK)
        by = {(one.group, one.name): one for one in result.lines}
        assert [by["source", name].questions for name in ("more.jsonl", "test.jsonl")] == [10, 20]
        levels = [one for one in result.lines if one.group == "level"]
        assert [one.name for one in levels] == ["0", "1", "2", "3", "4", "5", "none"]
        assert sum(one.questions for one in levels) == 30
        assert levels[-1].questions == 5
        rates = [one.accuracy.value for one in levels[:-1]]
        assert rates == sorted(rates, reverse=True)
        assert result.levels_of == "m, rule rate"
        (other,) = gr.evaluate(library, Rule("other", fifths), settings(), engine=QUICK)
        assert other.levels_of == "m, rule rate"
        with pytest.raises(gr.UsageError, match="no grades of the model 'x'"):
            gr.evaluate(library, "m", settings(levels_of="x"))


def test_a_newer_verdict_changes_the_figures(library):
    """Figures are of the newest verdicts: nothing about an evaluation is stored beside attempts and verdicts."""
    (first,) = gr.evaluate(library, Rule("m", fifths), settings(), engine=QUICK)
    gr.verify(library, again=True)
    with library.transaction() as connection:
        connection.execute("UPDATE verdict SET outcome = 'correct' WHERE checker = (SELECT max(pk) FROM checker)")
    (second,) = gr.evaluate(library, "m", settings())
    assert first.overall.accuracy.value == pytest.approx(0.5)
    assert second.overall.accuracy.value == 1


@pytest.mark.parametrize(("count", "samples"), [(100, 16), (101, 4)])
def test_small_sets_are_asked_more_often(tmp_path, count, samples):
    """Without a number, a set of at most a hundred questions gets 16 answers each, a larger one 4."""
    with held_library(tmp_path, range(count)) as library:
        model = Rule("m", lambda *_: True)
        (result,) = gr.evaluate(library, model, gr.EvaluateSettings(), engine=QUICK)
        assert (result.samples, model.asked) == (samples, count * samples)


def test_a_budget_ends_the_run_with_the_figures_of_what_is_there(tmp_path, library):
    """A budget that does not reach leaves answers missing, says so, and holds over the next run too."""
    from gradatim.config import BudgetSettings

    with gr.MockServer(gr.MockSettings(answers=str(tmp_path / "test.jsonl"))) as server:
        chosen = settings(max_tokens=200, budget=BudgetSettings(tokens=3000))
        models = {"base": gr.ModelSettings(model="mock", base_url=server.url, concurrency=2)}
        config = gr.Config(library=str(library.path), models=models, evaluate=chosen)
        (first,) = do_evaluate(library, config)
        (second,) = do_evaluate(library, config)
    assert "budget" in first.asked.stopped
    assert 0 < first.overall.answers < 80
    assert first.left == 80 - first.overall.answers
    assert second.overall.answers >= first.overall.answers
    assert library.value("SELECT sum(prompt_tokens + completion_tokens) FROM attempts WHERE role = 'eval'") <= 3000


# Public sets, from files in the columns that they are published with.

GPQA = ("Record ID", "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3",
        "Explanation", "Subdomain", "High-level domain")  # fmt: skip


def gpqa_rows(count, seed=1):
    random_ = random.Random(seed)
    return [
        dict(zip(GPQA, (
            f"rec{n}", f"Which energy separates the two states of system {n}?",
            *(f"{one}e-{n} eV" for one in random_.sample(range(10, 99), 4)), "By width.", "Quantum", "Physics",
        ), strict=True))
        for n in range(count)
    ]  # fmt: skip


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def preset_library(folder, name, file):
    library = gr.Library(folder / "presets.db", write=True)
    (read,) = read_presets(library, gr.EvaluateSettings(presets=[name]), str(file))
    return library, read


def test_aime_is_read_as_published(tmp_path):
    """Rows as HuggingFaceH4/aime_2024 and math-ai/aime25 have them become sets of their name, for evaluation only."""
    url = "https://artofproblemsolving.com/wiki/index.php/2024_AIME_I_Problems/Problem_4"
    aime24 = [
        {"id": 60 + n, "problem": question(n)["problem"], "solution": "So \\boxed{025}.", "answer": f"{n + 11:03d}",
         "url": url, "year": "2024"}
        for n in range(30)
    ]  # fmt: skip
    aime25 = [{"problem": question(n)["problem"], "answer": str(n + 40), "id": str(n)} for n in range(30, 60)]
    for name, rows in (("aime24", aime24), ("aime25", aime25)):
        library, read = preset_library(tmp_path, name, write_rows(tmp_path / f"copy-{name}.jsonl", rows))
        with library:
            assert (read.added, read.dropped) == (30, {})
            (one,) = (one for one in questions.sets(library) if one.name == name)
            assert one.purpose == "eval"
            references = [row[0] for row in library.all("SELECT reference FROM questions WHERE sets = ?", (name,))]
            assert sorted(references) == sorted(row["answer"] for row in rows)


def test_the_options_of_gpqa_are_shuffled_alike_in_every_run(tmp_path):
    """All four letters are right about as often; the order depends on no column's place and on no run."""
    rows = gpqa_rows(198)
    library, read = preset_library(tmp_path, "gpqa-diamond", write_csv(tmp_path / "gpqa.csv", rows))
    with library:
        assert (read.added, read.dropped) == (198, {})
        letters = Counter(row[0] for row in library.all("SELECT reference FROM questions WHERE domain = 'choice'"))
        asked = dict(library.all("SELECT json_extract(extra, '$.\"Record ID\"'), prompt FROM questions"))
        right = dict(library.all("SELECT json_extract(extra, '$.\"Record ID\"'), reference FROM questions"))
    assert set(letters) == set("ABCD")
    # 198 fair draws of four: each letter's count is within 3.5 standard deviations (6.1) of 49.5.
    assert all(28 <= count <= 71 for count in letters.values())
    for row in rows[:20]:
        options = dict(re.findall(r"^([A-D])\) (.*)$", asked[row["Record ID"]], re.MULTILINE))
        assert options[right[row["Record ID"]]] == row["Correct Answer"]
    wrong = ["Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
    moved = [row | {"Correct Answer": row[wrong[0]], wrong[0]: row["Correct Answer"]} for row in rows]
    other = gr.Library(tmp_path / "other.db", write=True)
    read_presets(other, gr.EvaluateSettings(presets=["gpqa-diamond"]), str(write_csv(tmp_path / "moved.csv", moved)))
    with other:
        assert dict(other.all("SELECT json_extract(extra, '$.\"Record ID\"'), prompt FROM questions")) == asked


def test_a_set_that_is_there_is_not_read_again(tmp_path):
    """Once a public set is in the library, its preset needs neither the hub nor the file."""
    rows = gpqa_rows(12)
    library, _ = preset_library(tmp_path, "gpqa-diamond", write_csv(tmp_path / "gpqa.csv", rows))
    chosen = gr.EvaluateSettings(presets=["gpqa-diamond"], samples=1)
    with library:
        assert read_presets(library, chosen) == []
        references = dict(library.all("SELECT prompt, reference FROM questions"))

        class Letter(Rule):
            async def ask(self, request):
                text = f"So it is \\boxed{{{references[request.messages[-1].content]}}}."
                return Reply(content=text, finish_reason="stop")

        (result,) = gr.evaluate(library, Letter("m", None, ()), chosen, engine=QUICK)
    assert result.overall.accuracy.value == 1
    assert any("has 198 questions, and 12 are in the library" in one for one in result.notes)


# The command.


def test_the_command_asks_once_and_then_needs_no_server(tmp_path, monkeypatch):
    """The first run asks the server; the second prints the same figures after the server is gone."""
    monkeypatch.chdir(tmp_path)
    held_library(tmp_path).close()
    words = ("evaluate", "--model", "mock", "--samples", "2", "--by", "parity")
    with gr.MockServer(gr.MockSettings(answers="test.jsonl", accuracy=0.7)) as server:
        first = called(*words, "--base-url", server.url)
        assert server.stats().requests == 40
    assert first.code == 0, first
    assert "mock on test: 20 questions, 2 answers each at temperature 0.6" in first.out
    again = called(*words)
    assert again.code == 0, again
    asked = [line for line in first.out.splitlines() if " answers in " not in line]
    assert again.out.splitlines() == asked
    assert "overlap with draws: 0 of 20 questions" in again.out
    assert re.search(r"^  parity even +10 +20 ", again.out, re.MULTILINE)


def test_the_command_compares_two_models(tmp_path, monkeypatch):
    """Two served models: the difference stands in the output, and is that of the two records printed as JSON."""
    monkeypatch.chdir(tmp_path)
    held_library(tmp_path).close()
    served = gr.MockSettings(answers="test.jsonl", models=("a", "b"), accuracies=(("a", 0.2), ("b", 0.9)))
    with gr.MockServer(served) as server:
        refused = called("evaluate", "--model", "b", "--base-url", server.url, "--against", "a")
        assert refused.code == 2
        assert "Run first: gradatim evaluate --model a --set test" in refused.err
        assert server.stats().requests == 0
        for model in ("a", "b"):
            assert called("evaluate", "--model", model, "--base-url", server.url, "--samples", "4").code == 0
    found = {}
    for model, other in (("a", "b"), ("b", "a")):
        ended = called("evaluate", "--model", model, "--samples", "4", "--against", other, "--json")
        (found[model],) = json.loads(ended.out)
    difference = found["b"]["against"]["difference"]
    values = [found[model]["overall"]["accuracy"]["value"] for model in "ab"]
    assert difference["value"] == pytest.approx(values[1] - values[0])
    assert found["a"]["against"]["difference"]["value"] == pytest.approx(-difference["value"])
    text = called("evaluate", "--model", "b", "--samples", "4", "--against", "a").out
    assert f"{difference['value']:+.3f}, 95 % interval {difference['low']:+.3f} to {difference['high']:+.3f}" in text
    assert f"b is better on {difference['better']}, worse on {difference['worse']}" in text


def test_recorded_answers_are_evaluated(tmp_path, monkeypatch):
    """Answers of another tool count like asked ones, and are told apart from them."""
    monkeypatch.chdir(tmp_path)
    held_library(tmp_path).close()
    rows = [
        {"q": question(n)["problem"], "a": answer(question(n)["answer"] if n < 15 else "0"), "s": s}
        for n in range(20)
        for s in range(3)
    ]
    write_rows(tmp_path / "answers.jsonl", rows)
    words = ("evaluate", "--model", "theirs", "--recorded", "answers.jsonl")
    fields = ("--field", "prompt=q", "--field", "answer=a", "--field", "sample=s")
    for added in ("60 recorded answers added, 0 were there", "0 recorded answers added, 60 were there"):
        ended = called(*words, *fields)
        assert ended.code == 0, ended
        assert added in ended.err
        assert "theirs on test: 20 questions, 3 answers each (setting" in ended.out
        assert re.search(r"avg@3 +20 +60 +0\.750", ended.out)


def test_faults_end_with_the_figures_and_code_1(tmp_path, monkeypatch):
    """Requests without an answer leave the figures of the others, and the sentence says to run again."""
    monkeypatch.chdir(tmp_path)
    held_library(tmp_path).close()
    with gr.MockServer(gr.MockSettings(answers="test.jsonl", faults=(("malformed", 0.4),), seed=2)) as server:
        model = f'[models.base]\nmodel = "mock"\nbase_url = "{server.url}"\ntries = 1\n[evaluate]\nsamples = 1\n'
        Path("gradatim.toml").write_text(model)
        ended = called("evaluate")
        assert ended.code == 1, ended
        assert "requests got no answer" in ended.err
        assert re.search(r"missing: \d+ answers; the figures are of those that are there", ended.out)
    with gr.MockServer(gr.MockSettings(answers="test.jsonl")) as server:
        Path("gradatim.toml").write_text(model.replace(re.search(r'base_url = "(.*)"', model)[1], server.url))
        whole = called("evaluate")
    assert whole.code == 0, whole
    assert "missing" not in whole.out
