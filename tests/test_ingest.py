"""Ingest: what becomes a question, what is dropped or excluded and why, and what a second or a killed run does."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import gradatim as gr
from gradatim.checkers.math import MathChecker
from gradatim.method import near
from gradatim.stages import ingest as stage
from pools import BANDS, DROPS, QUESTIONS, content, question, write_pool, write_rows

LONG = (
    "A farmer walks along the river every morning and counts the herons that stand in the shallow water beside the "
    "old mill before the sun comes up over the hills and the mist is gone"
)
EVERYTHING = (QUESTIONS, DROPS, BANDS)


def make(tmp_path, rows, name="pool.jsonl", **settings):
    return gr.IngestSettings(path=str(write_rows(tmp_path / name, rows)), **settings)


@pytest.fixture
def library(tmp_path):
    with gr.Library(tmp_path / "library.db", write=True) as library:
        yield library


def test_every_row_is_a_question_or_listed_with_its_reason_and_text(tmp_path, library):
    """Nothing disappears: added rows, dropped rows and rows that were there add up to the file."""
    rows = [
        *map(question, range(20)),
        question(3),
        question(4) | {"answer": "999"},
        question(5) | {"problem": question(5)["problem"].replace("  ", " ") + " "},
        {"problem": "What is this?", "answer": ""},
        {"problem": "", "answer": "4"},
        {"problem": "Simplify it.", "answer": "\\frac{1}{"},
        '{"problem": "torn',
        "[1, 2]",
    ]
    result = gr.ingest(library, make(tmp_path, rows))
    assert result.added == 20
    assert result.dropped["duplicate"] == 2
    assert result.dropped["conflicting_reference"] == 1
    assert sum(result.dropped.values()) + result.added + result.already == len(rows)
    listed = library.all("SELECT reason, row FROM drops")
    assert len(listed) == sum(result.dropped.values())
    assert all(reason and row for reason, row in listed)
    assert any("999" in row for reason, row in listed if reason == "conflicting_reference")


def test_a_conflict_says_both_references_and_an_equal_form_is_none(tmp_path, library):
    """`0.5` and a half written as a fraction are one reference; `7` beside them is a conflict that names both."""
    rows = [{"problem": "What is half of one?", "answer": "0.5"}]
    rows += [{"problem": "What is half of one?", "answer": a} for a in ("\\frac{1}{2}", "7")]
    result = gr.ingest(library, make(tmp_path, rows))
    assert result.dropped == {"duplicate": 1, "conflicting_reference": 1}
    (detail,) = [row[0] for row in library.all("SELECT detail FROM drops WHERE reason = 'conflicting_reference'")]
    assert "'0.5'" in detail
    assert "'7'" in detail


def test_a_conflict_does_not_hide_the_row_that_agrees(tmp_path, library):
    """A second set whose first row conflicts still gets the question from its second row."""
    gr.ingest(library, make(tmp_path, [{"problem": "One and one?", "answer": "2"}], set="a"))
    rows = [{"problem": "One and one?", "answer": answer} for answer in ("3", "2")]
    result = gr.ingest(library, make(tmp_path, rows, "b.jsonl", set="b"))
    assert (result.added, result.dropped) == (1, {"conflicting_reference": 1})
    assert library.all("SELECT sets FROM questions") == [("a,b",)]


def test_near_duplicates_are_dropped_with_their_twin_and_other_numbers_are_not(tmp_path, library):
    """A reworded print is dropped and names its twin and the similarity; the same story with other numbers stays."""
    text = f"{LONG}. He counts 12 herons and 5 of them fly away. How many herons stay?"
    rows = [
        {"problem": text, "answer": "7"},
        {"problem": text.replace("A farmer", "The farmer"), "answer": "7"},
        {"problem": text.replace("12", "14"), "answer": "9"},
    ]
    result = gr.ingest(library, make(tmp_path, rows))
    assert (result.added, result.dropped) == (2, {"near_duplicate": 1})
    first = library.value("SELECT id FROM question WHERE reference = '7'")
    detail = library.value("SELECT detail FROM drops WHERE reason = 'near_duplicate'")
    assert detail.startswith(f"{first} (similarity 0.")


def test_near_duplicates_can_be_turned_off(tmp_path, library):
    """With near = 0 both prints stay and no bands are kept."""
    text = f"{LONG}. How many herons are 3 and 4 herons?"
    rows = [{"problem": text, "answer": "7"}, {"problem": text.replace("A farmer", "The farmer"), "answer": "7"}]
    result = gr.ingest(library, make(tmp_path, rows, near=0))
    assert (result.added, result.dropped) == (2, {})
    assert library.value("SELECT count(*) FROM near_band") == 0


def test_bands_are_made_anew_where_they_were_made_in_another_way(tmp_path, library, monkeypatch):
    """After the scheme changed, a near duplicate of an old question is found, and only new bands are left."""
    text = f"{LONG}. He counts 12 herons and 5 of them fly away. How many herons stay?"
    with monkeypatch.context() as patched:
        patched.setattr(stage, "scheme", lambda: "0/other")
        patched.setattr(stage, "bands", lambda text: tuple(band ^ 1 for band in near.bands(text)))
        gr.ingest(library, make(tmp_path, [{"problem": text, "answer": "7"}, question(1)]))
    rows = [{"problem": text.replace("A farmer", "The farmer"), "answer": "7"}]
    result = gr.ingest(library, make(tmp_path, rows, "more.jsonl"))
    assert result.dropped == {"near_duplicate": 1}
    bands = {row[0] for row in library.all("SELECT band FROM near_band WHERE question > 0")}
    assert bands == {*near.bands(text), *near.bands(question(1)["problem"])}


def test_one_question_in_two_sets_is_one_question(tmp_path, library):
    """The second set gains the membership, no second row, and a rerun of either adds nothing."""
    first = make(tmp_path, map(question, range(5)), set="a")
    second = make(tmp_path, map(question, range(3, 8)), "b.jsonl", set="b")
    assert [gr.ingest(library, one).added for one in (first, second)] == [5, 5]
    assert library.value("SELECT count(*) FROM question") == 8
    assert [(r.added, r.already, r.dropped) for r in (gr.ingest(library, one) for one in (first, second))] == [
        (0, 5, {}),
        (0, 5, {}),
    ]


def test_contamination_is_found_whichever_set_came_first(tmp_path):
    """Pool then evaluation set, and the other way round, leave the same questions excluded with the same passage."""
    shared = question(2)
    longer = {"problem": f"{LONG}. How many are 30 and 4?", "answer": "34"}
    pool = [*map(question, range(6)), {"problem": f"{LONG} and he is 61 years old. How old?", "answer": "61"}]
    held = []
    for order in ("pool eval", "eval pool"):
        folder = tmp_path / order.replace(" ", "-")
        folder.mkdir()
        sources = {
            "pool": make(folder, pool),
            "eval": make(folder, [shared, longer], "eval.jsonl", set="eval", purpose="eval"),
        }
        with gr.Library(folder / "library.db", write=True) as library:
            results = {word: gr.ingest(library, sources[word]) for word in order.split()}
            assert sum(one.excluded for one in results.values()) == 2
            held.append(
                library.all(
                    "SELECT q.id, e.reason, e.detail FROM exclusion e JOIN question q ON q.pk = e.question ORDER BY 1"
                )
            )
            held.append(library.all("SELECT id, excluded FROM questions ORDER BY 1"))
            again = [gr.ingest(library, sources[word]) for word in order.split()]
            assert [one.excluded for one in again] == [0, 0]
    assert held[:2] == held[2:]
    assert all(reason == "contaminated" and detail.startswith("eval/") for _, reason, detail in held[0])


def test_pools_are_screened_though_the_evaluation_sets_first_ingest_was_killed(tmp_path, library, monkeypatch):
    """An ingest that died after its last row, before it screened the pools, is made good by the next one."""
    gr.ingest(library, make(tmp_path, map(question, range(4))))
    source = make(tmp_path, [question(1)], "eval.jsonl", set="eval", purpose="eval")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "_screen_pools", killed)
        with pytest.raises(KeyboardInterrupt):
            gr.ingest(library, source)
    result = gr.ingest(library, source, again=False)
    assert (result.unchanged, result.excluded) == (False, 1)
    assert gr.ingest(library, source, again=False).unchanged


def test_a_rerun_changes_nothing(tmp_path, library):
    """The same file read again adds nothing, drops nothing twice, and leaves every row as it was."""
    rows = [*map(question, range(30)), question(1), question(1), "torn{", "torn{", question(2) | {"answer": "0"}]
    source = make(tmp_path, rows)
    first = gr.ingest(library, source)
    before = content(library, *EVERYTHING)
    second = gr.ingest(library, source)
    assert (second.added, second.already, second.dropped) == (0, 30, first.dropped)
    assert content(library, *EVERYTHING) == before
    assert gr.ingest(library, source, again=False).unchanged


def test_a_row_at_the_front_changes_that_row_only(tmp_path, library):
    """Ids are content: a question put before all others adds one question and touches no other row."""
    rows = [*map(question, range(10)), "torn{", question(1)]
    gr.ingest(library, make(tmp_path, rows))
    before = [set(part) for part in content(library, *EVERYTHING)]
    result = gr.ingest(library, make(tmp_path, [question(50), *rows]))
    after = [set(part) for part in content(library, *EVERYTHING)]
    assert result.added == 1
    assert all(old <= new for old, new in zip(before, after, strict=True))
    assert [len(new - old) for old, new in zip(before, after, strict=True)] == [1, 0, near.BANDS]


def test_the_same_bad_row_of_two_files_is_listed_for_each(tmp_path, library):
    """Two files with the same torn line both have it listed."""
    for name in ("a.jsonl", "b.jsonl"):
        gr.ingest(library, make(tmp_path, [question(1 if name[0] == "a" else 2), "torn{"], name))
    assert sorted(row[0] for row in library.all("SELECT place FROM drops")) == ["a.jsonl:2", "b.jsonl:2"]


def test_a_file_that_joins_a_folder_is_read(tmp_path, library):
    """A folder counts as changed when a file in it is new."""
    folder = tmp_path / "pool"
    folder.mkdir()
    write_pool(folder / "a.jsonl", 3)
    source = gr.IngestSettings(path=str(folder))
    assert gr.ingest(library, source, again=False).added == 3
    assert gr.ingest(library, source, again=False).unchanged
    write_pool(folder / "b.jsonl", 2, start=5)
    assert gr.ingest(library, source, again=False).added == 2


def test_references_that_the_checker_cannot_read_are_set_aside(tmp_path, library):
    """Each reference passes its own checker, or its row is dropped with the checker's reason."""
    rows = [
        {"problem": f"Question {n} is what?", "answer": answer}
        for n, answer in enumerate(("\\frac{", "\\begin{cases} x", "3, 4", "x^2 + 1", "\\text{Monday}", "$"))
    ]
    result = gr.ingest(library, make(tmp_path, rows))
    kept = {row[0] for row in library.all("SELECT reference FROM question")}
    assert {"3, 4", "x^2 + 1", "\\text{Monday}"} <= kept
    assert "\\frac{" not in kept
    assert set(result.dropped) <= {"reference_unparsable", "no_reference"}
    assert result.added + sum(result.dropped.values()) == len(rows)


