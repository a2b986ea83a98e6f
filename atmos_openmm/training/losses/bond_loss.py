"""Bond lengths of denoised frames."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bond_loss"]


def bond_loss(estimate: Tensor, target: Tensor, bonds: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error of bond lengths of each frame (AF3 supplement, Eq. 5).

    AF3 takes the bonds between polymers and ligands; here it is those that are given.

    Parameters
    ----------
    estimate, target : Tensor [B, A, 3]
        Angstrom.
    bonds : Tensor [M, 2] int64
    mask : Tensor [A] or [B, A]
        1 for atoms that were seen; a bond counts where both were.

    Returns
    -------
    Tensor [B]
        Square angstrom, float32 (float64 for float64) whatever autocast says; 0 for frames
        without such a bond.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        first, second = bonds.reshape(-1, 2).unbind(1)
        seen = mask.to(dtype).expand(estimate.shape[:2])
        both = seen[:, first] * seen[:, second]
        error = _lengths(estimate.to(dtype), first, second) - _lengths(
            target.to(dtype), first, second
        )
        error = torch.where(both > 0.0, error, 0.0)
        return (both * error**2).sum(1) / both.sum(1).clamp(min=1.0)


def _lengths(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    # The gradient of this norm is 0 at 0.
    return torch.linalg.vector_norm(x[:, first] - x[:, second], dim=-1)
