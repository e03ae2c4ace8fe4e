"""Muon for matrices and AdamW for the rest, as one optimiser: for small models, which learn several times faster so.

Both take the same learning rate: Muon's update is scaled to the size of AdamW's (`match_rms_adamw`, arXiv 2502.16982).
"""

from __future__ import annotations

from typing import Any

import torch

BETAS = (0.9, 0.95)
"""Of AdamW, as in s1."""
MOMENTUM = 0.95
"""Of Muon, with Nesterov's look ahead, as in torch."""


class MuonAndAdamW(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not read by the type checker
    """Steps both, and is saved and loaded as one."""

    def __init__(self, model: torch.nn.Module, *, lr: float, weight_decay: float) -> None:
        trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        matrices = [one for name, one in trained if _is_inner_matrix(name, one)]
        rest = [one for name, one in trained if not _is_inner_matrix(name, one)]
        wide, narrow = [one for one in rest if one.ndim >= 2], [one for one in rest if one.ndim < 2]
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(_muon(matrices, lr=lr, weight_decay=weight_decay))
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


def _muon(matrices: list[torch.Tensor], *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return torch's own Muon on a card, and ours on a processor."""
    if matrices[0].device.type == "cpu":
        return ProcessorMuon(matrices, lr=lr, weight_decay=weight_decay)
    return torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")


class ProcessorMuon(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not read by the type checker
    """Muon in float32, matrices of one shape together; the same steps as `torch.optim.Muon` but for rounding.

    torch's works in bfloat16, which a processor without it emulates: on matrices of a tiny model a step took 416 ms,
    and a twentieth of that in float32.
    """

    def __init__(self, matrices: list[torch.Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> Any:
        """Take a step with the gradients there are."""
        loss = closure() if closure is not None else None
        with torch.no_grad():
            for group in self.param_groups:
                shapes: dict[Any, list[Any]] = {}
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        shapes.setdefault(matrix.shape, []).append(matrix)
                for shape, matrices in shapes.items():
                    self._step(group, shape, matrices)
        return loss

    def _step(self, group: dict[str, Any], shape: Any, matrices: list[Any]) -> None:
        for matrix in matrices:
            self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            self.state[matrix]["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        update = torch.stack([one.grad.lerp(self.state[one]["momentum"], MOMENTUM) for one in matrices])
        change = 0.2 * max(shape) ** 0.5 * group["lr"]
        for matrix, part in zip(matrices, _orthogonal(update), strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(part, alpha=-change)


def _orthogonal(batch: torch.Tensor) -> torch.Tensor:
    """Return matrices with singular values about 1 for a batch of one shape: five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315  # of Keller Jordan's Muon (2024), as in torch
    tall = batch.shape[-2] > batch.shape[-1]
    found = batch.mT if tall else batch
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        square = found @ found.mT
        found = a * found + (b * square + c * square @ square) @ found
    return found.mT if tall else found


def _is_inner_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Tell a layer's matrix from an embedding or the head, to which Muon does not apply."""
    return parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
