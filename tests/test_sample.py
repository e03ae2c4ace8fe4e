"""Sample: what a draw holds, in which order, and that it stays what it was."""

import pytest

import gradatim as gr
from gradatim.errors import LimitError
from gradatim.library import draws
from pools import pool_library, question, record_answers, write_pool, write_rows

RATE = gr.GradeSettings(rule="rate")
SPREAD = 8


def spread(number: int) -> list[bool]:
    """Eight attempts of which as many are right as the question's number says: questions at every level."""
    return [sample < number % (SPREAD + 1) for sample in range(SPREAD)]


def graded(folder, count, *, held=(), name="library.db"):
    library = pool_library(folder, count, name=name)
    if held:
        path = write_rows(folder / "eval.jsonl", map(question, held))
        gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
    record_answers(library, folder, "m", spread, count=count)
    gr.verify(library)
    gr.grade(library, RATE)
    return library


@pytest.fixture
def library(tmp_path):
    with graded(tmp_path, 90) as library:
        yield library


def settings(**changed) -> gr.SampleSettings:
    return gr.SampleSettings(**{"name": "d", "size": 20, "mix": "explicit:1,1,1,1,1", "when_dry": "nearest"} | changed)


def drawn(library, name="d") -> list[tuple]:
    return library.all("SELECT level, rank, question FROM draws WHERE draw = ? ORDER BY 1, 2", (name,))


def test_a_curriculum_draws_by_its_weights(library):
    """P_C asks for falling shares of the levels 1 to 5, none of level 0, and the quotas add up to the size."""
    result = gr.sample(library, settings(size=15, mix="curriculum:5,4,3,2,1"))
    assert result.asked == {0: 0, 1: 5, 2: 4, 3: 3, 4: 2, 5: 1}
    assert result.drawn == {1: 5, 2: 4, 3: 3, 4: 2, 5: 1}
    assert all(level > 0 for level, _, _ in drawn(library))


def test_easy_questions_come_in_by_their_own_weight(library):
    """With `easy` a curriculum draws level 0 as well."""
    result = gr.sample(library, settings(size=20, mix="curriculum:5,4,3,2,1", easy=5))
    assert result.drawn[0] == 5
    assert sum(result.drawn.values()) == 20


def test_an_observed_mix_follows_the_evaluation_set(tmp_path):
    """P_eval has the levels of the same model on the evaluation set, not those of the pool."""
    hard = [200 + n for n in range(90) if (200 + n) % (SPREAD + 1) < 2]
    with pool_library(tmp_path, 90) as library:
        path = write_rows(tmp_path / "eval.jsonl", map(question, hard))
        gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
        record_answers(library, tmp_path, "m", spread, count=300)
        gr.verify(library)
        gr.grade(library, RATE)
        result = gr.sample(library, settings(size=10, mix="observed:eval"))
        assert set(result.drawn) == {4, 5}
        assert result.warning == ""
        with pytest.raises(gr.UsageError, match="There are: pool, eval"):
            gr.sample(library, settings(name="e", mix="observed:other"))


def test_an_evaluation_set_like_the_pool_is_warned_about(tmp_path):
    """Where P_eval is the pool's own distribution the draw is a random one, and that is said."""
    with graded(tmp_path, 90, held=range(90, 180)) as library:
        record_answers(library, tmp_path, "m", spread, count=180)
        gr.verify(library)
        gr.grade(library, RATE)
        assert "close to a random one" in gr.sample(library, settings(mix="observed:eval")).warning


def test_no_evaluation_question_and_no_excluded_one_is_drawn(tmp_path):
    """Half the pool is in an evaluation set: no draw holds one of those, whatever is asked for."""
    with graded(tmp_path, 90, held=range(0, 90, 2)) as library:
        result = gr.sample(library, settings(size=45, mix="explicit:0=1,1=1,2=1,3=1,4=1,5=1", when_dry="short"))
        never = {gr.Question.make_id("math", question(n)["problem"]) for n in range(0, 90, 2)}
        assert not never & {id_ for _, _, id_ in drawn(library)}
        assert sum(result.available.values()) == 45
        assert draws.undrawable(library)


def test_a_dry_level_fails_moves_or_shortens_as_was_chosen(library):
    """The three ways are told apart: an error that names the level, questions of the nearest level, fewer questions."""
    wanted = {"size": 40, "mix": "explicit:0,0,1,0,0"}
    with pytest.raises(LimitError, match="level 3 has 10 of 40"):
        gr.sample(library, settings(**wanted, when_dry="fail"))
    assert draws.draws(library) == []
    near = gr.sample(library, settings(**wanted, name="near", when_dry="nearest"))
    assert sum(near.drawn.values()) == 40
    assert near.moved
    assert near.short == {}
    short = gr.sample(library, settings(**wanted, name="short", when_dry="short"))
    assert (short.drawn, short.short) == ({3: 10}, {3: 30})


