"""Layers shared by all tracks: feed-forward, adaptive norms, Fourier embedding."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import blocks_of


def column_major(layer: nn.Linear) -> None:
    """Lay the weight [c_out, c_in] of a linear layer out anew, its columns contiguous.

    To be called before the weights are set. Only the strides differ: names, shapes and gradients
    stay, and ``load_state_dict``, ``.to()``, copies and TorchScript keep the layout. For a few
    dozen rows, as many as a small molecule has tokens, a matrix product reads such weights as
    they are; the usual layout it repacks first, which takes a third of its time (MKL, one thread).
    """
    weight = layer.weight
    if not weight.mT.is_contiguous():
        weight.data = torch.empty_like(weight.mT, memory_format=torch.contiguous_format).mT


class Linear(nn.Linear):
    """A linear layer with LeCun-normal weights, columns contiguous, and an offset of zero.

    PyTorch's own draw of the weights, which would be thrown away, takes seconds at full width.
    """

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        column_major(self)
        # Along the columns: filling a strided tensor takes seven times as long.
        nn.init.normal_(self.weight.mT, std=1.0 / math.sqrt(self.in_features))
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero weights, columns contiguous, and an offset of `start`."""

    def __init__(self, c_in: int, c_out: int, bias: bool, start: float = 0.0) -> None:
        self.start = start
        super().__init__(c_in, c_out, bias=bias)

    def reset_parameters(self) -> None:
        """Set the weights to their start."""
        column_major(self)
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.constant_(self.bias, self.start)


def linear_no_bias(c_in: int, c_out: int) -> nn.Linear:
    """Return a linear layer without offset, with LeCun-normal weights."""
    return Linear(c_in, c_out, bias=False)


def linear_zero(c_in: int, c_out: int, bias: bool = False) -> nn.Linear:
    """Return a linear layer that starts at zero: a residual branch that begins as identity."""
    return ZeroLinear(c_in, c_out, bias)


