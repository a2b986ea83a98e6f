"""Distances between all frames of two sets, as they lie and after superposition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pairwise_distance", "pairwise_rmsd"]

Floats = NDArray[np.float64]


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
