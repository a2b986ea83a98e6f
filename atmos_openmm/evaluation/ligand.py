"""A ligand in its protein: fluctuations, contacts, inner geometry, leaving (BioMD, NeuralMD).

Lengths are in nm here. Frames are superposed on the native structure by the alpha carbons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import bond_angles, bond_lengths
from .atoms import AtomTable
from .distances import pairwise_distance

__all__ = [
    "CONTACT_NM",
    "LigandGeometry",
    "collisions",
    "contact_map",
    "coverage",
    "ligand_geometry",
    "pair_distances",
]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Heavy atoms of protein and ligand nearer than this touch.
CONTACT_NM = 0.45
#: Frames of a path nearer than this cover each other.
COVERAGE_NM = 0.2
#: Beyond the sum of covalent radii, where a topology names no bonds.
BOND_TOLERANCE_NM = 0.045
#: A pair of ligand atoms is stable within this of its reference distance.
STABLE_NM = 0.05


@dataclass(frozen=True)
class LigandGeometry:
    """Bonds, angles and the pairs that are not bonded, as numbers within the ligand's atoms.

    Attributes
    ----------
    bonds : int64 array [M, 2]
    angles : int64 array [K, 3]
        The middle atom in the middle.
    apart : int64 array [P, 2]
        Pairs more than two bonds apart.
    covalent_nm : float64 array [L]
        Covalent radii.
    """

    bonds: Indices
    angles: Indices
    apart: Indices
    covalent_nm: Floats

    def bond_lengths(self, positions_nm: NDArray[Any]) -> Floats:
        """nm, [F, M] of the ligand's atoms [F, L, 3]."""
        return bond_lengths(np.asarray(positions_nm, np.float64), self.bonds)

    def bond_angles(self, positions_nm: NDArray[Any]) -> Floats:
        """Radians, [F, K] of the ligand's atoms [F, L, 3]."""
        return bond_angles(np.asarray(positions_nm, np.float64), self.angles)

    def inner_collisions(self, positions_nm: NDArray[Any]) -> Floats:
        """Share of the pairs apart that are nearer than their covalent radii's sum, [F]."""
        i, j = self.apart.T
        if not len(i):
            return np.zeros(len(positions_nm))
        apart = bond_lengths(np.asarray(positions_nm, np.float64), self.apart)
        return (apart < self.covalent_nm[i] + self.covalent_nm[j]).mean(axis=-1)


def covalent_radii_nm(elements: NDArray[Any]) -> Floats:
    """Covalent radii by atomic number (RDKit's table)."""
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    return np.array([0.1 * table.GetRcovalent(int(z)) for z in elements])


def ligand_geometry(
    atoms: AtomTable, ligand: Indices, native_nm: NDArray[Any] | None = None
) -> LigandGeometry:
    """Bonds and angles among a ligand's heavy atoms.

    Parameters
    ----------
    atoms : AtomTable
    ligand : int array [L]
    native_nm : array [A, 3], optional
        Where the table has no bonds in the ligand, those atoms are bonded that are nearer here than
        the sum of their covalent radii and 0.045 nm.

    Raises
    ------
    ValueError
        If the ligand has no bonds.
    """
    inside = atoms.subset(ligand)
    radii, bonds = covalent_radii_nm(inside.elements), inside.bonds
    if not len(bonds) and native_nm is not None:
        i, j = np.triu_indices(len(ligand), k=1)
        apart = np.linalg.norm(native_nm[ligand[i]] - native_nm[ligand[j]], axis=-1)
        near = apart < radii[i] + radii[j] + BOND_TOLERANCE_NM
        bonds = np.stack([i[near], j[near]], axis=1)
    if not len(bonds):
        raise ValueError("the ligand has no bonds in the topology; give one with CONECT records")
    neighbours: dict[int, list[int]] = {i: [] for i in range(len(inside))}
    for i, j in bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    angles = [
        (a, middle, b)
        for middle, near in neighbours.items()
        for k, a in enumerate(near)
        for b in near[k + 1 :]
    ]
    apart = [
        (i, j)
        for i in neighbours
        for j in range(i + 1, len(inside))
        if j not in {*neighbours[i], *(k for m in neighbours[i] for k in neighbours[m])}
    ]
    return LigandGeometry(
        bonds,
        np.array(angles, int).reshape(-1, 3),
        np.array(apart, int).reshape(-1, 2),
        radii,
    )


def contact_map(positions_nm: NDArray[Any], atoms: AtomTable, ligand: Indices) -> NDArray[np.bool_]:
    """Which protein residue touches which ligand atom, [F, N, L], heavy atoms alone."""
    from scipy.spatial import cKDTree

    protein = atoms.protein_heavy
    order = np.full(len(atoms.residue_names), -1)
    order[atoms.protein_residues] = np.arange(len(atoms.protein_residues))
    row = order[atoms.residue[protein]]
    x = np.asarray(positions_nm, np.float64)
    result = np.zeros((len(x), len(atoms.protein_residues), len(ligand)), bool)
    for frame, touched in zip(x, result, strict=True):
        near = cKDTree(frame[ligand]).query_ball_tree(cKDTree(frame[protein]), CONTACT_NM)
        for atom, found in enumerate(near):
            touched[row[found], atom] = True
    return result


def collisions(positions_nm: NDArray[Any], atoms: AtomTable, ligand: Indices) -> Floats:
    """Share of protein-ligand pairs of heavy atoms nearer than their covalent radii's sum, [F]."""
    from scipy.spatial.distance import cdist

    protein = atoms.protein_heavy
    reach = covalent_radii_nm(atoms.elements[protein])[:, None] + covalent_radii_nm(
        atoms.elements[ligand]
    )
    x = np.asarray(positions_nm, np.float64)
    return np.array([(cdist(f[protein], f[ligand]) < reach).mean() for f in x])


def pair_distances(positions_nm: NDArray[Any]) -> Floats:
    """Distances of all pairs of the ligand's atoms, [F, P] of [F, L, 3]."""
    from scipy.spatial.distance import pdist

    return np.array([pdist(frame) for frame in np.asarray(positions_nm, np.float64)])


def coverage(first: NDArray[Any], second: NDArray[Any]) -> tuple[float, float, float]:
    """Precision, recall and F1 of ligand frames as they lie, [F, L, 3] against [G, L, 3].

    Precision: share of the first's frames with a frame of the second nearer than `COVERAGE_NM`
    (root mean square distance of the atoms); recall: the same the other way round.
    """
    near = pairwise_distance(first, second) < COVERAGE_NM
    precision, recall = float(near.any(axis=1).mean()), float(near.any(axis=0).mean())
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0
