"""Which requests the mock server fails, and how: decided by a hash, so that a run can be repeated and a retry succeed.

The kinds are what real servers were seen to do. `slow` and `truncated` are answers; the others are faults that a
client must not take for one. Where an answer ends is part of the answer, so `truncated` is decided by the body alone:
who asks again, after a fault or a kill, gets the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gradatim.errors import UsageError

KINDS = {
    "429": "too many requests, with Retry-After",
    "429_bare": "too many requests, without Retry-After",
    "500": "internal error",
    "drop": "connection closed before the answer, or in the middle of it",
    "empty": "status 200 with no body",
    "malformed": "status 200 with JSON that ends too early",
    "truncated": "half an answer, with finish_reason length",
    "slow": "the answer a few bytes at a time, after keep-alive lines",
    "hang": "the beginning of an answer, then silence",
    "error_200": "status 200 with an error inside",
}


def fault_setting(text: str) -> tuple[str, float]:
    """Return (kind, probability) of `429=0.05`. Raises `UsageError`, which lists the kinds."""
    kind, _, number = text.partition("=")
    if kind not in KINDS:
        raise UsageError(f"--fault {text}: there is no fault {kind!r}; the kinds are {', '.join(KINDS)}")
    try:
        probability = float(number)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise UsageError(f"--fault {text}: write a probability from 0 to 1, as in {kind}=0.05")
    return kind, probability


def unit(*parts: bytes) -> float:
    """Return a number in [0, 1) that these parts decide."""
    digest = hashlib.blake2b(b"\x1f".join(parts), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """The probabilities of the kinds, in the order in which they divide [0, 1)."""

    shares: tuple[tuple[str, float], ...]
    seed: int

    def __post_init__(self) -> None:
        """Refuse shares that are no probabilities."""
        for kind, share in self.shares:
            fault_setting(f"{kind}={share}")
        if (total := sum(share for _, share in self.shares)) > 1 + 1e-9:
            raise UsageError(f"the faults' probabilities sum to {total:g}: at most 1 is possible")

    def kind(self, body: bytes, nth: int) -> str:
        """Return the fault of a request, "" for none: the `nth` time that this body came decides anew, but on a cut."""
        if not self.shares:
            return ""
        seed, answered, cut, met = str(self.seed).encode(), 1.0, 0.0, ""
        at = unit(b"fault", seed, body, str(nth).encode())
        for kind, share in self.shares:
            if kind == "truncated":
                cut += share
                continue
            answered -= 0.0 if kind == "slow" else share
            at -= share
            met = met or (kind if at < 0 else "")
        # Of those that get an answer, slow ones too, so many that the share of all is what was asked for.
        return "truncated" if met in {"", "slow"} and unit(b"cut", seed, body) * answered < cut else met
