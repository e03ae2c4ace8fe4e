"""The tiny world: its questions, its splits, and its teacher over HTTP."""

import re
from collections import Counter
from itertools import islice

import pytest

from cli_world import called
from gradatim.checkers import Item
from gradatim.checkers.math import MathChecker
from gradatim.errors import UsageError
from gradatim.tiny import world
from gradatim.tiny.families import FAMILIES, SIZES
from gradatim.tiny.teacher import MODEL, TinyTeacher, teacher_server
from gradatim.tiny.weights import folder


def some(split="pool", count=2400, seed=1):
    return list(islice(world.questions(split, seed=seed), count))


def test_every_family_comes_in_every_size():
    """There are at least ten families of five sizes, and an unweighted split holds all of them, about alike."""
    counts = Counter((one.family, one.size) for one in some())
    assert len(FAMILIES) >= 10
    assert len(SIZES) == 5
    assert set(counts) == {(family, size) for family in FAMILIES for size in SIZES}
    assert max(counts.values()) < 2.5 * min(counts.values())


def test_no_two_questions_are_alike():
    """A split repeats neither a prompt nor a family's numbers."""
    found = some(count=6000)
    assert len({one.prompt for one in found}) == len(found)
    assert len({(one.family, one.core) for one in found}) == len(found)


def test_splits_share_no_question_whatever_the_seed():
    """The same numbers are never in two splits, under other seeds and words either."""
    cores = {
        split: {(one.family, one.core) for one in some(split, 2000, seed)} for seed, split in enumerate(world.SPLITS)
    }
    splits = list(cores)
    for at, one in enumerate(splits):
        for other in splits[at + 1 :]:
            assert not cores[one] & cores[other]


def test_a_seed_decides_the_questions():
    """The same seed gives the same questions, a longer run the same first ones; another seed gives others."""
    assert some(count=300) == some(count=900)[:300]
    assert some(seed=2, count=300) != some(count=300)


def test_a_prompt_is_solved_as_it_was_made():
    """The solver reads every wording back and comes to the reference by the same steps."""
    for one in some(count=6000):
        assert world.solve(one.prompt) == (one.steps, one.reference)


@pytest.mark.parametrize(
    "prompt", ["", "What is love?", "What is 12 mod 0?", "What is 3 - 5?", "Add 3 and x.", "\ud800"]
)
def test_what_is_no_question_of_the_world_is_not_solved(prompt):
    """A prompt that no family reads, or that has no answer in it, gives None."""
    assert world.solve(prompt) is None


def _value(expression):
    assert re.fullmatch(r"[\d+*() -]+", expression)
    return eval(expression)


def test_steps_of_columns_are_true():
    """Every step of the arithmetic families that carries no wrap-around is a true equation."""
    checked = 0
    for one in some(count=6000):
        if one.family in {"add", "subtract", "multiply", "total", "purse"}:
            for step in one.steps:
                left, _, right = step.partition("=")
                assert _value(left) == int(right), (one.prompt, step)
                checked += 1
    assert checked > 5000


def test_answers_are_right_by_another_way():
    """References agree with Python's own arithmetic, read from the prompt by a test's own patterns."""
    checked = Counter()
    for one in some(count=6000):
        numbers = [int(text) for text in re.findall(r"\d+", one.prompt)]
        expected = {
            "add": lambda numbers=numbers: sum(numbers),
            "multiply": lambda numbers=numbers: numbers[0] * numbers[1],
            "remainder": lambda numbers=numbers: numbers[0] % numbers[1],
            "subtract": lambda numbers=numbers: abs(numbers[0] - numbers[1]),
            "total": lambda numbers=numbers: sum(map(int, str(numbers[0]))),
            "largest": lambda one=one: max(map(int, re.search(r"\d+", one.prompt)[0])),
            "reverse": lambda one=one: re.search(r"\d+", one.prompt)[0][::-1],
            "count": lambda one=one: re.findall(r"\d+", one.prompt)[1].count(re.findall(r"\d+", one.prompt)[0]),
            "nested": lambda one=one: _value(re.search(r"\d[\d+*()-]*", one.prompt)[0]) % 10,
        }.get(one.family)
        if expected:
            assert str(expected()) == one.reference, one.prompt
            checked[one.family] += 1
    assert len(checked) == 9


