"""Running the trials that are not done yet, several at a time, each in a worker process.

A worker writes to a copy of the library, since a library has one writer; when its trial is done, what is the trial's is
taken over. A trial that was killed goes on in its copy, from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gradatim.comparing.trials import job, made_from
from gradatim.errors import GradatimError, LimitError, SetupError, UsageError
from gradatim.library.absorbing import absorb, copy
from gradatim.library.store import Library
from gradatim.progress import Tick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradatim.comparing.trials import Trial
    from gradatim.config import Config
    from gradatim.progress import Progress

_ERRORS = {one.exit_code: one for one in (UsageError, SetupError, LimitError)}
_FATAL = SetupError.exit_code
"""What the machine lacks for one trial, it lacks for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How a trial ended in its worker."""

    trial: Trial
    error: str
    code: int


def place(config: Config, trial: Trial) -> Path:
    """Return the folder that a trial works in."""
    return Path(config.compare.out) / trial.model


def run_all(library: Library, config: Config, todo: Sequence[Trial], total: int, progress: Progress) -> None:
    """Run trials until all are done; one that fails stops no other.

    Raises the error of the first that failed, in the end; `SetupError` at once. What is done is in the library.
    """
    folder = Path(config.compare.out)
    folder.mkdir(parents=True, exist_ok=True)
    snapshot = folder / "snapshot.db"
    copy(library, snapshot)
    marks = {one: made_from(library, one) for one in todo}
    waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
    for one in todo:
        waiting.put(one)
    ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
    slots = [_Slot(config, (snapshot, marks), waiting, ended) for _ in range(min(config.compare.jobs, len(todo)))]
    failed: list[_Ended] = []
    started, finished = time.monotonic(), 0
    try:
        for slot in slots:
            slot.start()
        while finished < len(todo):
            progress("compare", _tick(total - len(todo) + finished, total, finished, started, len(failed)))
            with suppress(queue.Empty):
                last = ended.get(timeout=1.0)
                finished += 1
                if last.error:
                    failed.append(last)
                else:
                    _take_over(library, config, last.trial)
                if last.code == _FATAL:
                    break
    finally:
        for slot in slots:
            slot.stop()
    snapshot.unlink(missing_ok=True)
    if failed:
        raise _failure(failed, folder)
    progress("compare", Tick(done=total, total=total))


def _tick(done: int, total: int, finished: int, started: float, faults: int) -> Tick:
    seconds = time.monotonic() - started
    left = f"about {(total - done) * seconds / finished / 60:.0f} min left" if finished else "the first trials"
    return Tick(done=done, total=total, faults=faults, note=left)


def _failure(failed: Sequence[_Ended], folder: Path) -> GradatimError:
    first = failed[0]
    kind = _ERRORS.get(first.code, GradatimError)
    more = f"; {len(failed) - 1} more trials failed" if len(failed) > 1 else ""
    return kind(
        f"{first.trial.model}: {first.error.rstrip('.')}{more} (see {folder / 'workers.log'}). "
        "Everything that was done is kept; run the same command to go on."
    )


def _prepare(config: Config, trial: Trial, snapshot: Path, mark: str) -> None:
    """Give a trial its folder with a copy of the library, where a killed run of the same job has left none."""
    own = place(config, trial)
    told = msgspec.structs.replace(job(config, trial, own), made_from=mark)
    said, written = msgspec.json.encode(told), own / "job.json"
    if written.exists() and written.read_bytes() == said:
        return
    if own.exists():
        shutil.rmtree(own)
    own.mkdir()
    shutil.copyfile(snapshot, own / "library.db")
    unfinished = own / "job.json.new"
    unfinished.write_bytes(said)
    unfinished.replace(written)


def _take_over(library: Library, config: Config, trial: Trial) -> None:
    """Put what a trial came to into the library, and remove what is not needed any more."""
    own = place(config, trial)
    with Library(own / "library.db") as other:
        absorb(library, other, trial.model)
    for file in [*own.glob("library.db*"), own / "job.json"]:
        file.unlink(missing_ok=True)
    if not config.compare.keep_models:
        shutil.rmtree(own)


class _Slot:
    """A thread that feeds one worker process after the other."""

    def __init__(
        self,
        config: Config,
        copied: tuple[Path, Mapping[Trial, str]],
        waiting: queue.SimpleQueue[Trial],
        ended: queue.SimpleQueue[_Ended],
    ) -> None:
        self._config = config
        self._snapshot, self._marks = copied
        self._waiting = waiting
        self._ended = ended
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gradatim-compare", daemon=True)

    def start(self) -> None:
        """Begin with the first trial."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker, whatever it is at."""
        self._over.set()
        process = self._process
        if process is not None:
            process.kill()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                trial = self._waiting.get_nowait()
            except queue.Empty:
                break
            self._ended.put(self._one(trial))
        self._end()

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self._process = None

    def _one(self, trial: Trial) -> _Ended:
        try:
            _prepare(self._config, trial, self._snapshot, self._marks[trial])
        except OSError as error:
            return _Ended(trial=trial, error=f"its folder cannot be written: {error}", code=_FATAL)
        process = self._worker()
        if self._over.is_set():
            process.kill()
        line = ""
        with suppress(BrokenPipeError):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{(place(self._config, trial) / 'job.json').absolute()}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._end()
            return _Ended(trial=trial, error=f"its process ended with {code}", code=GradatimError.exit_code)
        said = json.loads(line)
        return _Ended(trial=trial, error=said["error"], code=said["code"])

    def _worker(self) -> subprocess.Popen[str]:
        """Return the running worker, started where there is none."""
        if self._process is None:
            # One thread each: two that share a core take three times as long as one.
            threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
            with (Path(self._config.compare.out) / "workers.log").open("a", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "gradatim.comparing.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
                    start_new_session=True,  # Ctrl-C is the parent's: it stops the workers
                )
        return self._process
