"""MISATO's arrays of elements and residue codes to a Topology with names, bonds and a ligand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import bond_lengths
from ..systems.labels import atom_label
from ..systems.ligand_perception import PerceptionError, perceive, with_template
from .amber_residues import AmberResidue, OrderError, split_residues

__all__ = ["LIGAND", "RESIDUE_NAMES", "Complex", "MoleculeFault", "build_complex"]

LIGAND = "MOL"
RESIDUE_NAMES = (
    LIGAND, "ACE", "ALA", "ARG", "ASN", "ASP", "CYS", "CYX", "GLN", "GLU", "GLY", "HIE", "ILE",
    "LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL",
)  # fmt: skip
"""Names of the codes of atoms_residue, MISATO's map of residues."""

LONGEST_BOND_NM = 0.25
"""Longer than S-S (0.21 nm) in any frame, shorter than any distance of atoms that are not bonded
but hydrogens."""


class MoleculeFault(ValueError):
    """The arrays make no molecule.

    Attributes
    ----------
    kind : str
        Of the `Fault` that it becomes.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Complex:
    """A complex with names and chemistry.

    Attributes
    ----------
    topology : openmm.app.Topology
        Atoms in the file's order; the ligand is the residue MOL, a chain of its own.
    molecules : dict of str to RDKit Mol
        The ligand's chemistry, as `features_from_topology` takes it; empty without a ligand.
    notes : tuple of str
        Choices that were made.
    """

    topology: Any
    molecules: dict[str, Any]
    notes: tuple[str, ...]


def build_complex(
    elements: NDArray[np.int64],
    codes: NDArray[np.int64],
    begins: Sequence[int],
    positions_nm: NDArray[np.float64],
    charge: int | None = None,
    template: Any | None = None,
) -> Complex:
    """Name the atoms of a complex and find its bonds.

    Parameters
    ----------
    elements : array of int, shape (A,)
        Atomic numbers.
    codes : array of int, shape (A,)
        Residue codes, `RESIDUE_NAMES`.
    begins : sequence of int
        First atom of each molecule; the last is the ligand's, or A where there is none.
    positions_nm : array, shape (A, 3)
        Any frame: only distances of bonded atoms are looked at, and handedness.
    charge : int, optional
        Total charge of the ligand, where it is known.
    template : RDKit Mol, optional
        The ligand's chemistry, where it is known.

    Raises
    ------
    MoleculeFault
        ``order``: atoms that are not in Amber's order, or in one that the coordinates do not
        share. ``chemistry``: a ligand that makes no sense.
    """
    from openmm import app

    from ..systems.ligand_files import add_molecule

    strange = [int(e) for e in np.unique(elements) if not 1 <= e <= 118]
    if strange:
        raise MoleculeFault("inconsistent", f"atoms_number holds {strange[0]}, no atomic number")
    ligand_start = int(begins[-1])
    ligand = np.arange(ligand_start, len(elements))
    notes: list[str] = []
    peptide = len(ligand) > 0 and not np.any(codes[ligand] == 0)
    if peptide:
        try:
            _split(elements, codes, ligand_start, len(elements))
            ligand = ligand[:0]
            notes.append("The last molecule is made of amino acids and is read as a peptide.")
        except MoleculeFault:
            peptide = False
    stop = len(elements) if peptide else ligand_start
    topology: Any = app.Topology()
    starts = [*sorted({int(b) for b in begins if b < stop} | {0}), stop]
    for first, last in zip(starts, starts[1:], strict=False):
        _add_chains(topology, _split(elements, codes, first, last))
    _add_disulfides(topology, positions_nm)
    _check_bonds(topology, positions_nm)
    if not len(ligand):
        return Complex(topology, {}, tuple(notes))
    try:
        if template is not None:
            mol = with_template(elements[ligand], positions_nm[ligand], template)
        else:
            mol = perceive(elements[ligand], positions_nm[ligand], charge)
    except PerceptionError as error:
        raise MoleculeFault(
            "chemistry",
            f"the ligand's chemistry cannot be told from its coordinates: {error}. Give its total "
            "charge (charges=), or its SMILES (smiles=)",
        ) from error
    add_molecule(topology, mol, LIGAND)
    return Complex(topology, {LIGAND: mol}, tuple(notes))


def _split(
    elements: NDArray[np.int64], codes: NDArray[np.int64], first: int, last: int
) -> list[AmberResidue]:
    unknown = [int(c) for c in np.unique(codes[first:last]) if not 0 <= c < len(RESIDUE_NAMES)]
    if unknown:
        raise MoleculeFault(
            "order",
            f"atoms_residue holds the code {unknown[0]}; MISATO's go to {len(RESIDUE_NAMES) - 1}",
        )
    names = [RESIDUE_NAMES[c] for c in codes[first:last].tolist()]
    try:
        return split_residues(elements[first:last].tolist(), names, first)
    except OrderError as error:
        raise MoleculeFault("order", str(error)) from error


def _add_chains(topology: Any, residues: list[AmberResidue]) -> None:
    """Add residues with their bonds; a chain ends where Amber's names say so."""
    from openmm import app

    chain: Any = None
    before: Any = None
    for number, residue in enumerate(residues):
        if chain is None or residue.first:
            chain, before = topology.addChain(), None
        made = topology.addResidue(residue.plain_name, chain, str(number + 1))
        atoms = [
            topology.addAtom(name, app.Element.getByAtomicNumber(element), made)
            for name, element in zip(residue.atom_names, residue.elements, strict=True)
        ]
        for i, j in residue.bonds:
            topology.addBond(atoms[i], atoms[j])
        named = dict(zip(residue.atom_names, atoms, strict=True))
        if before is not None and "N" in named:
            topology.addBond(before, named["N"])
        before = named.get("C")
        if residue.last:
            chain = None


def _add_disulfides(topology: Any, positions_nm: NDArray[np.float64]) -> None:
    bound = [a for a in topology.atoms() if a.name == "SG" and a.residue.name == "CYX"]
    for k, one in enumerate(bound):
        for two in bound[k + 1 :]:
            if np.linalg.norm(positions_nm[one.index] - positions_nm[two.index]) < LONGEST_BOND_NM:
                topology.addBond(one, two)


def _check_bonds(topology: Any, positions_nm: NDArray[np.float64]) -> None:
    """Refuse coordinates that are in another order than the names."""
    bonds = [(b[0], b[1]) for b in topology.bonds()]
    if not bonds:
        return
    ends = np.array([(a.index, b.index) for a, b in bonds])
    lengths = bond_lengths(positions_nm[None], ends)[0]
    long = np.flatnonzero(lengths > LONGEST_BOND_NM).tolist()
    if long:
        a, b = bonds[long[0]]
        raise MoleculeFault(
            "order",
            f"{len(long)} of {len(bonds)} bonds are longer than {LONGEST_BOND_NM} nm, the first "
            f"from {atom_label(a)} (atom {a.index}) to "
            f"{atom_label(b)} ({lengths[long[0]]:.2f} nm): the coordinates have "
            "another order than the elements, a chain is broken, or the box splits it",
        )
