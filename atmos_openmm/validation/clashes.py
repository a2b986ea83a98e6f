"""Atoms that are not bonded and nevertheless overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..trajectories.boxes import close_pairs

__all__ = ["ClashFinder", "Clashes"]


@dataclass(frozen=True)
class Clashes:
    """Overlaps of one frame.

    Attributes
    ----------
    pairs : array [K,2], int64
        worst first.
    distances_nm : array [K]
    limits_nm : array [K]
        the distance below which the pair overlaps.
    in_solute : array [K], bool
        whether both atoms belong to the solute.
    """

    pairs: np.ndarray
    distances_nm: np.ndarray
    limits_nm: np.ndarray
    in_solute: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)


class ClashFinder:
    """Finds pairs of atoms more than three bonds apart that are too near each other.

    Within the solute two atoms clash when nearer than a share of the sum of their van der Waals
    radii. Pairs with solvent or ions get one shorter limit, since the hydrogen bonds of a liquid
    come near the other one.

    Parameters
    ----------
    bonds : array [M,2]
        what makes atoms neighbours; a pair may come twice.
    movable : array [P], bool
        particles with mass; the others are left out.
    solute : array [A]
        particle numbers of the solute.
    radii_nm : array [A]
        van der Waals radii of the solute.
    factor : float
        share of the sum of the radii, within the solute.
    environment_nm : float
        limit for all other pairs.
    """

    def __init__(
        self,
        bonds: np.ndarray,
        movable: np.ndarray,
        solute: np.ndarray,
        radii_nm: np.ndarray,
        factor: float,
        environment_nm: float,
    ) -> None:
        self._count = len(movable)
        self._factor = factor
        self._environment_nm = environment_nm
        self._radii_nm = np.zeros(self._count)
        self._radii_nm[solute] = radii_nm
        self._is_solute = np.zeros(self._count, dtype=bool)
        self._is_solute[solute] = True
        self._atoms = np.flatnonzero(movable | self._is_solute)
        self._near = self._within_three_bonds(bonds, self._count)

    @staticmethod
    def _within_three_bonds(bonds: np.ndarray, count: int) -> np.ndarray:
        """Sorted keys i * count + j of all pairs at most three bonds apart."""
        from scipy.sparse import csr_array, eye_array

        ones = np.ones(len(bonds), dtype=np.int32)
        graph = csr_array((ones, (bonds[:, 0], bonds[:, 1])), shape=(count, count))
        step = graph + graph.T + eye_array(count, dtype=np.int32, format="csr")
        reach = (step @ step @ step).tocoo()
        return np.unique(reach.row.astype(np.int64) * count + reach.col)

    def find(self, positions_nm: np.ndarray, box_nm: np.ndarray | None = None) -> Clashes:
        """Find the clashes of a frame; nearest images count in a periodic box (reduced vectors)."""
        widest = max(2 * self._factor * float(self._radii_nm.max()), self._environment_nm)
        pairs, distances = close_pairs(positions_nm[self._atoms], widest, box_nm)
        pairs = self._atoms[pairs]
        inside = self._is_solute[pairs].all(axis=1)
        limits = np.where(
            inside, self._factor * self._radii_nm[pairs].sum(axis=1), self._environment_nm
        )
        keys = pairs[:, 0] * self._count + pairs[:, 1]
        chosen = (distances < limits) & ~np.isin(keys, self._near, assume_unique=True)
        pairs, distances, limits = pairs[chosen], distances[chosen], limits[chosen]
        inside = inside[chosen]
        order = np.argsort(distances / limits, kind="stable")
        return Clashes(pairs[order], distances[order], limits[order], inside[order])
