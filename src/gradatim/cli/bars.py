"""Progress bars on stderr, on a terminal only: rate, time left, tokens, cost, faults."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gradatim.cli.output import note, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatim.progress import Progress, Tick


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Give something that draws ticks, or swallows them where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _Logged(note)
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


class _Logged:
    """Writes what a log should hold, and nothing else."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._written: dict[str, int] = {}

    def __call__(self, stage: str, tick: Tick) -> None:
        """Write what has been said since."""
        for sentence in tick.said[self._written.get(stage, 0) :]:
            self._write(f"gradatim: {printable(sentence)}")
        self._written[stage] = len(tick.said)


class _Drawn:
    """Draws ticks from any thread."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._log = _Logged(lambda text: bars.print(text, markup=False, highlight=False))
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, stage: str, tick: Tick) -> None:
        with self._lock:
            self._log(stage, tick)
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
