"""Triangle updates of the pair track (AF3 Algorithms 12 to 15).

The multiplicative update is one operator, ``atmos::triangle_multiplication``, of the compiled
operator library (:mod:`atmos_openmm.ops`), the same in eager, in TorchScript and in a C++ host.

Each module has two ways to the same numbers: ``forward`` returns the update, and ``add_to`` adds it
in place where no gradient is asked for; attention a block of rows at a time (:mod:`.blocks`).
"""

import torch
from torch import Tensor, nn

from .. import ops as _ops  # noqa: F401  registers the operator
from .blocks import blocks_of
from .primitives import attention, linear_no_bias, linear_zero

TriangleWeights = tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor
]


class TriangleMultiplication(nn.Module):
    """Triangle multiplicative update, outgoing or incoming (AF3 Algorithms 12 and 13).

    ``forward(z [B, N, N, c_z], pair_mask [B, N, N], residual) -> [B, N, N, c_z]``: the update, with
    ``residual`` added to z. The mask scales the factors, as in Protenix; pairs of a token whose
    pairs are all masked (padding) are not read and not updated.
    """

    outgoing: bool

    def __init__(self, c_z: int, c_hidden: int, outgoing: bool) -> None:
        super().__init__()
        self.outgoing = outgoing
        self.layer_norm_in = nn.LayerNorm(c_z)
        self.layer_norm_out = nn.LayerNorm(c_hidden)
        self.linear_a_p = linear_no_bias(c_z, c_hidden)
        self.linear_a_g = linear_no_bias(c_z, c_hidden)
        self.linear_b_p = linear_no_bias(c_z, c_hidden)
        self.linear_b_g = linear_no_bias(c_z, c_hidden)
        self.linear_g = linear_no_bias(c_z, c_z)
        self.linear_z = linear_zero(c_hidden, c_z)

    def weights(self) -> TriangleWeights:
        """Return the weights in the order in which the operator takes them."""
        return (
            self.layer_norm_in.weight,
            self.layer_norm_in.bias,
            self.layer_norm_out.weight,
            self.layer_norm_out.bias,
            self.linear_a_p.weight,
            self.linear_a_g.weight,
            self.linear_b_p.weight,
            self.linear_b_g.weight,
            self.linear_g.weight,
            self.linear_z.weight,
        )

    def forward(self, z: Tensor, pair_mask: Tensor, residual: bool = False) -> Tensor:
        return torch.ops.atmos.triangle_multiplication(
            z, pair_mask, *self.weights(), self.outgoing, residual, self.layer_norm_in.eps
        )

    @torch.jit.export
    def add_to(self, z: Tensor, pair_mask: Tensor) -> None:
        """Add the update to contiguous pairs z in place; without gradients."""
        torch.ops.atmos.triangle_multiplication_(
            z, pair_mask, *self.weights(), self.outgoing, self.layer_norm_in.eps
        )


class _GatedAttention(nn.Module):
    """Multi-head attention with an output gate over the second-to-last axis."""

    heads: int

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = linear_no_bias(c, c)
        self.linear_k = linear_no_bias(c, c)
        self.linear_v = linear_no_bias(c, c)
        self.linear_o = linear_zero(c, c)
        self.linear_g = linear_zero(c, c)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attend over x [M, K, c] with bias [1 or M, heads, K, K]."""
        o = attention(self.linear_q(x), self.linear_k(x), self.linear_v(x), bias, self.heads)
        return self.linear_o(torch.sigmoid(self.linear_g(x)) * o)


class TriangleAttention(nn.Module):
    """Triangle self-attention around the starting node (AF3 Algorithm 14).

    The ending-node form (Algorithm 15) is this module on the transposed pair tensor.
    ``forward(z [B, N, N, c_z], pair_mask [B, N, N]) -> [B, N, N, c_z]``, without the residual.
    """

    def __init__(self, c_z: int, heads: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c_z)
        self.linear = linear_no_bias(c_z, heads)
        self.mha = _GatedAttention(c_z, heads)

    def forward(self, z: Tensor, pair_mask: Tensor) -> Tensor:
        z = self.layer_norm(z)
        triangle_bias = self.linear(z).movedim(-1, -3).unsqueeze(-4)
        mask_bias = 1e9 * (pair_mask.unsqueeze(-2).unsqueeze(-2) - 1.0)
        bias = triangle_bias + mask_bias
        return self.mha(z.flatten(0, 1), bias.flatten(0, 1)).view(z.shape)

    @torch.jit.export
    def add_to(self, z: Tensor, pair_mask: Tensor) -> None:
        """Add the update to pairs z in place, contiguous or transposed; without gradients."""
        n = z.shape[1]
        heads = self.mha.heads
        whole = bool((pair_mask == 1.0).all())
        bias = z.new_empty([heads, n, n])
        for m in range(z.shape[0]):
            pairs = z[m]
            for start, end in blocks_of(n, n, z.is_cuda):
                rows = self.layer_norm(pairs[start:end])
                bias[:, start:end] = self.linear(rows).movedim(-1, 0)
            for start, end in blocks_of(n, n, z.is_cuda):
                rows = pairs[start:end]
                mask_bias = 1e9 * (pair_mask[m, start:end].unsqueeze(1).unsqueeze(1) - 1.0)
                row_bias = bias.unsqueeze(0) if whole else bias + mask_bias
                rows.add_(self.mha(self.layer_norm(rows), row_bias))
