"""How programs are taken from answers, run and judged: the settings `[verify.code]`, as the checker sees them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradatim.checkers.sandbox import Limits, Tier
from gradatim.cores import cores
from gradatim.errors import UsageError

if TYPE_CHECKING:
    from gradatim.suite import Suite

VERSION = "1"
"""Of the rules in this package's files and of the sandbox; raised whenever one of them may change a verdict."""

Which = Literal["last_fence", "first_fence", "longest_fence", "whole"]
Stop = Literal["never", "first_failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The fields are those of `CodeSettings`, by the same names."""

    sandbox: Literal["default", "strict", "limits"] = "default"
    program: Which = "last_fence"
    stop: Stop = "never"
    seconds: float = 6.0
    total_seconds: float = 60.0
    memory_mb: int = 1024
    output_kb: int = 16384
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError` for a limit that lets no program run."""
        for name in ("seconds", "total_seconds", "memory_mb", "output_kb", "workers"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"[verify.code] {name} is a number above 0, not {value:g}.")

    @property
    def tier(self) -> Tier:
        """The sandbox's tier."""
        return Tier(self.sandbox)

    @property
    def threads(self) -> int:
        """How many programs run at a time."""
        if self.workers is not None:
            return self.workers
        return cores()

    @property
    def version(self) -> str:
        """All that may change a verdict: `1+python3.11+default+last_fence+never+6s+60s+1024mb+16384kb`."""
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        limits = f"{self.seconds:g}s+{self.total_seconds:g}s+{self.memory_mb}mb+{self.output_kb}kb"
        return f"{VERSION}+{python}+{self.sandbox}+{self.program}+{self.stop}+{limits}"

    def limits(self, suite: Suite, scale: float = 1.0) -> Limits:
        """Return what one run may use: the question's own limits come before the settings'."""
        own = suite.seconds is not None and 0 < suite.seconds < math.inf
        seconds = suite.seconds if own and suite.seconds is not None else self.seconds
        memory = suite.memory_mb if suite.memory_mb and suite.memory_mb > 0 else self.memory_mb
        return Limits(seconds=seconds * scale, memory_mb=memory, output_kb=self.output_kb)
