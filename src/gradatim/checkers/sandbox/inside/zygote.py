"""The fork server of a box: loads the prelude once, then forks a process for each program.

It runs one job at a time, in one thread. Texts, inputs and outputs never enter its memory, which every later program
inherits: the kernel moves them between the pipes and unnamed files (splice, sendfile), and each process reads its own.
When the calling process goes, its pipe ends, and so does this.
"""

from __future__ import annotations

import gc
import itertools
import json
import mmap
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.checkers.sandbox.inside import children, kernel, prelude, program, syscalls, wire
from gradatim.checkers.sandbox.inside.program import ENTERED, Bounds, Ground
from gradatim.checkers.sandbox.inside.watch import Seen, Watch, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECURSION = 50_000
_REPORT = 16384


class Server:
    """What lasts from program to program."""

    def __init__(self, settings: dict[str, Any], requests: int, replies: int) -> None:
        self.requests = requests
        self.replies = replies
        self.settings = settings
        self.folders = [f"{settings['work']}/{place}" for place in ("1", "2")] if settings["work"] else ["/", "/"]
        self.stamps: list[int] = [0, 0]
        self.report_file = os.memfd_create("report")
        os.ftruncate(self.report_file, _REPORT)
        self.report = mmap.mmap(self.report_file, _REPORT)
        self.marks = os.memfd_create("marks")
        program.standard_streams()
        self.names = prelude.names()
        if settings["work"]:
            for place in range(2):
                self.new_folder(place)
        self.rules = [self.new_rules(place) for place in range(2)] if settings["landlock"] else []
        self.filter = syscalls.Filter() if settings["seccomp"] else None
        self.oom = out_of_memory()
        self.null = -1
        self.open: list[int] = []
        """The unnamed files of the job at hand."""

    def new_folder(self, place: int) -> None:
        """Make the program's private folder, empty."""
        folder = self.folders[place]
        Path(folder).mkdir(mode=0o700)
        if self.settings["uid"] >= 0:
            os.chown(folder, self.settings["uid"], self.settings["uid"])
        self.stamps[place] = Path(folder).stat().st_ctime_ns

    def new_rules(self, place: int) -> int:
        """Return Landlock rules for this place."""
        write = (self.folders[place],) if self.settings["work"] else ()
        read, listed = tuple(self.settings["read"]), tuple(self.settings["list"])
        return kernel.ruleset(kernel.Allowed(read=read, listed=listed, write=write))

    def clean(self) -> bool:
        """Empty the private folders; False where that is not done soon, and this server has to be the last to use them.

        Any change moves a folder's `ctime`; a second look, since the clock that it is taken from stands still for
        milliseconds.
        """
        if not self.settings["work"]:
            return True
        for place, folder in enumerate(self.folders):
            if os.stat(folder).st_ctime_ns == self.stamps[place] and not os.listdir(folder):  # noqa: PTH116, PTH208 - fast
                continue
            try:
                empty(folder)
            except OSError:
                return False
            self.stamps[place] = os.stat(folder).st_ctime_ns  # noqa: PTH116 - as above
        return True

    def ground(self) -> Ground:
        """Return what a program's process needs of all this."""
        return Ground(
            names=self.names,
            modules=program.modules(self.names),
            limits=program.hard_limits(),
            rules=tuple(self.rules),
            filter=self.filter,
            uid=self.settings["uid"],
            keep_reading=self.settings["keep_reading"],
            own_bytes=children.address_space(),
            report=self.report,
            processes=self.settings["processes"],
            namespaces=self.settings["namespaces"],
            folders=tuple(self.folders),
            marks=self.marks,
        )

    def serve(self) -> None:
        """Answer until the calling process ends."""
        ground = self.ground()
        wire.send(self.replies, wire.packed({"ready": os.getpid(), "landlock": kernel.landlock_version()}))
        while True:
            try:
                head = wire.head(self.requests)
            except EOFError:
                return
            self.report[:] = bytes(_REPORT)
            os.ftruncate(self.marks, 0)
            # Anew for each job: what a program sets or locks of an open file stays with it.
            self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            self.open.append(self.null)
            bounds = Bounds(**head.pop("limits"))
            given = [self.file(size) for size in head["blobs"]]
            run = self.run_tests if head["style"] == "assert" else self.run_one
            last = run(ground, bounds, head, given)
            for fd in self.open:
                os.close(fd)
            self.open.clear()
            if last:
                return

    def file(self, size: int = 0) -> int:
        """Return an unnamed file, filled with so many bytes of the request."""
        fd = os.memfd_create("file")
        self.open.append(fd)
        if size:
            wire.move(self.requests, fd, size)
            os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def run_one(self, ground: Ground, bounds: Bounds, head: dict[str, Any], given: list[int]) -> bool:
        """Run a program of style `stdio` or `call`, and reply."""
        out, value = self.file(), self.file()
        child = children.Child(ground, bounds, 0)
        if head["style"] == "call":
            child.start(lambda: children.call(child, head, given, (self.null, out, self.null, value)))
        else:
            child.start(lambda: children.stdio(child, given, (given[2], out, self.null)))
        seen = Watch([child.process], bounds.seconds, bounds.threads, self.settings["work"]).until_end(self.requests)
        return self.reply(self.record(seen), [out, value], bounds)

    def run_tests(self, ground: Ground, bounds: Bounds, head: dict[str, Any], given: list[int]) -> bool:
        """Run test code in one process against a program in another, and reply."""
        record = self.file()
        asked, answered = os.pipe(), os.pipe()
        served, tester = children.Child(ground, bounds, 1), children.Child(ground, bounds, 0)
        ends = (self.null, self.null, self.null)
        served.start(lambda: children.serve_calls(served, head, given, (*ends, asked[0], answered[1])))
        tester.start(lambda: children.testing(tester, head, given, (*ends, asked[1], answered[0], record)))
        for fd in (*asked, *answered):
            os.close(fd)
        watch = Watch([tester.process, served.process], bounds.seconds, bounds.threads, self.settings["work"])
        seen = watch.until_end(self.requests)
        return self.reply(self.record(seen), [self.null, record], bounds)

    def reply(self, record: dict[str, Any], files: list[int], bounds: Bounds) -> bool:
        """Send what was seen, and the files; of each no more than may be written and a byte. True: it is the last."""
        sweep()
        record["last"] = not self.clean()
        limit = bounds.output_kb * 1024 + 1
        sizes = [min(os.fstat(fd).st_size, limit) for fd in files]
        sizes.append(max(0, self.report.find(b"\0")))
        wire.send(self.replies, wire.opening(record, sizes))
        for fd, size in zip((*files, self.report_file), sizes, strict=True):
            at = 0
            while at < size:
                at += os.sendfile(self.replies, fd, at, size - at)
        return bool(record["last"])

    def record(self, seen: list[Seen]) -> dict[str, Any]:
        """Return what was seen, for the reply: of the tests' process first, where there is one."""
        oom = False
        if any(one.status == -9 and not one.killed for one in seen):
            count = out_of_memory()
            oom, self.oom = count != self.oom, count
        marks = os.pread(self.marks, len(seen), 0).ljust(len(seen), b"\0")
        return {
            # A process that was killed may not have come so far, and one that ended by itself has to.
            "entered": all(one.killed or marks[at : at + 1] == ENTERED for at, one in enumerate(seen)),
            "status": seen[0].status,
            "program": seen[-1].status,
            "killed": seen[-1].killed,
            "cause": seen[0].cause,
            "cpu": sum(one.cpu for one in seen),
            "wall": seen[0].wall,
            "waited": sum(one.waited for one in seen),
            "resident_kb": seen[-1].resident_kb,
            "oom": oom,
        }


