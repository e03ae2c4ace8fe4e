"""Compare, end to end with the shipped tiny models: draws, trials in worker processes, kill and resume, pictures."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import xml.etree.ElementTree as ET
from contextlib import closing
from dataclasses import replace

import msgspec
import pytest

import gradatim as gr
from cli_world import COMMAND, SOURCE, called
from gradatim.comparing import evidence, running, showing
from gradatim.comparing.compare import CompareResult, compare, prepare
from gradatim.comparing.plot import svg
from gradatim.comparing.trials import made_from, trials
from gradatim.config import load
from gradatim.errors import GradatimError, UsageError
from gradatim.library import draws
from gradatim.library.absorbing import absorb, copy
from gradatim.method.comparison import Score, table
from gradatim.types import Role

pytestmark = pytest.mark.timeout(600)

RECIPE = """
library = "library.db"
[[ingest]]
path = "tiny:eval?size=20"
set = "eval"
purpose = "eval"
[[ingest]]
path = "tiny:test?size=40"
set = "test"
purpose = "eval"
[[ingest]]
path = "tiny:pool?size=160"
near = 0
ngram = 0
[models.base]
kind = "local"
model = "tiny-base"
path = "tiny:base"
device = "cpu"
threads = 1
[models.second]
kind = "local"
model = "tiny-second"
path = "tiny:second"
device = "cpu"
threads = 1
[models.teacher]
model = "tiny-teacher"
base_url = "tiny:teacher?error_rate=0.4"
[attempt]
temperature = 0.0
max_tokens = 100
system = ""
[grade]
rule = "rate"
[sample]
reserve = 2.0
[teach]
max_tokens = 400
tries = 1
[evaluate]
temperature = 0.0
samples = 1
max_tokens = 100
system = ""
[train]
batch_size = 8
learning_rate = 0.002
device = "cpu"
[compare]
arms = ["random", "wrong_uniform"]
seeds = [0, 1]
chains = 10
steps = 3
jobs = 2
"""


def settings(folder, **changes):
    """The recipe in a folder of its own, with other values of [compare]."""
    (folder / "compare.toml").write_text(RECIPE)
    config = load(folder / "compare.toml")
    return msgspec.structs.replace(config, compare=msgspec.structs.replace(config.compare, **changes))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder whose library holds both models' grades, all arms' draws and their chains."""
    folder = tmp_path_factory.mktemp("prepared")
    arms = ("random", "wrong_uniform", "transfer", "p_eval", "pass_rate_band", "static")
    config = settings(folder, arms=arms, samples=2)
    with gr.Library(config.library, write=True) as library:
        prepare(library, config)
    return folder


def kept(path):
    """The kept chains of each draw that has any."""
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT d.name, c.attempt FROM chain c JOIN draw d ON d.pk = c.draw WHERE c.kept ORDER BY 1, 2"
        found = {}
        for name, attempt in connection.execute(sql):
            found.setdefault(name, []).append(attempt)
        return found


def moved_to(prepared, folder):
    """A copy of the prepared library in another folder."""
    shutil.copy(prepared / "library.db", folder / "library.db")
    return folder


def test_every_draw_has_its_chains_and_no_evaluation_question(prepared):
    """Each arm and seed has a draw with exactly the budget of kept chains, none of them to be evaluated on."""
    found = kept(prepared / "library.db")
    assert {name: len(chains) for name, chains in found.items()} == {
        f"compare-{arm}-{seed}": 10
        for arm in ("random", "wrong_uniform", "transfer", "p_eval", "pass_rate_band", "static")
        for seed in (0, 1)
    }
    with gr.Library(prepared / "library.db") as library:
        never = draws.undrawable(library)
        drawn = {pk for draw in draws.draws(library) for order in draws.items(library, draw).values() for pk in order}
    assert drawn
    assert not drawn & never


