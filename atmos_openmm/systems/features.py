"""Topology to the arrays that the network reads.

`features_from_topology` takes an OpenMM Topology apart into tokens (a standard residue or cap each;
a heavy atom each of anything else) and gives every atom its element, name, formal charge and place
in its residue's reference conformer, which RDKit makes (ETKDG, fixed seed).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from .assembly import FeatureAssembly
from .built_residue import BuiltResidue
from .errors import FeatureError, MissingAtomsError, raise_all
from .labels import atom_label
from .ligands import fit_ligand
from .matching import ADD_HYDROGENS, Fit, fit_standard
from .molecule_features import MoleculeFeatures
from .openmm_bridge import atom_positions_in_nm
from .residue_graph import ResidueGraph, residue_graphs
from .selection import select_solute
from .thiolates import check_thiolates

__all__ = ["MoleculeFeatures", "features_from_topology", "fit_residues"]


def features_from_topology(
    topology: Any,
    atoms: Literal["all", "heavy"] = "all",
    solute: Iterable[int] | None = None,
    *,
    positions: Any | None = None,
    molecules: Mapping[str, Any] | None = None,
    caps: Literal["token", "atoms"] = "token",
) -> MoleculeFeatures:
    """Turn a Topology into the features of its solute.

    Water, ions (residues of one atom), virtual sites, and cofactors and metals whose chemistry is
    not known are left out unless `solute` names them.
    Standard residues are recognised by name and fitted by their graph of elements and bonds, so
    atoms may stand in any order and hydrogens may have any name. Protonation states follow from
    the hydrogens that are there (HIS, ASP, GLU, LYS, CYS, termini).

    Parameters
    ----------
    topology : openmm.app.Topology
        with bonds
    atoms : "all" or "heavy"
        whether the model's atoms include hydrogens. With "heavy", a residue without any hydrogens
        has the protonation of its name at neutral pH
    solute : iterable of int, optional
        Topology indices of the atoms to model: whole residues, whole molecules
    positions : Quantity or array [all atoms, 3] (nm), optional
        coordinates to take handedness from: that of stereocentres (D residues and epimers, which
        are reported by a warning; ligands), and that of the labels of atoms alike by symmetry,
        which structure builders assign as they please. Without it: L amino acids, ligands as in
        their molecule, labels as the wwPDB names them
    molecules : mapping from residue name to RDKit Mol, optional
        chemistry of residues that are not standard. Modified amino acids may be given as they
        stand in a chain or as free amino acids
    caps : "token" or "atoms"
        whether a cap (ACE, NME, FOR, NH2) is one token, or one for each heavy atom with its bonds
        in token_bonds, as Protenix has it

    Returns
    -------
    MoleculeFeatures

    Raises
    ------
    UnknownResidueError
        a residue that is not standard, without chemistry
    MissingAtomsError
        missing hydrogens (with "all") or heavy atoms
    MissingBondsError
        no bonds, duplicate bonds, bonds that are not the residue's
    FeatureError
        anything else that cannot be modelled; all of these are ValueErrors
    """
    if atoms not in ("all", "heavy"):
        raise FeatureError(f"atoms is {atoms!r}; expected 'all' or 'heavy'.")
    if caps not in ("token", "atoms"):
        raise FeatureError(f"caps is {caps!r}; expected 'token' or 'atoms'.")
    coordinates = None if positions is None else _coordinates(topology, positions)
    graphs = residue_graphs(topology, select_solute(topology, solute, molecules or ()))
    fits = fit_residues(graphs, molecules, atoms == "all")
    check_thiolates(graphs, fits, coordinates)
    residues = [BuiltResidue(g, f, coordinates) for g, f in zip(graphs, fits, strict=True)]
    return FeatureAssembly(residues, atoms == "all", caps == "token").features()


def _coordinates(topology: Any, positions: Any) -> Any:
    """Return positions [all atoms, 3] in nm, refused where they are not finite."""
    try:
        coordinates = atom_positions_in_nm(positions, topology.getNumAtoms())
    except ValueError as error:
        raise FeatureError(str(error)) from error
    bad = np.flatnonzero(~np.isfinite(coordinates).all(axis=1))
    if len(bad):
        atoms = list(topology.atoms())
        named = ", ".join(f"{i} ({atom_label(atoms[i])})" for i in bad[:10])
        raise FeatureError(
            f"positions hold values that are not finite, at {len(bad)} atoms: {named}"
            f"{', ...' if len(bad) > 10 else ''}. Give another frame."
        )
    return coordinates


def fit_residues(
    graphs: list[ResidueGraph], molecules: Mapping[str, Any] | None, need_hydrogens: bool
) -> list[Fit]:
    """Settle the chemistry of all residues.

    Raises
    ------
    FeatureError
        with the faults of all residues, of their common type where they have one
    """
    fits: list[Fit] = []
    faults: list[FeatureError] = []
    for graph in graphs:
        try:
            fit = fit_standard(graph, need_hydrogens)
            fits.append(fit_ligand(graph, molecules, need_hydrogens) if fit is None else fit)
        except FeatureError as error:
            faults.append(error)
    light = any(graph.has_hydrogens for graph in graphs)
    if need_hydrogens and not light and any(isinstance(f, MissingAtomsError) for f in faults):
        raise MissingAtomsError(
            "The solute has no hydrogens, and features of all atoms were asked for. "
            f"{ADD_HYDROGENS} Or take a heavy-atom model (atoms='heavy')."
        )
    raise_all(faults)
    return fits
