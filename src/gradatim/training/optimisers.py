"""Muon for matrices and AdamW for the rest, as one optimiser: for small models, which learn several times faster so.

Both take the same learning rate: Muon's update is scaled to the size of AdamW's (`match_rms_adamw`, arXiv 2502.16982).
"""

from __future__ import annotations

from typing import Any

import torch

BETAS = (0.9, 0.95)
"""Of AdamW, as in s1."""


class MuonAndAdamW(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not read by the type checker
    """Steps both, and is saved and loaded as one."""

    def __init__(self, model: torch.nn.Module, *, lr: float, weight_decay: float) -> None:
        trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        matrices = [one for name, one in trained if _is_inner_matrix(name, one)]
        rest = [one for name, one in trained if not _is_inner_matrix(name, one)]
        wide, narrow = [one for one in rest if one.ndim >= 2], [one for one in rest if one.ndim < 2]
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(
                torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            )
        groups = [
            {"params": params, "weight_decay": decay}
            for params, decay in ((wide, weight_decay), (narrow, 0.0))
            if params
        ]
        if groups:
            self._parts.append(torch.optim.AdamW(groups, lr=lr, betas=BETAS))
        super().__init__([{"params": [one for _, one in trained]}], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """Have the parts' groups be this one's, so that a schedule which sets a rate here sets it there."""
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    def step(self, closure: Any = None) -> Any:
        """Step both parts."""
        loss = closure() if closure is not None else None
        for part in self._parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the parts' states."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share()


def _is_inner_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Tell a layer's matrix from an embedding or the head, to which Muon does not apply."""
    return parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