def test_an_arms_chains_do_not_depend_on_the_other_arms(prepared, tmp_path):
    """With a teacher that is often wrong, random's chains answer the same questions alone as beside five arms."""
    config = settings(tmp_path, arms=("random",))
    with gr.Library(config.library, write=True) as library:
        prepare(library, config)
    sql = "SELECT question FROM chains WHERE kept AND draw = 'compare-random-0' ORDER BY 1"
    with gr.Library(config.library) as alone, gr.Library(prepared / "library.db") as beside:
        assert alone.all(sql) == beside.all(sql)
        assert alone.value("SELECT count(*) FROM attempts WHERE role = 'teacher'") > 20


def test_a_teacher_is_asked_about_a_question_once(prepared):
    """Arms share what was bought: with one try each, no question has two teacher's attempts."""
    with gr.Library(prepared / "library.db") as library:
        sql = "SELECT count(*), count(DISTINCT question) FROM attempts WHERE role = 'teacher'"
        (counts,) = library.all(sql)
    assert counts[0] == counts[1] > 20


def test_preparing_again_asks_nothing(prepared, tmp_path):
    """A second run finds draws, attempts and chains as they are."""
    before = kept(moved_to(prepared, tmp_path) / "library.db")
    config = settings(tmp_path, arms=("random", "static"))
    with gr.Library(config.library, write=True) as library:
        counts = library.all("SELECT (SELECT count(*) FROM attempt), (SELECT count(*) FROM draw)")
        prepare(library, config)
        assert library.all("SELECT (SELECT count(*) FROM attempt), (SELECT count(*) FROM draw)") == counts
    assert kept(tmp_path / "library.db") == before


@pytest.mark.parametrize(
    ("changes", "said"), [({"chains": 12}, "chains"), ({"arms": ("static",), "static": "family"}, "static")]
)
def test_a_draw_never_changes(prepared, tmp_path, changes, said):
    """Another budget or column under the same name is refused, and what differs is named."""
    moved_to(prepared, tmp_path)
    config = settings(tmp_path, **({"arms": ("random",), "baseline": changes.get("arms", ("random",))[0]} | changes))
    with gr.Library(config.library, write=True) as library, pytest.raises(UsageError, match=said):
        prepare(library, config)


@pytest.mark.parametrize(
    ("table", "changes", "said"),
    [
        ("teach", {"temperature": 0.3}, "what differs: teach"),
        ("curate", {"max_repetition": 0.9}, "what differs: curate"),
        ("ingest", {"path": "tiny:pool?size=170", "near": 0.0, "ngram": 0}, "what differs: pool"),
    ],
)
def test_seeds_that_are_added_are_of_the_same_experiment(prepared, tmp_path, table, changes, said):
    """Another teacher, other filters or a larger pool under the same name are refused before anything is bought."""
    moved_to(prepared, tmp_path)
    config = settings(tmp_path, arms=("random",), seeds=(0, 1, 2))
    before = getattr(config, table)
    new = (
        [*before[:2], gr.IngestSettings(**changes)] if table == "ingest" else msgspec.structs.replace(before, **changes)
    )
    config = msgspec.structs.replace(config, **{table: new})
    with gr.Library(config.library, write=True) as library:
        sql = "SELECT (SELECT count(*) FROM draw), (SELECT count(*) FROM attempts WHERE role = 'teacher')"
        counts = library.all(sql)
        with pytest.raises(UsageError, match=said):
            prepare(library, config)
        assert library.all(sql) == counts


def test_a_copy_of_a_library_that_is_gone_is_not_gone_on_with(prepared, tmp_path):
    """What a killed trial left is used again beside its own library, and made anew where another one has its name."""
    moved_to(prepared, tmp_path)
    config = settings(tmp_path, arms=("random",))
    (trial, *_) = trials(config)
    place = running.place(config, trial)
    place.parent.mkdir()
    shutil.copy(config.library, tmp_path / "snapshot.db")
    with closing(sqlite3.connect(tmp_path / "later.db")) as connection:
        shutil.copy(config.library, tmp_path / "later.db")
        connection.execute("UPDATE attempt SET made_at = made_at + 1")
        connection.commit()
    marks = []
    for name in ("library.db", "later.db"):
        with gr.Library(tmp_path / name) as library:
            marks.append(made_from(library, trial))
    assert marks[0] != marks[1]
    running._prepare(config, trial, tmp_path / "snapshot.db", marks[0])
    (place / "progress").touch()
    running._prepare(config, trial, tmp_path / "snapshot.db", marks[0])
    assert (place / "progress").exists()
    running._prepare(config, trial, tmp_path / "snapshot.db", marks[1])
    assert not (place / "progress").exists()
    assert (place / "library.db").exists()


