"""Frame encoder E_theta of the invariant configuration (ATMOS Algorithm 1)."""

from torch import Tensor, nn

from .config import ModelConfig
from .context import Context
from .geometric_attention import geometric_atom_blocks
from .geometric_features import (
    HANDEDNESS_FEATURES,
    RadialEmbedding,
    handedness_features,
    relative_vectors,
)
from .model_features import ModelFeatures
from .primitives import linear_no_bias
from .windows import atoms_to_tokens, windows_to_token_pairs


class GeometricFrameEncoder(nn.Module):
    """Atom attention over a frame, pooled to tokens and token pairs.

    ``forward(x [B, A, 3] angstrom, context, features) -> (s [B, N, c_s], z [B, N, N, c_z])``.
    The result does not change when the frame is rotated or moved; it does under a mirror.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_handedness = linear_no_bias(HANDEDNESS_FEATURES, config.c_atom)
        self.radial = RadialEmbedding(config.c_atompair, 1, config.radial_basis)
        self.blocks = geometric_atom_blocks(config, config.frame_blocks)
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
        s = self.linear_s(self.layernorm_q(atoms_to_tokens(q, features)))
        z = self.linear_z(self.layernorm_p(windows_to_token_pairs(p, features)))
        return s, z
