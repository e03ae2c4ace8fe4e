"""Multiple choice: options and the right one out of the shapes that data sets have, and the prompt that asks it.

MMLU, MMLU-Pro              a list of options; an index from 0, or a letter
ARC, CommonsenseQA          {"text": [...], "label": ["A", ...] or ["1", ...]}; a label
AQuA                        ["A)21", "B)21.5", ...]; a letter
GPQA, SciQ                  the right option and each wrong one in a column of its own
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING

from gradatim.formats.row import as_text
from gradatim.types import content_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.formats.row import Json

_OWN_LABEL = re.compile(r"\(?([A-Z])[).:]\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The options in the order they are asked in, and the letter of the right one."""

    options: tuple[str, ...]
    letter: str


def ask(question: str, choice: Choice) -> str:
    """Return the prompt: the question, an empty line, and `A) ...` for each option."""
    lines = (f"{letter}) {option}" for letter, option in zip(ascii_uppercase, choice.options, strict=False))
    return f"{question}\n\n" + "\n".join(lines)


def from_list(options: Json, answer: Json) -> Choice | str:
    """Return the choice, or the reason why there is none.

    An answer that is a whole number counts from 0. One that is text is a label where the options have labels, else
    a letter, else an option's own text, else digits that count from 0.
    """
    texts, labels = _options(options)
    if len(texts) < 2:
        return "no_choices"
    if len(texts) > len(ascii_uppercase):
        return "too_many_choices"
    index = _index(answer, texts, labels)
    if index is None:
        return "bad_choice" if as_text(answer) else "no_reference"
    return Choice(options=texts, letter=ascii_uppercase[index])


def from_columns(question: str, right: str, wrong: Sequence[str]) -> Choice | str:
    """Return the choice whose options stand in columns, or the reason why there is none.

    The order is decided by hashes of the question and the options, so it is the same in every run and tells nothing.
    """
    others = [option for option in wrong if option]
    if not right:
        return "no_reference"
    if not others:
        return "no_choices"
    if right in others:
        return "bad_choice"
    options = tuple(sorted({right, *others}, key=lambda option: content_id(question, option)))
    if len(options) > len(ascii_uppercase):
        return "too_many_choices"
    return Choice(options=options, letter=ascii_uppercase[options.index(right)])


def _options(value: Json) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the options' texts and their labels; letters where the data set gives none."""
    labels: list[str] = []
    if isinstance(value, dict):
        given = value.get("label", value.get("labels"))
        labels = [as_text(label) for label in given] if isinstance(given, list) else []
        value = value.get("text", value.get("texts"))
    if not isinstance(value, list):
        return (), ()
    if value and all(isinstance(option, dict) for option in value):
        pairs = [option for option in value if isinstance(option, dict)]
        labels = [as_text(option.get("label")) for option in pairs]
        value = [option.get("text") for option in pairs]
    texts = [as_text(option) for option in value]
    own = [_OWN_LABEL.match(text) for text in texts]
    if texts and [match.group(1) for match in own if match] == list(ascii_uppercase[: len(texts)]):
        texts = [text[match.end() :] for text, match in zip(texts, own, strict=True) if match]
    if len(labels) != len(texts) or len(set(labels)) != len(labels):
        labels = list(ascii_uppercase[: len(texts)])
    return tuple(texts), tuple(labels)


def _index(answer: Json, texts: tuple[str, ...], labels: tuple[str, ...]) -> int | None:
    text = as_text(answer)
    bare = text.strip("().: ")
    for label in (text, bare, bare.upper()):
        if label in labels:
            return labels.index(label)
    if isinstance(answer, str) and texts.count(text) == 1:
        return texts.index(text)
    return int(text) if re.fullmatch("[0-9]{1,2}", text) and int(text) < len(texts) else None
