"""A Topology as PDB text, as trajectory files hold it, and back."""

from __future__ import annotations

import io
import warnings
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = ["topology_from_pdb_text", "topology_to_pdb_text"]

LAST_NUMBER = 9999
"""Of a residue in a PDB file."""


def topology_to_pdb_text(topology: Topology) -> str:
    """A Topology as PDB text with every bond that its readers would not add themselves.

    The text says what the atoms are, not where: coordinates are zero, or a grid where readers would
    bond sulfurs for being near. Residues that would run into each other by their numbers are
    numbered anew.

    Raises
    ------
    ValueError
        Atoms, residues or bonds would not come back: names of more than four letters, or one name
        twice in a residue.
    """
    wanted = _described(topology)
    for spread, renumber in product((False, True), repeat=2):
        text = _text(_renumbered(topology) if renumber else topology, spread)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is compared below
            found = _described(topology_from_pdb_text(text))
        if found == wanted:
            return text
    raise ValueError(f"A trajectory file cannot hold this molecule: {_difference(wanted, found)}.")


def topology_from_pdb_text(text: str) -> Topology:
    """The Topology that `topology_to_pdb_text` wrote."""
    from openmm.app import PDBFile

    return PDBFile(io.StringIO(text)).topology


def _text(topology: Topology, spread: bool) -> str:
    from openmm import unit
    from openmm.app import PDBFile

    buffer = io.StringIO()
    numbers = np.arange(topology.getNumAtoms())
    side = int(np.ceil(np.cbrt(len(numbers) + 1)))
    grid = np.stack([numbers // side**2, numbers // side % side, numbers % side], axis=1)
    positions = (grid if spread else 0 * grid).astype(float) * unit.nanometer
    PDBFile.writeFile(topology, positions, buffer, keepIds=True)
    return buffer.getvalue()


def _renumbered(topology: Topology) -> Topology:
    """A copy whose residues have numbers of their own."""
    from openmm.app import Topology

    copy: Any = Topology()
    copy.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    made = []
    for chain in topology.chains():
        new_chain = copy.addChain(chain.id)
        for residue in chain.residues():
            number = str(residue.index % LAST_NUMBER + 1)
            new = copy.addResidue(residue.name, new_chain, number)
            made += [copy.addAtom(atom.name, atom.element, new) for atom in residue.atoms()]
    for a, b in topology.bonds():
        copy.addBond(made[a.index], made[b.index])
    return copy


def _described(topology: Topology) -> tuple[list[tuple[Any, ...]], set[frozenset[int]]]:
    """What has to come back: atoms with their residues and chains, and bonds."""
    # PDB files have three letters for the names of residues.
    atoms = [
        (a.name, a.residue.name[:3], a.residue.index + 1, a.residue.chain.index)
        for a in topology.atoms()
    ]
    return atoms, {frozenset((a.index, b.index)) for a, b in topology.bonds()}


def _difference(wanted: Any, found: Any) -> str:
    for number, (one, other) in enumerate(zip(*(d[0] for d in (wanted, found)), strict=False)):
        if one != other:
            return (
                f"atom {number}, {one[0]} of {one[1]}, residue {one[2]}, comes back as {other[0]} "
                f"of {other[1]}, residue {other[2]}. Names of atoms have at most four letters and "
                "are there once in a residue"
            )
    if len(wanted[0]) != len(found[0]):
        return f"{len(found[0])} of its {len(wanted[0])} atoms come back"
    return f"{len(wanted[1] ^ found[1])} of its bonds do not come back"
