"""Frame encoder E_theta (ATMOS Algorithm 1): coordinates of a frame to token features."""

import torch
from torch import Tensor, nn

from .atom_attention import GeometricAtomBlock, atoms_to_tokens
from .config import ModelConfig
from .context import Context
from .features import ModelFeatures
from .geometry import HANDEDNESS_FEATURES, RadialEmbedding, handedness_features, relative_vectors
from .primitives import linear_no_bias


class FrameEncoder(nn.Module):
    """Atom attention over a frame, pooled to tokens and token pairs.

    ``forward(x [B, A, 3] angstrom, context, features) -> (s [B, N, c_s], z [B, N, N, c_z])``.
    The result does not change when the frame is rotated or moved; it does under a mirror.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_handedness = linear_no_bias(HANDEDNESS_FEATURES, config.c_atom)
        self.radial = RadialEmbedding(config.c_atompair, 1, config.radial_basis)
        self.blocks = nn.ModuleList(
            [
                GeometricAtomBlock(config.c_atom, config.c_atompair, config.heads_atom)
                for _ in range(config.frame_blocks)
            ]
        )
        self.layernorm_q = nn.LayerNorm(config.c_atom)
        self.layernorm_p = nn.LayerNorm(config.c_atompair)
        self.linear_s = linear_no_bias(config.c_atom, config.c_s)
        self.linear_z = linear_no_bias(config.c_atompair, config.c_z)

    def forward(
        self, x: Tensor, context: Context, features: ModelFeatures
    ) -> tuple[Tensor, Tensor]:
        unit, d = relative_vectors(x, features)
        none = x.new_zeros([x.shape[0], 1])
        p = context.p + self.radial(d, context.p, none, none[:, 0])
        q = context.c + self.linear_handedness(handedness_features(x, features))
        for block in self.blocks:
            q = block(q, block.condition(context.c), p, unit, features)
        num_tokens = features.token_pair.shape[0]
        s = self.linear_s(self.layernorm_q(atoms_to_tokens(q, features, num_tokens)))
        z = self.linear_z(self.layernorm_p(self.pool_pairs(p, features, num_tokens)))
        return s, z

    def pool_pairs(self, p: Tensor, features: ModelFeatures, num_tokens: int) -> Tensor:
        """Return the mean over the atom pairs of each token pair: [B, N, N, c_atompair]."""
        n_t, n_q = features.query_index.shape
        num_atoms = features.atom_to_token.shape[0]
        token_q = features.atom_to_token[features.query_index].unsqueeze(2)
        token_k = features.atom_to_token[features.key_index].unsqueeze(1)
        slot = torch.arange(n_t * n_q, device=p.device).reshape(n_t, n_q, 1)
        valid = ((slot < num_atoms) & (features.key_bias == 0.0)).to(p.dtype).flatten()
        index = (token_q * num_tokens + token_k).flatten()
        out = p.new_zeros([p.shape[0], num_tokens * num_tokens, p.shape[-1]])
        out = out.index_add(1, index, p.flatten(1, 3) * valid.unsqueeze(-1))
        count = p.new_zeros([num_tokens * num_tokens]).index_add(0, index, valid)
        out = out / count.clamp(min=1.0).unsqueeze(-1)
        return out.unflatten(1, [num_tokens, num_tokens])
