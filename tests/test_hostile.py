"""Our own hostile programs (`hostile/`), against the judge above all, end as their index says, in each tier.

They are run as the corpus is (see `test_sandbox_hostile.py`). Afterwards there is no new process, descriptor, file or
memory in use, and honest programs are judged right.
"""

import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

import sandbox_corpus as corpus
from code_world import fenced, needs_sandbox
from gradatim.checkers import Item
from gradatim.checkers.code import CodeChecker, Rules
from gradatim.checkers.sandbox import Limits, Tier, open_box
from gradatim.suite import Case, Suite
from test_sandbox_hostile import CONFINED, SCRIPT, as_nobody, available, check, environment, home

__all__ = ["home"]
OWN = Path(__file__).parent / "hostile"
pytestmark = [needs_sandbox, pytest.mark.timeout(600)]
QUICK = ("e01", "e03", "f01", "f04", "f13", "a01", "a05", "a10", "a12", "k01", "k03", "k05", "d03", "d08", "ok02")
"""The sharpest of each kind; `make test` runs all."""
HONEST = Suite(style="stdio", cases=(Case(input="1 2 3\n", output="6\n"),)).encoded()


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


def lines(path: Path) -> list[str]:
    """A file's lines; none where there is no such file."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.mark.slow
def test_nothing_is_left_of_hostile_programs_and_honest_ones_are_judged_right(monkeypatch):
    """After all of them, thrice in one box: nothing more in use than before, and a hundred honest ones right."""
    monkeypatch.setattr(corpus, "CORPUS", OWN)
    open_box(Tier.DEFAULT).close()
    before = in_use()
    rows = [row for row in corpus.index() if "TLE" not in row["verdict"]]
    box = open_box(Tier.DEFAULT)
    try:
        for row in rows:
            program = (OWN / row["file"]).read_bytes().decode()
            box.run(corpus.job(row["style"], program), Limits(seconds=5.0, memory_mb=256))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2):
            for row in rows:
                program = (OWN / row["file"]).read_bytes().decode()
                box.run(corpus.job(row["style"], program), Limits(seconds=5.0, memory_mb=256))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        said = [
            box.run(corpus.job("stdio", f"print(sum(map(int, input().split())) + {n})"), corpus.LIMITS)
            for n in range(100)
        ]
    finally:
        box.close()
    assert [run.stdout for run in said] == [b"%d\n" % (6 + n) for n in range(100)]
    assert grown < 64 << 10
    assert in_use() == before


def test_honest_answers_are_judged_right_after_hostile_ones():
    """One checker, hostile and honest answers mixed: each honest one passes and no hostile one does."""
    bad = [
        path.read_text(encoding="utf-8") for path in sorted(OWN.glob("[fo]*.py")) if "control" not in path.read_text()
    ]
    bad = [program for program in bad if "time.sleep" not in program and "while True" not in program]
    honest = "print(sum(map(int, input().split())))"
    answers = [text for place in range(100) for text in (bad[place % len(bad)], honest)]
    checker = CodeChecker(Rules(seconds=5.0, memory_mb=256, workers=2))
    try:
        items = (Item(key=key, answer=fenced(text), reference="", tests=HONEST) for key, text in enumerate(answers))
        results = dict(checker.check(items))
    finally:
        checker.close()
    assert {results[key].reason for key in range(1, 200, 2)} == {"tests_passed"}
    assert len(bad) > 15
