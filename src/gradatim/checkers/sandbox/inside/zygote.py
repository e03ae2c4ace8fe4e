"""The fork server of a box: loads the prelude once, then forks a process for each program.

It runs one job at a time, in one thread, and never looks at a program's text: that is compiled in the program's own
process. When the calling process goes, its pipe ends, and so does this.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import shutil
import sys
import time
from contextlib import suppress
from typing import Any

from gradatim.checkers.sandbox.inside import kernel, prelude, program, syscalls, wire
from gradatim.checkers.sandbox.inside.program import Bounds, Ground
from gradatim.checkers.sandbox.inside.watch import Seen, Watch, sweep

_LARGEST = 1 << 30
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
        self.uid = settings["uid"]
        self.report = mmap.mmap(-1, _REPORT)
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.rules: list[int] = []
        self.filter = syscalls.Filter() if settings["seccomp"] else None
        self.names = prelude.names()
        if settings["work"]:
            for place in range(2):
                self.new_folder(place)
        if settings["landlock"]:
            self.rules = [self.new_rules(place) for place in range(2)]
        self.oom = out_of_memory()

    def new_folder(self, place: int) -> None:
        """Make the program's private folder, empty."""
        folder = self.folders[place]
        os.mkdir(folder, 0o700)
        if self.uid >= 0:
            os.chown(folder, self.uid, self.uid)
        self.stamps[place] = os.stat(folder).st_ctime_ns

    def new_rules(self, place: int) -> int:
        """Return Landlock rules for this place."""
        write = (self.folders[place],) if self.settings["work"] else ()
        return kernel.ruleset(kernel.Allowed(tuple(self.settings["read"]), write))

    def clean(self, place: int) -> None:
        """Make the private folder as new, where a program has touched it: any change moves its `ctime`."""
        if not self.settings["work"] or os.stat(self.folders[place]).st_ctime_ns == self.stamps[place]:
            return
        os.chmod(self.folders[place], 0o700)
        shutil.rmtree(self.folders[place])
        self.new_folder(place)
        if self.rules:
            os.close(self.rules[place])
            self.rules[place] = self.new_rules(place)

    def ground(self) -> Ground:
        """Return what a program's process needs of all this."""
        return Ground(
            names=self.names,
            rules=tuple(self.rules),
            filter=self.filter,
            uid=self.uid,
            keep_reading=self.settings["keep_reading"],
            own_bytes=address_space(),
            report=self.report,
            processes=self.settings["processes"],
        )

    def serve(self) -> None:
        """Answer until the calling process ends."""
        ground = self.ground()
        wire.send(self.replies, wire.packed({"ready": os.getpid(), "abi": kernel.landlock_version()}))
        while True:
            try:
                head, blobs = wire.receive(self.requests, _LARGEST)
            except EOFError:
                return
            self.report[:1] = b"\0"
            bounds = Bounds(**head.pop("limits"))
            run = self.run_one
            wire.send(self.replies, run(ground, bounds, head, blobs))
            sweep()
            self.clean(0)

    def run_one(self, ground: Ground, bounds: Bounds, head: dict[str, Any], blobs: list[bytes]) -> bytes:
        """Run a program of style `stdio` or `call`."""
        call = head["style"] == "call"
        given = memory_file(blobs[2]) if blobs[2] and not call else os.dup(self.null)
        out = os.memfd_create("out")
        value = os.memfd_create("value") if call else -1
        watch_pid = os.fork()
        if watch_pid == 0:
            descriptors = (given, out, self.null, value) if call else (given, out, self.null)
            run_child(ground, bounds, self.folders[0], descriptors, head, blobs)
        watch = Watch(watch_pid, bounds.seconds, bounds.threads)
        seen = watch.until_end(self.requests)
        limit = bounds.output_kb * 1024
        parts = [content(out, limit + 1), content(value, limit + 1) if call else b""]
        for fd in (given, out, value):
            if fd >= 0:
                os.close(fd)
        return wire.packed(self.record(seen), *parts, self.said())

    def said(self) -> bytes:
        """Return the report that the program's process left."""
        return self.report[: max(0, self.report.find(b"\0"))]

    def record(self, seen: Seen) -> dict[str, Any]:
        """Return what was seen, for the reply."""
        oom = False
        if seen.status == -9 and not seen.cause:
            count = out_of_memory()
            oom, self.oom = count != self.oom, count
        return {
            "status": seen.status, "cause": seen.cause, "cpu": seen.cpu, "wall": seen.wall,
            "resident_kb": seen.resident_kb, "oom": oom,
        }  # fmt: skip


def run_child(
    ground: Ground, bounds: Bounds, folder: str, descriptors: tuple[int, ...], head: dict[str, Any], blobs: list[bytes]
) -> None:
    """Be the program's process; never returns."""
    status = 70
    try:
        program.enter(ground, bounds, 0, descriptors, folder)
        program.standard_streams()
        setup, text = (blob.decode("utf-8", "surrogatepass") for blob in blobs[:2])
        if head["style"] == "call":
            limit = bounds.output_kb * 1024
            status = program.run_call(ground, (setup, text), head["function"], blobs[2].decode(), limit)
        else:
            status = program.run_stdio(ground, setup, text)
    finally:
        os._exit(status)


def memory_file(data: bytes) -> int:
    """Return a descriptor of an unnamed file that holds the data, at its start."""
    fd = os.memfd_create("in")
    wire.send(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def content(fd: int, limit: int) -> bytes:
    """Return what stands in a file, from its start."""
    size = min(os.fstat(fd).st_size, limit)
    parts: list[bytes] = []
    at = 0
    while at < size:
        part = os.pread(fd, size - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def out_of_memory() -> int:
    """Return how often the kernel has killed a process for lack of memory."""
    with suppress(OSError), open("/proc/vmstat", "rb") as file:  # noqa: PTH123 - as short as it gets
        for line in file:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def address_space() -> int:
    """Return the bytes of this process's address space."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - as short as it gets
        return int(file.read().split()[0]) * resource.getpagesize()


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
    kernel.not_dumpable()
    sys.setrecursionlimit(_RECURSION)
    sys.path[:] = [path for path in sys.path if path]
    server = Server(settings, requests, replies)
    if server.uid >= 0:
        kernel.forget_capabilities()
    gc.collect()
    gc.freeze()
    time.sleep(0)
    server.serve()
