"""What a verdict says of a program, for a reader: the first failing test, what was used, and what ran it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class FailedTest(msgspec.Struct, frozen=True):
    """The first test that a program failed; texts are shortened and printable."""

    test: int | None = None
    """Its number, from 1."""
    input: str = ""
    expected: str = ""
    got: str = ""
    error: str = ""

    def words(self) -> Iterator[tuple[str, str]]:
        """Give each thing that is known of it, with its name."""
        for name in ("input", "expected", "got", "error"):
            text = getattr(self, name)
            if text:
                yield name, text


class Detail(msgspec.Struct, frozen=True):
    """The JSON object of a code verdict's `detail`."""

    failed: FailedTest | None = None
    seconds: float | None = None
    """The most CPU seconds of a test."""
    memory_mb: float | None = None
    """The most memory of a test."""
    tier: str = ""
    layers: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    """Where in the answer the program stands."""

    def used(self) -> str:
        """Say in a line what the program used and what it ran in; empty where nothing is known."""
        parts = []
        if self.seconds is not None:
            parts.append(f"at most {self.seconds:.2f} s of CPU a test")
        if self.memory_mb is not None:
            parts.append(f"{self.memory_mb:.0f} MiB")
        if self.tier:
            parts.append(f"sandbox {self.tier} ({', '.join(self.layers) or 'no layer'})")
        return ", ".join(parts)


def read_detail(text: str) -> Detail:
    """Return what `detail` says; what is no detail says nothing."""
    if not text:
        return Detail()
    try:
        return msgspec.json.decode(text, type=Detail)
    except msgspec.DecodeError:
        return Detail()


def failed_sentence(reason: str, total: int | None, detail: Detail) -> str:
    """Say in one line why a program is wrong: `wrong_answer in test 3 of 12; input: ...; expected: ...; got: ...`."""
    failed = detail.failed or FailedTest()
    place = "" if failed.test is None else f" in test {failed.test}{f' of {total}' if total else ''}"
    return "; ".join([f"{reason}{place}", *(f"{name}: {text}" for name, text in failed.words())])
