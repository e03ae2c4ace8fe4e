"""Tests against real engines: `make engines` runs them, in an environment with vLLM. Any other run leaves them out."""

from __future__ import annotations

import os

import pytest

if not os.environ.get("GRADATIM_ENGINES"):
    collect_ignore_glob = ["test_*.py"]

SMALL = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


def pytest_collection_modifyitems(items):
    """Mark every test of this folder, and give it the time that an engine takes to start."""
    for item in items:
        if "engines" in item.path.parts:
            item.add_marker(pytest.mark.engines)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", autouse=True)
def small():
    """Keep engines small, and off the network."""
    os.environ |= SMALL
