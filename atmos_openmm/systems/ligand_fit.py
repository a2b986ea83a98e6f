"""How well a molecule fits a residue of a structure, beyond having the same graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .matching import match_graph
from .residue_graph import ResidueGraph
from .skeleton import Skeleton

__all__ = ["LigandFit", "best_fit"]

FloatArray = npt.NDArray[np.float64]

# What costs as much as what: one hydrogen or bond order too many outweighs all of the geometry, a
# wrong hand weighs as much as bonds and angles that are 0.02 nm off, and a place that is elsewhere
# (by a nanometre or more) half as much.
_CHEMISTRY = 100.0
_HAND = 2.0
_SHAPE_NM = 0.01
_FAR_NM = 1.0


@dataclass(frozen=True)
class LigandFit:
    """A fit of a molecule onto a residue.

    Attributes
    ----------
    cost : float
        The lower, the better; see the module's weights.
    match : list of int
        Topology index of each heavy atom of the molecule.
    """

    cost: float
    match: list[int]


def best_fit(graph: ResidueGraph, molecule: Any, positions: FloatArray) -> LigandFit | None:
    """Fit a molecule onto a residue; None where their graphs differ.

    Parameters
    ----------
    graph : ResidueGraph
    molecule : RDKit Mol
        Its conformer, where it has a three-dimensional one, tells bond lengths, hand and place.
    positions : array [all atoms of the Topology, 3], nm
    """
    from rdkit import Chem

    mol = Chem.RemoveAllHs(Chem.Mol(molecule))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    matches = match_graph(Skeleton.from_mol(mol), graph)
    if not matches:
        return None
    there = mol.GetNumConformers() and mol.GetConformer().Is3D()
    measure = _Measure(mol) if there else None
    return min(
        (
            LigandFit(
                _CHEMISTRY * _chemistry_faults(graph, mol, match)
                + (0.0 if measure is None else measure.cost(positions[match])),
                match,
            )
            for match in matches
        ),
        key=lambda fit: fit.cost,
    )


def _chemistry_faults(graph: ResidueGraph, mol: Any, match: list[int]) -> int:
    """Hydrogens and bond orders of a residue, where it has any, that are not the molecule's."""
    faults = 0
    if graph.has_hydrogens:
        for atom, index in zip(mol.GetAtoms(), match, strict=True):
            have = len(graph.hydrogens[index]) + graph.num_partners(index)
            faults += abs(have - atom.GetTotalNumHs())
    for bond in mol.GetBonds():
        ends = sorted((match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()]))
        order = graph.bonds.get((ends[0], ends[1]))
        known = order is not None and order != 1.5
        faults += known and order != bond.GetBondTypeAsDouble()
    return faults


class _Measure:
    """What a molecule's conformer says of geometry that turning bonds does not change."""

    def __init__(self, mol: Any) -> None:
        self._x = np.array(mol.GetConformer().GetPositions()) * 0.1
        around = [[n.GetIdx() for n in a.GetNeighbors()] for a in mol.GetAtoms()]
        near = {tuple(sorted((i, j))) for i, group in enumerate(around) for j in group}
        near |= {tuple(sorted((i, j))) for group in around for i in group for j in group if i != j}
        self._pairs = np.array(sorted(near), int).reshape(-1, 2)
        self._centres = [
            (i, group[:3])
            for i, group in enumerate(around)
            if str(mol.GetAtomWithIdx(i).GetChiralTag()) != "CHI_UNSPECIFIED" and len(group) >= 3
        ]
        self._lengths = self._distances(self._x)
        self._hands = self._signs(self._x)

    def _distances(self, x: FloatArray) -> FloatArray:
        found = np.linalg.norm(x[self._pairs[:, 0]] - x[self._pairs[:, 1]], axis=1)
        return np.asarray(found)

    def _signs(self, x: FloatArray) -> FloatArray:
        triples = [np.linalg.det(x[group] - x[centre]) for centre, group in self._centres]
        return np.sign(triples)

    def cost(self, x: FloatArray) -> float:
        """Cost of the coordinates [heavy atoms, 3] of a residue, in the molecule's order."""
        shape = 0.0
        if len(self._pairs):
            shape = float(np.sqrt(np.mean((self._distances(x) - self._lengths) ** 2)))
        hands = int(np.sum(self._signs(x) != self._hands))
        away = float(np.sqrt(np.mean(np.sum((x - self._x) ** 2, axis=1))))
        return shape / _SHAPE_NM + _HAND * hands + min(away, _FAR_NM) / _FAR_NM
