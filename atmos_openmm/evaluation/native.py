"""The structure that frames are superposed on and counted contacts of, judged before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import bond_lengths, chiral_volumes
from ..data.sample_checks import LONGEST_BOND_NM
from ..systems.structure_files import read_structure_file
from .atoms import AtomTable, common_atoms
from .ensemble import Ensemble
from .loading import Loaded

__all__ = ["native_fault", "read_native"]

FARTHEST_NM = 0.05
"""A bond of a structure is within this of its mean in MD; refined ones are within a hundredth."""
FLAT = 0.05
"""A normalised triple product below this has no hand."""


def read_native(reference: Loaded, path: Path | None = None) -> tuple[NDArray[np.float64], str]:
    """The native structure in the order of the reference's atoms, nm, and words on it.

    Parameters
    ----------
    reference : Loaded
        Molecular dynamics. Its own structure is taken where no file is given; where that has
        faults, its first frame.
    path : Path, optional
        PDB or mmCIF file with all heavy atoms of the reference.

    Raises
    ------
    FileNotFoundError
    ValueError
        The file lacks heavy atoms, or its structure has faults.
    """
    ensemble = reference.ensemble
    native = np.array(reference.native_nm, np.float64)
    if path is None:
        fault = native_fault(ensemble, native)
        if not fault:
            return native, ""
        first = np.asarray(ensemble.positions_nm[0], np.float64)
        return first, f"{fault}: the first frame is taken for the native structure instead."
    if not path.exists():
        raise FileNotFoundError(f"There is no structure {path}.")
    structure = read_structure_file(path)
    ours, theirs = common_atoms([ensemble.atoms, AtomTable.from_openmm(structure.topology)])
    missing = np.setdiff1d(ensemble.atoms.heavy, ours)
    if len(missing):
        first_name = ensemble.atoms.names[int(missing[0])]
        raise ValueError(
            f"{path} lacks {len(missing)} heavy atoms of the reference, {first_name} first; a "
            "native structure has all of them"
        )
    native[ours] = np.asarray(structure.positions_nm)[theirs]
    fault = native_fault(ensemble, native, ours)
    if fault:
        raise ValueError(f"{path}: {fault}. Give a native structure without such faults")
    return native, ""


def native_fault(
    reference: Ensemble, native_nm: NDArray[np.float64], atoms: NDArray[np.int64] | None = None
) -> str:
    """What makes a structure no native one: bonds and hands that MD does not have; '' for nothing.

    Parameters
    ----------
    reference : Ensemble
        Molecular dynamics of A atoms.
    native_nm : array [A, 3]
    atoms : int array, optional
        Which atoms to look at; all by default.
    """
    table = reference.atoms
    looked = np.zeros(len(table), bool)
    looked[slice(None) if atoms is None else atoms] = True
    bonds = table.bonds[looked[table.bonds].all(axis=1)]
    if len(bonds):
        usual = bond_lengths(reference.positions_nm, bonds).mean(axis=0)
        found = bond_lengths(np.asarray(native_nm)[None], bonds)[0]
        # A topology without real positions may name bonds, disulfides, that there are not.
        off = np.where(usual < LONGEST_BOND_NM, np.abs(found - usual), 0.0)
        if not off.max() <= FARTHEST_NM:
            worst = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
            ends = " and ".join(_label(table, int(k)) for k in bonds[worst])
            return (
                f"{ends} are {found[worst]:.3f} nm apart in the native structure and "
                f"{usual[worst]:.3f} nm in MD ({int((~(off <= FARTHEST_NM)).sum())} such bonds)"
            )
    centres = _alpha_carbons(table, looked)
    if len(centres):
        hands = chiral_volumes(np.asarray(native_nm, np.float64)[None], centres)[0]
        usual = chiral_volumes(reference.positions_nm[:1], centres)[0]
        other = np.flatnonzero((hands * usual < 0) & (np.minimum(abs(hands), abs(usual)) > FLAT))
        if len(other):
            return (
                f"{_label(table, int(centres[other[0], 0]))} has another hand in the native "
                f"structure than in MD ({len(other)} such residues)"
            )
    return ""


def _label(table: AtomTable, atom: int) -> str:
    residue = int(table.residue[atom])
    return f"{table.names[atom]} of {table.residue_names[residue]} {table.residue_ids[residue]}"


def _alpha_carbons(table: AtomTable, looked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """CA, N, C and CB, [C, 4], of the residues that have all four."""
    found: dict[int, dict[str, int]] = {}
    for atom in np.flatnonzero(looked).tolist():
        found.setdefault(int(table.residue[atom]), {})[table.names[atom]] = atom
    names = ("CA", "N", "C", "CB")
    rows = [[a[n] for n in names] for a in found.values() if all(n in a for n in names)]
    return np.array(rows, np.int64).reshape(-1, 4)