def test_the_reserve_goes_past_the_quota_in_the_same_order(library):
    """A larger reserve only adds questions behind; the first ones are the same."""
    gr.sample(library, settings(name="small", reserve=0))
    gr.sample(library, settings(name="large", reserve=1))
    small, large = drawn(library, "small"), drawn(library, "large")
    assert len(small) == 20
    assert len(large) == 40
    assert set(small) < set(large)


def test_the_same_settings_give_the_same_draw(tmp_path, library):
    """In the same library it is found again, in another one it is drawn alike; another seed draws others."""
    first = gr.sample(library, settings())
    again = gr.sample(library, settings())
    assert (first.already, again.already) == (False, True)
    assert (again.drawn, again.reserve, again.grading) == (first.drawn, first.reserve, first.grading)
    with graded(tmp_path, 90, name="other.db") as other:
        gr.sample(other, settings())
        assert drawn(other) == drawn(library)
        gr.sample(other, settings(name="e", seed=1))
        assert drawn(other, "e") != drawn(other)


def test_a_pool_that_grew_leaves_the_draw_and_moves_no_question(tmp_path, library):
    """The draw stays; a new draw of the larger pool keeps the order of the questions that were there."""
    gr.sample(library, settings())
    before = drawn(library)
    path = write_pool(tmp_path / "more.jsonl", 45, start=90)
    gr.ingest(library, gr.IngestSettings(path=str(path)))
    record_answers(library, tmp_path, "m", spread, count=135)
    gr.verify(library)
    gr.grade(library, RATE)
    assert gr.sample(library, settings()).already
    assert drawn(library) == before
    gr.sample(library, settings(name="e", reserve=50))
    old = {id_ for _, _, id_ in before}
    for level in range(1, 6):
        order = [id_ for at, _, id_ in drawn(library, "e") if at == level and id_ in old]
        assert order == [id_ for at, _, id_ in before if at == level]


def test_a_draw_is_found_though_its_levels_have_become_dry(library):
    """After a regrade that empties a level the same call finds the draw again, and says it is of another grading."""
    gr.sample(library, settings(when_dry="fail"))
    before = drawn(library)
    gr.grade(library, gr.GradeSettings(rule="rate", cuts=[0.05, 0.04, 0.03, 0.02, 0.01]))
    again = gr.sample(library, settings(when_dry="fail"))
    assert again.already
    assert "choose another --name" in again.warning
    assert drawn(library) == before
    with pytest.raises(LimitError):
        gr.sample(library, settings(name="new", when_dry="fail"))


def test_a_name_that_is_taken_is_refused(tmp_path, library):
    """Another size, seed or mix, another model or rule under the same name is an error that says what has the name."""
    gr.sample(library, settings())
    for changed in ({"size": 21}, {"seed": 1}, {"mix": "curriculum:5,4,3,2,1"}, {"reserve": 0}):
        with pytest.raises(gr.UsageError, match="another draw named 'd'"):
            gr.sample(library, settings(**changed))
    record_answers(library, tmp_path, "n", spread)
    gr.verify(library)
    gr.grade(library, RATE, model="n")
    with pytest.raises(gr.UsageError, match="Several models are graded: m, n"):
        gr.sample(library, settings())
    with pytest.raises(gr.UsageError, match="another draw named 'd'"):
        gr.sample(library, settings(), model="n")


def test_only_the_chosen_sets_are_drawn_from(tmp_path, library):
    """A draw of one set holds none of another's; a set that is not there is named."""
    path = write_pool(tmp_path / "more.jsonl", 45, start=90)
    gr.ingest(library, gr.IngestSettings(path=str(path), set="more"))
    record_answers(library, tmp_path, "m", spread, count=135)
    gr.verify(library)
    gr.grade(library, RATE)
    gr.sample(library, settings(sets=["more"]))
    more = {gr.Question.make_id("math", question(n)["problem"]) for n in range(90, 135)}
    assert {id_ for _, _, id_ in drawn(library)} <= more
    with pytest.raises(gr.UsageError, match="no set named 'none'"):
        gr.sample(library, settings(name="e", sets=["none"]))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"name": ""}, "cannot name a draw"),
        ({"name": "a/b"}, "cannot name a draw"),
        ({"mix": "curriculum:1,2,3,4,5"}, "must fall"),
        ({"mix": "something"}, "is no mix"),
        ({"mix": "explicit:0,0,0,0,0"}, "are 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(library, changed, sentence):
    """One sentence, and no draw is made."""
    with pytest.raises(gr.UsageError, match=sentence):
        gr.sample(library, settings(**changed))
    assert draws.draws(library) == []
