"""What the parity tests share: loading, drawing inputs, and the one number that is compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from atmos_openmm.model.config import ModelConfig, full

SINGLE, DOUBLE = torch.float32, torch.float64
C_S, C_Z, C_S_INPUTS, C_TOKEN = 384, 128, 449, 768


def precisions(single: float, double: float) -> pytest.MarkDecorator:
    """Run a test in both precisions, each with the largest difference it allows."""
    cases = [(SINGLE, single), (DOUBLE, double)]
    return pytest.mark.parametrize(("dtype", "tolerance"), cases, ids=["single", "double"])


def config(**changes: int) -> ModelConfig:
    """The full network's widths, with few blocks."""
    few = {
        "context_atom_blocks": 3,
        "context_blocks": 1,
        "msa_blocks": 2,
        "cycles": 2,
        "frame_blocks": 1,
        "transition_blocks": 1,
        "encoder_blocks": 3,
        "token_blocks": 1,
        "decoder_blocks": 3,
    }
    return replace(full(), **(few | changes))


def loaded(ours: nn.Module, theirs: nn.Module) -> nn.Module:
    """Our module with the reference's parameters, name for name, in its precision."""
    dtype = next(theirs.parameters()).dtype
    ours = ours.to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.train(theirs.training)


class Draw:
    """Seeded normal tensors; the numbers are the same in every precision."""

    def __init__(self, seed: int, dtype: torch.dtype = SINGLE) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self.dtype)

    def mask(self, *shape: int, kept: float = 0.8) -> Tensor:
        """Ones and zeros; the diagonal of the last two axes is kept."""
        values = (torch.rand(shape, generator=self.generator) < kept).to(self.dtype)
        torch.diagonal(values, dim1=-2, dim2=-1).fill_(1.0)
        return values


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference of two tensors of one shape, finite and not trivially small."""
    assert ours.shape == theirs.shape, (list(ours.shape), list(theirs.shape))
    assert ours.dtype == theirs.dtype, (ours.dtype, theirs.dtype)
    assert bool(torch.isfinite(ours).all()) and bool(torch.isfinite(theirs).all())
    assert float(theirs.detach().abs().max()) > 0.1, "the reference's output is next to nothing"
    return float((ours.detach() - theirs.detach()).abs().max())


def gradients(outputs: Iterable[Tensor], cotangents: Iterable[Tensor], inputs: list[Tensor]):
    """Gradients of the sum of outputs times cotangents."""
    loss = sum(((o * c).sum() for o, c in zip(outputs, cotangents, strict=True)), torch.zeros(()))
    return torch.autograd.grad(loss, inputs)
