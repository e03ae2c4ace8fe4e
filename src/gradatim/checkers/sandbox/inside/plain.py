"""Plain data as text, between processes that do not trust each other: JSON, with tags for what JSON has not.

    [1, "a", null, true, 1.5]     as it is; a number with a point or an exponent is a float
    {"t": [...]}                  tuple; "s" set, "z" frozenset, "d" dict as a list of pairs
    {"i": "-ff"}                  an integer beyond 63 bits, in hexadecimal
    {"f": "nan"}                  nan, inf, -inf
    {"b": "00ff"}                 bytes; {"c": [re, im]} complex
    {"h": 3}                      a handle: something that stays in the other process (style `assert` only)

Only exact types are written: of a subclass nobody knows what it does. Reading builds no object but these.
"""

from __future__ import annotations

import builtins
import json
from collections import Counter
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# A program may take builtins away or replace them: functions of this module have their own.
globals()["__builtins__"] = dict(vars(builtins))

DEPTH = 100
_SMALL = 2**63
_SAME_HASH = 100
_CONTAINERS = 1_000_000
"""An empty set takes 200 bytes of memory for eight of text."""
_TAGS = {tuple: "t", set: "s", frozenset: "z"}


class NotPlain(Exception):  # noqa: N818 - it says what a value is
    """A value that is no plain data; the message says what it is."""


class TooLarge(Exception):  # noqa: N818 - it says what a value is
    """More than may be written."""


class _Writer:
    """Collects the text of one value."""

    def __init__(self, limit: int, handle: Callable[[object], int] | None) -> None:
        self.parts: list[str] = []
        self.left = limit
        self.handle = handle

    def put(self, text: str) -> None:
        self.left -= len(text)
        if self.left < 0:
            raise TooLarge
        self.parts.append(text)

    def items(self, values: Any, depth: int) -> None:
        if len(values) > self.left:
            raise TooLarge
        self.put("[")
        first = True
        for value in values:
            if not first:
                self.put(",")
            first = False
            self.write(value, depth)
        self.put("]")

    def write(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is int:
            self.put(int.__repr__(value) if -_SMALL < value < _SMALL else f'{{"i":"{value:x}"}}')
        elif kind is str:
            if len(value) > self.left:
                raise TooLarge
            self.put(quoted(value))
        elif value is None or value is True or value is False:
            self.put("null" if value is None else "true" if value else "false")
        elif kind is float:
            finite = value - value == 0
            self.put(float.__repr__(value) if finite else f'{{"f":"{float.__repr__(value)}"}}')
        elif kind is bytes:
            self.put(f'{{"b":"{value.hex()}"}}' if 2 * len(value) <= self.left else self._too_large())
        elif kind is complex:
            self.put('{"c":')
            self.items([value.real, value.imag], depth)
            self.put("}")
        else:
            self._container(value, kind, depth)

    def _too_large(self) -> str:
        raise TooLarge

    def _container(self, value: Any, kind: type, depth: int) -> None:
        if depth >= DEPTH:
            raise NotPlain("data nested too deeply, or in itself")
        if kind is list:
            self.items(value, depth + 1)
        elif kind in _TAGS:
            self.put(f'{{"{_TAGS[kind]}":')
            self.items(value, depth + 1)
            self.put("}")
        elif kind is dict:
            self.put('{"d":')
            self.items([[key, item] for key, item in dict.items(value)], depth + 1)
            self.put("}")
        elif self.handle is not None:
            self.put(f'{{"h":{self.handle(value)}}}')
        else:
            raise NotPlain(kind_name(kind))


def kind_name(kind: type) -> str:
    """Return the name of a class as its author wrote it, shortened."""
    name = type.__dict__["__name__"].__get__(kind)
    return f"an object of class {name[:60]}"


def written(value: object, limit: int, handle: Callable[[object], int] | None = None) -> str:
    """Return the text of a value of at most `limit` characters. `handle` gives numbers to what is no plain data.

    Raises `NotPlain` and `TooLarge`.
    """
    writer = _Writer(limit, handle)
    writer.write(value, 0)
    return "".join(writer.parts)


def _told_apart(items: list[Any]) -> list[Any]:
    """Return the items, which go into a table. Raises `ValueError` where very many have one hash.

    A program can choose its integers so; to tell half a million of them apart takes half an hour.
    """
    if len(items) > _SAME_HASH and max(Counter(map(hash, items)).values()) > _SAME_HASH:
        raise ValueError("too many items of one hash")
    return items


def _table(pairs: list[Any]) -> dict[Any, Any]:
    _told_apart([key for key, _ in pairs])
    return dict(pairs)


_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
_READ: dict[str, tuple[type, Callable[[Any], object]]] = {
    "i": (str, lambda text: int(text, 16)),
    "f": (str, lambda text: _FLOATS[text]),
    "b": (str, bytes.fromhex),
    "c": (list, lambda pair: complex(*map(float, pair))),
    "d": (list, _table),
    "t": (list, tuple),
    "s": (list, lambda items: set(_told_apart(items))),
    "z": (list, lambda items: frozenset(_told_apart(items))),
}


def _revived(pairs: list[tuple[str, Any]], handle: Callable[[int], object] | None) -> object:
    if len(pairs) != 1:
        raise ValueError("not one tag")
    tag, value = pairs[0]
    if tag == "h":
        if handle is None or type(value) is not int:
            raise ValueError("no handle")
        return handle(value)
    kind, make = _READ[tag]
    if type(value) is not kind:
        raise ValueError("not what the tag says")
    return make(value)


_READER = json.JSONDecoder(object_pairs_hook=lambda pairs: _revived(pairs, None))


def read(text: str, handle: Callable[[int], object] | None = None) -> object:
    """Return the value that the text stands for. Raises `ValueError` for anything that `written` does not write."""
    if text.count("[") + text.count("{") > _CONTAINERS:
        raise ValueError("no plain data: too many containers")
    reader = _READER
    if handle is not None:
        reader = json.JSONDecoder(object_pairs_hook=lambda pairs: _revived(pairs, handle))
    try:
        return reader.decode(text)
    except (TypeError, LookupError, RecursionError, OverflowError, ValueError) as error:
        raise ValueError(f"no plain data: {error}") from error
