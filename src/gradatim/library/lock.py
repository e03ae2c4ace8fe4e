"""One writer at a time, said in a sentence: an advisory lock beside the library, released by the system at any death.

Covered: two processes of one machine. Not covered: two machines on a network file system that does not carry `flock`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

from gradatim.errors import LibraryError

if TYPE_CHECKING:
    from pathlib import Path


class WriterLock:
    """Holds `<library>.writer` for as long as a writer lives. A file that a killed writer left locks nothing."""

    def __init__(self, library: Path) -> None:
        """Take the lock. Raises `LibraryError` naming who holds it, `OSError` where no lock can be had here."""
        self._library = library
        self._path = library.with_name(library.name + ".writer")
        self._file = self._taken()
        # Who it is, is a courtesy: a full disk must not keep a writer out.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _myself().encode("utf-8", "replace"), 0)

    def _taken(self) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(file, 500).decode("utf-8", "replace").strip() or "another process"
                os.close(file)
                raise LibraryError(
                    f"{self._library} is being written by {holder}. Wait for it to end, or stop it; reading "
                    "(status, levels, show, query) works meanwhile."
                ) from error
            except OSError:
                os.close(file)
                raise
            # The one before may have removed the file between our opening and locking it: then the lock is on nothing.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), self._path.stat()):
                    return file
            os.close(file)

    def release(self) -> None:
        """Let the next writer in."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._file)


def _myself() -> str:
    """Say which process this is, what it does and since when."""
    program = sys.argv[0] if sys.argv else ""
    command = " ".join(["gradatim", *sys.argv[1:]])[:120] if program.endswith("gradatim") else "a Python program"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} ({command}) since {since}"
