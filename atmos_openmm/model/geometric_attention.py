"""Local attention over atoms that carries geometry (the invariant configuration).

The block is AF3's atom transformer block (Algorithms 23 to 25: adaptive norm, attention with
pair bias in windows, gated output, conditioned transition). Where coordinates are there, the
attention also returns what it sees along its weights: pair features and directions, the
latter through products that a rotation leaves alone (compare AF2's invariant point
attention, Algorithm 22).
"""

import math

import torch
from torch import Tensor, nn

from .activation_checkpointing import CheckpointedBlock
from .config import ModelConfig
from .model_features import ModelFeatures
from .primitives import (
    AdaptiveLayerNorm,
    ConditionedTransitionBlock,
    Linear,
    linear_gate,
    linear_no_bias,
    linear_zero,
)
from .windows import from_queries, to_keys, to_queries


class AtomAttention(nn.Module):
    """Windowed attention over atoms with adaptive norm, pair bias and gated output.

    ``condition(s [B, A, c]) -> [B, A, 3 c]``;
    ``forward(a [B, A, c], condition, p [B, T, Q, K, c_pair]) -> [B, A, c]``, without the
    residual.
    """

    heads: int

    def __init__(self, c: int, c_pair: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.layernorm_a = AdaptiveLayerNorm(c, c)
        self.linear_q = Linear(c, c)
        self.linear_k = linear_no_bias(c, c)
        self.linear_v = linear_no_bias(c, c)
        self.linear_g = linear_no_bias(c, c)
        self.linear_o = linear_no_bias(c, c)
        self.layernorm_z = nn.LayerNorm(c_pair)
        self.linear_nobias_z = linear_no_bias(c_pair, heads)
        self.linear_pair_value = linear_no_bias(heads * c_pair, c)
        self.linear_a_last = linear_gate(c, c, -2.0)

    @torch.jit.export
    def condition(self, s: Tensor) -> Tensor:
        return torch.cat(
            [self.layernorm_a.condition(s), torch.sigmoid(self.linear_a_last(s))], dim=-1
        )

    def weights(self, a: Tensor, p: Tensor, features: ModelFeatures) -> Tensor:
        """Return attention weights [B, T, heads, Q, K] of normed atoms ``a`` and pairs ``p``."""
        q = to_queries(self.linear_q(a), features)
        k = to_keys(self.linear_k(a), features)
        q = q.unflatten(-1, [self.heads, -1]).transpose(-2, -3)
        k = k.unflatten(-1, [self.heads, -1]).transpose(-2, -3)
        logits = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        logits = logits + self.linear_nobias_z(p).movedim(-1, -3)
        return torch.softmax(logits + features.window_bias.to(a.dtype).unsqueeze(2), dim=-1)

    def values(self, a: Tensor, p: Tensor, weights: Tensor, features: ModelFeatures) -> Tensor:
        """Return the weighted atom and pair values [B, A, c]."""
        v = to_keys(self.linear_v(a), features)
        v = v.unflatten(-1, [self.heads, -1]).transpose(-2, -3)
        o = torch.matmul(weights, v).transpose(-2, -3).flatten(-2)
        o_pair = torch.matmul(weights.transpose(-2, -3), p).flatten(-2)
        o = from_queries(o, a.shape[1])
        o_pair = from_queries(o_pair, a.shape[1])
        o = torch.sigmoid(self.linear_g(a)) * o
        return self.linear_o(o) + self.linear_pair_value(o_pair)

    def forward(self, a: Tensor, condition: Tensor, p: Tensor, features: ModelFeatures) -> Tensor:
        scale, offset, gate = condition.chunk(3, dim=-1)
        a = self.layernorm_a(a, scale, offset)
        p = self.layernorm_z(p)
        out = self.values(a, p, self.weights(a, p, features), features)
        return gate * out


class GeometricAtomAttention(nn.Module):
    """:class:`AtomAttention` that also looks along directions.

    A head's direction is the sum of unit vectors times attention times a signed weight of the
    pair. The scalar products of the heads' directions, and their triple products, which a
    mirror turns over, are added to the output.

    ``condition(s [B, A, c]) -> [B, A, 3 c]``;
    ``forward(a [B, A, c], condition, p [B, T, Q, K, c_pair], unit [B, T, Q, K, 3])
    -> [B, A, c]``, without the residual.
    """

    def __init__(self, c: int, c_pair: int, heads: int) -> None:
        super().__init__()
        self.core = AtomAttention(c, c_pair, heads)
        self.linear_direction = linear_no_bias(c_pair, heads)
        self.linear_products = linear_zero(heads * heads + heads, c)

    @torch.jit.export
    def condition(self, s: Tensor) -> Tensor:
        return self.core.condition(s)

    def forward(
        self, a: Tensor, condition: Tensor, p: Tensor, unit: Tensor, features: ModelFeatures
    ) -> Tensor:
        scale, offset, gate = condition.chunk(3, dim=-1)
        a = self.core.layernorm_a(a, scale, offset)
        p = self.core.layernorm_z(p)
        weights = self.core.weights(a, p, features)
        out = self.core.values(a, p, weights, features)
        signed = weights.transpose(-2, -3) * self.linear_direction(p).transpose(-1, -2)
        v = torch.matmul(signed, unit)  # [B, T, Q, heads, 3]
        products = torch.matmul(v, v.transpose(-1, -2)).flatten(-2)
        n = v / (torch.linalg.vector_norm(v, 2.0, [-1], True) + 0.05)
        triple = (n * torch.linalg.cross(n.roll(1, -2), n.roll(2, -2), dim=-1)).sum(-1)
        invariants = from_queries(torch.cat([products, triple], dim=-1), a.shape[1])
        out = out + self.linear_products(invariants)
        return gate * out


class _AtomBlock(CheckpointedBlock):
    """Attention and transition of atoms, conditioned alike, each with its residual."""

    def __init__(self, attention: nn.Module, c: int) -> None:
        super().__init__()
        self.attention_pair_bias = attention
        self.conditioned_transition_block = ConditionedTransitionBlock(c, c)

    @torch.jit.export
    def condition(self, c: Tensor) -> Tensor:
        """Return the condition [B, A, 6 c] of attention and transition."""
        attention = self.attention_pair_bias.condition(c)
        transition = self.conditioned_transition_block.condition(c)
        return torch.cat([attention, transition], dim=-1)


class GraphAtomBlock(_AtomBlock):
    """Atom block without coordinates.

    ``condition(c [B, A, c]) -> [B, A, 6 c]``, then ``forward(q, condition, p, features)``.
    """

    def __init__(self, c: int, c_pair: int, heads: int) -> None:
        super().__init__(AtomAttention(c, c_pair, heads), c)

    def forward(self, q: Tensor, condition: Tensor, p: Tensor, features: ModelFeatures) -> Tensor:
        for_attention, for_transition = condition.chunk(2, dim=-1)
        q = q + self.attention_pair_bias(q, for_attention, p, features)
        return q + self.conditioned_transition_block(q, for_transition)


class GeometricAtomBlock(_AtomBlock):
    """Atom block with coordinates: its attention looks along directions.

    ``condition(c [B, A, c]) -> [B, A, 6 c]``, then
    ``forward(q, condition, p, unit, features)``.
    """

    def __init__(self, c: int, c_pair: int, heads: int) -> None:
        super().__init__(GeometricAtomAttention(c, c_pair, heads), c)

    def forward(
        self, q: Tensor, condition: Tensor, p: Tensor, unit: Tensor, features: ModelFeatures
    ) -> Tensor:
        for_attention, for_transition = condition.chunk(2, dim=-1)
        q = q + self.attention_pair_bias(q, for_attention, p, unit, features)
        return q + self.conditioned_transition_block(q, for_transition)


def geometric_atom_blocks(config: ModelConfig, blocks: int) -> nn.ModuleList:
    """Return a stack of :class:`GeometricAtomBlock` of a configuration's widths."""
    return nn.ModuleList(
        [
            GeometricAtomBlock(config.c_atom, config.c_atompair, config.heads_atom)
            for _ in range(blocks)
        ]
    )
