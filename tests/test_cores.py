"""How many cores a process may use."""

import os

import pytest

from gradatim.cores import cores

MACHINE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("max 100000\n", MACHINE),
        ("100000 100000\n", 1),
        ("5000 100000\n", 1),
        ("100000000 100000\n", MACHINE),
        ("what\n", MACHINE),
        ("", MACHINE),
    ],
)
def test_a_container_has_its_quota(tmp_path, text, wanted):
    """A quota of CPU time counts as so many cores, rounded up; no quota, or one that cannot be read, bounds nothing."""
    (tmp_path / "cpu.max").write_text(text)
    assert cores(tmp_path / "cpu.max") == wanted
    assert cores(tmp_path / "not there") == MACHINE
