"""Imports point one way, and starting up is cheap."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gradatim

SOURCE = Path(gradatim.__file__).parent
PARTS = ("library", "models", "checkers", "prm", "serving", "formats", "training", "reporting")
RANK = {
    "types": 0, "errors": 0, "progress": 0, "reasoning": 0, "templates": 0, "suite": 0, "cores": 0, "weights": 0,
    "zstd": 0,
    "method": 1,
    **dict.fromkeys(PARTS, 2), "tiny": 3, "config": 4, "work": 5, "stages": 6, "pipeline": 7, "planning": 7,
    "comparing": 8, "cli": 9,
}  # fmt: skip


def _imports(path: Path) -> set[str]:
    """The gradatim modules that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return {name for name in found if name.startswith("gradatim.")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    """A file imports only from levels below its own, from its own package, and never from a sibling part."""
    place = path.relative_to(SOURCE).with_suffix("").parts
    if place == ("__init__",):
        return
    own = place[0]
    for name in _imports(path):
        other = name.split(".")[1]
        if other not in RANK or other == "__version__":
            continue
        if own == other:
            stage_to_stage = own == "stages" and name.count(".") >= 2 and name.split(".")[2] != place[-1]
            assert not stage_to_stage, f"{path.name} imports another stage: {name}"
            continue
        assert RANK[other] < RANK[own] or RANK[own] == 0, f"{'/'.join(place)} imports {name}"


def test_help_answers_quickly():
    """`gradatim --help` answers within 0.4 s, the best of five."""
    command = [sys.executable, "-c", "from gradatim.cli.main import main; main()", "--help"]
    times = []
    for _ in range(5):
        start = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(SOURCE.parent)})
        times.append(time.monotonic() - start)
    assert min(times) < 0.4


def test_every_public_name_is_there():
    """Each name of `__all__` loads, and nothing else is public."""
    for name in gradatim.__all__:
        assert getattr(gradatim, name) is not None
    with pytest.raises(AttributeError):
        _ = gradatim.no_such_name
