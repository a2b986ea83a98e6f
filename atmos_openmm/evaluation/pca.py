"""Principal components of alpha-carbon coordinates, and W2 in their plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PrincipalComponents", "fit_components", "similarity"]

COMPONENTS = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PrincipalComponents:
    """A fitted PCA.

    Attributes
    ----------
    mean : float64 array [D]
    components : float64 array [2, D]
        Orthonormal rows, the largest variance first. The sign of a row means nothing.
    variances : float64 array [2]
        Divided by F - 1.
    """

    mean: Floats
    components: Floats
    variances: Floats

    def project(self, positions: NDArray[Any]) -> Floats:
        """Coordinates [F, 2] of frames [F, A, 3] along the components."""
        flat = np.asarray(positions, dtype=np.float64).reshape(len(positions), -1)
        return (flat - self.mean) @ self.components.T


def fit_components(positions: NDArray[Any]) -> PrincipalComponents:
    """The first two principal components of superposed frames [F, A, 3] (F >= 2)."""
    x = np.asarray(positions, dtype=np.float64).reshape(len(positions), -1)
    if len(x) < 2:
        raise ValueError(f"principal components need at least two frames, found {len(x)}")
    mean = x.mean(axis=0)
    centred = x - mean
    # The smaller of the two products has the same eigenvalues as the covariance, and is cheap.
    if len(x) < x.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        order = np.argsort(values)[::-1][:COMPONENTS]
        rows = (centred.T @ vectors[:, order]).T
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        order = np.argsort(values)[::-1][:COMPONENTS]
        rows = vectors[:, order].T
    return PrincipalComponents(mean, rows, np.maximum(values[order], 0) / (len(x) - 1))


def similarity(first: PrincipalComponents, second: PrincipalComponents) -> float:
    """|cos| of the angle between the first components (0 to 1).

    0 where one of the ensembles does not move, and so has no component.
    """
    for components in (first, second):
        scale = max(float(np.abs(components.mean).max()), 1e-12)
        if components.variances[0] <= (1e-6 * scale) ** 2:
            return 0.0
    return float(abs(first.components[0] @ second.components[0]))
