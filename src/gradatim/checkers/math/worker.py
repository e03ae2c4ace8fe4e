"""The process that does symbolic work: `python -m gradatim.checkers.math.worker SECONDS MEGABYTES`.

It imports sympy once, stays single-threaded, and forks a child that answers requests; when the child dies it forks the
next (4 ms, where a fresh import takes 0.7 s). The kernel kills the child at its deadline: `setitimer` with the default
action of SIGALRM needs no cooperation from whatever the child is stuck in. Requests and replies are one line of JSON
each; no object of sympy ever leaves.

    parent -> {"id": 7, "reference": "...", "answer": "...", "textual": true}
    child  -> {"ready": PID, "lost": 0}                      a child is up; `lost`: the signal that ended the one before
    child  -> {"id": 7, "found": "yes", "reason": "...", "last": false}      `last`: this child ends now
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.checkers.math.exact import Found

_JOBS_PER_CHILD = 1000
"""sympy caches every expression it has seen; a fork of the warm process starts without them."""
_RECYCLED = 10
_RECURSION = 1500


def main(arguments: list[str]) -> int:
    """Keep one child answering until stdin ends; return the exit code."""
    seconds, megabytes = float(arguments[0]), int(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(_RECURSION)
    # Replies have their own descriptor: nothing that a library prints may reach the pipe.
    replies = os.dup(1)
    os.dup2(2, 1)

    from gradatim.checkers.math.symbolic import Unparsable, decide  # noqa: PLC0415 - after the limits, once per machine process

    decide(r"\sin(x)^2", r"1-\cos(x)^2")
    lost = 0
    while True:
        child = os.fork()
        if child == 0:
            _drain()
            _write(replies, {"ready": os.getpid(), "lost": lost})
            code = _serve(replies, seconds, decide, Unparsable)
            os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != _RECYCLED:
            return os.WEXITSTATUS(status)
        lost = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _write(replies: int, record: dict[str, Any]) -> None:
    # Below PIPE_BUF a write is whole or not at all, so a killed child leaves no half line.
    os.write(replies, (json.dumps(record)[:4000] + "\n").encode())


def _serve(replies: int, seconds: float, decide: Callable[..., Found], unparsable: type[Exception]) -> int:
    """Answer requests; return 0 at the end of stdin, `_RECYCLED` when a fresh child should go on."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for count in range(1, _JOBS_PER_CHILD + 1):
        line = _read_line()
        if not line:
            return 0
        request = json.loads(line)
        key, pair, textual = request["id"], (request["reference"], request["answer"]), request["textual"]
        signal.setitimer(signal.ITIMER_REAL, seconds)
        reply = _answer(pair, decide, unparsable, textual=textual)
        signal.setitimer(signal.ITIMER_REAL, 0)
        last = reply["found"] in {"fault", "limit"} or count == _JOBS_PER_CHILD
        _write(replies, {"id": key, "last": last, **reply})
        if last:
            break
    return _RECYCLED


def _drain() -> None:
    """Throw away what a killed child has left unread: on `ready` the parent sends it again, or gives it up."""
    while select.select([0], [], [], 0)[0]:
        if not os.read(0, 65536):
            os._exit(0)


def _read_line() -> bytes:
    """Read one request; the parent sends nothing more before it has the reply. Empty at the end of stdin.

    A request begins and ends with a line break, so that what is left of a broken one stands on a line of its own.
    """
    text = b""
    while not (text.strip() and text.endswith(b"\n")):
        block = os.read(0, 65536)
        if not block:
            return b""
        text += block
    return text.split(b"\n")[-2]


def _answer(
    pair: tuple[str, str], decide: Callable[..., Found], unparsable: type[Exception], *, textual: bool
) -> dict[str, str]:
    try:
        found = decide(*pair, textual=textual)
    except unparsable as error:
        return {"found": "unparsable", "reason": f"{error}_unparsable"}
    except MemoryError:
        return {"found": "limit", "reason": "out_of_memory"}
    except RecursionError:
        return {"found": "limit", "reason": "too_deep"}
    except Exception as error:  # noqa: BLE001 - the item boundary of the worker: one pair's failure is one reply
        return {"found": "fault", "reason": "symbolic_error", "message": f"{type(error).__name__}: {error}"[:300]}
    return {"found": found.same.value, "reason": found.reason}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os._exit(0)
