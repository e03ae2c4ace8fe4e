"""`tiny:` in place of a file, a folder or a URL, so that settings can name what comes with the package.

    [[ingest]] path = "tiny:pool?size=4000&seed=1"            questions of a split, made while they are read
    base_url = "tiny:teacher?error_rate=0.08&seed=0"          the teacher, served by this process while it lives

In gradatim.toml `tiny:base`, `tiny:second` and `tiny:prm` name the folders of the tiny models (`weights.py`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gradatim.errors import UsageError
from gradatim.formats.row import Row
from gradatim.tiny import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradatim.models.mock_server import MockServer

PREFIX = "tiny:"
_SIZE = 1000
_served: dict[tuple[float, int], MockServer] = {}


def is_tiny(text: str) -> bool:
    """Whether a path or URL names something of the tiny world."""
    return text.startswith(PREFIX)


def rows(text: str) -> Iterator[Row]:
    """Give the questions that `tiny:SPLIT?size=1000&seed=0` names. Raises `UsageError` before the first one."""
    split, words = _parts(text, {"size": float(_SIZE), "seed": 0.0})
    if not 1 <= words["size"] <= world.MOST:
        raise UsageError(f"{text}: size is a whole number from 1 to {world.MOST:,}.")
    found = list(islice(world.questions(split, seed=int(words["seed"])), int(words["size"])))
    if len(found) < words["size"]:
        raise UsageError(f"{text}: the split has only {len(found):,} questions. Ask for so many at most.")
    return (Row(place=f"{text}:{number}", data=one.row()) for number, one in enumerate(found, 1))


def teacher_url(text: str) -> str:
    """Return the base URL of the teacher that `tiny:teacher` names, started where this process has not yet.

    It is served over HTTP on loopback, from a thread, and ends with the process.
    """
    name, words = _parts(text, {"error_rate": 0.08, "seed": 0.0})
    if name != "teacher":
        raise UsageError(f'{text}: the tiny world serves one model, its teacher: base_url = "tiny:teacher".')
    from gradatim.tiny.teacher import TinyTeacher, teacher_server  # noqa: PLC0415 - few need a server

    key = words["error_rate"], int(words["seed"])
    if key not in _served:
        server = teacher_server(TinyTeacher(error_rate=key[0], seed=key[1]))
        server.__enter__()
        _served[key] = server
    return _served[key].url


def _parts(text: str, words: dict[str, float]) -> tuple[str, dict[str, float]]:
    """Return what stands between `tiny:` and `?`, and the numbers behind it."""
    name, _, query = text.removeprefix(PREFIX).partition("?")
    found = dict(words)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in words:
            raise UsageError(f"{text}: there is no {key!r}. There are: {', '.join(words)}.")
        try:
            found[key] = float(value)
        except ValueError as error:
            raise UsageError(f"{text}: {key} is a number, not {value!r}.") from error
        if key != "error_rate" and not found[key].is_integer():
            raise UsageError(f"{text}: {key} is a whole number, not {value}.")
    return name, found
