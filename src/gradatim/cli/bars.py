"""Progress bars on stderr, on a terminal only: rate, time left, tokens, cost, faults."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gradatim.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.progress import Progress, Tick


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Give something that draws ticks, or swallows them where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[more]}"),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        yield _Drawn(bars)


class _Drawn:
    """Draws ticks from any thread."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, stage: str, tick: Tick) -> None:
        with self._lock:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=tick.total, completed=tick.done, rate="", more="")
            task = self._tasks[stage]
            self._bars.update(task, completed=tick.done, total=tick.total, more=_more(tick))
            speed = self._bars.tasks[task].speed
            self._bars.update(task, rate=f"{speed:,.0f}/s" if speed else "")


def _more(tick: Tick) -> str:
    parts = [tick.note]
    if tick.tokens:
        parts.append(f"{tick.tokens:,} tokens")
    if tick.cost is not None:
        parts.append(f"cost {tick.cost:.4f}")
    if tick.faults:
        parts.append(f"{tick.faults:,} faults")
    return " · ".join(part for part in parts if part)