def test_numbers_that_are_none_are_not_chosen_by(prepared, tmp_path):
    """A column with NaN and infinity gives a static number to the other questions only."""
    moved_to(prepared, tmp_path)
    with closing(sqlite3.connect(tmp_path / "library.db")) as connection:
        for pk, value in ((1, '{"odd": "nan"}'), (2, '{"odd": "inf"}'), (3, '{"odd": "4"}')):
            connection.execute("UPDATE question_text SET extra = ? WHERE question = ?", (value, pk))
        connection.commit()
    with gr.Library(tmp_path / "library.db") as library:
        assert evidence._numbers(library, "odd") == {3: 4.0}


@pytest.fixture(scope="module")
def compared(prepared, tmp_path_factory):
    """A comparison that ran through."""
    folder = moved_to(prepared, tmp_path_factory.mktemp("compared"))
    config = settings(folder)
    return folder, config, compare(config)


def test_every_trial_is_trained_and_evaluated_alike(compared):
    """Two arms, two seeds, with and without replay: eight models of three steps, on forty questions each."""
    folder, config, result = compared
    assert len(result.scores) == 8
    assert {(one.chains, one.steps) for one in result.scores} == {(10, 3)}
    assert {(one.replay, one.replayed) for one in result.scores} == {(0.0, 0), (1.0, 10)}
    with gr.Library(config.library) as library:
        sql = "SELECT model, count(*), count(DISTINCT question) FROM attempts WHERE role = 'eval' GROUP BY 1"
        found = {row[0]: row[1:] for row in library.all(sql)}
        curves = library.all("SELECT model, count(*) FROM training_steps GROUP BY 1")
    assert len(found) == 9  # and the base model
    assert set(found.values()) == {(40, 40)}
    assert {row[1] for row in curves} == {3}
    assert [one.name for one in (folder / "compare").iterdir()] == ["workers.log"]


def test_scores_are_those_of_the_library(compared):
    """Accuracy and kept answers agree with a count by SQL."""
    _, config, result = compared
    sql = (
        "SELECT avg(v.outcome = 'correct'), avg(v.outcome = 'correct') FILTER (WHERE b.outcome = 'correct') "
        "FROM verdicts v JOIN verdicts b ON b.question = v.question AND b.role = 'eval' AND b.model = 'tiny-base' "
        "WHERE v.role = 'eval' AND v.model = ?"
    )
    with gr.Library(config.library) as library:
        for one in result.scores:
            name = f"compare-{one.arm}-{one.seed}-replay{one.replay:g}"
            assert (one.accuracy, one.kept) == pytest.approx(library.all(sql, (name,))[0])
    assert result.base > 0.2


def test_a_finished_comparison_prints_its_table_again(compared):
    """The command on a finished comparison trains nothing, and prints and writes the same."""
    folder, _, result = compared
    before = (folder / "library.db").stat().st_size
    words = ("compare", str(folder / "compare.toml"), "-o", str(folder / "results.md"))
    done = called(*words)
    assert done.code == 0, done.err
    assert "wrong_uniform" in done.out
    assert (folder / "library.db").stat().st_size == before
    assert showing.markdown(result, "results.svg") == (folder / "results.md").read_text()
    told = json.loads(called("compare", str(folder / "compare.toml"), "--json").out)
    assert [one["accuracy"] for one in told["scores"]] == [one.accuracy for one in result.scores]


def test_a_comparison_trained_otherwise_is_refused(compared):
    """The same names with another learning rate are another comparison, and the setting is named."""
    _, config, _ = compared
    config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, learning_rate=0.001))
    with pytest.raises(UsageError, match=r"learning_rate.*another name in \[compare\]"):
        compare(config)


