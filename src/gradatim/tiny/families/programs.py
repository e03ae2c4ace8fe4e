"""Questions that carry one value along: a walk on a ring, a digit machine, a nested expression, a purse of coins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradatim.tiny.families.family import Core, Family

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

_SIGNS = {0: "+", 1: "-", 2: "*"}
_DOUBLE, _FLIP = 10, 11
"""Codes of the machine's operations; 1 to 9 add so much."""
_MOST_COINS = 19


def _after(operation: int, value: int, by: int) -> int:
    """Return the last digit of `value` +, - or * `by`."""
    return (value + by, value - by, value * by)[operation] % 10


def _moves(core: Core) -> list[tuple[int, int]]:
    return list(zip(core[1::2], core[2::2], strict=True))


def _walk(rng: Random, size: int) -> Core:
    return (rng.randrange(10), *(part for _ in range(size + 1) for part in (rng.randrange(2), rng.randint(1, 9))))


def _told(core: Core, words: tuple[str, str]) -> dict[str, str]:
    return {"start": str(core[0]), "moves": ", ".join(words[kind].format(by) for kind, by in _moves(core))}


def _moves_of(fields: Mapping[str, str], plus: str) -> Core:
    parts = []
    for move in fields["moves"].split(", "):
        (by,) = re.findall(r"\d+", move)
        parts += [0 if plus in move else 1, int(by)]
    return int(fields["start"]), *parts


def _walk_steps(core: Core) -> list[str]:
    value, lines = core[0], []
    for kind, by in _moves(core):
        after = _after(kind, value, by)
        lines.append(f"{value}{_SIGNS[kind]}{by}={after}")
        value = after
    return lines


def _last_value(lines: list[str]) -> str:
    return lines[-1].rpartition("=")[2]


def _purse(rng: Random, size: int) -> Core:
    """Choose so that the purse never holds less than nothing, or more than a tiny model can count."""
    core = [rng.randint(1, 9)]
    value = core[0]
    for _ in range(size + 1):
        kind = rng.randrange(2)
        if (kind and value == 0) or (not kind and value == _MOST_COINS):
            kind = 1 - kind
        by = rng.randint(1, min(9, value if kind else _MOST_COINS - value))
        value += -by if kind else by
        core += [kind, by]
    return tuple(core)


def _purse_steps(core: Core) -> list[str]:
    value, lines = core[0], []
    for kind, by in _moves(core):
        after = value - by if kind else value + by
        lines.append(f"{value}{_SIGNS[kind]}{by}={after}")
        value = after
    return lines


def _machine_steps(core: Core) -> list[str]:
    value, lines = core[0], []
    for code in core[1:]:
        asked = f"{value}*2" if code == _DOUBLE else f"9-{value}" if code == _FLIP else f"{value}+{code}"
        value = (value * 2 if code == _DOUBLE else 9 - value if code == _FLIP else value + code) % 10
        lines.append(f"{asked}={value}")
    return lines


def _machine_words(core: Core) -> dict[str, str]:
    words = {_DOUBLE: "double", _FLIP: "flip"}
    return {"start": str(core[0]), "moves": ", ".join(words.get(code, f"add {code}") for code in core[1:])}


def _machine_of(fields: Mapping[str, str]) -> Core:
    codes = {"double": _DOUBLE, "flip": _FLIP}
    moves = fields["moves"].split(", ")
    return int(fields["start"]), *(codes[move] if move in codes else int(move.removeprefix("add ")) for move in moves)


def _machine(rng: Random, size: int) -> Core:
    codes = [rng.choice((rng.randint(1, 9), rng.randint(1, 9), _DOUBLE, _FLIP)) for _ in range(size + 1)]
    return (rng.randrange(10), *codes)


def _nested(rng: Random, size: int) -> Core:
    """Choose digit, operation, digit, ..., digit: written with every parenthesis to the right."""
    return (*(part for _ in range(size + 1) for part in (rng.randrange(10), rng.randrange(3))), rng.randrange(10))


def _nested_text(core: Core) -> dict[str, str]:
    opened = len(core) // 2 - 1
    text = "".join(
        f"{core[at]}{_SIGNS[core[at + 1]]}{'(' if at < 2 * opened else ''}" for at in range(0, len(core) - 1, 2)
    )
    return {"expression": text + str(core[-1]) + ")" * opened}


def _nested_of(fields: Mapping[str, str]) -> Core:
    codes = {sign: code for code, sign in _SIGNS.items()}
    return tuple(codes[sign] if sign in codes else int(sign) for sign in re.sub("[()]", "", fields["expression"]))


def _nested_steps(core: Core) -> list[str]:
    value, lines = core[-1], []
    for at in range(len(core) - 3, -1, -2):
        after = _after(core[at + 1], core[at], value)
        lines.append(f"{core[at]}{_SIGNS[core[at + 1]]}{value}={after}")
        value = after
    return lines


WALK = Family(
    name="walk",
    wordings=(
        "{name} is on tile {start} of a ring of ten. Moves: {moves}. On which tile is {name} now?",
        "A ring has ten tiles. From tile {start}: {moves}. Which tile is that?",
    ),
    sample=_walk,
    fields=lambda core: _told(core, ("{} on", "{} back")),
    core=lambda fields: _moves_of(fields, "on"),
    steps=_walk_steps,
    answer=lambda core: _last_value(_walk_steps(core)),
)
MACHINE = Family(
    name="machine",
    wordings=(
        "A digit machine starts at {start}: {moves}. What does it show?",
        "Set a digit machine to {start}. Then {moves}. Which digit comes out?",
    ),
    sample=_machine,
    fields=_machine_words,
    core=_machine_of,
    steps=_machine_steps,
    answer=lambda core: _last_value(_machine_steps(core)),
)
NESTED = Family(
    name="nested",
    wordings=("Work out {expression} modulo ten.", "What is {expression} modulo ten?"),
    sample=_nested,
    fields=_nested_text,
    core=_nested_of,
    steps=_nested_steps,
    answer=lambda core: _last_value(_nested_steps(core)),
)
PURSE = Family(
    name="purse",
    wordings=(
        "{name} has {start} coins: {moves}. How many coins has {name} now?",
        "There are {start} coins in a purse: {moves}. How many are left?",
    ),
    sample=_purse,
    fields=lambda core: _told(core, ("{} in", "{} out")),
    core=lambda fields: _moves_of(fields, "in"),
    steps=_purse_steps,
    answer=lambda core: _last_value(_purse_steps(core)),
)
