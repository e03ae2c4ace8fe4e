"""The processes that the fork server makes: how they come to be, and what each does first.

With fresh namespaces per program there are two: the first is init of its own process namespace, does nothing but wait,
and takes all that is left with it when it is killed; the second is the program's.
"""

from __future__ import annotations

import builtins
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.checkers.sandbox.inside import kernel, program, serving, tester
from gradatim.checkers.sandbox.inside.watch import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradatim.checkers.sandbox.inside.program import Bounds, Ground

globals()["__builtins__"] = dict(vars(builtins))

_NEVER = 70
"""The exit status of a process that failed by our fault, as it were; a program may end with it too."""


class Child:
    """One process for one text."""

    process: Process

    def __init__(self, ground: Ground, bounds: Bounds, place: int) -> None:
        self.ground = ground
        self.bounds = bounds
        self.place = place
        self.limit = bounds.output_kb * 1024

    def start(self, work: Callable[[], int]) -> None:
        """Fork; the new process does the work, and ends with the status that it returns."""
        if self.ground.namespaces:
            self.process = self._apart(work)
            return
        pid = os.fork()
        if pid == 0:
            _finish(work)
        self.process = Process(pid)

    def enter(self, descriptors: tuple[int, ...]) -> None:
        """Give up what the program may not have."""
        program.enter(self.ground, self.bounds, self.place, descriptors, self.ground.folders[self.place])

    def _apart(self, work: Callable[[], int]) -> Process:
        """Start it in namespaces of its own."""
        go, went = os.pipe(), os.pipe()
        nobody = self.ground.uid if self.ground.uid >= 0 else program.NOBODY
        own = os.getuid(), os.getgid()
        pid = kernel.fork_apart()
        if pid == 0:
            try:
                if self.ground.uid >= 0:
                    os.read(go[0], 1)
                    kernel.become(nobody, keep_reading=self.ground.keep_reading)
                else:
                    kernel.map_ids(0, nobody, *own)
                    kernel.no_capabilities()
                inner = os.fork()
                if inner == 0:
                    _finish(work)
                # A pipe of the program's that stayed open here would never end.
                os.dup2(went[1], 0)
                os.closerange(1, 1 << 20)
                _, status = os.waitpid(inner, 0)
                os.write(0, status.to_bytes(4, "little"))
            finally:
                os._exit(0)
        if self.ground.uid >= 0:
            kernel.map_ids(pid, nobody, nobody, nobody)
            os.write(go[1], b"g")
        for fd in (*go, went[1]):
            os.close(fd)
        return Process(pid, went[0])


def _finish(work: Callable[[], int]) -> None:
    status = _NEVER
    try:
        status = work()
    finally:
        os._exit(status)


def text(fd: int) -> str:
    """Return what stands in an unnamed file of the request."""
    return content(fd).decode("utf-8", "surrogatepass")


def content(fd: int) -> bytes:
    """Return the bytes of a file."""
    size = os.fstat(fd).st_size
    parts: list[bytes] = []
    at = 0
    while at < size:
        part = os.pread(fd, size - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def stdio(child: Child, given: list[int], descriptors: tuple[int, ...]) -> int:
    """Be the process of a program that reads stdin and writes stdout."""
    setup, source = text(given[0]), text(given[1])
    child.enter(descriptors)
    return program.run_stdio(child.ground, setup, source)


def call(child: Child, head: dict[str, Any], given: list[int], descriptors: tuple[int, ...]) -> int:
    """Be the process of a program whose function is called."""
    texts, arguments = (text(given[0]), text(given[1])), text(given[2])
    child.enter(descriptors)
    return program.run_call(child.ground, texts, head["function"], arguments, child.limit)


def serve_calls(child: Child, head: dict[str, Any], given: list[int], descriptors: tuple[int, ...]) -> int:
    """Be the process of a program that test code calls."""
    texts = text(given[0]), text(given[1])
    child.enter(descriptors)
    return serving.serve(child.ground, texts, head["entries"], child.limit)


def testing(child: Child, head: dict[str, Any], given: list[int], descriptors: tuple[int, ...]) -> int:
    """Be the process of test code."""
    setup, code = text(given[0]), text(given[2])
    child.enter(descriptors)
    return tester.run_tests(child.ground, setup, code, head["entries"], child.limit, stop=head["stop_at_first"])


def address_space() -> int:
    """Return the bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
