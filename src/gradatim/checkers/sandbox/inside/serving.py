"""Style `assert`, the program's side: its process, which answers calls, and never sees the test code.

What it returns goes over as plain data; anything else stays here, and a number stands for it there. All that comes back
is what the program could have said itself, so nothing here has to be hidden from it.
"""

from __future__ import annotations

import builtins
from typing import Any

from gradatim.checkers.sandbox.inside import plain, wire
from gradatim.checkers.sandbox.inside.program import FAILED, Ground, Missing, described, entry, failure, load, tell

globals()["__builtins__"] = dict(vars(builtins))

REQUESTS, REPLIES = 3, 4
_EXCEPTIONS = {
    value: name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)
}


class _Objects:
    """What is no plain data and stays here."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.numbers: dict[int, int] = {}

    def number(self, value: object) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return self.numbers[id(value)]

    def value(self, number: int) -> object:
        return self.kept[number]


def serve(ground: Ground, texts: tuple[str, str], entries: list[str], limit: int) -> int:
    """Load the program, then answer calls until the other side ends; return the exit status."""
    try:
        space = load(ground, texts, "program")
        targets = {name: entry(ground, space, name) for name in entries}
    except Missing as error:
        tell(ground, "function", str(error))
        return FAILED
    except BaseException as error:  # noqa: BLE001 - the boundary to the program
        tell(ground, *failure(error))
        return FAILED
    objects = _Objects()
    wire.send(REPLIES, wire.packed({"ready": True}))
    while True:
        try:
            head, blobs = wire.receive(REQUESTS, limit)
        except EOFError:
            return 0
        wire.send(REPLIES, _reply(targets, objects, head, blobs[0].decode(), limit))


def _reply(targets: dict[str, Any], objects: _Objects, head: dict[str, Any], text: str, limit: int) -> bytes:
    try:
        arguments: Any = plain.read(text, objects.value)
        target: Any = targets[head["name"]] if "name" in head else objects.value(head["handle"])
        before = [plain.written(one, limit, objects.number) for one in arguments[0]]
        value = getattr(target, arguments[0][0]) if head["what"] == "get" else target(*arguments[0], **arguments[1])
        result = plain.written(value, limit, objects.number)
        after = [plain.written(one, limit, objects.number) for one in arguments[0]]
        changed = {at: new for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
        return wire.packed({"changed": list(changed)}, result.encode(), *(one.encode() for one in changed.values()))
    except plain.TooLarge:
        return _raised("ValueError", "the value is larger than the limit of output")
    except BaseException as error:  # noqa: BLE001 - the boundary to the program
        kinds = [_EXCEPTIONS[one] for one in type(error).__mro__ if one in _EXCEPTIONS]
        own = "" if type(error) in _EXCEPTIONS else f"{type(error).__name__}: "
        text = described(error) if not kinds else own + _text(error)
        return _raised(kinds[0] if kinds else "", text)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - the program's own class may do anything
        return ""


def _raised(kind: str, text: str) -> bytes:
    return wire.packed({"raised": kind}, text[:300].encode("utf-8", "surrogatepass"))
