"""Atom transformer with local windows: AF3's sequence-local atom attention.

Algorithms 5 to 7 and 23 to 26 of AF3's supplement, with Protenix's numerics where the two
differ: keys and values are normed twice (:class:`AtomAttentionPairBias`), and the noisy
coordinates are added to the atoms that hold the trunk's tokens already
(:class:`AtomAttentionEncoder`).

What depends on neither the noise nor the coordinates is made once by ``conditions`` and
``biases`` and kept by the caller.
"""

import torch
from torch import Tensor, nn

from .activation_checkpointing import CheckpointedBlock
from .blocks import atom_blocks_of, in_blocks
from .model_features import ModelFeatures
from .pairformer import Attention
from .primitives import (
    AdaptiveLayerNorm,
    ConditionedTransitionBlock,
    linear_gate,
    linear_no_bias,
)
from .windows import from_queries, to_keys, to_queries


class AtomAttentionPairBias(nn.Module):
    """Windowed cross attention with adaptive norms and gated output (AF3 Algorithm 24).

    ``condition(s [B, A, c]) -> [B, A, 5 c]``; ``bias(p [B, T, Q, K, c_pair]) ->
    [B, T, heads, Q, K]``; ``forward(a [B, A, c], condition, bias, features) -> [B, A, c]``,
    without the residual. As in Protenix, the norm of keys and values sees the normed queries.
    """

    def __init__(self, c: int, c_pair: int, heads: int) -> None:
        super().__init__()
        self.layernorm_a = AdaptiveLayerNorm(c, c)
        self.layernorm_kv = AdaptiveLayerNorm(c, c)
        self.attention = Attention(c, heads, False)
        self.layernorm_z = nn.LayerNorm(c_pair, bias=False)
        self.linear_nobias_z = linear_no_bias(c_pair, heads)
        self.linear_a_last = linear_gate(c, c, -2.0)

    @torch.jit.export
    def condition(self, s: Tensor) -> Tensor:
        return torch.cat(
            [
                self.layernorm_a.condition(s),
                self.layernorm_kv.condition(s),
                torch.sigmoid(self.linear_a_last(s)),
            ],
            dim=-1,
        )

    @torch.jit.export
    def bias(self, p: Tensor) -> Tensor:
        return self.linear_nobias_z(self.layernorm_z(p)).movedim(-1, -3)

    def forward(
        self, a: Tensor, condition: Tensor, bias: Tensor, features: ModelFeatures
    ) -> Tensor:
        scale, offset, scale_kv, offset_kv, gate = condition.chunk(5, dim=-1)
        q = self.layernorm_a(a, scale, offset)
        kv = self.layernorm_kv(q, scale_kv, offset_kv)
        o = self.attention(to_queries(q, features), to_keys(kv, features), bias)
        return gate * from_queries(o, a.shape[1])


class AtomTransformerBlock(CheckpointedBlock):
    """Windowed attention and conditioned transition, each with its residual.

    ``condition(c [B, A, c]) -> [B, A, 8 c]``; ``bias(p)`` as of the attention;
    ``forward(q [B, A, c], condition, bias, features) -> q``.
    """

    heads: int

    def __init__(self, c: int, c_pair: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_pair_bias = AtomAttentionPairBias(c, c_pair, heads)
        self.conditioned_transition_block = ConditionedTransitionBlock(c, c)

    @torch.jit.export
    def condition(self, c: Tensor) -> Tensor:
        transition = self.conditioned_transition_block.condition(c)
        return torch.cat([self.attention_pair_bias.condition(c), transition], dim=-1)

    @torch.jit.export
    def bias(self, p: Tensor) -> Tensor:
        return self.attention_pair_bias.bias(p)

    @torch.jit.export
    def masked_bias(self, p: Tensor, mask: Tensor) -> Tensor:
        """Add a mask [B, T, 1, 1, K] to the bias; heads first in memory, as attention reads it."""
        if not in_blocks(p, self.attention_pair_bias.linear_nobias_z.weight, self.training):
            return (self.bias(p) + mask).contiguous()
        batch, windows, n_q, n_k = p.shape[0], p.shape[1], p.shape[2], p.shape[3]
        result = p.new_empty([batch, windows, self.heads, n_q, n_k])
        for start, end in atom_blocks_of(windows, n_q * n_k, p.is_cuda):
            result[:, start:end] = self.bias(p[:, start:end]) + mask[:, start:end]
        return result

    def forward(
        self, q: Tensor, condition: Tensor, bias: Tensor, features: ModelFeatures
    ) -> Tensor:
        width = q.shape[-1]
        for_attention = condition[..., : 5 * width]
        q = q + self.attention_pair_bias(q, for_attention, bias, features)
        return q + self.conditioned_transition_block(q, condition[..., 5 * width :])


class AtomBlocks(nn.Module):
    """A stack of atom blocks.

    ``conditions(c [B, A, c]) -> list``, ``biases(p, features) -> list``;
    ``forward(q [B, A, c], conditions, biases, features) -> q``.
    """

    def __init__(self, blocks: int, c: int, c_pair: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([AtomTransformerBlock(c, c_pair, heads) for _ in range(blocks)])

    @torch.jit.export
    def conditions(self, c: Tensor) -> list[Tensor]:
        result: list[Tensor] = []
        for block in self.blocks:
            result.append(block.condition(c))
        return result

    @torch.jit.export
    def biases(self, p: Tensor, features: ModelFeatures) -> list[Tensor]:
        masked = features.window_bias.to(p.dtype).unsqueeze(2)
        result: list[Tensor] = []
        for block in self.blocks:
            result.append(block.masked_bias(p, masked))
        return result

    def forward(
        self, q: Tensor, conditions: list[Tensor], biases: list[Tensor], features: ModelFeatures
    ) -> Tensor:
        for i, block in enumerate(self.blocks):
            q = block(q, conditions[i], biases[i], features)
        return q


class AtomTransformer(nn.Module):
    """:class:`AtomBlocks` under Protenix's name for them."""

    def __init__(self, blocks: int, c: int, c_pair: int, heads: int) -> None:
        super().__init__()
        self.diffusion_transformer = AtomBlocks(blocks, c, c_pair, heads)

    @torch.jit.export
    def conditions(self, c: Tensor) -> list[Tensor]:
        return self.diffusion_transformer.conditions(c)

    @torch.jit.export
    def biases(self, p: Tensor, features: ModelFeatures) -> list[Tensor]:
        return self.diffusion_transformer.biases(p, features)

    def forward(
        self, q: Tensor, conditions: list[Tensor], biases: list[Tensor], features: ModelFeatures
    ) -> Tensor:
        return self.diffusion_transformer(q, conditions, biases, features)