def test_a_family_that_is_used_up_ends():
    """A split ends when it has no question left, instead of repeating one or searching for ever."""
    found = list(world.questions("eval", seed=0, weights={("reverse", 1): 1.0}))
    assert 20 < len(found) < 729
    assert len({one.core for one in found}) == len(found)


def test_an_unknown_split_is_refused():
    """A split that there is not is named with those there are."""
    with pytest.raises(UsageError, match="pretraining, prm, pool, eval, test"):
        next(world.questions("train", seed=0))


def test_the_checker_passes_every_reference():
    """The math checker finds the reference in the row's own solution."""
    items = [Item(key=at, answer=one.row()["solution"], reference=one.reference) for at, one in enumerate(some())]
    verdicts = dict(MathChecker().check(items))
    assert len(verdicts) == len(items)
    assert {verdict.outcome for verdict in verdicts.values()} == {"correct"}


def test_the_teacher_errs_as_often_as_it_is_told_to():
    """Without errors every chain is right; with a rate of 0.2 one in five is wrong, and each seed errs elsewhere."""
    asked = some(count=1500)

    def wrong(teacher):
        said = [teacher.say(model=MODEL, text=one.prompt, seed="", max_tokens=None, thinks=True) for one in asked]
        return [
            f"\\boxed{{{one.reference}}}" not in one_said.content for one, one_said in zip(asked, said, strict=True)
        ]

    assert not any(wrong(TinyTeacher(error_rate=0)))
    first, second = wrong(TinyTeacher(error_rate=0.2)), wrong(TinyTeacher(error_rate=0.2, seed=1))
    assert 0.16 < sum(first) / len(asked) < 0.24
    assert first != second


def test_the_teacher_varies_its_wording():
    """Requests with other seeds get other words for the same steps; the same request gets the same."""
    teacher, prompt = TinyTeacher(error_rate=0), "Add 47 and 85."
    said = [teacher.say(model=MODEL, text=prompt, seed=str(seed), max_tokens=None, thinks=True) for seed in range(30)]
    assert len({(one.thinking, one.content) for one in said}) > 3
    assert all("7+5=12\n4+8+1=13" in one.thinking for one in said)
    assert said[3] == teacher.say(model=MODEL, text=prompt, seed="3", max_tokens=None, thinks=True)


def test_the_teacher_holds_its_limit():
    """An answer longer than max_tokens is cut off and says so."""
    said = TinyTeacher(error_rate=0).say(model=MODEL, text="Add 47 and 85.", seed="", max_tokens=6, thinks=True)
    assert (said.finish_reason, said.completion_tokens, said.content) == ("length", 6, "")


def test_an_impossible_error_rate_is_refused():
    """An error rate above 1 is wrong use."""
    with pytest.raises(UsageError, match="error rate"):
        TinyTeacher(error_rate=1.5)


def test_the_teacher_is_a_reasoning_model_over_http(tmp_path):
    """`teach` against the served teacher keeps chains whose steps came as reasoning_content."""
    import gradatim as gr

    world_file = tmp_path / "pool.jsonl"
    assert called("tiny", "questions", str(world_file), "--size", "30").code == 0
    with teacher_server(TinyTeacher(error_rate=0)) as server, gr.Library(tmp_path / "l.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path=str(world_file)))
        gr.attempt(library, gr.Endpoint(name=MODEL, base_url=server.url))
        gr.verify(library)
        rows = library.all("SELECT a.thinking, a.answer, v.outcome FROM attempts a JOIN verdicts v ON v.attempt = a.id")
    assert len(rows) == 30
    assert {row[2] for row in rows} == {"correct"}
    assert all(row[0] and "\\boxed" in row[1] for row in rows)


def test_wrong_words_write_nothing(tmp_path):
    """A split that there is not, or no questions at all, is one sentence and no file."""
    out = tmp_path / "out.jsonl"
    for words in (("--split", "nowhere"), ("--size", "0")):
        done = called("tiny", "questions", str(out), *words)
        assert done.code == 2
        assert done.err.count("\n") == 1
    assert not out.exists()


def test_an_unknown_tiny_model_is_refused():
    """A tiny model that there is not is named with those there are."""
    with pytest.raises(UsageError, match="base, second, prm"):
        folder("third")