def linear_gate(c_in: int, c_out: int, bias: float) -> nn.Linear:
    """Return the linear layer of a sigmoid gate that starts at ``sigmoid(bias)`` everywhere."""
    return ZeroLinear(c_in, c_out, True, bias)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Attend with several heads: q [M, Q, c], k and v [M, K, c] -> [M, Q, c].

    ``bias`` [1 or M, heads, Q, K] is added to the logits. Four axes, no more: for others
    PyTorch has no fused kernel on CPUs and takes two to four times as long.
    """
    q = q.unflatten(-1, [heads, -1]).transpose(1, 2)
    k = k.unflatten(-1, [heads, -1]).transpose(1, 2)
    v = v.unflatten(-1, [heads, -1]).transpose(1, 2)
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return o.transpose(1, 2).flatten(2)


class Transition(nn.Module):
    """SwiGLU feed-forward on the last axis (AlphaFold 3 supplement, Algorithm 11).

    ``forward(x [..., c]) -> [..., c]``, the update without the residual.
    """

    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        self.layernorm1 = nn.LayerNorm(c)
        self.linear_no_bias_a = linear_no_bias(c, n * c)
        self.linear_no_bias_b = linear_no_bias(c, n * c)
        self.linear_no_bias = linear_zero(n * c, c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layernorm1(x)
        return self.linear_no_bias(F.silu(self.linear_no_bias_a(x)) * self.linear_no_bias_b(x))

    @torch.jit.export
    def add_to(self, x: Tensor) -> None:
        """Add the update to contiguous x in place; without gradients (:mod:`.blocks`)."""
        rows = x.flatten(0, -2)
        for start, end in blocks_of(rows.shape[0], 1, rows.is_cuda):
            block = rows[start:end]
            y = self.layernorm1(block)
            a = F.silu(self.linear_no_bias_a(y), inplace=True)
            block.add_(self.linear_no_bias(a.mul_(self.linear_no_bias_b(y))))


class AdaptiveLayerNorm(nn.Module):
    """Layer norm whose scale and offset come from a condition (AF3 Algorithm 26).

    ``condition(s [..., c_s]) -> [..., 2 c_a]`` makes scale and offset, which a host keeps as
    long as the condition stays; ``forward(a [..., c_a], scale, offset) -> [..., c_a]``.
    """

    def __init__(self, c_a: int, c_s: int) -> None:
        super().__init__()
        self.layernorm_a = nn.LayerNorm(c_a, elementwise_affine=False)
        self.layernorm_s = nn.LayerNorm(c_s, bias=False)
        self.linear_s = linear_gate(c_s, c_a, 0.0)
        self.linear_nobias_s = linear_zero(c_s, c_a)

    @torch.jit.export
    def scale_and_offset(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self.layernorm_s(s)
        return torch.sigmoid(self.linear_s(s)), self.linear_nobias_s(s)

    @torch.jit.export
    def condition(self, s: Tensor) -> Tensor:
        scale, offset = self.scale_and_offset(s)
        return torch.cat([scale, offset], dim=-1)

    def forward(self, a: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return torch.addcmul(offset, scale, self.layernorm_a(a))


class ConditionedTransitionBlock(nn.Module):
    """SwiGLU feed-forward with adaptive norm and output gate (AF3 Algorithm 25).

    ``condition(s [..., c_s]) -> [..., 3 c_a]``;
    ``forward(a [..., c_a], condition) -> [..., c_a]``, the update without the residual.
    """

    def __init__(self, c_a: int, c_s: int) -> None:
        super().__init__()
        self.adaln = AdaptiveLayerNorm(c_a, c_s)
        self.linear_nobias_a1 = linear_no_bias(c_a, 2 * c_a)
        self.linear_nobias_a2 = linear_no_bias(c_a, 2 * c_a)
        self.linear_nobias_b = linear_no_bias(2 * c_a, c_a)
        self.linear_s = linear_gate(c_s, c_a, -2.0)

    @torch.jit.export
    def condition(self, s: Tensor) -> Tensor:
        return torch.cat([self.adaln.condition(s), torch.sigmoid(self.linear_s(s))], dim=-1)

    @torch.jit.export
    def update(self, a: Tensor, s: Tensor) -> Tensor:
        """Return the update for a condition that is used once."""
        scale, offset = self.adaln.scale_and_offset(s)
        return torch.sigmoid(self.linear_s(s)) * self.feed_forward(self.adaln(a, scale, offset))

    def forward(self, a: Tensor, condition: Tensor) -> Tensor:
        scale, offset, gate = condition.chunk(3, dim=-1)
        return gate * self.feed_forward(self.adaln(a, scale, offset))

    def feed_forward(self, a: Tensor) -> Tensor:
        b = F.silu(self.linear_nobias_a1(a)) * self.linear_nobias_a2(a)
        return self.linear_nobias_b(b)


class FourierEmbedding(nn.Module):
    """Random Fourier features of a scalar (AF3 Algorithm 22): ``cos(2 pi (t w + b))``.

    ``forward(t [...]) -> [..., c]``. The frequencies are drawn once with a fixed seed and kept
    as buffers, so that every build of the network has the same ones.
    """

    w: Tensor
    b: Tensor

    def __init__(self, c: int, seed: int = 42) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("w", torch.randn(c, generator=generator))
        self.register_buffer("b", torch.randn(c, generator=generator))

    def forward(self, t: Tensor) -> Tensor:
        return torch.cos(2.0 * math.pi * (t.unsqueeze(-1) * self.w + self.b))


class RowDropout(nn.Module):
    """Dropout that shares its mask over the rows of a pair tensor [B, N, N, c] (AF3 2.4)."""

    p: float

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        mask = F.dropout(torch.ones_like(x[:, :1]), self.p, True)
        return x * mask
