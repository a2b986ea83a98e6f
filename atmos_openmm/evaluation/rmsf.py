"""Root mean square fluctuations of atoms, and how they compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fluctuations", "pearson", "spearman"]

#: Of the largest coordinate; ten units in the last place of single precision.
ROUNDING = 1e-6


def fluctuations(positions: NDArray[Any]) -> NDArray[np.float64]:
    """Root mean square distance of each atom from its mean position.

    Fluctuations that single precision cannot resolve are 0.

    RMSF_i = sqrt(<|x_i - <x_i>|^2>), as `mdtraj.rmsf(trajectory, reference)` gives it for frames
    superposed on that reference.

    Parameters
    ----------
    positions : array [F, A, 3]
        Superposed.

    Returns
    -------
    float64 array [A]
        Unit of the positions.
    """
    x = np.asarray(positions, dtype=np.float64)
    found = np.sqrt(x.var(axis=0).sum(axis=-1))
    return np.where(found > ROUNDING * np.abs(x).max(), found, 0.0)


def pearson(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Pearson's r of two profiles; NaN where one of them does not vary.

    Fluctuations below 1e-9 of the mean are rounding.
    """
    a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (first, second))
    if len(a) != len(b):
        raise ValueError(f"profiles have {len(a)} and {len(b)} values; they must be equally long")
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    limits = [1e-9 * max(np.abs(v).max(), 1e-300) for v in (first, second)]
    if len(a) < 2 or np.ptp(a) <= limits[0] or np.ptp(b) <= limits[1]:
        return float("nan")
    return float(a @ b / scale)


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's rho of two arrays; NaN for fewer than three values or where one does not vary."""
    from scipy.stats import spearmanr

    if first.size < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
