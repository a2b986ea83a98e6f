"""The stereochemistry of ligands as their molecules (SDF files) say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..systems.features import features_from_topology, fit_residues
from ..systems.residue_graph import residue_graphs
from ..systems.selection import select_solute

__all__ = ["double_bonds", "with_ligand_hands"]

#: RDKit's names, of the atoms that `GetStereoAtoms` gives.
_IS_TRANS = {"STEREOE": True, "STEREOTRANS": True, "STEREOZ": False, "STEREOCIS": False}


def with_ligand_hands(features: Any, topology: Any, molecules: Mapping[str, Any]) -> Any:
    """Features whose stereocentres in ligands have the hand of their molecules.

    Features made with positions take every hand from these; what was given as the chemistry of a
    ligand says better what it should be.

    Parameters
    ----------
    features : MoleculeFeatures
    topology : openmm.app.Topology
    molecules : mapping from residue name to RDKit Mol

    Returns
    -------
    MoleculeFeatures
    """
    plain = features_from_topology(topology, molecules=molecules)
    centers = features.chiral_centers.copy()
    signs = features.chiral_signs.copy()
    said = {int(row[0]): (row, sign) for row, sign in zip(
        plain.chiral_centers, plain.chiral_signs, strict=True
    )}  # fmt: skip
    for k, row in enumerate(centers):
        name = features.residue_names[int(features.atom_to_token[row[0]])]
        if name in molecules and int(row[0]) in said:
            centers[k], signs[k] = said[int(row[0])]
    return replace(features, chiral_centers=centers, chiral_signs=signs)


def double_bonds(topology: Any, molecules: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Double bonds of ligands whose configuration their molecules say.

    Parameters
    ----------
    topology : openmm.app.Topology
    molecules : mapping from residue name to RDKit Mol
        Stereochemistry is taken from a molecule's conformer where it has one, else from its marks.

    Returns
    -------
    torsions : array [T,4], int64
        Particle numbers, about each bond.
    is_trans : array [T], bool
        Whether the cosine of each should be negative.
    """
    from rdkit import Chem

    torsions: list[tuple[int, ...]] = []
    is_trans: list[bool] = []
    graphs = residue_graphs(topology, select_solute(topology, None))
    graphs = [g for g in graphs if g.residue.name in molecules and not g.partners]
    for graph, fit in zip(graphs, fit_residues(graphs, molecules, True), strict=True):
        mol = Chem.Mol(molecules[graph.residue.name])
        if mol.GetNumConformers() and mol.GetConformer().Is3D():
            Chem.AssignStereochemistryFrom3D(mol)
        mol = Chem.RemoveAllHs(mol)
        Chem.AssignStereochemistry(mol, cleanIt=True)
        for bond in mol.GetBonds():
            ends, stereo = list(bond.GetStereoAtoms()), bond.GetStereo().name
            if len(ends) != 2 or stereo not in _IS_TRANS:
                continue
            row = (ends[0], bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), ends[1])
            torsions.append(tuple(fit.atoms[a] for a in row))
            is_trans.append(_IS_TRANS[stereo])
    return np.array(torsions, dtype=np.int64).reshape(-1, 4), np.array(is_trans, dtype=bool)
