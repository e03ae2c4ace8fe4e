"""Muon on a processor: the same steps as torch's own."""

import copy

import pytest

torch = pytest.importorskip("torch")

from gradatim.training.optimisers import ProcessorMuon  # noqa: E402 - needs torch


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_steps_are_those_of_torch_but_for_rounding():
    """Five steps on square, wide and tall matrices end within a hundredth of where torch's Muon ends."""
    made = torch.Generator().manual_seed(0)
    shapes = [(96, 96), (96, 96), (40, 96), (96, 40)]
    start = [torch.randn(shape, generator=made) for shape in shapes]
    gradients = [[torch.randn(shape, generator=made) for shape in shapes] for _ in range(5)]
    ends = []
    for ours in (True, False):
        matrices = [torch.nn.Parameter(one.clone()) for one in start]
        known = {"lr": 0.01, "weight_decay": 0.1}
        optimiser = (
            ProcessorMuon(matrices, **known)
            if ours
            else torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **known)
        )
        for step in gradients:
            for matrix, gradient in zip(matrices, step, strict=True):
                matrix.grad = gradient.clone()
            optimiser.step()
        ends.append([one.detach() for one in matrices])
    for ours, theirs, begun in zip(*ends, start, strict=True):
        assert (ours - theirs).norm() < 0.02 * (theirs - begun).norm()


def test_a_state_is_saved_and_loaded():
    """An optimiser that is loaded goes on as the one that was saved."""
    made = torch.Generator().manual_seed(1)
    gradients = [torch.randn((8, 8), generator=made) for _ in range(4)]
    whole = torch.nn.Parameter(torch.ones(8, 8))
    first = ProcessorMuon([whole], lr=0.1, weight_decay=0.0)
    for gradient in gradients[:2]:
        whole.grad = gradient.clone()
        first.step()
    again = torch.nn.Parameter(whole.detach().clone())
    second = ProcessorMuon([again], lr=0.1, weight_decay=0.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for gradient in gradients[2:]:
        for matrix, optimiser in ((whole, first), (again, second)):
            matrix.grad = gradient.clone()
            optimiser.step()
    assert torch.equal(whole, again)
