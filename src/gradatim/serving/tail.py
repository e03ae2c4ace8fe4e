"""What a server's log says of its end: the last lines, and the one of them that tells why.

Engines print a page when they fail: tracebacks of three processes, each ending in a sentence that points to another,
and warnings while they shut down. The line wanted is the last one that names an error and does not point elsewhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradatim.serving.supervisor import ENDED, STARTED

if TYPE_CHECKING:
    from pathlib import Path

_READ = 1 << 18
"""Bytes from the end of a log that are looked at."""
_WIDEST = 300
"""Characters of a line that are shown."""
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_PREFIX = re.compile(
    r"^(?:\((?:[\w -]+) ?(?:pid=\d+)?\) )?(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):? +)?"
    r"(?:\d\d-\d\d \d\d:\d\d:\d\d )?(?:\[[\w./<> -]+:\d+\] ?)?"
)
"""`(EngineCore_0 pid=12) ERROR 11-26 04:45:02 [core.py:718] ` in front of what is said."""
_ERROR = re.compile(
    r"^(?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt|Killed|OutOfMemory)\b.*: *\S|^\s*Value error, |: error: "
    r"|\bCUDA out of memory\b|\b(?:cannot|can't|could not) (?:open|find|allocate)\b|^Killed$|Segmentation fault"
    r"|No module named|command not found"
)
_ELSEWHERE = re.compile(
    r"root cause|EngineDeadError|Engine core init|EngineCore (?:encountered|failed)|engine process failed"
    r"|leaked (?:shared_memory|semaphore)|resource_tracker|destroy_process_group|CancelledError|^KeyboardInterrupt"
    r"|validation errors? for|errors\.pydantic\.dev|Use `repo_type` argument",
    re.IGNORECASE,
)
"""Lines about an error that say nothing of its cause."""


_NOISE = re.compile(
    r'^INFO: +127\.0\.0\.1:\d+ - "|^nanobind: |^ - (?:leaked |\.\.\. skipped)|refleaks\.html|^ *warnings\.warn\('
)
"""What an engine prints for every request, and while it ends, whatever it ends of."""


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of the log's newest life, without colours, blank lines and noise."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _READ))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines: list[str] = []
    for line in _COLOUR.sub("", text).replace("\r", "\n").split("\n"):
        if line.startswith(STARTED):
            lines.clear()
        elif line.strip() and not line.startswith(ENDED) and not _NOISE.search(line):
            lines.append(line.rstrip())
    return lines[-count:]


def telling_line(log: Path) -> str:
    """Return the line that says why the newest life ended; empty where it printed nothing."""
    lines = [_PREFIX.sub("", line, count=1) for line in last_lines(log, 5000)]
    errors = [line for line in lines if _ERROR.search(line) and not _ELSEWHERE.search(line)]
    lesser = [line for line in lines if _ERROR.search(line)]
    found = (errors or lesser or lines or [""])[-1].strip().removeprefix("Value error, ")
    return found if len(found) <= _WIDEST else f"{found[:_WIDEST]}..."
