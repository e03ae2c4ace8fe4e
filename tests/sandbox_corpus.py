"""Runs the corpus of hostile programs in a box, and holds what became of each against its index.

`python tests/sandbox_corpus.py TIER [PROGRAM...]` prints one JSON line per program: also for another user, and with
another `PATH`, than the tests have. Needs the standard library alone. The corpus lies outside the project: the folder
`hostile` in `GRADATIM_DATA`; `GRADATIM_HOSTILE` names another, such as our own in `tests/hostile`.
"""

import json
import os
import platform
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gradatim.checkers.sandbox import Box, Ending, Job, Limits, Run, SandboxError, Tier, open_box

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
CORPUS = Path(os.environ.get("GRADATIM_HOSTILE", DATA / "hostile"))
LIMITS = Limits(seconds=1.0, memory_mb=256)
SLOW = ("m01", "m03", "o05")
"""These are busy for a second before they do what they are there for."""
TESTS = "assert solve([1, 2, 3]) == 6\nassert solve([]) == 0\n"
VERDICTS = {
    Ending.SYNTAX: "CE", Ending.TIME: "TLE", Ending.MEMORY: "MLE", Ending.OUTPUT: "OLE", Ending.EXCEPTION: "RE",
    Ending.NO_VALUE: "RE", Ending.IMPORT: "RE", Ending.FUNCTION: "RE", Ending.SIGNAL: "RE",
}  # fmt: skip


def index() -> list[dict]:
    """The corpus, one row per program; without those that are for another kind of machine."""
    rows = map(json.loads, (CORPUS / "index.jsonl").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row.get("machine", platform.machine()) == platform.machine()]


def job(style: str, program: str) -> Job:
    """The task that all programs are given."""
    if style == "stdio":
        return Job(style="stdio", program=program, stdin=b"1 2 3\n")
    if style == "call":
        return Job(style="call", program=program, function="solve", arguments=([1, 2, 3],))
    return Job(style="assert", program=program, code=TESTS, entries=("solve",))


def verdict(style: str, run: Run) -> str:
    """What a checker would say of this run."""
    if run.ending is not Ending.FINISHED:
        return VERDICTS[run.ending]
    if style == "stdio":
        right = run.stdout.split() == [b"6"]
    elif style == "call":
        right = type(run.value) is int and run.value == 6
    else:
        right = len(run.assertions) == 2 and all(one.passed for one in run.assertions)
    return "AC" if right else "WA"


class Listener:
    """A place where nothing may arrive: a port of this machine (TCP and UDP), or an abstract socket."""

    def __init__(self, place) -> None:
        if isinstance(place, int):
            self.sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
            for one in self.sockets:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("127.0.0.1", place))
        else:
            self.sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]
            self.sockets[0].bind("\0" + place[1:])
        self.sockets[0].listen()

    def close(self) -> list[str]:
        """Close it; return what came. The kernel has taken connections and datagrams in without being asked."""
        got = []
        for one in self.sockets:
            one.setblocking(False)
            with suppress(BlockingIOError):
                got.append(repr(one.accept() if one.type == socket.SOCK_STREAM else one.recv(100)))
            one.close()
        return got


def below(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found, size = {pid}, 0
    while size != len(found):
        size = len(found)
        found |= {one for one, parent in parents.items() if parent in found}
    return found - {pid}


def faults(row: dict, box: Box) -> list[str]:
    """Run one program, and say what was not as its index says."""
    wrong: list[str] = []
    program = (CORPUS / row["file"]).read_bytes().decode("utf-8", "surrogatepass")
    listener = Listener(row["needs_listener"]) if "needs_listener" in row else None
    before = below(os.getpid())
    limits = replace(LIMITS, seconds=5.0) if row["file"][:3] in SLOW else LIMITS
    runs = 2 if row.get("run_twice") else 1
    for _ in range(runs):
        start = time.monotonic()
        run = box.run(job(row["style"], program), limits)
        took = time.monotonic() - start
    said = verdict(row["style"], run)
    if said not in row["verdict"]:
        wrong.append(f"{said}, not {row['verdict']}: {run.ending}, {run.error}, {run.stdout[:200]!r}")
    if row.get("no_leak") and any(line.startswith(b"LEAK:") for line in run.stdout.splitlines()):
        wrong.append(f"leaked: {run.stdout[:300]!r}")
    if "max_wall_factor" in row and idle() and took > row["max_wall_factor"] * LIMITS.seconds + 0.5:
        wrong.append(f"took {took:.2f} s")
    if row.get("no_processes_left"):
        time.sleep(0.5)
        wrong += [f"process {pid} is left" for pid in below(os.getpid()) - before]
    wrong += [f"{path} is there" for path in row.get("no_file", ()) if Path(path).expanduser().exists()]
    if listener is not None:
        wrong += [f"arrived: {what}" for what in listener.close()]
    if row.get("harness_alive"):
        honest = (CORPUS / "ok01_stdio.py").read_text(encoding="utf-8")
        if verdict("stdio", box.run(job("stdio", honest), LIMITS)) != "AC":
            wrong.append("an honest program fails afterwards")
    return wrong


def found(row: dict, box: Box) -> list[str]:
    """What was not as the index says; nothing where a program is too slow and so is the machine, which said so."""
    try:
        return faults(row, box)
    except SandboxError as error:
        if error.reason == "overloaded" and "TLE" in row["verdict"]:
            return []
        raise


def idle() -> bool:
    """Whether this machine has a core to spare, so that time by the clock says something."""
    return os.getloadavg()[0] < len(os.sched_getaffinity(0))


def main(arguments: list[str]) -> int:
    """Run the corpus in a box of a tier, with canaries set; print what went wrong per program."""
    box = open_box(Tier(arguments[0]))
    box.run(job("stdio", "print(6)"), LIMITS)
    print(json.dumps({"layers": box.layers}), flush=True)  # noqa: T201 - this is its output
    for row in index():
        if not arguments[1:] or row["file"].split("_")[0] in arguments[1:]:
            print(json.dumps({"file": row["file"], "faults": found(row, box)}), flush=True)  # noqa: T201 - as above
    box.close()
    print(json.dumps({"left": sorted(below(os.getpid()))}), flush=True)  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
