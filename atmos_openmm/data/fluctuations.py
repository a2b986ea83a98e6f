"""Radius of gyration and fluctuations, as mdCATH stores them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.geometry import superpose

__all__ = ["gyration_radius", "rmsf"]

FloatArray = NDArray[np.float64]


def gyration_radius(positions: ArrayLike) -> FloatArray:
    """Root mean square distance from the centroid, every atom with the same weight.

    Parameters
    ----------
    positions: array, shape (F, A, 3)

    Returns
    -------
    ndarray, shape (F,)
        In the unit of the positions.
    """
    x = np.asarray(positions, np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    return np.sqrt((x * x).sum(axis=-1).mean(axis=-1))


def rmsf(
    positions: ArrayLike, mean: bool = True, tolerance: float = 1e-9, iterations: int = 100
) -> FloatArray:
    """Root mean square distance of each atom from its mean position after superposition.

    Parameters
    ----------
    positions: array, shape (F, A, 3)
        All atoms count in the superposition: give alpha carbons alone for the usual values.
    mean: bool
        Superpose on the mean structure, found by iteration; else on the first frame.
    tolerance: float
        Change of the mean structure (root mean square, unit of the positions) at which the
        iteration ends.
    iterations: int
        At most this many.

    Returns
    -------
    ndarray, shape (A,)
        In the unit of the positions.
    """
    x = np.asarray(positions, np.float64)
    fitted = superpose(x, x[0])
    average = fitted.mean(axis=0)
    for _ in range(iterations if mean else 0):
        fitted = superpose(x, average)
        before, average = average, fitted.mean(axis=0)
        if np.sqrt(((average - before) ** 2).sum(axis=-1).mean()) < tolerance:
            break
    return np.sqrt(((fitted - average) ** 2).sum(axis=-1).mean(axis=0))
