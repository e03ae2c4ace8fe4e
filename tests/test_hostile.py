"""Our own hostile programs (`hostile/`), against the judge above all, end as their index says, in each tier.

They are run as the corpus is (see `test_sandbox_hostile.py`). Afterwards there is no new process, descriptor, file or
memory in use, and honest programs are judged right.
"""

import itertools
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

import sandbox_corpus as corpus
from code_world import needs_sandbox
from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker, Rules
from gradatim.checkers.sandbox import Limits, Tier, open_box
from test_code_hostile import SUITES, VERDICTS, answer
from test_sandbox_hostile import CONFINED, SCRIPT, as_nobody, available, check, environment, home

__all__ = ["home"]
OWN = Path(__file__).parent / "hostile"
pytestmark = [needs_sandbox, pytest.mark.timeout(600)]
QUICK = ("e01", "e03", "f01", "f04", "f13", "a01", "a05", "a10", "a12", "k01", "k03", "k05", "d03", "d08", "ok02")
"""The sharpest of each kind; `make test` runs all."""


def own(home: Path, path: str) -> dict[str, str]:
    """The environment of a run of our own programs."""
    return environment(home, path) | {"GRADATIM_HOSTILE": str(OWN)}


def test_the_index_names_every_program():
    """Each file has a row and each row a file; a comment says first what the program tries, and none is there twice."""
    rows = [json.loads(line) for line in (OWN / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [row["file"] for row in rows]
    assert sorted(names) == sorted(path.name for path in OWN.glob("*_*.*"))
    assert len(names) == len(set(names)) >= 60
    for row in rows:
        assert (OWN / row["file"]).read_text(encoding="utf-8").startswith(f"# {row['attempts']}\n")


@pytest.mark.parametrize("tier", [Tier.DEFAULT, Tier.STRICT])
def test_the_sharpest_are_held(tier, home):
    """Programs that look for what is wanted, forge results and leave traps behind end as their index says."""
    available(tier)
    check([sys.executable, SCRIPT, tier, *QUICK], own(home, os.environ["PATH"]), CONFINED, set())


@pytest.mark.slow
@pytest.mark.parametrize("tier", [Tier.DEFAULT, Tier.STRICT])
def test_all_of_our_own_are_held(tier, home):
    """All end as their index says, with bubblewrap around them."""
    available(tier)
    check([sys.executable, SCRIPT, tier], own(home, os.environ["PATH"]), CONFINED, set())


@pytest.mark.slow
def test_all_of_our_own_are_held_without_bubblewrap(home):
    """All end as their index says where there is no bubblewrap, too."""
    check([sys.executable, SCRIPT, Tier.DEFAULT], own(home, "/nowhere"), CONFINED, {"bubblewrap"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tier", "bubblewrap"), [(Tier.DEFAULT, True), (Tier.STRICT, True), (Tier.DEFAULT, False)], ids=str
)
def test_all_of_our_own_are_held_as_an_ordinary_user(tier, bubblewrap, home):
    """All end as their index says when programs run as the user who runs the judge."""
    command = as_nobody()
    if bubblewrap:
        available(tier)
    given = own(home, os.environ["PATH"] if bubblewrap else "/nowhere")
    os.chown(home, 65534, 65534)
    setpriv = shutil.which("setpriv")
    check([setpriv, *command[1:], SCRIPT, tier], given, CONFINED, {"uid"} if bubblewrap else {"uid", "bubblewrap"})


def in_use() -> dict[str, set[str]]:
    """What of this machine is in use by this process and those below it, by kind."""
    shared = [Path("/dev/shm"), Path("/dev/mqueue"), Path(tempfile.gettempdir())]
    ipc = [line.split()[1] for kind in ("shm", "sem", "msg") for line in lines(Path("/proc/sysvipc") / kind)[1:]]
    return {
        "processes": set(map(str, corpus.below(os.getpid()))),
        "descriptors": {path.name for path in Path("/proc/self/fd").iterdir()},
        "files": {str(path) for folder in shared if folder.is_dir() for path in folder.glob("*gradatim*")},
        "ipc": set(ipc),
        "mounts": set(lines(Path("/proc/self/mounts"))),
    }


def own_rows() -> list[dict]:
    """The rows of the index that are for this kind of machine."""
    rows = map(json.loads, lines(OWN / "index.jsonl"))
    return [row for row in rows if row.get("machine", platform.machine()) == platform.machine()]


def text_of(row: dict) -> str:
    """A row's program."""
    return (OWN / row["file"]).read_bytes().decode()


def lines(path: Path) -> list[str]:
    """A file's lines; none where there is no such file."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.mark.slow
def test_nothing_is_left_of_hostile_programs_and_honest_ones_are_judged_right():
    """After all of them, twice in one box: nothing more in use than before, and a hundred honest ones right."""
    open_box(Tier.DEFAULT).close()
    before = in_use()
    jobs = [corpus.job(row["style"], text_of(row)) for row in own_rows() if "TLE" not in row["verdict"]]
    box = open_box(Tier.DEFAULT)
    peaks = []
    try:
        for _ in range(2):
            for job in jobs:
                box.run(job, Limits(seconds=5.0, memory_mb=256))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        programs = [f"print(sum(map(int, input().split())) + {number})" for number in range(100)]
        said = [box.run(corpus.job("stdio", program), corpus.LIMITS) for program in programs]
    finally:
        box.close()
    assert [run.stdout for run in said] == [b"%d\n" % (6 + n) for n in range(100)]
    assert peaks[-1] - peaks[0] < 64 << 10
    assert in_use() == before


@pytest.mark.slow
def test_honest_answers_are_judged_right_among_hostile_ones():
    """One checker, hostile and honest answers in turn: each hostile one gets its verdict, each honest one passes."""
    rows = [row for row in own_rows() if "TLE" not in row["verdict"]]
    honest = answer("print(sum(map(int, input().split())))")
    checker = CodeChecker(Rules(seconds=5.0, memory_mb=256, workers=2))
    try:
        hostile = [
            Item(key=key, answer=answer(text_of(row)), reference="", tests=SUITES[row["style"]].encoded())
            for key, row in enumerate(rows)
        ]
        others = [
            Item(key=1000 + key, answer=honest, reference="", tests=SUITES["stdio"].encoded()) for key in range(100)
        ]
        mixed = [one for pair in itertools.zip_longest(hostile, others) for one in pair if one is not None]
        results = dict(checker.check(mixed))
    finally:
        checker.close()
    assert {results[item.key].reason for item in others} == {"tests_passed"}
    said = {row["file"]: VERDICTS.get(results[key].reason) for key, row in enumerate(rows)}
    assert {row["file"]: said[row["file"]] for row in rows if said[row["file"]] not in row["verdict"]} == {}
