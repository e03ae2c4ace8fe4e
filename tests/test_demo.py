"""The demo at a small size: the whole method, the same figures for the same seed, and a kill in its middle."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra [train]")
ROOT = Path(__file__).parents[1]
DEMO = (sys.executable, str(ROOT / "recipes" / "demo.py"), "--pool", "400", "--test", "120", "--chains", "50")
TIMES = re.compile(r"[\d.]+ s\b|with [\d,]+ MB|\(\d+ tokens\)|[\w/.-]*/demo\S*")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def start(folder, *words):
    """Start a demo in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [*DEMO, "--folder", str(folder), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def figures(text):
    """Return the lines that say how good the models are, and the levels: no time, no place."""
    kept = ("  avg@1", "  level ", "    +", "    -", "tiny-base  paper", "  tiny-trained is better")
    return [TIMES.sub("", line) for line in text.splitlines() if line.startswith(kept)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo that ran to its end: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("whole") / "demo"
    process = start(folder)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return folder, out


def test_the_demo_does_the_whole_method(finished):
    """Every stage prints its figures, the trained model is compared with the base, and the report is there."""
    folder, out = finished
    for command in ("ingest", "attempt", "verify", "grade", "sample", "teach", "curate", "train", "evaluate", "report"):
        assert f"$ gradatim {command}" in out
    assert "against tiny-base" in out
    assert "95 % interval" in out
    assert str(folder / "report.html") in out.splitlines()[-1]
    assert (folder / "report.html").stat().st_size > 100_000
    assert (folder / "trained" / "model.safetensors").exists()


def test_a_killed_demo_goes_on_to_the_same_figures(finished, tmp_path):
    """SIGKILL in the middle, and the same command again: it goes on, and ends with the same numbers."""
    folder = tmp_path / "demo"
    killed = False
    process = start(folder)
    for line in process.stdout:
        if line.startswith("$ gradatim train"):
            time.sleep(3)
            os.killpg(process.pid, signal.SIGKILL)
            killed = True
            break
    process.communicate()
    process = start(folder)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert killed
    assert "Going on with what an earlier run began" in out
    assert len(figures(out)) > 10
    assert figures(out) == figures(finished[1])


def test_another_seed_is_another_demo(finished, tmp_path):
    """A folder of one seed is made anew for another: nothing of the first is gone on with."""
    folder = tmp_path / "demo"
    shutil.copytree(finished[0], folder)
    process = start(folder, "--seed", "1")
    for line in process.stdout:
        assert "Going on" not in line
        if line.startswith("ingest test"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "trained").exists()


def test_the_demo_deletes_only_its_own(tmp_path):
    """A folder that no demo made is left alone, with a sentence."""
    (tmp_path / "mine.txt").write_text("mine")
    process = start(tmp_path)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "holds something else" in out
    assert (tmp_path / "mine.txt").exists()
