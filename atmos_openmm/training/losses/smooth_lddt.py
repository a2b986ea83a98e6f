"""Smooth LDDT: a differentiable score of distances between near atoms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["THRESHOLDS_ANGSTROM", "smooth_lddt_loss"]

THRESHOLDS_ANGSTROM = (0.5, 1.0, 2.0, 4.0)
"""Errors of a distance that LDDT counts as small."""

CHUNK_DISTANCES = {"cpu": 2**21, "cuda": 2**24}
"""Distances in memory at a time: what a processor's cache holds, what keeps a GPU busy."""


def smooth_lddt_loss(
    estimate: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    radius_angstrom: float = 15.0,
    chunk_atoms: int | None = None,
) -> Tensor:
    """Return one minus the smooth LDDT of each frame (AF3 supplement, Algorithm 27).

    The mean over pairs of atoms that are near in the target of
    ``1/4 sum_t sigmoid(t - | d - d_target |)`` for the four thresholds t. A perfect frame has
    ``1 - 1/4 sum_t sigmoid(t)``, about 0.19, and not 0. Rigid motions and mirror images of either
    frame change nothing.

    Parameters
    ----------
    estimate, target : Tensor [B, A, 3]
        Angstrom.
    mask : Tensor [A] or [B, A]
        1 for atoms that count.
    radius_angstrom : float
        Pairs at least so far apart in the target are left out. AF3 takes twice as much for
        nucleic acids, which this package does not accept.
    chunk_atoms : int, optional
        Rows of the distance matrices that are in memory at a time, by default as many as make two
        million distances (on a GPU 17 million). They are computed again for the gradient, so that
        nothing of size A x A is kept.

    Returns
    -------
    Tensor [B]
        float32 (float64 for float64) whatever autocast says; 0 for frames without such a pair.
    """
    if chunk_atoms is None:
        most = CHUNK_DISTANCES.get(estimate.device.type, CHUNK_DISTANCES["cuda"])
        chunk_atoms = max(1, most // max(1, estimate.shape[0] * estimate.shape[1]))
    if chunk_atoms < 1:
        raise ValueError(f"chunk_atoms is {chunk_atoms}; expected at least 1.")
    with torch.autocast(estimate.device.type, enabled=False):
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        seen = mask.to(dtype).expand(estimate.shape[:2])
        there = seen.unsqueeze(-1) > 0.0
        x = torch.where(there, estimate.to(dtype), 0.0)
        y = torch.where(there, target.to(dtype), 0.0)
        score = x.new_zeros(x.shape[0])
        pairs = x.new_zeros(x.shape[0])
        for start in range(0, x.shape[1], chunk_atoms):
            # Pairs are taken once: the score is symmetric.
            given = (x[:, start:], y[:, start:], seen[:, start:], chunk_atoms, radius_angstrom)
            if x.requires_grad and torch.is_grad_enabled():
                part = checkpoint(_rows, *given, use_reentrant=False, preserve_rng_state=False)
            else:
                part = _rows(*given)
            score = score + part[0]
            pairs = pairs + part[1]
        return torch.where(pairs > 0.0, 1.0 - score / pairs.clamp(min=1.0), 0.0)


def _rows(x: Tensor, y: Tensor, seen: Tensor, rows: int, radius: float) -> tuple[Tensor, Tensor]:
    """Return sum of scores and number of pairs of the first `rows` atoms with all later ones."""
    d_target = _distances(y, rows)
    near = (d_target < radius).to(x.dtype) * seen[:, :rows].unsqueeze(2) * seen.unsqueeze(1)
    near = torch.triu(near, diagonal=1)
    error = (_distances(x, rows) - d_target).abs()
    score = torch.zeros_like(error)
    for threshold in THRESHOLDS_ANGSTROM:
        score = score + torch.sigmoid(threshold - error)
    return 0.25 * (near * score).sum((1, 2)), near.sum((1, 2))


def _distances(x: Tensor, rows: int) -> Tensor:
    """Return distances [B, rows, A] of the first atoms to all; zero with gradient zero at 0."""
    first, last = x[:, :rows].unsqueeze(2), x.unsqueeze(1)
    square = (first[..., 0] - last[..., 0]) ** 2
    square = square + (first[..., 1] - last[..., 1]) ** 2
    square = square + (first[..., 2] - last[..., 2]) ** 2
    apart = square > 0.0
    return torch.where(apart, torch.sqrt(torch.where(apart, square, 1.0)), 0.0)
