"""Pairformer (AF3 Algorithm 17): the pair track updates itself and biases the single track."""

import torch
from torch import Tensor, nn

from .activation_checkpointing import CheckpointedBlock
from .blocks import blocks_of, in_blocks
from .config import ModelConfig
from .primitives import (
    Linear,
    RowDropout,
    Transition,
    attention,
    linear_gate,
    linear_no_bias,
    linear_zero,
)
from .triangle import TriangleAttention, TriangleMultiplication


class Attention(nn.Module):
    """Multi-head attention with additive bias and output gate; only the query has an offset.

    ``forward(q_x [..., Q, c], kv_x [..., K, c], bias [..., heads, Q, K]) -> [..., Q, c]``.
    """

    heads: int

    def __init__(self, c: int, heads: int, zero_output: bool) -> None:
        super().__init__()
        if c % heads:
            raise ValueError(f"The width {c} is no multiple of the number of heads {heads}.")
        self.heads = heads
        self.linear_q = Linear(c, c)
        self.linear_k = linear_no_bias(c, c)
        self.linear_v = linear_no_bias(c, c)
        self.linear_g = linear_no_bias(c, c)
        self.linear_o = linear_zero(c, c) if zero_output else linear_no_bias(c, c)

    def forward(self, q_x: Tensor, kv_x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.linear_q(q_x), self.linear_k(kv_x), self.linear_v(kv_x)
        if q.dim() > 3:
            bias = bias.expand(q.shape[:-2] + bias.shape[-3:]).flatten(0, -4)
        o = attention(q.flatten(0, -3), k.flatten(0, -3), v.flatten(0, -3), bias, self.heads)
        return self.linear_o(torch.sigmoid(self.linear_g(q_x)) * o.view(q.shape))


class AttentionPairBias(nn.Module):
    """Single-track attention biased by the pair track (AF3 Algorithm 24, without condition).

    ``forward(s [B, N, c_s], z [B, N, N, c_z], key_bias [1 or B, 1, 1, N]) -> [B, N, c_s]``,
    without the residual; `key_bias` is 0 for tokens and very negative for padding.
    """

    def __init__(self, c_s: int, c_z: int, heads: int) -> None:
        super().__init__()
        self.layernorm_a = nn.LayerNorm(c_s)
        self.attention = Attention(c_s, heads, True)
        self.layernorm_z = nn.LayerNorm(c_z)
        self.linear_nobias_z = linear_no_bias(c_z, heads)

    def forward(self, s: Tensor, z: Tensor, key_bias: Tensor) -> Tensor:
        s = self.layernorm_a(s)
        return self.attention(s, s, self.bias(z) + key_bias)

    def bias(self, z: Tensor) -> Tensor:
        """Return the bias of the pairs [B, heads, N, N]."""
        if not in_blocks(z, self.linear_nobias_z.weight, self.training):
            return self.linear_nobias_z(self.layernorm_z(z)).movedim(-1, -3)
        n = z.shape[1]
        bias = z.new_empty([z.shape[0], self.attention.heads, n, n])
        for m in range(z.shape[0]):
            for start, end in blocks_of(n, n, z.is_cuda):
                rows = self.linear_nobias_z(self.layernorm_z(z[m, start:end]))
                bias[m, :, start:end] = rows.movedim(-1, 0)
        return bias


class PairBlock(nn.Module):
    """The pair track of a Pairformer block (AF3 Algorithm 17, lines 2 to 6).

    ``forward(z [B, N, N, c_z], pair_mask [1 or B, N, N]) -> z``.
    """

    def __init__(self, c_z: int, heads_z: int, dropout: float) -> None:
        super().__init__()
        self.tri_mul_out = TriangleMultiplication(c_z, c_z, True)
        self.tri_mul_in = TriangleMultiplication(c_z, c_z, False)
        self.tri_att_start = TriangleAttention(c_z, heads_z)
        self.tri_att_end = TriangleAttention(c_z, heads_z)
        self.pair_transition = Transition(c_z, 4)
        self.dropout_row = RowDropout(dropout)

    def update_pairs(self, z: Tensor, pair_mask: Tensor) -> Tensor:
        """Return the updated pairs."""
        if in_blocks(z, self.tri_mul_out.linear_z.weight, self.training):
            z = z.clone(memory_format=torch.contiguous_format)
            self.tri_mul_out.add_to(z, pair_mask)
            self.tri_mul_in.add_to(z, pair_mask)
            self.tri_att_start.add_to(z, pair_mask)
            self.tri_att_end.add_to(z.transpose(1, 2), pair_mask.transpose(1, 2))
            self.pair_transition.add_to(z)
            return z
        z = z + self.dropout_row(self.tri_mul_out(z, pair_mask))
        z = z + self.dropout_row(self.tri_mul_in(z, pair_mask))
        z = z + self.dropout_row(self.tri_att_start(z, pair_mask))
        z = z.transpose(-2, -3)
        z = z + self.dropout_row(self.tri_att_end(z, pair_mask.transpose(-1, -2)))
        z = z.transpose(-2, -3)
        return z + self.pair_transition(z)

    def forward(self, z: Tensor, pair_mask: Tensor) -> Tensor:
        return self.update_pairs(z, pair_mask)


class PairformerBlock(CheckpointedBlock, PairBlock):
    """One Pairformer block (AF3 Algorithm 17, lines 2 to 8).

    ``forward(s [B, N, c_s], z [B, N, N, c_z], pair_mask [1 or B, N, N],
    key_bias [1 or B, 1, 1, N]) -> (s, z)``.
    """

    def __init__(self, c_s: int, c_z: int, heads_s: int, heads_z: int, dropout: float) -> None:
        super().__init__(c_z, heads_z, dropout)
        self.attention_pair_bias = AttentionPairBias(c_s, c_z, heads_s)
        self.single_transition = Transition(c_s, 4)

    def forward(  # type: ignore[override]
        self, s: Tensor, z: Tensor, pair_mask: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        z = self.update_pairs(z, pair_mask)
        s = s + self.attention_pair_bias(s, z, key_bias)
        s = s + self.single_transition(s)
        return s, z


class PairformerStack(nn.Module):
    """A stack of Pairformer blocks over masked tokens.

    ``forward(s [B, N, c_s], z [B, N, N, c_z], token_mask [1 or B, N]) -> (s, z)``.
    """

    def __init__(
        self, blocks: int, c_s: int, c_z: int, heads_s: int, heads_z: int, dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [PairformerBlock(c_s, c_z, heads_s, heads_z, dropout) for _ in range(blocks)]
        )

    def forward(self, s: Tensor, z: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        pair_mask = pair_mask_of(token_mask).to(z.dtype).expand(z.shape[0], -1, -1)
        key_bias = key_bias_of(token_mask).to(z.dtype)
        for block in self.blocks:
            s, z = block(s, z, pair_mask, key_bias)
        return s, z


def pairformer_stack(config: ModelConfig, blocks: int) -> PairformerStack:
    """Return a stack of a configuration's widths."""
    return PairformerStack(
        blocks, config.c_s, config.c_z, config.heads_s, config.heads_z, config.dropout
    )


def pair_mask_of(token_mask: Tensor) -> Tensor:
    """Return 1 for pairs of tokens [B, N, N], 0 where either is padding."""
    return token_mask.unsqueeze(-1) * token_mask.unsqueeze(-2)


def key_bias_of(token_mask: Tensor) -> Tensor:
    """Return the attention bias of tokens as keys [B, 1, 1, N]: 0, or -1e9 for padding."""
    return (1e9 * (token_mask - 1.0)).unsqueeze(1).unsqueeze(1)


class LinearGate(nn.Module):
    """Bounded update of a latent: ``h' = (1 - g) h + g tanh(u)``, a convex combination.

    With ``|h| <= 1`` the result is within [-1, 1] whatever the inputs are, so a latent state
    cannot grow over a rollout (the gating of gated state-space and recurrent models).
    ``forward(h [..., c], x [..., c]) -> [..., c]``.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c)
        self.linear_g = linear_gate(c, c, 1.0)
        self.linear_u = linear_no_bias(c, c)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        x = self.layer_norm(x)
        g = torch.sigmoid(self.linear_g(x))
        return h + g * (torch.tanh(self.linear_u(x)) - h)
