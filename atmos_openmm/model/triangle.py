"""Triangle updates of the pair track (AF3 Algorithms 12 to 15).

The contraction is the operator ``atmos::triangle_contraction`` of the compiled operator
library (:mod:`atmos_openmm.ops`), the same in eager, in TorchScript and in a C++ host.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ops as _ops  # noqa: F401  registers atmos::triangle_contraction
from .primitives import linear_no_bias, linear_zero


class TriangleMultiplication(nn.Module):
    """Triangle multiplicative update, outgoing or incoming (AF3 Algorithms 12 and 13).

    ``forward(z [B, N, N, c_z], pair_mask [B, N, N]) -> [B, N, N, c_z]``, without the residual.
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

    def forward(self, z: Tensor, pair_mask: Tensor) -> Tensor:
        z = self.layer_norm_in(z)
        a = torch.sigmoid(self.linear_a_g(z)) * self.linear_a_p(z)
        b = torch.sigmoid(self.linear_b_g(z)) * self.linear_b_p(z)
        x = torch.ops.atmos.triangle_contraction(a, b, pair_mask, self.outgoing)
        return torch.sigmoid(self.linear_g(z)) * self.linear_z(self.layer_norm_out(x))


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
        q = self.linear_q(x).unflatten(-1, [self.heads, -1]).transpose(-2, -3)
        k = self.linear_k(x).unflatten(-1, [self.heads, -1]).transpose(-2, -3)
        v = self.linear_v(x).unflatten(-1, [self.heads, -1]).transpose(-2, -3)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        o = o.transpose(-2, -3).flatten(-2)
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
        return self.mha(z, triangle_bias + mask_bias)
