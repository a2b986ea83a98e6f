"""Frame encoder E_theta of the Cartesian configuration (ATMOS Algorithm 1).

Tokens come from AF3's atom attention encoder on the coordinates, as in the paper. What joins
the pair track the paper leaves open: here distances between token centres, and their directions
in each token's local frame, as AF2 and AF3 embed templates.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .atom_encoder import atom_encoder
from .config import ModelConfig
from .context import Context
from .model_features import ModelFeatures
from .primitives import linear_no_bias
from .windows import atoms_to_tokens, centred, gather_rows

DISTANCE_CENTERS = 38
FIRST_CENTER_ANGSTROM = 3.25
LAST_CENTER_ANGSTROM = 50.75
"""The range of AF2's template distogram."""


def token_frames(x: Tensor, features: ModelFeatures) -> Tensor:
    """Return the axes of each token's local frame [B, N, 3, 3], rows of unit length.

    Gram-Schmidt on the three atoms of the frame (AF2 Algorithm 21): the first axis points from
    the second atom to the third. Tokens without a frame have zeros.
    """
    first = gather_rows(x, features.frame_atoms[:, :, 0])
    middle = gather_rows(x, features.frame_atoms[:, :, 1])
    last = gather_rows(x, features.frame_atoms[:, :, 2])
    e1 = F.normalize(last - middle, dim=-1, eps=1e-4)
    u = first - middle
    e2 = F.normalize(u - (u * e1).sum(-1, keepdim=True) * e1, dim=-1, eps=1e-4)
    e3 = torch.linalg.cross(e1, e2, dim=-1)
    axes = torch.stack([e1, e2, e3], dim=-2)
    return axes * features.frame_mask.to(x.dtype).unsqueeze(-1).unsqueeze(-1)


class FramePairs(nn.Module):
    """Distances and directions between tokens: ``forward(x [B, A, 3], features) -> [B, N, N, c]``.

    Unchanged when the frame is rotated or moved.
    """

    width: Final[float] = (LAST_CENTER_ANGSTROM - FIRST_CENTER_ANGSTROM) / (DISTANCE_CENTERS - 1)
    centers: Tensor

    def __init__(self, c_z: int) -> None:
        super().__init__()
        centers = torch.linspace(FIRST_CENTER_ANGSTROM, LAST_CENTER_ANGSTROM, DISTANCE_CENTERS)
        self.register_buffer("centers", centers)
        self.linear_distance = linear_no_bias(DISTANCE_CENTERS, c_z)
        self.linear_direction = linear_no_bias(4, c_z)

    def forward(self, x: Tensor, features: ModelFeatures) -> Tensor:
        center = atoms_to_tokens(x, features)
        r = center.unsqueeze(1) - center.unsqueeze(2)  # from token i to token j
        d = torch.sqrt((r * r).sum(-1, keepdim=True) + 1e-6)
        u = (d - self.centers.to(d.dtype)) / self.width
        axes = token_frames(x, features)
        direction = torch.einsum("bnkc,bnmc->bnmk", axes, r / d)
        frame = features.frame_mask.to(x.dtype).unsqueeze(-1).unsqueeze(-1)
        frame = frame.expand(x.shape[0], -1, center.shape[1], -1)
        z = self.linear_distance(torch.exp(-0.5 * u * u))
        return z + self.linear_direction(torch.cat([direction, frame], dim=-1))


class FrameEncoder(nn.Module):
    """Atoms of a frame to tokens, geometry of a frame to token pairs.

    ``forward(x [B, A, 3] angstrom, context, features) -> (s [B, N, c_s], z [B, N, N, c_z])``.
    The pairs do not change when the frame is rotated; the tokens learn not to, as AF3's do.
    """

    sigma_data: Final[float]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.sigma_data = config.sigma_data
        self.atom_attention_encoder = atom_encoder(config, True, config.c_s, config.frame_blocks)
        self.pairs = FramePairs(config.c_z)
        self.layernorm_s = nn.LayerNorm(config.c_s)
        self.layernorm_z = nn.LayerNorm(config.c_z)
        self.linear_s = linear_no_bias(config.c_s, config.c_s)
        self.linear_z = linear_no_bias(config.c_z, config.c_z)

    def forward(
        self, x: Tensor, context: Context, features: ModelFeatures
    ) -> tuple[Tensor, Tensor]:
        encoder = self.atom_attention_encoder
        x = centred(x, features)
        c = encoder.add_tokens(encoder.embed_atoms(features), context.s, features)
        narrow = encoder.narrow_pairs(context.z)
        p = encoder.add_token_pairs(encoder.embed_pairs(features), narrow, features)
        p = encoder.join(c, p, features)
        q = encoder.add_coordinates(c, x / self.sigma_data)
        transformer = encoder.atom_transformer
        s, _ = encoder(q, transformer.conditions(c), transformer.biases(p, features), features)
        z = self.pairs(x, features)
        return self.linear_s(self.layernorm_s(s)), self.linear_z(self.layernorm_z(z))
