"""Frames that two trajectories share, whatever their format, order and superposition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import rmsd

__all__ = ["FramePrints"]

PAIRS = 24
"""Distances that frames are compared by before they are superposed."""
SEED = 137
TOLERANCE_NM = 2e-3
"""Two roundings to XTC's thousandths of a nm change a distance by less."""
CONFIRMED = 20
"""Pairs of frames that are superposed to see that they are the same."""
LEAST_SHARE = 0.05
"""Fewer shared frames are common starts, or chance."""


@dataclass(frozen=True)
class FramePrints:
    """What frames are known again by.

    Attributes
    ----------
    distances_nm : float64 array [F, K]
        From `measure`.
    read : callable
        Gives frames [N, A, 3] in nm by their numbers [N].
    """

    distances_nm: NDArray[np.float64]
    read: Callable[[NDArray[np.int64]], NDArray[Any]]

    @staticmethod
    def of(positions_nm: NDArray[Any]) -> FramePrints:
        """Of frames in memory, [F, A, 3]."""
        return FramePrints(FramePrints.measure(positions_nm), lambda frames: positions_nm[frames])

    @staticmethod
    def measure(positions_nm: NDArray[Any]) -> NDArray[np.float64]:
        """The same few distances [F, K] in every frame, between pairs of atoms drawn once."""
        atoms = positions_nm.shape[1]
        first, second = np.triu_indices(min(atoms, 7), 1)
        if atoms > 7:
            random = np.random.default_rng(SEED)
            first = random.integers(atoms, size=PAIRS)
            second = (first + random.integers(1, atoms, PAIRS)) % atoms
        if not len(first):
            return np.zeros((len(positions_nm), 1))
        steps = positions_nm[:, first].astype(np.float64) - positions_nm[:, second]
        return np.asarray(np.linalg.norm(steps, axis=-1))

    def shared(self, other: FramePrints) -> int:
        """How many of these frames are among others of the same atoms.

        0 for less than a twentieth of the fewer.
        """
        from scipy.spatial import cKDTree

        mine, theirs = self.distances_nm, other.distances_nm
        known, own = (np.flatnonzero(np.isfinite(x).all(axis=1)) for x in (theirs, mine))
        if not (len(known) and len(own)):
            return 0
        # One frame repeated many times would have each of them compared with all.
        known = known[np.unique(theirs[known], axis=0, return_index=True)[1]]
        gaps, partners = cKDTree(theirs[known]).query(
            mine[own], p=np.inf, distance_upper_bound=TOLERANCE_NM
        )
        alike = np.flatnonzero(gaps < np.inf)
        if len(alike) < max(2.0, LEAST_SHARE * min(len(mine), len(theirs))):
            return 0
        # Mirror images have the same distances, and few distances do not tell everything.
        some = alike[np.linspace(0, len(alike) - 1, min(CONFIRMED, len(alike))).astype(int)]
        apart = rmsd(self.read(own[some]), other.read(known[partners[some]]))
        return len(alike) if np.mean(apart < TOLERANCE_NM) > 0.5 else 0
