r"""Decontamination: which question of a pool holds the text of an evaluation question.

Not in the paper, but its evaluation sets are public and so are its pools. The habit is that of GPT-3 (Brown et al.
2020, arXiv 2005.14165, appendix C): a shared run of 13 words, lower-cased and without punctuation. Words are read by
`gradatim.method.words`, so prints that differ in LaTeX spacing, `\dfrac` or `1,000` are the same; signs are no words.
An evaluation question of fewer words than that would never match, so it matches as a whole: from 6 words on where it
stands anywhere in a text, below that where it is the whole text; signs must then agree too.

Dropping one question too many costs little, and a missed one inflates a published result: the doubt goes against the
question. What it leaves out: rephrased and translated questions, which share no run of words.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.method.words import Kind, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORDS = 13
"""Words per n-gram (arXiv 2005.14165, appendix C)."""

INSIDE = 6
"""The fewest words with which a whole short evaluation question is looked for inside other texts. Ours."""

_BUCKETS = 1 << 10
_OWNER_BITS = 24
_HASH_BITS = 63 - _OWNER_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Where a text holds an evaluation question's."""

    name: str
    """The evaluation question's name, as it was added."""
    start: int
    end: int
    """The longest run of shared words from the first shared n-gram on: `text[start:end]`."""
    text: str
    """That run as the question prints it."""
    words: int
    """How many words it has."""


class NgramIndex:
    """The n-grams of evaluation questions. Add them all, then ask for matches; in memory, for one process.

    A hundred thousand questions of 50 words take about 75 MB: 8 bytes per n-gram, and the questions' texts.
    """

    def __init__(self, words: int = WORDS) -> None:
        """Take the number of words per n-gram; raise `UsageError` for fewer than 6, which match everywhere."""
        if words < INSIDE:
            raise UsageError(f"An n-gram for decontamination has at least {INSIDE} words, not {words}; 13 is usual.")
        self._words = words
        self._names: list[str] = []
        self._texts: list[str] = []
        # An n-gram's hash and its question's number in one integer, kept sorted in buckets by the hash.
        self._buckets = [array("Q") for _ in range(_BUCKETS)]
        self._unsorted: set[int] = set()
        # By their first words: the short questions, each as its words and signs and its number.
        self._short: dict[tuple[str, ...], list[tuple[tuple[str, ...], int]]] = {}
        # Those too short to look for inside a text, by all their words and signs.
        self._tiny: dict[tuple[str, ...], int] = {}

    def __len__(self) -> int:
        """Return how many evaluation questions were added."""
        return len(self._names)

    def add(self, name: str, text: str) -> None:
        """Add an evaluation question, under a name that a match gives back; a text without words is none."""
        seen = _Text(text)
        if not seen.words:
            return
        owner = len(self._names)
        if owner >> _OWNER_BITS:
            raise UsageError(f"Decontamination takes up to {1 << _OWNER_BITS} evaluation questions; choose fewer sets.")
        self._names.append(name)
        self._texts.append(text)
        count = len(seen.words)
        if count < INSIDE:
            self._tiny.setdefault(seen.whole(), owner)
        elif count < self._words:
            self._short.setdefault(seen.words[:INSIDE], []).append((seen.between(0, count), owner))
        for key in {_hash(seen.words[at : at + self._words]) for at in range(count - self._words + 1)}:
            self._buckets[key % _BUCKETS].append(key << _OWNER_BITS | owner)
            self._unsorted.add(key % _BUCKETS)

    def match(self, text: str) -> Match | None:
        """Return the first run of `text` that an evaluation question holds, or None.

        Of several questions that hold it, the one added first is named. A shared run of 13 words comes before a
        short question that matches as a whole.
        """
        if self._unsorted:
            for bucket in self._unsorted:
                self._buckets[bucket] = array("Q", sorted(self._buckets[bucket]))
            self._unsorted.clear()
        seen = _Text(text)
        words = seen.words
        for at in range(len(words) - self._words + 1):
            ngram = words[at : at + self._words]
            for owner in self._owners(_hash(ngram)):
                length = self._shared(owner, words, at)
                if length:
                    return self._match(owner, seen, at, at + length)
        return self._whole(seen)

    def _owners(self, key: int) -> Iterator[int]:
        """Give the numbers of the questions under a hash, the first added first."""
        bucket = self._buckets[key % _BUCKETS]
        at = bisect_left(bucket, key << _OWNER_BITS)
        while at < len(bucket) and bucket[at] >> _OWNER_BITS == key:
            yield bucket[at] & ((1 << _OWNER_BITS) - 1)
            at += 1

    def _shared(self, owner: int, words: tuple[str, ...], at: int) -> int:
        """Return how many words from `at` on stand in the question; 0 where only the n-gram's hash was the same."""
        known = _Text(self._texts[owner]).words
        pairs = (zip(words[at:], known[place:], strict=False) for place in range(len(known) - self._words + 1))
        longest = max((sum(1 for _ in takewhile(_same, pair)) for pair in pairs), default=0)
        return longest if longest >= self._words else 0

    def _whole(self, seen: _Text) -> Match | None:
        """Return the leftmost short question that stands whole in this text, of several the one added first."""
        count = len(seen.words)
        if 0 < count < INSIDE:
            owner = self._tiny.get(seen.whole())
            return None if owner is None else self._match(owner, seen, 0, count)
        for at in range(count - INSIDE + 1 if self._short else 0):
            for question, owner in self._short.get(seen.words[at : at + INSIDE], ()):
                if seen.holds(question, at):
                    return self._match(owner, seen, at, at + self._count(owner))
        return None

    def _count(self, owner: int) -> int:
        """Return how many words a question has."""
        return len(_Text(self._texts[owner]).words)

    def _match(self, owner: int, seen: _Text, first: int, last: int) -> Match:
        start, end = seen.spans[first][0], seen.spans[last - 1][1]
        return Match(name=self._names[owner], start=start, end=end, text=seen.text[start:end], words=last - first)


class _Text:
    """A text as words without its signs, and the way back to both."""

    __slots__ = ("_all", "_places", "spans", "text", "words")

    def __init__(self, text: str) -> None:
        reading = read(text)
        places = [place for place, kind in enumerate(reading.kinds) if kind is not Kind.SIGN]
        self.text = text
        self.words = tuple([reading.texts[place].casefold() for place in places])
        self.spans = [reading.spans[place] for place in places]
        self._all = reading.texts
        self._places = places

    def whole(self) -> tuple[str, ...]:
        """Return all words and signs."""
        return tuple(self._all)

    def between(self, first: int, last: int) -> tuple[str, ...]:
        """Return the words from `first` up to `last` with the signs between them."""
        return tuple(self._all[self._places[first] : self._places[last - 1] + 1])

    def holds(self, words_and_signs: tuple[str, ...], at: int) -> bool:
        """Return whether these stand here, beginning with word number `at`."""
        place = self._places[at]
        return tuple(self._all[place : place + len(words_and_signs)]) == words_and_signs


def _same(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def _hash(ngram: Sequence[str]) -> int:
    """Return the built-in hash, cut; it differs between processes, and a match is confirmed word by word."""
    return hash(ngram) & ((1 << _HASH_BITS) - 1)
