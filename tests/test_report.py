"""The report: its numbers are the library's, whatever a model wrote is text, and it opens in a browser on its own."""

from __future__ import annotations

import hashlib
import html.parser
import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import chromium
import gradatim as gr
from cli_world import called, write_pool
from gradatim.cli.main import cli
from gradatim.library.text import pack
from gradatim.reporting import page as page_module
from report_world import HOSTILE, TRAINED, add_training, make_library

VENDOR = Path(page_module.__file__).parent / "vendor"
in_browser = pytest.mark.skipif(chromium.PROGRAM is None, reason=chromium.WHY_NOT)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with `library.db`, in which every section has something to show, and its report."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_library(folder)
    write_report(folder / "library.db", folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def browser():
    """A running browser."""
    with chromium.started() as running:
        yield running


@pytest.fixture(scope="module")
def data(world):
    """What is embedded in the report."""
    return embedded(world / "report.html")


@pytest.fixture(scope="module")
def sql(world):
    """Asks the library, by its views."""
    with gr.Library(world / "library.db") as library:
        yield library.all


def write_report(library: Path, out: Path, **settings: str) -> gr.ReportResult:
    """Write a report."""
    with gr.Library(library) as opened:
        return gr.report(opened, gr.ReportSettings(out=str(out), **settings))


class Elements(html.parser.HTMLParser):
    """What a browser would take for elements, and the text of the data element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.outward: list[str] = []
        self.data = ""
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names.append(tag)
        self.outward += [value for name, value in given.items() if name in ("src", "href", "action", "srcset")]
        self._inside = tag == "script" and given.get("id") == "data"

    def handle_endtag(self, _):
        self._inside = False

    def handle_data(self, text):
        if self._inside:
            self.data += text


def embedded(path: Path) -> dict:
    """The report's JSON, as a browser finds it."""
    return json.loads(Elements(path.read_text(encoding="utf-8")).data)


def nearest_rank(values, percent):
    """The quantile, the plain way."""
    ordered = sorted(values)
    return ordered[max(1, -(-len(ordered) * percent // 100)) - 1]


def outcomes(sql) -> dict[str, str]:
    """Each attempt's newest verdict."""
    return dict(sql("SELECT attempt, outcome FROM verdicts ORDER BY round"))


OUTCOME = "(SELECT v.outcome FROM verdicts v WHERE v.attempt = a.id ORDER BY v.round DESC LIMIT 1)"


def test_levels_are_those_of_the_grades(data, sql):
    """Each bar is the count of the pool's questions at that level in that grading."""
    assert {one["model"] for one in data["histograms"]} == {"student", "other"}
    assert data["histograms"][0]["model"] == data["model"] == "student"
    for one in data["histograms"]:
        counted = sql(
            "SELECT level, count(*), sum(correct), sum(correct + wrong) FROM grades "
            "JOIN questions q ON q.id = question WHERE grading = ? AND q.sets = 'pool' GROUP BY level ORDER BY level",
            (one["grading"],),
        )
        assert [
            (line["level"], line["questions"], line["correct"], line["attempts"]) for line in one["lines"]
        ] == counted


def test_moves_between_two_models_are_counted(data, sql):
    """Each cell is the count of questions with that pair of levels, and the changed ones are off the diagonal."""
    counted = sql(
        "SELECT a.level, b.level, count(*) FROM grades a JOIN grades b ON b.question = a.question "
        "WHERE b.model = 'other' AND a.model = 'student' AND a.level IS NOT NULL AND b.level IS NOT NULL "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [tuple(cell) for cell in data["moves"]["counts"]] == counted
    assert data["moves"]["changed"] == sum(count for one, other, count in counted if one != other)


def test_mixes_are_those_of_draws_and_chains(data, sql):
    """Asked is the mix by largest remainder, drawn is the quota, finished is what was kept."""
    math, flat = data["draws"]
    assert [line["asked"] for line in math["lines"]] == [0, 20, 16, 12, 8, 4]
    kept = dict(sql("SELECT level, count(*) FROM chains WHERE draw = 'math-60' AND kept GROUP BY level"))
    assert [line["finished"] for line in math["lines"]] == [kept.get(level, 0) for level in range(6)]
    assert sum(kept.values()) == 60
    observed = dict(
        sql(
            "SELECT level, count(*) FROM grades JOIN questions q ON q.id = question "
            "WHERE model = 'student' AND q.sets = 'eval' GROUP BY level"
        )
    )
    total = sum(observed.values())
    for mix in (math, flat):
        quotas = json.loads(sql("SELECT quotas FROM draw WHERE name = ?", (mix["draw"],))[0][0])
        assert {str(line["level"]): line["drawn"] for line in mix["lines"] if line["drawn"]} == quotas
    for line in flat["lines"]:
        assert abs(line["asked"] - 40 * observed.get(line["level"], 0) / total) < 1
    assert sum(line["asked"] for line in flat["lines"]) == 40


def test_scores_are_binned_by_outcome(data, sql):
    """Each bin holds the attempts of that outcome whose mean lies in it."""
    of = outcomes(sql)
    for split in data["scores"]:
        scored = "SELECT attempt, mean FROM scores WHERE model = ? AND mean IS NOT NULL"
        rows = [(of[attempt], mean) for attempt, mean in sql(scored, (split["model"],))]
        assert {outcome for outcome, _ in rows} == {line["outcome"] for line in split["lines"]}
        for line in split["lines"]:
            means = [mean for outcome, mean in rows if outcome == line["outcome"]]
            bins = [0] * 20
            for mean in means:
                bins[min(19, int(mean * 20))] += 1
            assert line["counts"] == bins
            assert line["mean"] == pytest.approx(sum(means) / len(means), abs=1e-6)
    assert {line["outcome"] for line in data["scores"][0]["lines"]} == {"correct", "wrong"}


def test_the_teachers_work_adds_up(data, sql):
    """Answers, correct ones, tokens, cost and kept chains per level are the library's; the last line is their sum."""
    (one,) = data["teaching"]
    rows = sql(
        f"SELECT d.level, count(*), sum({OUTCOME} = 'correct'), sum(a.completion_tokens), sum(a.cost), "
        "sum((SELECT count(*) FROM chains c WHERE c.draw = d.draw AND c.attempt = a.id AND c.kept)) "
        "FROM draws d JOIN attempts a ON a.question = d.question AND a.role = 'teacher' "
        "WHERE d.draw = 'math-60' GROUP BY d.level ORDER BY d.level"
    )
    for line, (level, attempts, correct, tokens, cost, kept) in zip(one["lines"][:-1], rows, strict=True):
        assert (line["level"], line["attempts"], line["correct"]) == (level, attempts, correct)
        assert (line["tokens"], line["kept"]) == (tokens, kept)
        assert line["cost"] == pytest.approx(cost)
        assert line["low"] < line["share"] == correct / attempts <= line["high"]
        assert line["tokens_per_chain"] == pytest.approx(tokens / kept)
        assert line["cost_per_chain"] == pytest.approx(cost / kept)
    assert one["lines"][-1]["level"] is None
    assert one["lines"][-1]["tokens"] == sum(row[3] for row in rows)
    assert dict(one["not_kept"]) == dict(sql("SELECT reason, count(*) FROM chains WHERE NOT kept GROUP BY reason"))


def test_lengths_are_nearest_rank_quantiles(data, sql):
    """The quantiles of each group are those of its sorted lengths."""
    of = outcomes(sql)
    attempts = sql("SELECT id, model || ', ' || role, completion_tokens FROM attempts")
    answers = [(group, of[attempt], tokens) for attempt, group, tokens in attempts]
    chains = sql("SELECT draw || ', kept chains', 'level ' || level, completion_tokens FROM chains WHERE kept")
    words = {"attempts": "base", "evaluation": "eval"}
    assert len(data["lengths"]) == 2 * 4 + 5
    for line in data["lengths"]:
        model, _, what = line["group"].rpartition(", ")
        group = line["group"] if what == "kept chains" else f"{model}, {words[what]}"
        tokens = [row[2] for row in [*answers, *chains] if row[:2] == (group, line["what"])]
        assert line["answers"] == len(tokens)
        for percent in (5, 25, 50, 75, 95):
            assert line[f"p{percent}"] == nearest_rank(tokens, percent)


def test_the_loss_curve_is_the_mean_of_stretches(data, sql):
    """A long training is drawn by stretches of equal length, each with the mean of its steps' losses."""
    (curve,) = data["curves"]
    steps = sql("SELECT step, loss, tokens FROM training_steps ORDER BY step")
    assert (curve["model"], curve["base"], curve["draw"], curve["done"]) == (TRAINED, "student", "math-60", len(steps))
    assert len(curve["points"]) == 165
    for at, point in enumerate(curve["points"]):
        stretch = steps[2 * at : 2 * at + 2]
        assert (point["step"], point["tokens"]) == (stretch[-1][0], stretch[-1][2])
        assert point["loss"] == pytest.approx(sum(step[1] for step in stretch) / len(stretch))


def test_accuracies_are_those_of_evaluate(world, data, sql, monkeypatch):
    """Overall, by level and by source, the page has the figures that `gradatim evaluate` prints, and those of SQL."""
    monkeypatch.chdir(world)
    shutil.copy(world / "library.db", world / "evaluated.db")
    command = f"evaluate --model {TRAINED} --against student --set eval --samples 2 --levels-of student --json"
    ended = called("--library", "evaluated.db", *command.split())
    assert ended.code == 0, ended.err
    (told,) = json.loads(ended.out)
    shown = next(one for one in data["evaluations"] if one["set"] == "eval")
    assert (shown["before"], shown["after"], shown["trained_on"]) == ("student", TRAINED, None)
    found = {(line["kind"], line["name"]): line for line in shown["lines"]}
    expected = {("all", "all"): told["overall"]} | {(one["group"], one["name"]): one for one in told["lines"]}
    assert found.keys() == expected.keys()
    for key, line in expected.items():
        after = next(one for one in found[key]["models"] if one["model"] == TRAINED)
        for name in ("value", "low", "high"):
            assert after[name] == line["accuracy"][name]
    gain = found["all", "all"]["difference"]
    assert gain == {name: told["against"]["difference"][name] for name in ("value", "low", "high", "p")}
    of = outcomes(sql)
    for model in ("student", TRAINED):
        asked = (
            "SELECT a.question, a.id FROM attempts a JOIN questions q ON q.id = a.question "
            "WHERE a.role = 'eval' AND a.model = ? AND q.sets = 'eval'"
        )
        rights: dict[str, list[bool]] = {}
        for question, attempt in sql(asked, (model,)):
            rights.setdefault(question, []).append(of[attempt] == "correct")
        rates = [sum(right) / len(right) for right in rights.values()]
        own = next(one for one in found["all", "all"]["models"] if one["model"] == model)
        assert own["value"] == pytest.approx(sum(rates) / len(rates))
    assert data["figures"][0]["value"] == f"{100 * gain['value']:+.1f} points"


def test_models_that_were_asked_otherwise_are_told(world, tmp_path):
    """Another limit, missing answers and undecided ones of one model stand beside the gain and on the page."""
    shutil.copy(world / "library.db", tmp_path / "lib.db")
    own = "(SELECT pk FROM setting WHERE role = 'eval' AND model = 'student')"
    gone = (
        f"(SELECT pk FROM attempt WHERE setting = {own} AND question IN (SELECT question FROM attempt WHERE setting = "
    )
    gone += f"{own} ORDER BY question LIMIT 20))"
    undecided = f"(SELECT pk FROM attempt WHERE setting = {own} ORDER BY question DESC LIMIT 10)"
    with closing(sqlite3.connect(tmp_path / "lib.db")) as connection:
        connection.executescript(
            f"UPDATE setting SET sampling = json_set(sampling, '$.max_tokens', 999) WHERE pk = {own};"
            f"UPDATE verdict SET outcome = 'undecided', reason = 'truncated' WHERE attempt IN {undecided};"
            f"CREATE TEMP TABLE gone AS SELECT pk FROM {gone}; DELETE FROM verdict WHERE attempt IN gone;"
            "DELETE FROM attempt_text WHERE attempt IN gone; DELETE FROM attempt WHERE pk IN gone;"
        )
    write_report(tmp_path / "lib.db", tmp_path / "r.html")
    data = embedded(tmp_path / "r.html")
    (shown,) = (one for one in data["evaluations"] if one["set"] == "eval")
    left = next(one for one in shown["lines"] if one["kind"] == "all")["questions"]
    notes = shown["notes"]
    assert notes[0] == f"student was asked otherwise than {TRAINED}: max_tokens 999 instead of 16384."
    assert re.fullmatch(rf"student has answers to \d+ of the set's {left} questions\.", notes[1])
    headline = data["figures"][0]["note"]
    assert "points if undecided answers were wrong" in headline
    assert all(note in headline for note in notes)


def test_flows_count_first_samples(data, sql):
    """What went from wrong to right and back is counted question by question, by the first sample of each model."""
    first = "SELECT question, outcome = 'correct' AS right FROM verdicts WHERE role = 'eval' AND attempt LIKE '%-0'"
    ends = sql(
        f"SELECT b.right, a.right, count(*) FROM ({first} AND model = 'student') b "
        f"JOIN ({first} AND model = '{TRAINED}') a ON a.question = b.question GROUP BY 1, 2"
    )
    counted = {(bool(before), bool(after)): count for before, after, count in ends}
    assert next(one for one in data["evaluations"] if one["set"] == "eval")["flow"] == {
        "both_right": counted[True, True],
        "gained": counted[False, True],
        "lost": counted[True, False],
        "both_wrong": counted[False, False],
    }


def test_a_pool_is_not_called_held_out(data):
    """An evaluation on questions that were trained on says so, and its gain is not among the first figures."""
    shown = next(one for one in data["evaluations"] if one["set"] == "pool")
    assert shown["trained_on"] == 60
    assert [figure["name"] for figure in data["figures"] if figure["main"]] == ["Accuracy gained on eval"]


def test_stories_hold_what_the_library_holds(data, sql):
    """Each story's texts, outcomes and step scores are those of its attempts; a level has at most one of each kind."""
    kinds = [(story["kind"], story["level"]) for story in data["stories"]]
    assert len(set(kinds)) == len(kinds)
    assert {level for kind, level in kinds if kind == "taught"} == {1, 2, 3, 4, 5}
    assert any(kind == "held_out" for kind, _ in kinds)
    for story in data["stories"]:
        prompt, reference, sets = sql(
            "SELECT prompt, reference, sets FROM questions WHERE id = ?", (story["question"],)
        )[0]
        assert (story["prompt"]["text"], story["reference"]) == (prompt, reference)
        assert sets == ("pool" if story["kind"] == "taught" else "eval")
        attempts = sql(
            f"SELECT a.model, a.role, {OUTCOME}, a.thinking, a.answer, (SELECT x.steps FROM scores x WHERE "
            "x.attempt = a.id) FROM attempts a WHERE a.question = ?",
            (story["question"],),
        )
        for part, model, outcome in (
            ("wrong", "student", "wrong"),
            ("chain", "teacher", "correct"),
            ("after", TRAINED, "correct"),
        ):
            told = story[part]
            if told is None:
                assert (part == "chain" and story["kind"] == "held_out") or (
                    part == "after" and story["kind"] == "taught"
                )
                continue
            text = "".join(step["text"] for step in told["steps"])
            row = next(
                one
                for one in attempts
                if (one[0], one[2], one[3], one[4]) == (model, outcome, told["thinking"]["text"], text)
            )
            if part == "wrong" and row[5]:
                assert [[len(step["text"]), step["score"]] for step in told["steps"]] == json.loads(row[5])
    assert any(len(story["wrong"]["steps"]) > 1 for story in data["stories"])


def test_the_same_library_gives_the_same_bytes(world, tmp_path):
    """No clock, path or host is in the page: a copy elsewhere gives the same file."""
    shutil.copy(world / "library.db", tmp_path / "elsewhere.db")
    write_report(tmp_path / "elsewhere.db", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (world / "report.html").read_bytes()
    assert str(world) not in (world / "report.html").read_text(encoding="utf-8")


def test_what_is_missing_is_named_with_its_command(tmp_path):
    """A library that holds only questions gives a page that says of each section which command would fill it."""
    write_pool(tmp_path / "pool.jsonl")
    library = str(tmp_path / "library.db")
    assert called("--library", library, "ingest", str(tmp_path / "pool.jsonl")).code == 0
    ended = called("--library", library, "report", "-o", str(tmp_path / "report.html"))
    assert ended.code == 0, ended.err
    data = embedded(tmp_path / "report.html")
    lacking = {one["section"] for one in data["missing"]}
    assert lacking >= {"Levels", "Mixes", "Accuracy", "Loss", "Lengths", "Single questions", "The teacher's work"}
    assert not any(data[name] for name in ("histograms", "draws", "evaluations", "curves", "lengths", "stories"))
    for one in data["missing"]:
        for command in re.findall(r"gradatim (\S+)", one["command"]):
            assert command.rstrip(";") in {*cli.commands, "train"}
        assert one["command"] in ended.out


def test_an_empty_library_is_refused(tmp_path):
    """Without a question there is nothing to report, and no file appears."""
    out = tmp_path / "report.html"
    with gr.Library(tmp_path / "library.db", write=True) as library, pytest.raises(gr.UsageError, match="gradatim ing"):
        gr.report(library, gr.ReportSettings(out=str(out)))
    assert not (tmp_path / "report.html").exists()


def test_one_draw_can_be_chosen(world, tmp_path):
    """`--draw` shows that draw alone, and a name that is not there is refused with those that are."""
    write_report(world / "library.db", tmp_path / "flat.html", draw="flat")
    assert [mix["draw"] for mix in embedded(tmp_path / "flat.html")["draws"]] == ["flat"]
    with pytest.raises(gr.UsageError, match="math-60"):
        write_report(world / "library.db", tmp_path / "none.html", draw="none")


def test_another_model_can_be_chosen(world, tmp_path):
    """`--model` makes the report that model's: its levels come first, and no training of another is held beside it."""
    result = write_report(world / "library.db", tmp_path / "other.html", model="other")
    data = embedded(tmp_path / "other.html")
    assert (result.model, result.after) == ("other", None)
    assert (data["histograms"][0]["model"], data["curves"]) == ("other", [])
    with pytest.raises(gr.UsageError, match="Graded are"):
        write_report(world / "library.db", tmp_path / "none.html", model="nobody")


def test_a_draw_by_another_models_levels_is_told(world, tmp_path):
    """A model trained on a draw that was graded for another is held beside its own base, with its own levels."""
    shutil.copy(world / "library.db", tmp_path / "transfer.db")
    with gr.Library(tmp_path / "transfer.db", write=True) as library:
        other = "(SELECT pk FROM grading WHERE model = 'other')"
        with library.transaction() as connection:
            connection.execute(f"UPDATE draw SET grading = {other} WHERE name = 'flat'")
        add_training(library, "transferred", "student", "flat", steps=3)
    result = write_report(tmp_path / "transfer.db", tmp_path / "transfer.html")
    data = embedded(tmp_path / "transfer.html")
    assert (result.model, result.after, data["histograms"][0]["model"]) == ("student", "transferred", "student")
    assert "Draw flat" in [figure["name"] for figure in data["figures"]]


def test_a_large_pool_does_not_make_a_large_page(world, tmp_path):
    """Forty thousand further graded questions change numbers, and the page grows by less than 1 kB."""
    shutil.copy(world / "library.db", tmp_path / "large.db")
    connection = sqlite3.connect(tmp_path / "large.db")
    first = connection.execute("SELECT max(pk) FROM question").fetchone()[0] + 1
    keys = range(first, first + 40_000)
    connection.executemany("INSERT INTO question VALUES (?, ?, 'math', '1', 'big:1')", ((pk, f"q{pk}") for pk in keys))
    connection.executemany("INSERT INTO question_text VALUES (?, 'p', '', '{}')", ((pk,) for pk in keys))
    pool = connection.execute("SELECT pk FROM question_set WHERE name = 'pool'").fetchone()[0]
    connection.executemany("INSERT INTO member VALUES (?, ?)", ((pool, pk) for pk in keys))
    (grading,) = connection.execute("SELECT min(pk) FROM grading").fetchone()
    connection.executemany(
        "INSERT INTO grade VALUES (?, ?, ?, 0.5, 0, 1, 0, 1, 0, 0.5, '', NULL)", ((grading, pk, pk % 6) for pk in keys)
    )
    connection.commit()
    connection.close()
    result = write_report(tmp_path / "large.db", tmp_path / "large.html")
    assert result.file.size - (world / "report.html").stat().st_size < 1000
    lines = embedded(tmp_path / "large.html")["histograms"][0]["lines"]
    assert sum(line["questions"] for line in lines) == 40_300


def test_what_there_is_too_much_of_is_counted(world, tmp_path):
    """Six trainings and six models are shown, the base and the newest trained one among them, and the rest is told."""
    shutil.copy(world / "library.db", tmp_path / "many.db")
    with gr.Library(tmp_path / "many.db", write=True) as library:
        for number in range(7):
            add_training(library, f"m{number}", "student", "math-60", steps=3)
        with library.transaction() as connection:
            for number in range(7):
                key = connection.execute(
                    "INSERT INTO setting (id, role, model, sampling) SELECT ?, role, ?, sampling FROM setting "
                    "WHERE role = 'eval' AND model = 'student'",
                    (f"x{number}", f"m{number}"),
                ).lastrowid
                connection.execute(
                    "INSERT INTO attempt (setting, question, sample, finish_reason, latency, server_model, made_at) "
                    "SELECT ?, question, 0, 'stop', 1, 'm', 0 FROM attempt WHERE sample = 0 AND setting IN "
                    "(SELECT pk FROM setting WHERE role = 'eval' AND model = 'student')",
                    (key,),
                )
            new = "FROM attempt a WHERE NOT EXISTS (SELECT 1 FROM verdict v WHERE v.attempt = a.pk)"
            connection.execute(f"INSERT INTO attempt_text SELECT a.pk, 'One.', '' {new}")
            checker = "(SELECT max(pk) FROM checker)"
            connection.execute(
                f"INSERT INTO verdict SELECT a.pk, {checker}, 'correct', 'r', '1', 'box', NULL, NULL {new}"
            )
    write_report(tmp_path / "many.db", tmp_path / "many.html")
    data = embedded(tmp_path / "many.html")
    assert [curve["model"] for curve in data["curves"]] == [f"m{number}" for number in range(1, 7)]
    assert ("Older trainings", "2 are left out") in {(one["section"], one["why"]) for one in data["missing"]}
    shown = next(one for one in data["evaluations"] if one["set"] == "eval")
    assert [model for model, _ in shown["samples"]] == ["student", "m6", "m5", "m4", "m3", "m2"]
    assert (shown["before"], shown["after"], shown["left_out"]) == ("student", "m6", 3)
    assert shown["lines"][0]["models"][1]["value"] == 1
    assert {line["group"] for line in data["lengths"]}.isdisjoint({"m0, evaluation", "m1, evaluation"})


def test_the_command_says_what_it_wrote(world, tmp_path, monkeypatch):
    """The command prints the file with its size, `--json` the record; settings and a wrong folder are heeded."""
    monkeypatch.chdir(tmp_path)
    library = ("--library", str(world / "library.db"))
    ended = called(*library, "report", "-o", "a.html", "--title", "Ours", "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["file"]["size"]) == (0, (tmp_path / "a.html").stat().st_size)
    assert (told["model"], told["after"], told["missing"]) == ("student", TRAINED, [])
    assert embedded(tmp_path / "a.html")["title"] == "Ours"
    (tmp_path / "gradatim.toml").write_text('[report]\nout = "b.html"\n')
    ended = called(*library, "report")
    assert "report of student beside student-trained: b.html" in ended.out
    assert (tmp_path / "b.html").exists()
    ended = called(*library, "report", "-o", "nowhere/c.html")
    assert (ended.code, ended.out) == (2, "")
    assert "There is no folder nowhere" in ended.err


@pytest.fixture(scope="module")
def hostile(world, tmp_path_factory):
    """A report of a library in which every text that others write is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(world / "library.db", folder / "library.db")
    connection = sqlite3.connect(folder / "library.db")
    connection.create_function(
        "hostile", 1, lambda text: pack(HOSTILE + (text if isinstance(text, str) else "") + "\ud800")
    )
    connection.execute("UPDATE attempt_text SET content = hostile(content), reasoning = hostile(reasoning)")
    connection.execute("UPDATE question_text SET prompt = hostile(prompt)")
    connection.execute("UPDATE question SET reference = ? || pk, source = ? || (pk % 3) || ':1'", (HOSTILE, HOSTILE))
    for table, column in (
        ("setting", "model"),
        ("grading", "model"),
        ("training", "model"),
        ("training", "base"),
        ("draw", "name"),
        ("prm", "version"),
        ("prm", "name"),
        ("chain", "reason"),
    ):
        connection.execute(f"UPDATE {table} SET {column} = {column} || ?", (HOSTILE,))
    connection.execute("UPDATE question_set SET name = name || ? WHERE name = 'pool'", (HOSTILE,))
    connection.commit()
    connection.close()
    write_report(folder / "library.db", folder / "report.html", title=HOSTILE)
    return folder / "report.html"


def test_hostile_text_is_text(world, hostile):
    """Tags, comments, line separators and marks of direction in any text add no element and hide nothing."""
    plain, attacked = (Elements(path.read_text(encoding="utf-8")) for path in (world / "report.html", hostile))
    assert attacked.names == plain.names
    assert not {"img", "iframe", "link"} & set(attacked.names)
    data = json.loads(attacked.data)
    assert "<script>alert(1)</script>" in data["stories"][0]["prompt"]["text"]
    assert "\\u202e" in data["stories"][0]["prompt"]["text"]
    text = hostile.read_text(encoding="utf-8")
    ours = "".join(part for part in re.split(r"<script>.*?</script>", text, flags=re.DOTALL))
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029]", ours)


def test_the_page_names_no_address(world):
    """No element of the page leads anywhere, and its policy allows its own scripts and nothing else."""
    text = (world / "report.html").read_text(encoding="utf-8")
    assert Elements(text).outward == []
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    own = (VENDOR.parent / "report.css").read_text() + "".join(
        (VENDOR.parent / name).read_text() for name in page_module.SCRIPTS
    )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(|url\(|@import", own)


def test_vendored_libraries_are_as_published():
    """Each file of others has the hash and size that its manifest says, the version that it says itself, a licence."""
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    assert {one["file"] for one in manifest["files"]} == {path.name for path in VENDOR.glob("*.js")}
    licences = (VENDOR / "LICENSES.txt").read_text()
    for one in manifest["files"]:
        content = (VENDOR / one["file"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (one["sha256"], one["bytes"])
        assert f"v{one['version']}" in content[:100].decode()
        assert f"{one['version']} ({one['licence']})" in licences
        assert b"</script" not in content
    assert sum(one["bytes"] for one in manifest["files"]) < 600_000


def test_colours_can_be_read():
    """In light and dark, text has a contrast of 4.5 to its ground, and marks have one of 3."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    css = (VENDOR.parent / "report.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    for scheme in (0, 1):
        colours = {name: luminance((light, dark)[scheme]) for name, light, dark in pairs}

        def contrast(one, other, colours=colours):
            high, low = sorted((colours[one], colours[other]), reverse=True)
            return (high + 0.05) / (low + 0.05)

        for ground in ("page", "raised"):
            assert contrast("ink", ground) > 7
            assert contrast("soft", ground) > 4.5
        assert contrast("on-c1", "c1") > 4.5
        assert all(contrast(f"c{number}", "page") > 4 for number in range(1, 7))


READY = "document.documentElement.dataset.ready"
OUTSIDE = """
[...document.querySelectorAll('.plot svg text, .plot svg, main p, main table, main h1, main .tile')].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && !one.closest('.scroll') && !one.closest('[aria-label=tip]')
    && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map((one) => one.textContent.slice(0, 40))
"""


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_the_page_opens_without_an_error_or_a_request(browser, world, hostile, which):
    """Every plot is drawn, the console is silent, and the file itself is the only thing that is asked for."""
    path = world / "report.html" if which == "plain" else hostile

    async def look(page):
        await page.open(path)
        ready = await page.run(READY)
        wrong = await page.run("document.querySelectorAll('main img, main script, main iframe').length")
        odd = await page.run("document.body.innerText.includes('[object')")
        return ready, wrong, odd, page.errors, page.requests

    ready, wrong, odd, errors, requests = browser.visit(look)
    assert errors == []
    assert requests == [path.as_uri()]
    plots, failed = re.fullmatch(r"plots=(\d+) errors=(\d+)", ready).groups()
    assert (int(plots) >= 24, failed, wrong, odd) == (True, "0", 0, False)


@in_browser
@pytest.mark.slow
def test_the_browser_would_have_told(browser, tmp_path):
    """The test's browser does see requests and errors: a page with both is caught."""
    (tmp_path / "bad.html").write_text("<img src='http://127.0.0.1:9/x.png'><script>throw Error('here')</script>")

    async def look(page):
        await page.open(tmp_path / "bad.html")
        return page.errors, page.requests

    errors, requests = browser.visit(look)
    assert any("here" in error for error in errors)
    assert "http://127.0.0.1:9/x.png" in requests


@in_browser
@pytest.mark.slow
def test_an_injected_script_does_not_run(browser, world, tmp_path):
    """If markup ever got into the page, its policy would still keep it from running and from reaching anything."""
    text = (world / "report.html").read_text(encoding="utf-8")
    bad = "<script>window.ran = 1</script><img src='http://127.0.0.1:9/x.png' onerror='window.ran = 2'>"
    (tmp_path / "bad.html").write_text(text.replace("<footer>", bad + "<footer>", 1), encoding="utf-8")

    async def look(page):
        await page.open(tmp_path / "bad.html")
        return await page.run("window.ran === undefined"), page.errors

    untouched, errors = browser.visit(look)
    assert untouched
    assert "Content Security Policy" in " ".join(errors)


@in_browser
@pytest.mark.slow
def test_light_dark_and_paper(browser, world):
    """The page follows the system's scheme, its button overrules that, and paper is white whatever the screen was."""
    ground = "getComputedStyle(document.body).backgroundColor"
    press = "document.querySelectorAll('#tools button')[1].click()"

    async def look(page):
        await page.open(world / "report.html", scheme="dark")
        found = [await page.run(ground)]
        await page.look("light")
        found.append(await page.run(ground))
        await page.run(press)
        await page.run(press)
        found.append(await page.run(ground))
        await page.look("dark", "print")
        found.append(await page.run(ground))
        return found

    dark, light, chosen, paper = browser.visit(look)
    assert (dark, light) == ("rgb(20, 23, 26)", "rgb(255, 255, 255)")
    assert (chosen, paper) == (dark, light)


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [380, 800, 1400])
def test_nothing_leaves_the_page(browser, world, hostile, width):
    """On a telephone, a tablet and a large screen nothing stands beyond the edge; with hostile names neither."""

    async def look(page):
        await page.open(world / "report.html", width=width)
        found = [await page.run(OUTSIDE)]
        await page.open(hostile, width=width)
        return [*found, await page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")]

    outside, wider = browser.visit(look)
    assert outside == []
    assert wider <= 0


@in_browser
@pytest.mark.slow
def test_every_plot_has_its_words(browser, world):
    """Each plot has a text alternative with a number in it, and each section of plots a table."""

    async def look(page):
        await page.open(world / "report.html")
        labels = await page.run(
            "[...document.querySelectorAll('.plot svg')].map((one) => one.getAttribute('aria-label'))"
        )
        bare = await page.run(
            "[...document.querySelectorAll('section')].filter((one) => one.querySelector('.plot') "
            "&& !one.querySelector('table')).map((one) => one.id)"
        )
        await page.run("document.querySelectorAll('#tools button')[0].click()")
        closed = await page.run("[...document.querySelectorAll('details.data')].filter((one) => !one.open).length")
        return labels, bare, closed

    labels, bare, closed = browser.visit(look)
    assert all(label and re.search(r"\d", label) for label in labels)
    assert (bare, closed) == ([], 0)


@in_browser
@pytest.mark.slow
def test_a_mark_tells_its_numbers(browser, world):
    """The pointer on a bar of the levels shows the level's count, in the words of the data."""
    bar = (
        "(() => { const one = document.querySelector('#levels .plot'); one.scrollIntoView({block: 'center'});"
        "const box = one.querySelectorAll('rect')[1].getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )

    async def look(page):
        await page.open(world / "report.html")
        x, y = await page.run(bar)
        await page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, pointerType="mouse")
        await page.run("new Promise((done) => setTimeout(done, 300))")
        return await page.run("document.querySelector('#levels [aria-label=tip]').textContent"), page.errors

    told, errors = browser.visit(look)
    line = embedded(world / "report.html")["histograms"][0]["lines"][1]
    assert told.strip("\u200b").startswith(f"Level 1: {line['questions']} questions")
    assert errors == []


@in_browser
@pytest.mark.slow
def test_it_prints_whole(browser, world, tmp_path):
    """Each axis label of the screen stands on paper as often, and no page is dark."""

    async def look(page):
        await page.open(world / "report.html", scheme="dark")
        labels = "[...document.querySelectorAll('.plot svg text')].filter((one) => one.textContent === 'Level').length"
        return await page.run(labels), await page.pdf()

    labels, pdf = browser.visit(look)
    assert pdf.startswith(b"%PDF")
    if shutil.which("pdftotext") is None or shutil.which("pdftoppm") is None:
        pytest.skip("pdftotext and pdftoppm are not here: apt-get install poppler-utils")
    (tmp_path / "report.pdf").write_bytes(pdf)
    subprocess.run(["pdftotext", "-layout", "report.pdf", "report.txt"], check=True, cwd=tmp_path)
    words = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"(?<!\S)Level(?!\S| for)(?=\s{3,}|\n)", words)) >= labels > 0
    subprocess.run(["pdftoppm", "-r", "10", "-gray", "report.pdf", "page"], check=True, cwd=tmp_path)
    pages = sorted(tmp_path.glob("page*.pgm"))
    assert len(pages) > 3
    for one in pages:
        pixels = one.read_bytes().split(b"\n255\n", 1)[1]
        assert sum(pixels) / len(pixels) > 170
