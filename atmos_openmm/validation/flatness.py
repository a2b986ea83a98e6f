"""Groups that chemistry keeps flat, and rings that it lets pucker only so far.

The limits are read off molecular dynamics of twenty capped amino acids at 300 K (amber14), of three
of them at 600 K and of trpzip2 with its unfolding (ff99SB): 40,000 frames. docs/validation.md has
the distributions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import geometry as measure
from ..systems.screen_spec import ScreenSpec

__all__ = ["FlatGroups", "Misshapen", "RingPucker", "pucker_amplitudes"]

#: Normalised triple product of a carbon's three neighbours; 0.77 is a tetrahedron. Dynamics: sd
#: 0.08 (carbonyls) to 0.11 (CE1 of histidine), at most 0.46.
LARGEST_PYRAMID = 0.60

#: Distance (nm) of an aromatic ring's atom from the ring's plane; 0.025 is a chair. Dynamics: rms
#: of the largest 0.005, at most 0.014.
LARGEST_BUCKLE_NM = 0.025

#: Amplitude (nm) of Cremer and Pople of rings of five and six. Dynamics of proline: 0.034 on
#: average, at most 0.051. Chairs have 0.06, twisted boats 0.08.
LARGEST_PUCKER_NM = {5: 0.065, 6: 0.095}

#: Least amplitude of a ring of six atoms that are all tetrahedral: half of what a half-chair has.
LEAST_PUCKER_NM = 0.025

#: A native that is puckered more than the limits, as a bridged ring is, sets them with this much
#: (nm) for thermal motion.
PUCKER_MARGIN_NM = 0.02


@dataclass(frozen=True)
class Misshapen:
    """A group out of shape.

    Attributes
    ----------
    atoms : tuple of int
        Particle numbers.
    words : str
        What it is and by how much; the atoms' names are put before it.
    excess : float
        Measured over allowed, above 1.
    """

    atoms: tuple[int, ...]
    words: str
    excess: float


class _Chemistry:
    """Neighbours and bond orders of the solute, in the particle numbers of the System."""

    def __init__(self, features: Any) -> None:
        self.elements = features.ref_element
        self.neighbours: list[list[int]] = [[] for _ in range(features.num_atoms)]
        self.orders: dict[tuple[int, int], float] = {}
        for (i, j), order in zip(
            features.bonds.tolist(), features.bond_order.tolist(), strict=True
        ):
            self.neighbours[i].append(j)
            self.neighbours[j].append(i)
            self.orders[i, j] = self.orders[j, i] = order

    def highest_order(self, atom: int) -> float:
        return max((self.orders[atom, k] for k in self.neighbours[atom]), default=0.0)

    def is_aromatic(self, ring: tuple[int, ...]) -> bool:
        return all(self.orders[ring[k - 1], ring[k]] == 1.5 for k in range(len(ring)))


class FlatGroups:
    """Carbons with three neighbours, and aromatic rings.

    Nitrogens are left out: amide and guanidinium nitrogens are pyramids for moments in any
    dynamics. The turn of peptide bonds is told by their omega angles.

    Parameters
    ----------
    features : MoleculeFeatures
        Of all atoms of the solute.
    spec : ScreenSpec
        Its rings.
    """

    def __init__(self, features: Any, spec: ScreenSpec) -> None:
        chemistry, index = _Chemistry(features), features.atom_indices
        centres = [
            (i, *chemistry.neighbours[i])
            for i in range(features.num_atoms)
            if chemistry.elements[i] == 6
            and len(chemistry.neighbours[i]) == 3
            and chemistry.highest_order(i) >= 1.5
        ]
        self._centres: np.ndarray = index[np.array(centres, dtype=np.int64).reshape(-1, 4)]
        self._rings = [index[list(r)] for r in spec.rings if chemistry.is_aromatic(r)]

    def find(self, positions_nm: np.ndarray) -> list[Misshapen]:
        """Find what is not flat in a frame [P,3], worst first."""
        frame = positions_nm[None]
        found = []
        volumes = np.abs(np.nan_to_num(measure.chiral_volumes(frame, self._centres)[0]))
        for k in np.flatnonzero(volumes > LARGEST_PYRAMID):
            words = (
                f"is a pyramid: triple product {volumes[k]:.2f}, at most {LARGEST_PYRAMID:.2f} "
                "expected"
            )
            found.append(
                Misshapen((int(self._centres[k, 0]),), words, volumes[k] / LARGEST_PYRAMID)
            )
        for ring in self._rings:
            buckle = _buckle(positions_nm[ring])
            if buckle > LARGEST_BUCKLE_NM:
                words = (
                    f"is not flat: an atom is {buckle:.4f} nm from the ring's plane, at most "
                    f"{LARGEST_BUCKLE_NM:g} expected"
                )
                found.append(Misshapen(tuple(ring.tolist()), words, buckle / LARGEST_BUCKLE_NM))
        return sorted(found, key=lambda one: -one.excess)


def _buckle(points: np.ndarray) -> float:
    """Largest distance of points [n,3] from their plane of least squares."""
    centred = points - points.mean(axis=0)
    normal = np.linalg.svd(centred)[2][2]
    return float(np.abs(centred @ normal).max())


def pucker_amplitudes(points: np.ndarray) -> np.ndarray:
    """Total puckering amplitudes [...] of rings [..., n, 3] in bond order, in their unit.

    Cremer and Pople, J. Am. Chem. Soc. 97, 1354 (1975): the root of the sum of squared distances
    from the mean plane.
    """
    count = points.shape[-2]
    centred = points - points.mean(axis=-2, keepdims=True)
    turn = 2 * np.pi * np.arange(count) / count
    first = np.einsum("k,...kd->...d", np.sin(turn), centred)
    second = np.einsum("k,...kd->...d", np.cos(turn), centred)
    normal = np.cross(first, second)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    heights = np.einsum("...kd,...d->...k", centred, normal)
    return np.asarray(np.sqrt((heights**2).sum(axis=-1)))


class RingPucker:
    """Rings of five and six atoms that are not aromatic.

    Parameters
    ----------
    features : MoleculeFeatures
        Of all atoms of the solute.
    spec : ScreenSpec
        Its rings.
    native_nm : array [P,3] or None
        A structure whose rings are puckered as they should be.
    """

    def __init__(
        self, features: Any, spec: ScreenSpec, native_nm: np.ndarray | None = None
    ) -> None:
        chemistry = _Chemistry(features)
        # Of each ring: its atoms, the least and the largest amplitude.
        self._rings: list[tuple[np.ndarray, float, float]] = []
        for ring in spec.rings:
            if len(ring) not in LARGEST_PUCKER_NM or chemistry.is_aromatic(ring):
                continue
            others = [other for other in spec.rings if other != ring]
            bridged = any(len(set(ring) & set(other)) > 2 for other in others)
            if bridged and native_nm is None:
                continue  # norbornane's boats are as far out as no free ring is
            atoms = features.atom_indices[list(ring)]
            tetrahedral = len(ring) == 6 and all(
                len(chemistry.neighbours[k]) == 4
                or (chemistry.elements[k] in (7, 8, 16) and chemistry.highest_order(k) == 1)
                for k in ring
            )
            # A nitrogen beside a carbonyl is flat.
            stiff = any(
                chemistry.elements[k] == 7
                and any(chemistry.highest_order(n) > 1 for n in chemistry.neighbours[k])
                for k in ring
            )
            least = LEAST_PUCKER_NM if tetrahedral and not stiff else 0.0
            largest = LARGEST_PUCKER_NM[len(ring)]
            if native_nm is not None:
                amplitude = float(pucker_amplitudes(native_nm[atoms]))
                largest = max(largest, amplitude + PUCKER_MARGIN_NM)
                least = min(least, max(0.0, amplitude - PUCKER_MARGIN_NM))
            self._rings.append((atoms, least, largest))

    def find(self, positions_nm: np.ndarray) -> list[Misshapen]:
        """Find rings of a frame [P,3] that are puckered too much or too little, worst first."""
        found = []
        for atoms, least, largest in self._rings:
            amplitude = float(np.nan_to_num(pucker_amplitudes(positions_nm[atoms])))
            if amplitude > largest or amplitude < least:
                words = (
                    f"has a puckering amplitude of {amplitude:.4f} nm, expected {least:g} to "
                    f"{largest:g}"
                )
                excess = amplitude / largest if amplitude > largest else 2 - amplitude / least
                found.append(Misshapen(tuple(atoms.tolist()), words, excess))
        return sorted(found, key=lambda one: -one.excess)