def test_a_killed_comparison_goes_on(prepared, compared, tmp_path):
    """Killed after its first trial and started again, it does the rest, and ends with the numbers of a whole run."""
    folder = moved_to(prepared, tmp_path)
    settings(folder)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    words = [*COMMAND, "compare", "compare.toml"]
    running = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(lambda: _trained(folder) >= 1, running)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = _trained(folder)
    assert 1 <= before < 8
    with closing(sqlite3.connect(folder / "library.db")) as connection:
        (first,) = connection.execute("SELECT min(made_at) FROM training").fetchone()
    result = compare(load(folder / "compare.toml"))
    assert result.scores == compared[2].scores
    with closing(sqlite3.connect(folder / "library.db")) as connection:
        assert connection.execute("SELECT min(made_at) FROM training").fetchone() == (first,)


def _trained(folder):
    with closing(sqlite3.connect(f"file:{folder / 'library.db'}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute("SELECT count(*) FROM training").fetchone()[0]


def test_a_base_model_that_cannot_answer_all_ends_the_comparison(prepared, tmp_path):
    """Where test questions do not fit the model, the base is not scored on the others, and nothing is trained."""
    moved_to(prepared, tmp_path)
    config = settings(tmp_path)
    asked = msgspec.structs.replace(config.evaluate, system="very long " * 2000)
    with pytest.raises(GradatimError, match="40 answers of tiny-base to test are missing or not judged"):
        compare(msgspec.structs.replace(config, evaluate=asked))
    assert _trained(tmp_path) == 0


def _wait(condition, process):
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.1)
    raise AssertionError("it takes too long")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ('arms = ["random", "p_x"]', r"\[compare\] arms: there is no arm 'p_x'; did you mean 'p_c'"),
        ('arms = ["p_c"]', r"baseline: 'random' is not among the arms"),
        ("seeds = [1, 1]", r"seeds: it takes one or more, and none twice"),
        ("seeds = []", r"seeds: it takes one or more"),
        ("replay = [-1.0]", r"replay: a number from 0"),
        ("chains = 0", r"chains: a number of at least 1"),
        ("jobs = 0", r"jobs: a number from 1"),
        ('arm = ["random"]', r"unknown key 'arm'. Did you mean 'arms'"),
        ('set = "pool"', r"set: the set 'pool' is a pool"),
        ('set = "later"', r"set: there is no evaluation set 'later'"),
        ('arms = ["random", "transfer"]\nsecond = "third"', r"No \[models.third\] is set"),
        ('arms = ["random", "static"]\nstatic = "colour"', r"none that is named 'colour'"),
        ("chains = 500", r"500 chains were asked for, and only 160 questions"),
    ],
)
def test_wrong_settings_are_one_sentence(prepared, tmp_path, changes, said):
    """A recipe that cannot be compared ends with one sentence that says where, and no traceback."""
    moved_to(prepared, tmp_path)
    head = RECIPE.partition("[compare]")[0]
    (tmp_path / "compare.toml").write_text(f'{head}[compare]\nname = "other"\n{changes}\n')
    done = called("compare", str(tmp_path / "compare.toml"))
    assert done.code in (2, 5)
    assert re.search(said, done.err), done.err
    assert done.err.count("\n") == 1


def test_a_server_cannot_be_trained(tmp_path):
    """A base model that is a server is refused before a library is made."""
    text = re.sub(
        r"(\[models.base\]\n)kind.*?threads = 1", r'\1model = "b"\nbase_url = "http://x/v1"', RECIPE, flags=re.DOTALL
    )
    (tmp_path / "compare.toml").write_text(text)
    done = called("compare", str(tmp_path / "compare.toml"))
    assert done.code == 2
    assert 'kind = "local"' in done.err
    assert not (tmp_path / "library.db").exists()


@pytest.mark.parametrize("out", ["results.txt", "nowhere/results.md"])
def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path, out):
    """A wrong ending or a folder that is not there is said before any work."""
    (tmp_path / "compare.toml").write_text(RECIPE)
    done = called("compare", str(tmp_path / "compare.toml"), "-o", str(tmp_path / out))
    assert done.code == 2
    assert not (tmp_path / "library.db").exists()


