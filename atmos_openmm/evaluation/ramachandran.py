"""Backbone torsions phi and psi from a Topology and positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import torsion_angles


@dataclass(frozen=True)
class BackboneTorsions:
    """The residues that have both phi and psi, and the atoms that define them.

    Attributes
    ----------
    phi : int64 array [R, 4]
        Topology indices of C(i-1), N, CA, C.
    psi : int64 array [R, 4]
        Topology indices of N, CA, C, N(i+1).
    labels : tuple of str
        R names such as ``ALA2`` (residue name and the residue's id in the Topology).
    """

    phi: NDArray[np.int64]
    psi: NDArray[np.int64]
    labels: tuple[str, ...]

    def angles(self, positions_nm: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Angles of positions [F, A, 3]: phi [F, R] and psi [F, R] in radians, in [-pi, pi)."""
        return (torsion_angles(positions_nm, self.phi), torsion_angles(positions_nm, self.psi))


def find_backbone_torsions(topology: Any) -> BackboneTorsions:
    """Find phi and psi of every residue between two others of its chain.

    Caps (ACE, NME) count as neighbours. Neighbours are residues joined by a C-N bond, so that a
    gap in a chain gives no torsion across it.

    Parameters
    ----------
    topology : openmm.app.Topology
        With bonds.

    Raises
    ------
    ValueError
        If no residue has both torsions.
    """
    residue_before: dict[int, Any] = {}
    residue_after: dict[int, Any] = {}
    for bond in topology.bonds():
        first, second = bond[0], bond[1]
        for carbon, nitrogen in ((first, second), (second, first)):
            if (
                carbon.name == "C"
                and nitrogen.name == "N"
                and carbon.residue.index != nitrogen.residue.index
            ):
                residue_before[nitrogen.residue.index] = carbon.residue
                residue_after[carbon.residue.index] = nitrogen.residue
    phi, psi, labels = [], [], []
    for residue in topology.residues():
        before, after = residue_before.get(residue.index), residue_after.get(residue.index)
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if before is None or after is None or not {"N", "CA", "C"} <= atoms.keys():
            continue
        carbon_before = next(atom.index for atom in before.atoms() if atom.name == "C")
        nitrogen_after = next(atom.index for atom in after.atoms() if atom.name == "N")
        phi.append([carbon_before, atoms["N"], atoms["CA"], atoms["C"]])
        psi.append([atoms["N"], atoms["CA"], atoms["C"], nitrogen_after])
        labels.append(f"{residue.name}{residue.id}")
    if not labels:
        raise ValueError(
            f"no phi/psi pair was found among the {topology.getNumResidues()} residues of the "
            "topology; a residue needs atoms N, CA, C and peptide bonds to both neighbours (caps "
            "count). If the file lists no bonds, call topology.createStandardBonds()"
        )
    return BackboneTorsions(
        np.array(phi, dtype=np.int64), np.array(psi, dtype=np.int64), tuple(labels)
    )
