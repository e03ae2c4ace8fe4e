"""How a local model's next tokens are chosen from its logits, a row for each answer that is being written.

By the Gumbel-max trick: noise is added to each token's logit, and the largest sum wins, which takes each token as often
as the softmax says. The noise is a hash of the request's seed, the token's place in the answer and the token, so a
choice hangs on the row's logits and its own request alone, and is the same on every device.

What other rows share a batch does move the logits, by the rounding of floating point. Where that could move a choice
(two sums within `TIE`, or a winner at the edge of a filter) the row is reported as not sure, and the caller computes it
by itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.models.decoding import Decoding

TIE = 1e-4
"""Of logits. Rounding in float32 moved them by up to 1.5e-5, in a random model with wide weights."""
_MASS_TIE = 2e-5
"""Of the probability that `top_p` adds up."""
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The constants of SplitMix64 (Steele, Lea and Flood 2014)."""


def noise(torch: Any, seeds: Sequence[tuple[int, int]], size: int, device: Any) -> Any:
    """Return standard Gumbel noise of shape (rows, size), float64: one row for each (seed, place in the answer)."""
    starts = [_signed(_mixed(_mixed(seed) + place * _STEP)) for seed, place in seeds]
    rows = torch.tensor(starts, dtype=torch.int64, device=device)[:, None]
    bits = rows + torch.arange(size, dtype=torch.int64, device=device) * _signed(_STEP)
    bits = (bits ^ ((bits >> 30) & ((1 << 34) - 1))) * _signed(_FIRST)
    bits = (bits ^ ((bits >> 27) & ((1 << 37) - 1))) * _signed(_SECOND)
    bits = bits ^ ((bits >> 31) & ((1 << 33) - 1))
    even = (((bits >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53
    return even.log_().neg_().log_().neg_()


def choose(torch: Any, logits: Any, seeds: Sequence[tuple[int, int]], decoding: Decoding) -> tuple[Any, Any, Any]:
    """Return for each row its token, whether that is sure, and whether the logits are numbers at all.

    Args:
        torch: the module.
        logits: of shape (rows, vocabulary), in float32 or finer; -inf is allowed.
        seeds: each row's request's seed, and how many tokens its answer has so far.
        decoding: what holds for all rows, but for `repetition_penalty`, which `penalised` applies.
    """
    largest = logits.amax(dim=-1, keepdim=True)
    finite = torch.isfinite(largest)[:, 0]
    if decoding.temperature == 0:
        return (*_best(logits, TIE), finite)
    # The largest is taken off first: a temperature near 0 would make infinities of the quotients.
    scaled = (logits - largest) / decoding.temperature
    tie = TIE / decoding.temperature
    sums = scaled + noise(torch, seeds, logits.shape[-1], logits.device)
    if not decoding.top_k and decoding.top_p == 1 and not decoding.min_p:
        return (*_best(sums, tie), finite)
    exact, wide, narrow = _edges(torch, scaled, decoding, tie)
    tokens = sums.masked_fill(scaled < exact, -torch.inf).argmax(dim=-1)
    others, sure = _best(sums.masked_fill(scaled < wide, -torch.inf), tie)
    inside = scaled.gather(1, tokens[:, None]) >= narrow
    return tokens, sure & (tokens == others) & inside[:, 0], finite


def penalised(torch: Any, logits: Any, seen: Any, penalty: float) -> Any:
    """Return the logits with those of tokens that were seen pushed down, as in the paper of CTRL and in vLLM."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _best(sums: Any, tie: float) -> tuple[Any, Any]:
    """Return each row's largest, and whether it is larger than the next one by more than `tie`."""
    best, tokens = sums.max(dim=-1)
    next_best = sums.scatter(1, tokens[:, None], -math.inf).amax(dim=-1)
    return tokens, best - next_best > tie


def _edges(torch: Any, scaled: Any, decoding: Decoding, tie: float) -> tuple[Any, Any, Any]:
    """Return the least logit that the filters let through: as they stand, with rounding's help, and against it."""
    ordered = scaled.sort(dim=-1, descending=True).values
    weights = ordered.softmax(dim=-1)
    before = weights.cumsum(dim=-1, dtype=torch.float64) - weights
    least = math.log(decoding.min_p) if decoding.min_p else -math.inf

    def count(slack: float) -> Any:
        inside = ordered >= ordered[:, :1] + least - slack * tie
        if decoding.top_p < 1:
            inside &= before < decoding.top_p + slack * _MASS_TIE
        if decoding.top_k:
            inside[:, decoding.top_k :] = False
        return inside.sum(dim=-1, keepdim=True).clamp(min=1)

    exact = ordered.gather(1, count(0) - 1)
    wide = ordered.gather(1, count(1) - 1) - tie
    # The first that is out, against rounding's help; behind the last one there is nothing.
    outside = torch.cat([ordered, torch.full_like(ordered[:, :1], -math.inf)], dim=1).gather(1, count(-1))
    return exact, wide, outside + tie


def _mixed(number: int) -> int:
    """Return SplitMix64's scrambling of a number."""
    bits = (number + _STEP) & (1 << 64) - 1
    bits = ((bits ^ (bits >> 30)) * _FIRST) & (1 << 64) - 1
    bits = ((bits ^ (bits >> 27)) * _SECOND) & (1 << 64) - 1
    return bits ^ (bits >> 31)


def _signed(number: int) -> int:
    """Return the number below 2**63 with the same 64 bits, which torch can hold."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >= 1 << 63 else number
