"""How many cores this process may use: those of the machine, less where it is held to some, or to a share of them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container's own control group: `200000 100000` is two cores' worth, `max 100000` no bound."""


def cores(quota: Path = _QUOTA) -> int:
    """Return the number of cores, at least 1; a share of one counts as one."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        most, period = quota.read_text(encoding="ascii").split()
        if most != "max":
            found = min(found, math.ceil(int(most) / int(period)))
    return max(1, found)