def test_choice_questions_are_recognised_or_named(tmp_path, library):
    """Options in columns give a letter; a set whose prompts hold the options already needs only its domain."""
    rows = [{"question": f"Which is {n}?", "options": ["1", "2", "3"], "answer": "B"} for n in range(3)]
    gr.ingest(library, make(tmp_path, rows, set="a"))
    rows = [
        {"question": f"Which letter?\nA) {n}\nB) 2", "answer": answer} for n, answer in enumerate(("A", "(b)", "seven"))
    ]
    result = gr.ingest(library, make(tmp_path, rows, "b.jsonl", set="b", domain="choice"))
    assert (result.added, result.dropped) == (2, {"reference_unparsable": 1})
    assert library.all("SELECT DISTINCT domain FROM question") == [("choice",)]
    rows = [rows[1] | {"answer": "B"}, rows[1] | {"answer": "A"}]
    result = gr.ingest(library, make(tmp_path, rows, "c.jsonl", set="c", domain="choice"))
    assert (result.added, result.dropped) == (1, {"conflicting_reference": 1})


def test_a_fault_of_the_checker_drops_no_row(tmp_path, library, monkeypatch):
    """What the checker could not look at is a fault, and a question after the next run, also of an unchanged file."""
    source = make(tmp_path, map(question, range(5)))
    real = MathChecker.check_reference

    def failing(self, reference):
        if reference == question(3)["answer"]:
            raise RuntimeError("worker_crash: two workers died")
        return real(self, reference)

    with monkeypatch.context() as patched:
        patched.setattr(MathChecker, "check_reference", failing)
        result = gr.ingest(library, source)
    assert (result.added, result.dropped, result.faults) == (4, {}, {"worker_crash": 1})
    assert library.all("SELECT stage, boundary, reason FROM faults") == [("ingest", "checker", "worker_crash")]
    assert gr.ingest(library, source, again=False).added == 1


