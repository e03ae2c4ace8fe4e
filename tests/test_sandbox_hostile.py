"""Every hostile program ends as the corpus says, in each tier, as root and as an ordinary user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import sandbox_corpus as corpus
from gradatim.checkers.sandbox import Tier, probe

pytestmark = [
    pytest.mark.skipif(
        not (corpus.CORPUS / "index.jsonl").exists(),
        reason=f"the hostile programs are not in {corpus.CORPUS}: set GRADATIM_DATA to the folder that holds `hostile`",
    ),
    pytest.mark.timeout(600),
]
SOURCE = Path(__file__).parents[1] / "src"
QUICK = "ok01 ok10 ok12 t03 p01 p06 s02 s03 n01 k02 m02 f01 a01 a02 a07 x01"
"""One of each kind; `make test` runs all."""


@pytest.fixture
def home():
    """A home folder that an ordinary user may have, too: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def environment(home: Path, path: str) -> dict[str, str]:
    """The environment of a run, with the canaries that nothing may find."""
    (home / ".gradatim_canary").write_text("canary")
    given = {"HOME": str(home), "PATH": path, "GRADATIM_CANARY_KEY": "canary", "FAKE_API_KEY": "canary"}
    return {**given, "GRADATIM_DATA": str(corpus.DATA), "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}


def check(command: list[str], given: dict[str, str], layers: set[str], without: set[str]) -> None:
    """Run the corpus by a command; hold that the layers are those, nothing went wrong and nothing is left."""
    done = subprocess.run(command, env=given, cwd="/", capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, *rows, last = map(json.loads, done.stdout.splitlines())
    assert layers <= set(first["layers"])
    assert not without & set(first["layers"])
    assert rows
    assert {row["file"]: row["faults"] for row in rows if row["faults"]} == {}
    assert last == {"left": []}


def available(tier: Tier) -> None:
    """Skip where this machine does not give the tier as it is meant."""
    report = next(report for report in probe() if report.tier is tier)
    if not report.available or "bubblewrap" not in report.layers:
        pytest.skip(f"tier {tier}: {report.why}")


SCRIPT = str(Path(corpus.__file__))
CONFINED = {"landlock", "seccomp", "rlimits"}


@pytest.mark.parametrize("tier", [Tier.DEFAULT, Tier.STRICT])
def test_one_of_each_kind_is_held(tier, home):
    """One hostile program of each kind ends as its index says."""
    available(tier)
    command = [sys.executable, SCRIPT, tier, *QUICK.split()]
    check(command, environment(home, os.environ["PATH"]), CONFINED, set())


@pytest.mark.slow
@pytest.mark.parametrize("tier", [Tier.DEFAULT, Tier.STRICT])
def test_all_are_held(tier, home):
    """All hostile programs end as their index says, with bubblewrap around them, and honest ones run."""
    available(tier)
    layers = {"bubblewrap", *CONFINED, *(["namespaces"] if tier is Tier.STRICT else [])}
    check([sys.executable, SCRIPT, tier], environment(home, os.environ["PATH"]), layers, set())


@pytest.mark.slow
def test_all_are_held_without_bubblewrap(home):
    """All hostile programs end as their index says where there is no bubblewrap, too."""
    given = environment(home, "/nowhere")
    check([sys.executable, SCRIPT, Tier.DEFAULT], given, CONFINED, {"bubblewrap", "namespaces"})


def as_nobody() -> list[str]:
    """Return what runs Python as an ordinary user, who may not read root's files; skips where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("this is an ordinary user already: the tests above are its own")
    for python in ("/usr/bin/python3", "/usr/local/bin/python3"):
        command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", python]
        script = "import sys, gradatim.checkers.sandbox; sys.exit(sys.version_info < (3, 11))"
        path = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        if not shutil.which("setpriv") or not Path(python).exists():
            continue
        tried = subprocess.run([*command, "-c", script], env=path, cwd="/", capture_output=True, check=False)
        if tried.returncode == 0:
            return command
    pytest.skip("no Python 3.11 or later and no copy of these files that an ordinary user may read")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tier", "bubblewrap"), [(Tier.DEFAULT, True), (Tier.STRICT, True), (Tier.DEFAULT, False)], ids=str
)
def test_all_are_held_as_an_ordinary_user(tier, bubblewrap, home):
    """All hostile programs end as their index says when the caller is an ordinary user, who has no uid to change to."""
    command = as_nobody()
    if bubblewrap:
        available(tier)
    given = environment(home, os.environ["PATH"] if bubblewrap else "/nowhere")
    os.chown(home, 65534, 65534)
    setpriv = shutil.which("setpriv")
    check([setpriv, *command[1:], SCRIPT, tier], given, CONFINED, {"uid"} if bubblewrap else {"uid", "bubblewrap"})