def empty(folder: str) -> None:
    """Remove all that is in a folder, without following a link out of it.

    What is in a folder below is moved up first: a program can make folders deeper than there are descriptors.
    """
    Path(folder).chmod(0o700)
    fresh = (f"{os.urandom(8).hex()}{number}" for number in itertools.count())
    with Opened(folder) as top:
        while names := os.listdir(top):  # noqa: PTH208 - of a descriptor
            for name in names:
                try:
                    os.unlink(name, dir_fd=top)
                except IsADirectoryError:
                    dissolve(name, top, fresh)


def dissolve(name: str, top: int, fresh: Iterator[str]) -> None:
    """Move all that is in a folder up, and remove it. A folder is no link, so its mode is its own."""
    os.chmod(name, 0o700, dir_fd=top)
    with Opened(name, top) as below:
        for one in os.listdir(below):  # noqa: PTH208 - of a descriptor
            if stat.S_ISDIR(os.lstat(one, dir_fd=below).st_mode):
                # Who owns a folder that is closed to him may not move it either.
                os.chmod(one, 0o700, dir_fd=below)
            os.rename(one, next(fresh), src_dir_fd=below, dst_dir_fd=top)
    os.rmdir(name, dir_fd=top)


class Opened:
    """A folder, open while a `with` block runs; never through a link."""

    def __init__(self, name: str, parent: int | None = None) -> None:
        self.fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def out_of_memory() -> int:
    """Return how often the kernel has killed a process for lack of memory."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def main() -> None:
    """Take over stdin and stdout as the pipes to the calling process, and serve."""
    settings = json.loads(sys.argv[2])
    requests, replies = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.close(null)
    if settings["die_with_parent"]:
        kernel.die_with_parent()
    kernel.adopt_orphans()
    kernel.no_new_privileges()
    sys.setrecursionlimit(_RECURSION)
    server = Server(settings, requests, replies)
    kernel.not_dumpable()
    if settings["uid"] >= 0:
        kernel.forget_capabilities()
    gc.collect()
    gc.freeze()
    server.serve()
