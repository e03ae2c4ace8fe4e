"""Code questions at the command line: what is printed, what is warned of, and what a machine without a sandbox says."""

import json
import tomllib
from pathlib import Path

import pytest

import gradatim as gr
from cli_world import called
from code_pool import answer, code_library, code_row, program, record_texts
from gradatim.checkers.sandbox import Tier, TierReport
from gradatim.cli.doctor import EXTRAS
from gradatim.errors import SetupError
from gradatim.types import BOXED, Domain, Sampling
from pools import question, write_rows

ROOT = Path(__file__).parents[1]
HOSTILE = "n = int(input())\nraise ValueError('\\x1b[2J' + chr(0x202e) + 'gone')"
"""A program whose exception would clear the screen of who reads it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A library with six judged programs, and the file's bytes."""
    folder = tmp_path_factory.mktemp("made")
    with code_library(folder, 6) as library:
        record_texts(library, folder, "m", lambda n: [answer(HOSTILE if n == 0 else program(n, 2 * n))])
        assert gr.verify(library).faults == {}
    return (folder / "library.db").read_bytes()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, made) -> Path:
    """Work in a folder with the library."""
    (tmp_path / "library.db").write_bytes(made)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def first(sql: str) -> str:
    """Return what a query gives in its first row."""
    return json.loads(called("query", sql, "--json").out)[0]["x"]


def test_show_says_which_test_failed_and_what_was_used():
    """Tests passed of all, the failing one's number, input, wanted and found value, time, memory and the sandbox."""
    id_ = first("SELECT question AS x FROM verdicts WHERE passed = 2")
    shown = called("show", id_).out
    for words in (
        "wrong (wrong_answer; 2 of 10 tests passed",
        "3 of 10",
        "s of CPU a test",
        "sandbox default (",
        "found by fence",
        "call: 10 cases",
    ):
        assert words in shown, words
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in shown.splitlines() if len(line.split()) > 1}
    assert lines["expected"].strip() == "27"
    assert lines["got"].strip() == "28"


def test_what_a_program_wrote_moves_no_cursor():
    """A program's own message is shown with its control characters escaped, in every shape."""
    id_ = first("SELECT question AS x FROM verdicts WHERE reason = 'exception'")
    for shape in ((), ("--json",), ("--csv",)):
        ended = called("show", id_, *shape)
        assert "gone" in ended.out
        texts = ended.out.replace("\\\\", "\\")
        assert "\x1b" not in texts
    assert "\x1b" not in first("SELECT detail AS x FROM verdicts WHERE reason = 'exception'")


def test_grade_and_levels_show_the_share_of_tests():
    """The table has the share in the place of the PRM's mean where no PRM scored; `levels --evidence` has both."""
    ended = called("grade")
    assert (ended.code, ended.err) == (0, "")
    head, *rows = ended.out.splitlines()[1:]
    assert "tests passed" in head
    assert "mean PRM score" not in head
    assert rows[-1].split() == ["5", "1", "0.000", "0.000", "1"]
    lines = json.loads(called("levels", "--evidence", "--json").out)
    assert {line["level"]: (line["questions"], line["score"], line["tests"]) for line in lines}[2] == (1, None, 0.6)


def test_verify_warns_of_the_weakest_sandbox_and_stops_where_asked():
    """`limits` is asked for by name and warned of; the verdicts name it, and stopping leaves the share unknown."""
    ended = called("verify", "--sandbox", "limits", "--stop-at-first", "--workers", "1")
    assert ended.code == 0
    assert "warning: programs run with limits of time and memory alone" in ended.err
    assert "6 verdicts" in ended.out
    versions = json.loads(called("query", "SELECT DISTINCT version, detail FROM verdicts", "--json").out)
    assert any("+limits+" in one["version"] and '"tier":"limits"' in one["detail"] for one in versions)
    ended = called("grade")
    assert ended.code == 2
    assert "verify --run-all --again" in ended.err
    assert called("verify", "--run-all", "--again").err == ""
    assert called("grade").code == 0


