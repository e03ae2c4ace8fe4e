"""What a program finds ready: the names that answers to programming contests take for granted.

The same as LiveCodeBench puts before each program: everything of these modules, and the modules by name. Here the names
are already there, so a program's own first line (`from __future__ import ...`) stays its first. Importing this loads
the modules, which is most of the time that a fresh interpreter takes.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from typing import Any

_STARRED = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
"""In this order: the later name wins, so `open`, `pow` and `sum` are the builtins."""
_NAMED = tuple(name for name in _STARRED if name not in ("builtins", "typing"))
_WARM = (
    "__future__", "abc", "array", "ast", "atexit", "cmath", "contextlib", "dataclasses", "decimal", "enum",
    "fractions", "gc", "inspect", "linecache", "numbers", "os", "os.path", "pathlib", "queue", "resource", "signal",
    "struct", "textwrap", "threading", "time", "traceback", "types", "warnings", "weakref",
)  # fmt: skip
"""Loaded, not named: a program that imports them need not wait."""


def names() -> dict[str, Any]:
    """Return the names and what they stand for."""
    # What the module `site` adds; it is not loaded.
    vars(builtins).update(exit=sys.exit, quit=sys.exit)
    found: dict[str, Any] = {}
    for name in _WARM:
        importlib.import_module(name)
    for name in _STARRED:
        module = importlib.import_module(name)
        public = getattr(module, "__all__", None) or [one for one in vars(module) if not one.startswith("_")]
        found |= {one: getattr(module, one) for one in public}
    for name in vars(builtins):
        found.pop(name, None)
    found |= {name: sys.modules[name] for name in _NAMED}
    return found
