"""What families share that look into a tokenizer: its special tokens, and steps that are tokenised one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.family import Encoded

if TYPE_CHECKING:
    from pathlib import Path

    from gradatim.prm.family import Prepared

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
"""Where a folder names its special tokens; the second in folders of older versions of transformers alone."""


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of the tokens that are control tokens, whatever text surrounds them."""
    return frozenset(number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def bos_token(folder: Path) -> str | None:
    """Return the token that begins a text, as the folder names it, or None. Raises `SetupError` for a broken file."""
    for name in TOKENIZER_FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            found = json.loads(file.read_bytes()).get("bos_token")
        except (ValueError, AttributeError) as error:
            raise SetupError(f"{file}: not a JSON object ({error}); fetch the folder again") from error
        token = found.get("content") if isinstance(found, dict) else found
        if isinstance(token, str) and token:
            return token
    return None


def token_id(folder: Path, token: str) -> int | None:
    """Return a token's id by the folder's tokenizer.json, without the library; None where it is not there.

    Also where there is no such file: the folder may be an id of the hub.
    """
    try:
        found = json.loads((folder / "tokenizer.json").read_bytes())
        ids = {one["content"]: one["id"] for one in found["added_tokens"]} | found["model"]["vocab"]
        return int(ids[token])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def one_token(tokenizer: Any, token: str, file: Path) -> int:
    """Return the token's id. Raises `SetupError` where it is not one token of the tokenizer."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise SetupError(f"{file}: {token} is no token of its own here; give the tokenizer that came with the PRM")
    return int(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A question and steps that are tokenised apart from one another and then put together.

    Where the separator is a line end, a step of several lines is given as several steps, blank lines left out: to the
    model a line end is the end of a step, and never anything else. The step's score is that of its last line. A
    carriage return before a line end is part of the line end, not of the line.
    """

    tokenizer: Any
    special: frozenset[int]
    separator: str
    separator_ids: tuple[int, ...]

    def encode(self, start: list[int], allowed: int, prepared: Prepared) -> Encoded | str:
        """Put the steps' ids behind those of the question, which hold `allowed` special tokens."""
        ids, at = list(start), []
        for step in prepared.steps:
            for piece in self._pieces(step):
                if self.separator in piece:
                    return "contains_step_tag"
                ids += self._ids(piece)
                ids += self.separator_ids
            at.append(len(ids) - 1)
        if sum(number in self.special for number in ids) != allowed + self._own(prepared):
            return "contains_step_tag"
        return Encoded(key=prepared.key, steps=prepared.steps, ids=ids, at=at)

    def _pieces(self, step: str) -> list[str]:
        if self.separator != "\n":
            return [step.strip()]
        return [line.rstrip("\r") for line in step.split("\n") if line.strip()]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _own(self, prepared: Prepared) -> int:
        """Return how many special tokens the separators bring, where the separator is or holds one."""
        each = sum(number in self.special for number in self.separator_ids)
        return each * sum(len(self._pieces(step)) for step in prepared.steps)


def pieces(tokenizer: Any, separator: str, *, last: bool) -> Pieces:
    """Return how steps that end in `separator` are tokenised; with `last` only the last of its ids is put there."""
    ids = tuple(tokenizer.encode(separator, add_special_tokens=False).ids)
    return Pieces(
        tokenizer=tokenizer,
        special=special_ids(tokenizer),
        separator=separator,
        separator_ids=ids[-1:] if last else ids,
    )