def test_a_machine_without_a_sandbox_writes_nothing(folder, monkeypatch):
    """Ingest and verify end with the sandbox's sentence and exit code 4; no set and no verdict is made."""

    def refused(_):
        raise SetupError("the sandbox tier `default` is not available here: install bubblewrap.")

    monkeypatch.setattr("gradatim.checkers.code.checker.open_box", refused)
    pool = write_rows(folder / "other.jsonl", [code_row(number) for number in range(40, 44)])
    before = first("SELECT count(*) AS x FROM verdicts")
    for command in (
        ("ingest", str(pool), "--domain", "code", "--set", "other"),
        ("verify", "--again"),
    ):
        ended = called(*command)
        assert ended.code == 4, ended
        assert "install bubblewrap" in ended.err
    assert first("SELECT count(*) AS x FROM questions") == 6
    assert "other" not in called("status").out
    assert first("SELECT count(*) AS x FROM verdicts") == before
    math = write_rows(folder / "math.jsonl", map(question, range(3)))
    assert called("ingest", str(math), "--set", "math").code == 0


def test_questions_without_a_program_need_no_sandbox(folder, monkeypatch):
    """A row with tests and no program of its own is taken as it is, and nothing is started for it."""
    monkeypatch.setattr("gradatim.checkers.code.checker.open_box", lambda _: pytest.fail("a box was opened"))
    rows = [code_row(number) for number in range(40, 44)]
    pool = write_rows(folder / "bare.jsonl", [{k: v for k, v in row.items() if k != "solution"} for row in rows])
    ended = called("ingest", str(pool), "--domain", "code")
    assert (ended.code, ended.out.startswith("ingest pool: 4 questions added")) == (0, True), ended


def test_doctor_tries_the_sandbox_of_this_machine():
    """Each tier has a row with its layers; the exit code is 0 where the default one works."""
    ended = called("doctor")
    assert ended.code == 0, ended
    rows = {row["what"]: row["found"] for row in json.loads(called("doctor", "--json").out)}
    assert {"python", "platform", "library format", "cores", "disk", "extra train"} <= rows.keys()
    assert "rlimits" in rows["sandbox default"]
    assert {f"sandbox {tier}" for tier in Tier} <= rows.keys()


def test_doctor_says_what_to_install(monkeypatch):
    """Where the default tier does not work the exit code is 4 and the sentence says what is missing."""
    lacking = TierReport(tier=Tier.DEFAULT, available=False, layers=(), why="the kernel has no Landlock")
    limits = TierReport(tier=Tier.LIMITS, available=True, layers=("rlimits",))
    monkeypatch.setattr("gradatim.checkers.sandbox.probe", lambda: (lacking, limits))
    ended = called("doctor")
    assert ended.code == 4
    assert "the kernel has no Landlock" in ended.err
    assert "not available" in ended.out


def test_the_doctors_extras_are_the_packages():
    """The extras that `doctor` looks for are those of pyproject.toml, with the modules that they bring."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    del listed["dev"]
    names = {name: [word.split(">")[0] for word in words] for name, words in listed.items()}
    assert {name: sorted(modules) for name, modules in EXTRAS.items()} == {n: sorted(m) for n, m in names.items()}


def test_code_questions_are_not_asked_for_a_box():
    """The defaults' sentence about the box is left out for code, in system message and template, and stays for math."""
    for settings in (gr.AttemptSettings(), gr.TeachSettings(), gr.EvaluateSettings()):
        sampling = settings.sampling()
        assert BOXED in sampling.system + sampling.template
        chats = {domain: sampling.suited(domain).messages("Add.") for domain in Domain}
        assert any("boxed" in message.content for message in chats[Domain.MATH])
        assert chats[Domain.CHOICE] == chats[Domain.MATH]
        assert not any("boxed" in message.content for message in chats[Domain.CODE])
        assert any("Add." in message.content for message in chats[Domain.CODE])
    own = Sampling(system="Be exact.", template="{prompt} In C.")
    assert own.suited(Domain.CODE) == own
