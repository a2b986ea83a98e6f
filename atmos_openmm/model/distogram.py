"""Distogram head P_theta (ATMOS Eq. 10): distances between tokens from the latent."""

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .primitives import Linear

FIRST_EDGE_ANGSTROM = 2.3125
LAST_EDGE_ANGSTROM = 21.6875
"""The outermost edges between bins, those of AF2's, AF3's and Protenix's heads."""


class DistogramHead(nn.Module):
    """Symmetric logits over distance bins: ``forward(z [B, N, N, c_z]) -> [B, N, N, bins]``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Linear(config.c_z, config.distogram_bins)

    def forward(self, z: Tensor) -> Tensor:
        logits = self.linear(z)
        return logits + logits.transpose(-2, -3)


def distogram_target(centers: Tensor, bins: int) -> Tensor:
    """Return the bin of each distance between tokens.

    Bin k holds distances above edge k - 1 up to edge k, of `bins - 1` edges at equal distances;
    the first and the last bin are open. With 64 bins they are 0.3125 angstrom wide, and logits
    mean what those of Protenix's head do.

    Parameters
    ----------
    centers : Tensor [B, N, 3]
        Representative atoms, angstrom.
    bins : int

    Returns
    -------
    Tensor [B, N, N] int64
    """
    edges = torch.linspace(
        FIRST_EDGE_ANGSTROM,
        LAST_EDGE_ANGSTROM,
        bins - 1,
        dtype=centers.dtype,
        device=centers.device,
    )
    # Differences, not products of coordinates, which lose half of the digits.
    distances = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.bucketize(distances, edges)
