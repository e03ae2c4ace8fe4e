"""A process that trains and evaluates one trial after the other: `python -m gradatim.comparing.worker`.

It reads the path of a job's file per line on standard input, and answers each with one line of JSON. It ends with its
parent: when its input ends, whatever it is at.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from gradatim.comparing.trials import Job
from gradatim.errors import GradatimError
from gradatim.library.store import Library
from gradatim.stages.evaluate import evaluate
from gradatim.stages.train import train
from gradatim.work.opening import engine_settings, open_model


def work(job: Job) -> None:
    """Train and evaluate in the job's own copy of the library. Raises what the stages raise."""
    with Library(job.library, write=True) as library:
        train(library, job.draw, job.train)
        (result,) = evaluate(
            library, open_model(job.model), job.evaluate, verify=job.verify, engine=engine_settings(job.model)
        )
    if result.left or result.unjudged:
        raise GradatimError(
            f"{result.left + result.unjudged} answers of {job.model.model} to {result.set} are missing or not judged. "
            "Run the same command to go on."
        )


def _answer(path: str) -> dict[str, object]:
    try:
        work(msgspec.json.decode(Path(path).read_bytes(), type=Job))
    except GradatimError as error:
        return {"error": str(error), "code": error.exit_code}
    except Exception as error:  # noqa: BLE001 - the boundary of a process: its parent says it, with the trial's name
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "code": 70}
    return {"error": "", "code": 0}


def main() -> None:
    """Work until the input ends."""
    # Libraries print what they like to standard output: answers go to a copy of it that nobody else knows.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(line.rstrip("\n"))
        os._exit(0)

    threading.Thread(target=listen, name="gradatim-listener", daemon=True).start()
    while True:
        answers.write(json.dumps(_answer(jobs.get())) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
