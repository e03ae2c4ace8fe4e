"""What is left of a server whose supervisor was killed: found by the record that the supervisor kept of it, and ended.

Engines write over their environment when they give their processes a name, so that a mark in it is gone. What they
keep is the pipe to the log, as their standard output: whoever holds it belongs to the server, whatever its session.
Linux only.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from gradatim.serving.supervisor import LINUX, MARK, Seen, below, boot, kill, processes

_KILLING_SECONDS = 10.0


def sweep(log: Path) -> None:
    """End what earlier lives with this log left running, and forget them; a server that is watched is left alone."""
    for record in log.parent.glob(f"{log.name}.*.run"):
        try:
            life = json.loads(record.read_text(encoding="ascii"))
        except (OSError, ValueError):
            life = {}
        until = time.monotonic() + _KILLING_SECONDS
        while found := _left(life):
            kill(found)
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        else:
            if not _watched(life, processes()):
                with contextlib.suppress(OSError):
                    record.unlink(missing_ok=True)


def _left(life: dict[str, Any]) -> set[int]:
    """Return the processes of a life that nobody watches any more."""
    known = processes()
    if not LINUX or not life or life["boot"] != boot() or _watched(life, known):
        return set()
    found = {pid for pid in known if pid != os.getpid() and _belongs(pid, life)}
    for pid in list(found):
        found |= below(pid, known)
    return found


def _belongs(pid: int, life: dict[str, Any]) -> bool:
    """Whether a process prints into the pipe of that life, or carries its mark."""
    place = Path("/proc", str(pid))
    for number in ("1", "2"):
        with contextlib.suppress(OSError):
            if str((place / "fd" / number).readlink()) == f"pipe:[{life['pipe']}]":
                return True
    with contextlib.suppress(OSError):
        return f"{MARK}={life['mark']}".encode() in (place / "environ").read_bytes().split(b"\0")
    return False


def _watched(life: dict[str, Any], known: dict[int, Seen]) -> bool:
    """Whether the supervisor of a life is there."""
    guard = known.get(life.get("guard", 0))
    return guard is not None and guard.started == life["guard_started"]
