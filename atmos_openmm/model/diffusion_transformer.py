"""Token transformer of the decoder (AF3 Algorithms 23 to 26)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activation_checkpointing import CheckpointedBlock
from .blocks import blocks_of, in_blocks
from .pairformer import Attention
from .primitives import (
    AdaptiveLayerNorm,
    ConditionedTransitionBlock,
    linear_gate,
    linear_no_bias,
)


class TokenAttentionPairBias(nn.Module):
    """Token attention with adaptive norm, pair bias and gated output (AF3 Algorithm 24).

    ``bias(z [B, N, N, c_z]) -> [B, heads, N, N]``, which does not depend on the noise level;
    ``forward(a [B, N, c_a], s [B, N, c_s], bias) -> [B, N, c_a]``, without the residual.
    """

    def __init__(self, c_a: int, c_s: int, c_z: int, heads: int) -> None:
        super().__init__()
        self.layernorm_a = AdaptiveLayerNorm(c_a, c_s)
        self.attention = Attention(c_a, heads, False)
        self.layernorm_z = nn.LayerNorm(c_z, bias=False)
        self.linear_nobias_z = linear_no_bias(c_z, heads)
        self.linear_a_last = linear_gate(c_s, c_a, -2.0)

    @torch.jit.export
    def bias(self, z: Tensor) -> Tensor:
        return self.linear_nobias_z(self.layernorm_z(z)).movedim(-1, -3)

    @torch.jit.export
    def bias_weight(self) -> Tensor:
        """Return the weight [heads, c_z] that makes the bias from pairs normed without scale."""
        return self.linear_nobias_z.weight * self.layernorm_z.weight

    def forward(self, a: Tensor, s: Tensor, bias: Tensor) -> Tensor:
        scale, offset = self.layernorm_a.scale_and_offset(s)
        a = self.layernorm_a(a, scale, offset)
        return torch.sigmoid(self.linear_a_last(s)) * self.attention(a, a, bias)


class DiffusionTransformerBlock(CheckpointedBlock):
    """Attention and conditioned transition, each with its residual (AF3 Algorithm 23).

    ``forward(a [B, N, c_a], s [B, N, c_s], bias [B, heads, N, N]) -> a``.
    """

    def __init__(self, c_a: int, c_s: int, c_z: int, heads: int) -> None:
        super().__init__()
        self.attention_pair_bias = TokenAttentionPairBias(c_a, c_s, c_z, heads)
        self.conditioned_transition_block = ConditionedTransitionBlock(c_a, c_s)

    @torch.jit.export
    def bias(self, z: Tensor) -> Tensor:
        return self.attention_pair_bias.bias(z)

    @torch.jit.export
    def bias_weight(self) -> Tensor:
        return self.attention_pair_bias.bias_weight()

    def forward(self, a: Tensor, s: Tensor, bias: Tensor) -> Tensor:
        a = a + self.attention_pair_bias(a, s, bias)
        return a + self.conditioned_transition_block.update(a, s)


class DiffusionTransformer(nn.Module):
    """A stack of token blocks.

    ``biases(z [B, N, N, c_z], key_bias [1 or B, 1, 1, N]) -> list of [B, heads, N, N]``;
    ``forward(a [B, N, c_a], s [B, N, c_s], biases) -> a``.
    """

    def __init__(self, blocks: int, c_a: int, c_s: int, c_z: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [DiffusionTransformerBlock(c_a, c_s, c_z, heads) for _ in range(blocks)]
        )

    @torch.jit.export
    def biases(self, z: Tensor, key_bias: Tensor) -> list[Tensor]:
        weights: list[Tensor] = []
        for block in self.blocks:
            weights.append(block.bias_weight())
        if len(weights) > 0 and in_blocks(z, weights[0], self.training):
            return self.biases_in_blocks(z, key_bias, torch.cat(weights), len(weights))
        result: list[Tensor] = []
        for block in self.blocks:
            result.append(block.bias(z) + key_bias)
        return result

    def biases_in_blocks(
        self, z: Tensor, key_bias: Tensor, weight: Tensor, blocks: int
    ) -> list[Tensor]:
        """Return the biases from one norm and one product for all blocks of the transformer.

        The norms differ in their scales alone, which are in the weight [blocks * heads, c_z].
        Heads come first in memory, as attention reads them.
        """
        batch, n = z.shape[0], z.shape[1]
        heads = weight.shape[0] // blocks
        result = z.new_empty([blocks, batch, heads, n, n])
        key_bias = key_bias.expand(batch, 1, 1, n)
        for m in range(batch):
            for start, end in blocks_of(n, n, z.is_cuda):
                rows = F.layer_norm(z[m, start:end], [z.shape[-1]]).flatten(0, 1)
                bias = torch.mm(weight, rows.t()).view(blocks, heads, end - start, n)
                result[:, m, :, start:end] = bias + key_bias[m]
        return list(result.unbind(0))

    def forward(self, a: Tensor, s: Tensor, biases: list[Tensor]) -> Tensor:
        for i, block in enumerate(self.blocks):
            a = block(a, s, biases[i])
        return a
