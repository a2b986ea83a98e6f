"""Superposition and RMSD of many frames at once.

Proper rotations by least squares (Kabsch, Acta Cryst. A32, 922, 1976), every atom with the same
weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pairwise_distance", "pairwise_rmsd", "rmsd_between", "rmsd_to", "superposed"]

Floats = NDArray[np.float64]


def _rotations(covariance: Floats) -> Floats:
    """Rotations R, [..., 3, 3], for which x @ R is nearest to the target, from sum of x target."""
    u, _, vt = np.linalg.svd(covariance)
    u[..., :, -1] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return u @ vt


def superposed(
    positions: NDArray[Any], reference: NDArray[Any], fit: NDArray[np.int64] | None = None
) -> Floats:
    """Each frame moved onto a reference.

    Parameters
    ----------
    positions : array [F, A, 3]
        Any unit.
    reference : array [A, 3]
    fit : int array, optional
        The atoms that are fitted; all by default. The others move with them.

    Returns
    -------
    float64 array [F, A, 3]
    """
    x = np.asarray(positions, dtype=np.float64)
    target = np.asarray(reference, dtype=np.float64)
    chosen, goal = (x, target) if fit is None else (x[:, fit], target[fit])
    centre = goal.mean(axis=0)
    own = chosen.mean(axis=1, keepdims=True)
    covariance = np.swapaxes(chosen - own, 1, 2) @ (goal - centre)
    return (x - own) @ _rotations(covariance) + centre


def rmsd_to(
    positions: NDArray[Any], reference: NDArray[Any], fit: NDArray[np.int64] | None = None
) -> Floats:
    """RMSD [F] of each frame from a reference [A, 3] after superposition, unit of the positions."""
    difference = superposed(positions, reference, fit) - reference
    if fit is not None:
        difference = difference[:, fit]
    return np.sqrt((difference**2).sum(axis=-1).mean(axis=-1))


def rmsd_between(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """RMSD [F] between frames of two arrays [F, A, 3] one by one, each pair superposed."""
    x, y = (np.asarray(v, dtype=np.float64) for v in (first, second))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    rotation = _rotations(np.swapaxes(x, 1, 2) @ y)
    return np.sqrt(((x @ rotation - y) ** 2).sum(axis=-1).mean(axis=-1))


def pairwise_distance(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Root mean square distance of atoms between frames as they lie, [F, A, 3] and [G, A, 3].

    Returns
    -------
    float64 array [F, G]
        Unit of the positions.
    """
    from scipy.spatial.distance import cdist

    atoms = first.shape[1]
    return cdist(first.reshape(len(first), -1), second.reshape(len(second), -1)) / np.sqrt(atoms)


def pairwise_rmsd(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """RMSD between all frames, [F, A, 3] and [G, A, 3], each pair superposed by itself.

    Returns
    -------
    float64 array [F, G]
        Unit of the positions.
    """
    x, y = (np.asarray(v, dtype=np.float64) for v in (first, second))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    atoms = x.shape[1]
    rows = np.swapaxes(x, 1, 2).reshape(-1, atoms)
    columns = np.swapaxes(y, 1, 2).reshape(-1, atoms)
    covariance = (rows @ columns.T).reshape(len(x), 3, len(y), 3).transpose(0, 2, 1, 3)
    # |x - yR|^2 is smallest where tr(R^T C) is the sum of the singular values, the least of them
    # negative where the best orthogonal matrix would be a reflection.
    singular = np.linalg.svd(covariance, compute_uv=False)
    singular[..., 2] *= np.sign(np.linalg.det(covariance))
    squares = (x**2).sum(axis=(1, 2))[:, None] + (y**2).sum(axis=(1, 2))[None]
    return np.sqrt(np.maximum(squares - 2 * singular.sum(axis=-1), 0) / atoms)
