"""What the mock server answers where one token and its log probabilities are asked for: a label, made up.

A text's score is a hash of it. P(yes) against P(no), all spellings together, and P(+) against P(-) are that score, so a
critic and an RLHFlow PRM can be run against it. It says nothing about the text.
"""

from __future__ import annotations

import math
from typing import Any

from gradatim.models.mock_faults import unit

_SPELLINGS = (("yes", "no", 0.3), ("Yes", "No", 0.15), (" yes", " no", 0.05), ("+", "-", 0.48))
"""A good and a bad label, and how likely it is that the answer is one of the two."""
_OTHER = "So"


def label(text: str, most: int) -> dict[str, Any]:
    """Return the log probabilities of a one-token answer to a message, with its `most` likeliest tokens."""
    score = 0.02 + 0.96 * unit(b"label", text.encode("utf-8", "replace"))
    likely = {good: share * score for good, _, share in _SPELLINGS}
    likely |= {bad: share * (1 - score) for _, bad, share in _SPELLINGS}
    likely[_OTHER] = 1 - sum(likely.values())
    ranked = sorted(likely, key=lambda token: -likely[token])
    rows = [{"token": token, "logprob": math.log(likely[token]), "bytes": None} for token in ranked]
    return {"content": [{**rows[0], "top_logprobs": rows[:most]}], "refusal": None}
