"""How a local model's next tokens are chosen from its logits, a row for each answer that is being written.

Each row brings a number from its own request's seed, and takes the token at that place of its distribution, summed up
in the order of the vocabulary. So a choice hangs on the row's logits and its number alone, and not on the other rows.

What other rows share a batch does move the logits, by the rounding of floating point. Where that could move a choice
(the number falls within `TIE` of another token) the row is reported as not sure, and the caller computes it by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradatim.models.decoding import Decoding

TIE = 2e-5
"""Of probability. Rounding in float32 moved logits by up to 1.5e-5, and so probabilities by a quarter of that at most,
in a random model with wide weights."""
_LOGIT_TIE = 2e-4
"""Of logits, where the likeliest token is taken."""


def choose(torch: Any, logits: Any, numbers: Any, decoding: Decoding) -> tuple[Any, Any, Any]:
    """Return for each row its token, whether that is sure, and whether the logits are numbers at all.

    Args:
        torch: the module.
        logits: of shape (rows, vocabulary), in float32 or finer; -inf is allowed.
        numbers: of shape (rows,), float64, from 0 to 1, 1 excluded.
        decoding: what holds for all rows, but for `repetition_penalty`, which `penalised` applies.
    """
    if decoding.temperature == 0:
        best, tokens = logits.max(dim=-1)
        runner_up = logits.scatter(1, tokens[:, None], float("-inf")).amax(dim=-1)
        return tokens, best - runner_up > _LOGIT_TIE, torch.isfinite(best)
    # The largest is taken off first: a temperature near 0 would make infinities of the quotients.
    weights = ((logits - logits.amax(dim=-1, keepdim=True)) / decoding.temperature).softmax(dim=-1)
    doubt = 0.0
    if decoding.top_k or decoding.top_p < 1 or decoding.min_p:
        kept, doubt = _kept(torch, weights, decoding)
        weights = weights * kept
    sums = weights.cumsum(dim=-1, dtype=torch.float64)
    total = sums[:, -1:]
    places = numbers[:, None] * total
    tokens = torch.searchsorted(sums, places, right=True).clamp(max=logits.shape[-1] - 1)
    above = sums.gather(1, tokens)
    below = above - weights.gather(1, tokens)
    margin = torch.minimum(places - below, above - places)
    return tokens[:, 0], (margin > TIE + 2 * doubt)[:, 0], torch.isfinite(total)[:, 0]


def penalised(torch: Any, logits: Any, seen: Any, penalty: float) -> Any:
    """Return the logits with those of tokens that were seen pushed down, as in the paper of CTRL and in vLLM."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _kept(torch: Any, weights: Any, decoding: Decoding) -> tuple[Any, Any]:
    """Return which tokens may be chosen, and the weight of those of which rounding could decide whether they may."""
    order = weights.argsort(dim=-1, descending=True, stable=True)
    ordered = weights.gather(1, order)
    before = ordered.cumsum(dim=-1, dtype=torch.float64) - ordered
    least = decoding.min_p * ordered[:, :1]
    inside = (before < decoding.top_p) & (ordered >= least)
    inside[:, 0] = True
    if decoding.top_k:
        inside[:, decoding.top_k :] = False
    # The last that is in and the first that is out could change places; or one could cross a bound.
    last = torch.where(inside, ordered, torch.inf).amin(dim=-1, keepdim=True)
    out = torch.where(inside, -torch.inf, ordered).amax(dim=-1, keepdim=True)
    near = ((last - out) <= TIE) & ((ordered - last).abs() <= TIE)
    if decoding.top_p < 1:
        near |= (before - decoding.top_p).abs() <= TIE
    if decoding.min_p:
        near |= (ordered - least).abs() <= TIE
    doubt = (ordered * near).sum(dim=-1, keepdim=True)
    return torch.zeros_like(inside).scatter(1, order, inside), doubt
