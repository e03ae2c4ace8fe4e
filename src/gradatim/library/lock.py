"""One writer at a time, said in a sentence: an advisory lock beside the library, released by the system at any death.

Covered: two processes of one machine. Not covered: two machines on a network file system that does not carry `flock`.
"""

from __future__ import annotations

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
    """Holds `<library>.writer` for as long as a writer lives. The file stays; only the lock on it counts."""

    def __init__(self, library: Path) -> None:
        """Take the lock, or raise `LibraryError` naming who holds it."""
        self._library = library
        self._path = library.with_name(library.name + ".writer")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 500).decode("utf-8", "replace").strip() or "another process"
            os.close(self._file)
            raise LibraryError(
                f"{library} is being written by {holder}. Wait for it to end, or stop it; reading "
                "(status, levels, show, query) works meanwhile."
            ) from error
        command = (
            " ".join(["gradatim", *sys.argv[1:]])[:120] if sys.argv[0].endswith("gradatim") else "a Python program"
        )
        words = (
            f"process {os.getpid()} on {socket.gethostname()} ({command}) since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, words.encode(), 0)

    def release(self) -> None:
        """Let the next writer in."""
        os.ftruncate(self._file, 0)
        os.close(self._file)
