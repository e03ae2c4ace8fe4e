r"""The checker for multiple choice: the reference is the letter of the right option, A to Z."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradatim.checkers.extract import Found, last_box
from gradatim.types import Boundary, Fault, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.checkers import Item

VERSION = "1"
_REFERENCE = re.compile(r"\s*\(?\s*([A-Za-z])\s*\)?\s*[.:]?\s*")
_COMMAND = re.compile(r"\\(?:text(?:bf|rm|it|normal)?|mathrm|mathbf|mbox|boxed)(?![A-Za-z])\s*|[${}*_`]|\\[()\[\]]")
_LEAD = re.compile(
    r"[\s:]*(?:(?:option|choice|answer|letter)\s+)?"
    r"(?:\(\s*([A-Za-z])\s*\)|([A-Z])(?![A-Za-z'\u2019])|([a-z])(?:\s*[).]|\s*$))"
)
_HASH = re.compile(r"####[ \t]*([^\n]*)")
_PHRASE = re.compile(
    r"\b(?:answer|choice|option)\b(?:[ \t]+(?:is|would[ \t]+be|should[ \t]+be)|[ \t]*[:=])"
    r"(?:[ \t]+(?:therefore|thus|clearly|most likely|probably|definitely|for sure|indeed)\b,?)?(\s*[^\n]{0,80})"
    r"|\b(?:it is|it's|it must be|i (?:choose|pick|would say))[ \t]([^\n]{0,20})",
    re.IGNORECASE,
)
_LINE = re.compile(r"\(?([A-Z])\)?(?:[.):](?:[ \t][^\n]{0,200})?|[ \t]*)")


class ChoiceChecker:
    """Decides whether an answer names the right option. Starts no process."""

    name: str = "choice"
    version: str = VERSION

    def check(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict | Fault]]:
        """Give each item's key with its verdict, in the items' order."""
        for item in items:
            try:
                yield item.key, self.decide(item.reference, item.answer)
            except Exception as error:  # noqa: BLE001 - the item boundary: our failure over one item is that item's fault
                message = f"{type(error).__name__}: {error}"[:500]
                yield item.key, Fault(boundary=Boundary.CHECKER, reason="checker_error", message=message)

    def decide(self, reference: str, answer: str) -> Verdict:
        """Compare the letter that `answer` settles on with `reference`; case does not matter."""
        wanted = _REFERENCE.fullmatch(reference)
        if not wanted:
            return Verdict(outcome=Outcome.UNDECIDED, reason="reference_unparsable")
        found = find_letter(answer)
        if found is None:
            return Verdict(outcome=Outcome.WRONG, reason="no_answer")
        same = found.text == wanted[1].upper()
        return Verdict(
            outcome=Outcome.CORRECT if same else Outcome.WRONG,
            reason="equal_choice" if same else "different_choice",
            answer=found.text,
            found_by=found.found_by,
        )

    def check_reference(self, reference: str) -> Verdict:
        """Say whether `reference` is a letter: `correct`, else `undecided`."""
        wanted = _REFERENCE.fullmatch(reference)
        if not wanted:
            return Verdict(outcome=Outcome.UNDECIDED, reason="reference_unparsable", answer=reference)
        return Verdict(outcome=Outcome.CORRECT, reason="equal_choice", answer=wanted[1].upper(), found_by="whole")

    def close(self) -> None:
        """Nothing to end."""


def find_letter(text: str) -> Found | None:
    """Return the option of the last box, of `#### B`, of "answer is (B)", or of a line that is a letter; or None."""
    box = last_box(text)
    letter = _leading(box) if box else ""
    if letter:
        return Found(text=letter, found_by="box")
    for pattern, found_by in ((_HASH, "hash"), (_PHRASE, "phrase")):
        letter = ""
        for match in pattern.finditer(text):
            letter = _leading(next((group for group in match.groups() if group), "")) or letter
        if letter:
            return Found(text=letter, found_by=found_by)
    for line in reversed(text.splitlines()):
        alone = _LINE.fullmatch(_COMMAND.sub("", line[:400]).strip())
        if alone:
            return Found(text=alone[1], found_by="whole")
    return None


def _leading(text: str) -> str:
    """Return the letter that `text` begins with, where it stands alone."""
    match = _LEAD.match(_COMMAND.sub("", text[:400]))
    return (match[1] or match[2] or match[3] or "").upper() if match else ""