def test_hostile_texts_are_kept_or_dropped_but_stop_nothing(tmp_path, library):
    """Halves of surrogate pairs, nulls, very long and right-to-left texts pass through every column."""
    odd = "\\ud800 \\u0000 \\u202e"
    gr.ingest(library, make(tmp_path, [question(0)], "eval.jsonl", set="eval", purpose="eval"))
    rows = [
        json.dumps({"problem": "AA odd BB", "answer": "4", "note": "CC"}).replace("odd", odd),
        json.dumps({"problem": "Odd answer?", "answer": "AA"}).replace("AA", odd),
        json.dumps({"problem": "Odd solution?", "answer": "4", "solution": "AA"}).replace("AA", odd),
        json.dumps({"problem": question(0)["problem"] + " AA", "answer": "4"}).replace("AA", odd),
        {"problem": "x" * 1_000_000, "answer": "1"},
        {"problem": "Big?", "answer": "9" * 100_000},
    ]
    result = gr.ingest(library, make(tmp_path, rows))
    assert result.added + sum(result.dropped.values()) == len(rows)
    assert library.value("SELECT count(*) FROM questions") == result.added + 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"near": 1.5}, "near is a similarity"),
        ({"near": -0.1}, "near is a similarity"),
        ({"ngram": 3, "purpose": "eval"}, "at least 6 words"),
        ({"set": " "}, "needs a name"),
        ({"fields": {"prompt": "nothing"}}, "no column 'nothing'"),
    ],
)
def test_settings_that_cannot_be_write_nothing(tmp_path, library, settings, sentence):
    """A wrong setting is one sentence, and the library stays empty."""
    with pytest.raises(gr.UsageError, match=sentence):
        gr.ingest(library, make(tmp_path, [question(1)], **settings))
    assert library.value("SELECT count(*) FROM question_set") == 0


