"""Wasserstein-2 distances: of Gaussians, atom by atom (RMWD), and of point clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AtomGaussians", "RootMeanW2", "atom_gaussians", "cloud_w2", "root_mean_w2"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AtomGaussians:
    """A Gaussian for each atom: `means` [A, 3] and `covariances` [A, 3, 3]."""

    means: Floats
    covariances: Floats


def atom_gaussians(positions: NDArray[Any]) -> AtomGaussians:
    """Mean and covariance (divided by F) of each atom of superposed frames [F, A, 3]."""
    x = np.asarray(positions, dtype=np.float64)
    mean = x.mean(axis=0)
    centred = np.swapaxes(x - mean, 0, 1)
    return AtomGaussians(mean, np.swapaxes(centred, 1, 2) @ centred / len(x))


@dataclass(frozen=True)
class RootMeanW2:
    """Root mean Wasserstein-2 distance and its parts: total^2 = translation^2 + variance^2."""

    translation: float
    variance: float

    @property
    def total(self) -> float:
        """Root mean over the atoms of the squared W2 of their Gaussians."""
        return float(np.hypot(self.translation, self.variance))


def root_mean_w2(first: AtomGaussians, second: AtomGaussians) -> RootMeanW2:
    """RMWD of AlphaFlow (Jing, Berger, Jaakkola 2024), unit of the positions.

    W2^2 of two Gaussians = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2); the mean over the
    atoms of each of the two terms, and the square root of their sum.
    """
    translation = ((first.means - second.means) ** 2).sum(axis=-1)
    values, vectors = np.linalg.eigh(first.covariances)
    # Rounding leaves eigenvalues like -1e-20 of what cannot be negative.
    root = (vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ np.swapaxes(vectors, 1, 2)
    inner = np.maximum(np.linalg.eigvalsh(root @ second.covariances @ root), 0)
    variance = (
        np.trace(first.covariances, axis1=1, axis2=2)
        + np.trace(second.covariances, axis1=1, axis2=2)
        - 2 * np.sqrt(inner).sum(axis=-1)
    )
    return RootMeanW2(
        float(np.sqrt(translation.mean())), float(np.sqrt(np.maximum(variance, 0).mean()))
    )


def cloud_w2(first: NDArray[Any], second: NDArray[Any]) -> float:
    """W2 of two equally large clouds of points [F, D], by the exact best assignment.

    Returns
    -------
    float
        sqrt of the mean squared distance of the assigned points, unit of the points.

    Raises
    ------
    ValueError
        If the clouds have different sizes.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if first.shape != second.shape:
        raise ValueError(
            f"clouds have shapes {first.shape} and {second.shape}; an assignment needs as many "
            "points in both"
        )
    squares = cdist(first, second, "sqeuclidean")
    rows, columns = linear_sum_assignment(squares)
    return float(np.sqrt(squares[rows, columns].mean()))