def test_a_copys_rows_are_taken_over_once(compared, tmp_path):
    """What a copy holds of a model comes over whole, a second time changes nothing, and others' rows stay away."""
    _, config, _ = compared
    with gr.Library(config.library) as whole:
        copy(whole, tmp_path / "copy.db")
        copy(whole, tmp_path / "target.db")
    name = "compare-random-0-replay1"
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection, connection:
        connection.executescript(
            "DELETE FROM training_step; DELETE FROM training;"
            "CREATE TEMP TABLE gone AS SELECT a.pk FROM attempt a JOIN setting s ON s.pk = a.setting "
            "WHERE s.role = 'eval';"
            "DELETE FROM verdict WHERE attempt IN gone; DELETE FROM attempt_text WHERE attempt IN gone;"
            "DELETE FROM attempt WHERE pk IN gone; DELETE FROM setting WHERE role = 'eval';"
        )
    with gr.Library(tmp_path / "target.db", write=True) as target, gr.Library(tmp_path / "copy.db") as other:
        for _ in range(2):
            absorb(target, other, name)
            for sql in (
                "SELECT * FROM verdicts WHERE model = ? ORDER BY 1",
                "SELECT * FROM attempts WHERE model = ? ORDER BY 1",
                "SELECT * FROM trainings WHERE model = ?",
                "SELECT * FROM training_steps WHERE model = ? ORDER BY step",
            ):
                assert target.all(sql, (name,)) == other.all(sql, (name,)) != []
            assert target.value("SELECT count(*) FROM attempts WHERE role = ?", (Role.EVAL,)) == 40
            assert target.value("SELECT count(*) FROM trainings") == 1


def by_hand():
    """A result with numbers that are easy to find again."""
    scores = [
        Score(arm=arm, replay=replay, seed=seed, accuracy=0.5 + gain + 0.01 * seed, kept=0.9, gained=0.1, chains=10,
              replayed=round(10 * replay), steps=5, tokens=1234)
        for replay in (1.0, 0.0) for arm, gain in (("random", 0.0), ("<p_c>", 0.04)) for seed in (0, 1, 2)
    ]  # fmt: skip
    lines = table(scores, "random", {"<p_c>": ("3 of level 1 from level 2",)})
    return CompareResult(
        name="by hand", model="m", set="test", questions=100, base=0.45, baseline="random", chains=10, steps=5,
        lines=tuple(lines), scores=tuple(scores),
    )  # fmt: skip


def test_the_table_says_what_was_measured():
    """Means, differences with sign, intervals, and notes stand in the Markdown."""
    text = showing.markdown(by_hand(), "x.svg")
    row = next(line for line in text.splitlines() if line.startswith("| <p_c> | 1 "))
    assert row == "| <p_c> | 1 | 3 | 55.0 ± 0.6 | +4.0 | +4.0 to +4.0 | 90.0 | 10.0 | 5 | 1,234 |"
    assert "2 of 2 intervals exclude zero" in text
    assert "<p_c>: 3 of level 1 from level 2." in text
    assert "![by hand](x.svg)" in text


def test_one_seed_is_not_called_an_interval():
    """With one seed the page says that there is no interval, and counts none."""
    many = by_hand()
    scores = tuple(one for one in many.scores if one.seed == 0)
    text = showing.markdown(replace(many, scores=scores, lines=tuple(table(scores, "random"))))
    assert "There is no interval" in text
    assert "exclude zero" not in text


def test_the_picture_stands_alone_and_is_well_formed():
    """The SVG parses, escapes names, needs no other file, and has a mark per line and a dot per seed."""
    text = svg(by_hand())
    root = ET.fromstring(text)
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(circles) == 2 + 2 * (3 + 1)  # legend; two lines with three seeds and a mean
    assert not re.search(r"(href|url\(|@import|<script)", text)
    assert "prefers-color-scheme: dark" in text
    assert "+4.0  (55.0 %)" in text
