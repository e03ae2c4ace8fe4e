"""Every error that Gradatim raises on purpose, on one page.

    GradatimError        1  something is left to do; the message says what to type next
      UsageError         2  a wrong command, setting, file, column or name
      LibraryError       3  the library cannot be used: not ours, newer, damaged, or held by another writer
      SetupError         4  the machine lacks something: an extra, a key, a server, disk space
      LimitError         5  a limit that the user set was reached: a budget, a dry level, too many faults
    ItemFault            -  one item failed at a boundary; it is stored and retried, and stops nothing else

The number is the exit code of the command line (0: all done, 130: interrupted). Rules for a new one: it needs a
caller that does something different on catching it, and its message is one sentence with the place and the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradatim.types import Fault


class GradatimError(Exception):
    """Anything a user can put right. `str(error)` is one clear sentence or two."""

    exit_code = 1


class UsageError(GradatimError):
    """The command, the settings or an input file are wrong; nothing was started."""

    exit_code = 2


class LibraryError(GradatimError):
    """The library file cannot be used; it was not touched."""

    exit_code = 3


class SetupError(GradatimError):
    """The machine lacks something that the work needs."""

    exit_code = 4


class LimitError(GradatimError):
    """A limit that the user set was reached; what was done is kept."""

    exit_code = 5


class ItemFault(Exception):  # noqa: N818 - a fault is our word for it, and it is not an error of the run
    """One item failed at a boundary. Carries the `Fault` row that is stored."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.boundary}: {fault.reason}: {fault.message}")
        self.fault = fault
