"""The stereochemistry of ligands as their molecules (SDF files) say it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..systems.features import features_from_topology, fit_residues
from ..systems.residue_graph import residue_graphs
from ..systems.selection import select_solute

__all__ = ["double_bonds", "features_of"]

#: RDKit's names, of the atoms that `GetStereoAtoms` gives.
_IS_TRANS = {"STEREOE": True, "STEREOTRANS": True, "STEREOZ": False, "STEREOCIS": False}


def features_of(
    topology: Any, native_nm: np.ndarray | None, molecules: Mapping[str, Any] | None
) -> Any:
    """Features of the solute: hands from a native, but those of ligands from their molecules.

    A ligand whose molecule leaves a centre open has the native's.

    Parameters
    ----------
    topology : openmm.app.Topology
    native_nm : array [P,3] or None
    molecules : mapping from residue name to RDKit Mol or None

    Returns
    -------
    MoleculeFeatures

    Raises
    ------
    ValueError
        The chemistry cannot be told, or the hand of a centre that nobody says.
    """
    if native_nm is None or not molecules:
        return features_from_topology(topology, positions=native_nm, molecules=molecules)
    with warnings.catch_warnings():
        # It says that the positions are followed.
        warnings.filterwarnings("ignore", message=".*of the molecule known for it at ")
        features = features_from_topology(topology, positions=native_nm, molecules=molecules)
    known = {name for name, mol in molecules.items() if _is_defined(mol)}
    residues = [r for r in topology.residues() if r.name in known]
    if not residues:
        return features
    atoms = [atom.index for r in residues for atom in r.atoms()]
    plain = features_from_topology(topology, solute=atoms, molecules=molecules)
    said = {
        tuple(row): sign
        for row, sign in zip(
            plain.atom_indices[plain.chiral_centers].tolist(), plain.chiral_signs, strict=True
        )
    }
    centers = features.atom_indices[features.chiral_centers]
    signs = np.array(
        [
            said.get(tuple(row), s)
            for row, s in zip(centers.tolist(), features.chiral_signs, strict=True)
        ]
    )
    return replace(features, chiral_signs=signs)


def _is_defined(mol: Any) -> bool:
    from rdkit import Chem

    centres = Chem.FindMolChiralCenters(mol, includeUnassigned=True, useLegacyImplementation=False)
    return all(hand != "?" for _, hand in centres)


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