def test_a_set_keeps_its_purpose(tmp_path, library):
    """A pool cannot become an evaluation set by reading more into it."""
    gr.ingest(library, make(tmp_path, [question(1)]))
    with pytest.raises(gr.UsageError, match="there already as 'pool'"):
        gr.ingest(library, make(tmp_path, [question(2)], "more.jsonl", purpose="eval"))


CHILD = textwrap.dedent("""
    import sys
    import gradatim as gr
    from gradatim.stages import ingest as stage
    stage._BATCH = 20
    with gr.Library(sys.argv[1], write=True) as library:
        for path, purpose in ((sys.argv[2], "pool"), (sys.argv[3], "eval")):
            gr.ingest(library, gr.IngestSettings(path=path, set=purpose, purpose=purpose))
            print(purpose, flush=True)
""")


def _child(*arguments) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(gr.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, arguments)], env=environment, stdout=subprocess.PIPE
    )


def test_an_ingest_that_is_killed_and_run_again_gives_the_same_library(tmp_path):
    """Four SIGKILLs at different moments, then a whole run: every table holds what an undisturbed run holds."""
    rows = []
    for number in range(1500):
        rows.append(question(number))
        if number % 50 == 0:
            rows += [question(number // 2), question(number // 3) | {"answer": "-1"}, "torn{"]
    pool = write_rows(tmp_path / "pool.jsonl", rows)
    held = write_rows(tmp_path / "eval.jsonl", map(question, range(0, 1500, 100)))
    with _child(tmp_path / "whole.db", pool, held) as whole:
        started = time.monotonic()
        whole.communicate(timeout=60)
    took = time.monotonic() - started
    killed = 0
    for share in (0.35, 0.5, 0.65, 0.8):
        with _child(tmp_path / "killed.db", pool, held) as child:
            time.sleep(took * share)
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
    with _child(tmp_path / "killed.db", pool, held) as child:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert killed >= 2
    with gr.Library(tmp_path / "whole.db") as one, gr.Library(tmp_path / "killed.db") as two:
        assert content(one, *EVERYTHING) == content(two, *EVERYTHING)
        assert one.value("SELECT count(*) FROM exclusion") == 15


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_pool_of_200_000_rows_streams(tmp_path):
    """200,000 questions (60 MB) ingest in bounded memory: the process grows by less than 250 MB."""
    path = tmp_path / "pool.jsonl"
    with path.open("w") as file:
        for number in range(200_000):
            row = question(number)
            row["solution"] *= 4
            file.write(json.dumps(row) + "\n")
    code = textwrap.dedent("""
        import sys
        import gradatim as gr
        def highest():
            # Not ru_maxrss: a child inherits that from the process that started it.
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
        with gr.Library(sys.argv[1], write=True) as library:
            gr.ingest(library, gr.IngestSettings(path=sys.argv[2], set="warm"))
            before = highest()
            result = gr.ingest(library, gr.IngestSettings(path=sys.argv[3]))
            print(result.added, before, highest())
    """)
    warm = write_pool(tmp_path / "warm.jsonl", 2)
    environment = os.environ | {"PYTHONPATH": str(Path(gr.__file__).parents[1])}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "library.db"), str(warm), str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    added, before, after = map(int, done.stdout.split())
    print(f"{added} added in {time.monotonic() - started:.0f} s; RSS {before // 1024} -> {after // 1024} MB")  # noqa: T201 - the figure that the test measures
    assert added == 200_000
    assert after < 500 * 1024
    assert after - before < 250 * 1024
