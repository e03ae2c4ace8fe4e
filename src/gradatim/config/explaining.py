"""Says what is wrong with settings that do not fit their types: the table, the key, and what is right.

msgspec finds the same, but leaves out which of `[models]` it was, what the choices are, and the nearest right name.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args, get_type_hints

import msgspec

from gradatim.config.tables import Settings


def option(key: str) -> str:
    """Return the command line's word for a key: `--max-tokens`; for one that holds several values, of each: `--set`."""
    if key == "path":
        return "SOURCE"
    return f"--{key.removesuffix('s') if key in ('sets', 'scripts', 'columns', 'presets') else key.replace('_', '-')}"


def bracketed(table: str) -> str:
    """Return a table's name as TOML writes it: `attempt.budget` as `[attempt.budget]`, `ingest 2` as `[[ingest]] 2`."""
    name, _, number = table.partition(" ") if table.startswith("ingest ") else (table, "", "")
    return f"[[{name}]] {number}" if number else f"[{name}]"


def fault(raw: object, settings: type[Settings], table: str) -> str:
    """Return the first thing that is wrong in a table as it was read, with its place; empty where nothing is."""
    place = f"{bracketed(table)} " if table else ""
    if not isinstance(raw, dict):
        return f"{place}is a table: write {bracketed(table)} and below it a KEY = VALUE a line."
    hints = get_type_hints(settings)
    for key, value in raw.items():
        if key not in hints:
            return f"{place.strip()}{': ' if place else ''}unknown key {key!r}.{_near(str(key), list(hints))}"
        inner = _settings_in(hints[key])
        name = f"{table}.{key}" if table else str(key)
        found = ""
        if inner is None or (bool in get_args(hints[key]) and not isinstance(value, dict)):
            found = value_fault(value, hints[key])
            found = f"{place}{key}: {found}" if found else ""
        elif key == "ingest" and not isinstance(value, list):
            found = "ingest: there can be several, so each is written with two brackets: [[ingest]]."
        elif key == "ingest":
            found = next(filter(None, (fault(row, inner, f"ingest {n}") for n, row in enumerate(value, 1))), "")
        elif key == "models" and isinstance(value, dict):
            found = next(filter(None, (fault(one, inner, f"{name}.{which}") for which, one in value.items())), "")
        else:
            found = fault(value, inner, name)
        if found:
            return found
    lacking = [one.name for one in msgspec.structs.fields(settings) if one.required and one.name not in raw]
    return f"{place}{lacking[0]}: it is missing." if lacking else ""


def _settings_in(hint: Any) -> type[Settings] | None:
    """Return the record that a type is, or is a list, mapping or choice of."""
    if isinstance(hint, type) and issubclass(hint, Settings):
        return hint
    return next(filter(None, map(_settings_in, get_args(hint))), None)


def _choices(hint: Any) -> list[str]:
    """Return the words that a type allows, as deep as they stand."""
    return [word for part in get_args(hint) for word in ([part] if isinstance(part, str) else _choices(part))]


_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "null": "nothing"}
_WORDS |= {"array": "a list", "object": "a table"}


def value_fault(value: object, hint: Any) -> str:
    """Return what is wrong with a value, as a sentence; empty where nothing is."""
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        said = re.match(r"Expected `([^`]*)`, got `([^`]*)`", str(error))
        if (many := re.match(r"Expected `array` of length (\d+)", str(error))) is not None:
            return f"a list of {many[1]} is expected."
        if said is None:
            wrong = re.match(r"Invalid enum value '(.*)'", str(error))
            word, choices = wrong[1] if wrong else str(value), _choices(hint)
            if len(choices) == 1:
                return f"{word!r} is not {choices[0]!r}, the one word that it takes."
            return f"{word!r} is none of {', '.join(choices)}.{_near(word, choices, listed=True)}"
        expected = [_WORDS.get(word, word) for word in said[1].split(" | ") if word != "null"]
        inside = " in the list" if "$[" in str(error) else ""
        got = _WORDS.get(said[2], said[2]) if inside else _said(value)
        return f"{' or '.join(expected)} is expected{inside}, not {got}."
    return ""


def _said(value: object) -> str:
    """Return a number as it stands, and of another value what it is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    kinds = {bool: "true or false", str: "text", list: "a list", dict: "a table"}
    return kinds.get(type(value), type(value).__name__)


def _near(word: str, there: list[str], *, listed: bool = False) -> str:
    """Return a hint at the nearest right word, or at all there are unless they are listed."""
    near = difflib.get_close_matches(word, there, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else "" if listed else f" There are: {', '.join(there)}."
