"""Alignment module of the trunk (AF3 Algorithms 8 to 10). Without an alignment it is skipped."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activation_checkpointing import CheckpointedBlock
from .config import ModelConfig
from .model_features import RESIDUE_TYPES, ModelFeatures
from .pairformer import PairBlock, key_bias_of, pair_mask_of
from .primitives import RowDropout, Transition, linear_no_bias, linear_zero

C_HIDDEN = 32
AVERAGING_HEADS = 8
AVERAGING_WIDTH = 8
DROPOUT = 0.15


class OuterProductMean(nn.Module):
    """Mean outer product of the columns (AF3 Algorithm 9).

    ``forward(m [B, M, N, c_m], mask [B, M, N]) -> [B, N, N, c_z]``, without the residual.
    """

    smallest_count: Final[float] = 1e-3

    def __init__(self, c_m: int, c_z: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c_m)
        self.linear_1 = linear_no_bias(c_m, C_HIDDEN)
        self.linear_2 = linear_no_bias(c_m, C_HIDDEN)
        self.linear_out = linear_zero(C_HIDDEN * C_HIDDEN, c_z, bias=True)

    def forward(self, m: Tensor, mask: Tensor) -> Tensor:
        m = self.layer_norm(m)
        a = self.linear_1(m) * mask.unsqueeze(-1)
        b = self.linear_2(m) * mask.unsqueeze(-1)
        outer = torch.einsum("bmic,bmjd->bijcd", a, b).flatten(-2)
        count = torch.einsum("bmi,bmj->bij", mask, mask).unsqueeze(-1)
        return self.linear_out(outer) / (count + self.smallest_count)


class MSAPairWeightedAveraging(nn.Module):
    """Average over the columns with weights from the pairs (AF3 Algorithm 10).

    ``forward(m [B, M, N, c_m], z [B, N, N, c_z], key_bias [1 or B, 1, 1, N]) ->
    [B, M, N, c_m]``, without the residual.
    """

    heads: Final[int] = AVERAGING_HEADS

    def __init__(self, c_m: int, c_z: int) -> None:
        super().__init__()
        width = AVERAGING_HEADS * AVERAGING_WIDTH
        self.layernorm_m = nn.LayerNorm(c_m)
        self.linear_no_bias_mv = linear_no_bias(c_m, width)
        self.layernorm_z = nn.LayerNorm(c_z)
        self.linear_no_bias_z = linear_no_bias(c_z, AVERAGING_HEADS)
        self.linear_no_bias_mg = linear_zero(c_m, width)
        self.linear_no_bias_out = linear_zero(width, c_m)

    def forward(self, m: Tensor, z: Tensor, key_bias: Tensor) -> Tensor:
        m = self.layernorm_m(m)
        v = self.linear_no_bias_mv(m).unflatten(-1, [self.heads, -1])
        logits = self.linear_no_bias_z(self.layernorm_z(z)).movedim(-1, 1) + key_bias
        w = torch.softmax(logits, dim=-1)  # [B, heads, N, N]
        average = torch.einsum("bhij,bmjhc->bmihc", w, v).flatten(-2)
        return self.linear_no_bias_out(torch.sigmoid(self.linear_no_bias_mg(m)) * average)


class MSAStack(nn.Module):
    """Update of the alignment track (AF3 Algorithm 8, lines 7 and 8)."""

    def __init__(self, c_m: int, c_z: int) -> None:
        super().__init__()
        self.msa_pair_weighted_averaging = MSAPairWeightedAveraging(c_m, c_z)
        self.dropout_row = RowDropout(DROPOUT)
        self.transition_m = Transition(c_m, 4)

    def forward(self, m: Tensor, z: Tensor, key_bias: Tensor) -> Tensor:
        m = m + self.dropout_row(self.msa_pair_weighted_averaging(m, z, key_bias))
        return m + self.transition_m(m)


class MSABlock(CheckpointedBlock):
    """One block of the alignment module; the last has no alignment update.

    ``forward(m, z, mask [B, M, N], pair_mask [B, N, N], key_bias) -> (m, z)``.
    """

    last: Final[bool]

    def __init__(self, config: ModelConfig, last: bool) -> None:
        super().__init__()
        self.last = last
        self.outer_product_mean_msa = OuterProductMean(config.c_m, config.c_z)
        if not last:
            self.msa_stack = MSAStack(config.c_m, config.c_z)
        self.pair_stack = PairBlock(config.c_z, config.heads_z, config.dropout)

    def forward(
        self, m: Tensor, z: Tensor, mask: Tensor, pair_mask: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        z = z + self.outer_product_mean_msa(m, mask)
        if not self.last:
            m = self.msa_stack(m, z, key_bias)
        return m, self.pair_stack(z, pair_mask)


class MSAModule(nn.Module):
    """Fold an alignment into the token pairs (AF3 Algorithm 8).

    ``forward(z [B, N, N, c_z], s_inputs [B, N, c_s_inputs], features) -> z``, unchanged for
    molecules without an alignment. All rows are used: choosing among more is the caller's
    business, since the network draws no random numbers.
    """

    residue_types: Final[int] = RESIDUE_TYPES

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_no_bias_m = linear_no_bias(RESIDUE_TYPES + 2, config.c_m)
        self.linear_no_bias_s = linear_no_bias(config.c_s_inputs, config.c_m)
        self.blocks = nn.ModuleList(
            [
                MSABlock(config, last=number == config.msa_blocks - 1)
                for number in range(config.msa_blocks)
            ]
        )

    def forward(self, z: Tensor, s_inputs: Tensor, features: ModelFeatures) -> Tensor:
        if features.msa.shape[1] == 0:
            return z
        # One sum over classes and deletions, as Protenix takes it: another order of this sum
        # doubles what the blocks make of rounding in single precision.
        classes = F.one_hot(features.msa, self.residue_types).to(z.dtype)
        m = self.linear_no_bias_m(torch.cat([classes, features.msa_deletion.to(z.dtype)], dim=-1))
        m = m + self.linear_no_bias_s(s_inputs).unsqueeze(1)
        token_mask = features.token_mask.to(z.dtype)
        mask = features.msa_mask.to(z.dtype).unsqueeze(-1) * token_mask.unsqueeze(1)
        pair_mask = pair_mask_of(token_mask)
        key_bias = key_bias_of(token_mask)
        updated = z
        for block in self.blocks:
            m, updated = block(m, updated, mask, pair_mask, key_bias)
        # Beside others in a batch, a molecule may have no row of its own.
        aligned = features.msa_mask.amax(1).reshape(-1, 1, 1, 1) > 0
        return torch.where(aligned, updated, z)
