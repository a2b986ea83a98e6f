"""Weighted rigid superposition of frames on estimates of them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["weighted_align"]


@torch.no_grad()
def weighted_align(target: Tensor, estimate: Tensor, weight: Tensor) -> Tensor:
    """Superpose frames on estimates of them, without gradient.

    AF3 supplement, Algorithm 28 (Kabsch 1976): the rotation, never a reflection, and the
    translation with the least weighted square distance. Computed in double precision.

    Parameters
    ----------
    target, estimate : Tensor [B, A, 3]
    weight : Tensor [1 or B, A]
        At least 0; what atoms of weight 0 hold decides nothing (NaN included).

    Returns
    -------
    Tensor [B, A, 3]
        The target, turned and moved onto the estimate, in the target's precision.

    Notes
    -----
    Where the weighted atoms do not determine the rotation (one atom, or atoms on a line), it is
    one of those with the least distance; without weights at all the target is not turned. An
    estimate that is not finite gives a result that is not finite, and no error.
    """
    w = weight.double().unsqueeze(-1)
    x = torch.where(w > 0.0, target.double(), 0.0)
    y = torch.where(w > 0.0, estimate.double(), 0.0)
    total = w.sum(1, keepdim=True)
    total = torch.where(total > 0.0, total, 1.0)
    center = (w * x).sum(1, keepdim=True) / total
    goal = (w * y).sum(1, keepdim=True) / total
    # Rounding errors below turn by nothing: of order 1e-16 of the covariance.
    covariance = (w * (x - center)).mT @ (y - goal)
    # The decomposition of what is not finite is an error; the loss is to say so instead.
    u, _, vh = torch.linalg.svd(torch.nan_to_num(covariance, 0.0, 0.0, 0.0))
    # Both factors are orthogonal, so the determinant is 1 or -1; the axis of the smallest
    # singular value costs least to turn over.
    flip = torch.ones_like(u[:, 0])
    flip[:, 2] = torch.sign(torch.linalg.det(u @ vh))
    rotation = (u * flip.unsqueeze(1)) @ vh
    return ((target.double() - center) @ rotation + goal).to(target.dtype)
