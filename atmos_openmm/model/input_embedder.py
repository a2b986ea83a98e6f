"""Token inputs of the trunk: atoms pooled to tokens, and relative positions (AF3 Algs. 2, 3)."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .atom_encoder import atom_encoder
from .blocks import blocks_of, in_blocks
from .config import ModelConfig
from .model_features import RESIDUE_TYPES, ModelFeatures
from .primitives import linear_no_bias


class InputFeatureEmbedder(nn.Module):
    """Embed reference conformers and residue types (AF3 Algorithm 2).

    ``forward(features) -> s_inputs [B, N, c_s + 65]``: the pooled atoms, the residue class, the
    alignment's profile and its mean number of deletions.
    """

    residue_types: Final[int] = RESIDUE_TYPES

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.atom_attention_encoder = atom_encoder(
            config, False, config.c_s, config.context_atom_blocks
        )

    def forward(self, features: ModelFeatures) -> Tensor:
        encoder = self.atom_attention_encoder
        c = encoder.embed_atoms(features)
        p = encoder.join(c, encoder.embed_pairs(features), features)
        transformer = encoder.atom_transformer
        conditions = transformer.conditions(c)
        a, _ = encoder(c, conditions, transformer.biases(p, features), features)
        restype = F.one_hot(features.restype, self.residue_types).to(a.dtype)
        deletion = features.deletion_mean.to(a.dtype).unsqueeze(-1)
        return torch.cat([a, restype, features.profile.to(a.dtype), deletion], dim=-1)


class RelativePositionEncoding(nn.Module):
    """Relative residue, token and chain positions of token pairs (AF3 Algorithm 3).

    ``forward(features) -> [B, N, N, c_z]``. The classes pick columns of the weight, which is
    the same as multiplying one-hot vectors by it.
    """

    r_max: Final[int] = 32
    s_max: Final[int] = 2

    def __init__(self, c_z: int) -> None:
        super().__init__()
        self.linear_no_bias = linear_no_bias(4 * self.r_max + 2 * self.s_max + 7, c_z)

    def forward(self, features: ModelFeatures) -> Tensor:
        chain = features.asym_id
        residue = features.residue_index
        entity = features.entity_id
        same_chain = chain.unsqueeze(-1) == chain.unsqueeze(-2)
        same_residue = residue.unsqueeze(-1) == residue.unsqueeze(-2)
        same_entity = entity.unsqueeze(-1) == entity.unsqueeze(-2)
        by_residue = self.relative(residue, same_chain, self.r_max)
        by_token = self.relative(features.token_index, same_chain & same_residue, self.r_max)
        by_chain = self.relative(features.sym_id, same_entity, self.s_max)
        columns = self.linear_no_bias.weight.t()
        classes = 2 * self.r_max + 2
        by_token = by_token + classes
        by_chain = by_chain + 2 * classes + 1
        entity_column = columns[2 * classes]
        same = same_entity.to(columns.dtype).unsqueeze(-1)
        if not in_blocks(columns, columns, self.training):
            z = F.embedding(by_residue, columns) + F.embedding(by_token, columns)
            return z + same * entity_column + F.embedding(by_chain, columns)
        n = chain.shape[1]
        z = columns.new_empty(by_residue.shape + columns.shape[1:])
        for m in range(z.shape[0]):
            for start, end in blocks_of(n, n, z.is_cuda):
                rows = F.embedding(by_residue[m, start:end], columns)
                rows.add_(F.embedding(by_token[m, start:end], columns))
                rows.addcmul_(same[m, start:end], entity_column)
                z[m, start:end] = rows.add_(F.embedding(by_chain[m, start:end], columns))
        return z

    def relative(self, index: Tensor, comparable: Tensor, largest: int) -> Tensor:
        """Return the class of each pair: the clipped difference, or one more class."""
        difference = index.unsqueeze(-1) - index.unsqueeze(-2)
        clipped = difference.clamp(-largest, largest) + largest
        return torch.where(comparable, clipped, 2 * largest + 1)
