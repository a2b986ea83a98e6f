"""Distogram head P_theta (ATMOS Eq. 10): distances between tokens from the latent."""

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .primitives import Linear

FIRST_BIN_ANGSTROM = 2.0
LAST_BIN_ANGSTROM = 22.0


class DistogramHead(nn.Module):
    """Symmetric logits over distance bins: ``forward(z [B, N, N, c_z]) -> [B, N, N, bins]``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Linear(config.c_z, config.distogram_bins)

    def forward(self, z: Tensor) -> Tensor:
        logits = self.linear(z)
        return logits + logits.transpose(-2, -3)


def distogram_target(centers: Tensor, bins: int) -> Tensor:
    """Return the bin of each token distance [B, N, N] int64 from token centres [B, N, 3]."""
    edges = torch.linspace(FIRST_BIN_ANGSTROM, LAST_BIN_ANGSTROM, bins - 1, device=centers.device)
    return torch.bucketize(torch.cdist(centers, centers), edges)
