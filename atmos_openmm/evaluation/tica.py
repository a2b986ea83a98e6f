"""Time-lagged independent components (Perez-Hernandez et al. 2013), reversible estimate.

Frames and their mirror in time count alike: C0 = (X'X + Y'Y)/2N and Ct = (X'Y + Y'X)/2N with X the
frames at t, Y those at t + lag, both less the mean of all. Solved by whitening with C0. deeptime's
TICA, which this agrees with, has no limit on the directions and makes a covariance matrix of all
features, however few the frames are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tica", "fit_tica", "most_directions"]

Floats = NDArray[np.float64]

#: Directions of smaller variance are left out (features such as sines and cosines are of order 1).
EPSILON = 1e-6
KINETIC_VARIANCE = 0.95


@dataclass(frozen=True)
class Tica:
    """A fitted model.

    Attributes
    ----------
    mean : float64 array [D]
    vectors : float64 array [D, K]
        Columns that give components of unit variance. Signs mean nothing.
    eigenvalues : float64 array [K]
        Autocorrelations at the lag, the slowest first.
    lag : int
        Frames.
    """

    mean: Floats
    vectors: Floats
    eigenvalues: Floats
    lag: int

    @property
    def dimension(self) -> int:
        """Components that hold 95 % of the kinetic variance (sum of squared eigenvalues)."""
        shares = np.cumsum(self.eigenvalues**2)
        return int(np.searchsorted(shares / shares[-1], KINETIC_VARIANCE) + 1)

    def timescales(self) -> Floats:
        """Implied time scales -lag/ln|eigenvalue| in frames, [K]; 0 for eigenvalue 0."""
        size = np.clip(np.abs(self.eigenvalues), 1e-300, 1 - 1e-12)
        return -self.lag / np.log(size)

    def transform(self, features: NDArray[Any], count: int | None = None) -> Floats:
        """Components [F, count] in the kinetic map: each times its eigenvalue (Noe, Clementi 2015).

        Distances in it are kinetic distances. Components that are missing are zero.
        """
        count = self.dimension if count is None else count
        scaled = self.vectors[:, :count] * self.eigenvalues[:count]
        result = np.zeros((len(features), count))
        result[:, : scaled.shape[1]] = (np.asarray(features, np.float64) - self.mean) @ scaled
        return result


def fit_tica(
    features: Sequence[NDArray[Any]],
    lag: int,
    most: int | None = None,
) -> Tica:
    """Fit on trajectories [F_i, D] of features.

    Parameters
    ----------
    features : sequence of arrays
        No pair of frames spans two of them.
    lag : int
        Frames.
    most : int, optional
        At most so many directions, those of the largest variance: with nearly as many features as
        frames some combination of them seems slow by chance.

    Raises
    ------
    ValueError
        If no trajectory is longer than the lag, or nothing varies.
    """
    long = [np.asarray(x, np.float64) for x in features if len(x) > lag]
    if lag < 1 or not long:
        longest = max((len(x) for x in features), default=0)
        raise ValueError(
            f"TICA with a lag of {lag} frames needs a trajectory longer than that; the longest has "
            f"{longest} frames. Choose a shorter lag"
        )
    early = np.concatenate([x[:-lag] for x in long])
    late = np.concatenate([x[lag:] for x in long])
    mean = (early.mean(axis=0) + late.mean(axis=0)) / 2
    early, late = early - mean, late - mean
    basis: Floats | None = None
    if early.shape[1] > 2 * len(early):
        # More features than frames: work in the space that the frames span, which loses nothing.
        both = np.concatenate([early, late])
        values, left = np.linalg.eigh(both @ both.T)
        kept = values > EPSILON * len(both)
        if kept.any():
            basis = both.T @ (left[:, kept] / np.sqrt(values[kept]))
            early, late = early @ basis, late @ basis
    instantaneous = (early.T @ early + late.T @ late) / (2 * len(early))
    lagged = early.T @ late
    lagged = (lagged + lagged.T) / (2 * len(early))
    values, vectors = np.linalg.eigh(instantaneous)
    kept = values > EPSILON
    if most is not None and np.count_nonzero(kept) > most:
        kept &= values >= values[-most]
    if not kept.any():
        raise ValueError("TICA found no feature that varies; the trajectory seems frozen")
    whitening = vectors[:, kept] / np.sqrt(values[kept])
    eigenvalues, rotation = np.linalg.eigh(whitening.T @ lagged @ whitening)
    order = np.argsort(-np.abs(eigenvalues))
    vectors = whitening @ rotation[:, order]
    return Tica(mean, vectors if basis is None else basis @ vectors, eigenvalues[order], lag)


def most_directions(frames: int) -> int:
    """How many directions so many frames can tell apart: one in ten frames, two at least."""
    return max(2, frames // 10)
