"""What is left of a server whose supervisor was killed: found by the record that the supervisor kept of it, and ended.

Engines write over their environment when they give their processes a name, so that a mark in it is gone. But whoever
was started by the server and did not ask for another session is in the server's own, which no later process can have
while one of them lives.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from gradatim.serving.supervisor import Seen, below, kill, marked, processes

if TYPE_CHECKING:
    from pathlib import Path

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
    if not life or _watched(life, known):
        return set()
    main = known.get(life["main"])
    found = marked(life["mark"]) & set(known) if life["mark"] else set()
    if main is None or main.started == life["main_started"]:
        found |= {pid for pid, one in known.items() if one.group == str(life["main"])}
    for pid in list(found):
        found |= below(pid, known)
    return found


def _watched(life: dict[str, Any], known: dict[int, Seen]) -> bool:
    """Whether the supervisor of a life is there."""
    guard = known.get(life.get("guard", 0))
    return guard is not None and guard.started == life["guard_started"]
