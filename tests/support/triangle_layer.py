"""The triangle multiplicative update in plain operations, and inputs for its tests."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F


class Layer(NamedTuple):
    """Inputs of the operator; the parameters are in the order of its schema."""

    z: torch.Tensor
    mask: torch.Tensor
    grad: torch.Tensor
    parameters: tuple[torch.Tensor, ...]

    def to(self, *args) -> Layer:
        moved = (tensor.to(*args) for tensor in self.parameters)
        return Layer(self.z.to(*args), self.mask.to(*args), self.grad.to(*args), tuple(moved))


def plain(z, mask, *rest):
    """Algorithms 12 and 13 as written, but for nodes whose row of the factors is masked."""
    win, bin_, wout, bout, ap, ag, bp, bg, g, wz, outgoing, residual, epsilon = rest
    nodes = (mask != 0).any(2 if outgoing else 1)
    absent = ~(nodes[:, :, None] & nodes[:, None, :])[..., None]
    n = F.layer_norm(z, z.shape[-1:], win, bin_, epsilon)
    a = mask[..., None] * torch.sigmoid(F.linear(n, ag)) * F.linear(n, ap)
    b = mask[..., None] * torch.sigmoid(F.linear(n, bg)) * F.linear(n, bp)
    x = torch.einsum("bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc", a, b)
    x = F.linear(F.layer_norm(x, x.shape[-1:], wout, bout, epsilon), wz)
    update = (torch.sigmoid(F.linear(n, g)) * x).masked_fill(absent, 0.0)
    return z + update if residual else update


def make(size, channels, hidden, batch=1, dtype=torch.float64, masked=0.3, seed=0) -> Layer:
    """Inputs of order one, the linear maps keeping that order."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    parameters = (
        1 + 0.1 * normal(channels),
        0.1 * normal(channels),
        1 + 0.1 * normal(hidden),
        0.1 * normal(hidden),
        *(normal(hidden, channels) / channels**0.5 for _ in range(4)),
        normal(channels, channels) / channels**0.5,
        normal(channels, hidden) / hidden**0.5,
    )
    shape = (batch, size, size, channels)
    mask = (torch.rand(shape[:3], generator=generator, dtype=torch.float64) >= masked).double()
    return Layer(normal(*shape), mask, normal(*shape), parameters).to(dtype)


def without_nodes(layer, *nodes, system=0) -> Layer:
    """The layer with these nodes masked out of one system."""
    mask = layer.mask.clone()
    for node in nodes:
        mask[system, node, :] = 0
        mask[system, :, node] = 0
    return layer._replace(mask=mask)


def pairs_with(layer, *nodes) -> torch.Tensor:
    """Where a pair has one of these nodes, in the shape of z."""
    result = torch.zeros(layer.z.shape, dtype=torch.bool, device=layer.z.device)
    for node in nodes:
        result[:, node] = True
        result[:, :, node] = True
    return result


def poisoned(layer, *nodes) -> Layer:
    """The layer with NaN and infinity where a pair has one of these nodes."""
    pairs = pairs_with(layer, *nodes)
    z, grad = layer.z.masked_fill(pairs, torch.nan), layer.grad.masked_fill(pairs, torch.inf)
    return layer._replace(z=z, grad=grad)


def values_and_gradients(function, layer, outgoing, residual=True, epsilon=1e-5):
    """The output, and the gradients of z and of the ten parameters."""
    leaves = [t.detach().clone().requires_grad_() for t in (layer.z, *layer.parameters)]
    out = function(leaves[0], layer.mask, *leaves[1:], outgoing, residual, epsilon)
    return (out.detach(), *torch.autograd.grad(out, leaves, layer.grad))


def relative_errors(found, exact):
    """Norm of the difference over the norm of the exact value, one number a tensor."""
    return [
        ((value.double() - right).norm() / right.norm().clamp_min(1e-300)).item()
        for value, right in zip(found, exact, strict=True)
    ]
