"""Completed chains to a Topology with bonds, and copies of it to an assembly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .assemblies import Assembly
from .completion import LONGEST_PEPTIDE_BOND_NM, Chain, Residue
from .components import Components

__all__ = ["Built", "assemble", "build_topology"]

LONGEST_BOND_NM = 0.3


@dataclass(frozen=True)
class Built:
    """A Topology with what goes with it.

    Attributes
    ----------
    topology : openmm.app.Topology
    positions_nm : array, shape (A, 3)
    resolved : array of bool, shape (A,)
    ligands : set of str
        Names of the residues whose chemistry has to come from a molecule.
    """

    topology: Any
    positions_nm: NDArray[np.float64]
    resolved: NDArray[np.bool_]
    ligands: frozenset[str]


def build_topology(
    file: Any,
    chains: Sequence[Chain],
    components: Components,
    given: Mapping[str, Any],
) -> Built:
    """Make the Topology of completed chains.

    Bonds: of standard residues by their definition, of ligands by the file's chemistry or the
    molecules given, and those that the file names (disulfides, links) where atoms are in reach.

    Parameters
    ----------
    file : systems.structure_files.StructureFile
    chains : sequence of Chain
    components : mapping from residue name to (RDKit Mol, names of its atoms)
    given : mapping from residue name to RDKit Mol

    Returns
    -------
    Built
    """
    from openmm import app

    topology: Any = app.Topology()
    positions: list[NDArray[np.float64]] = []
    resolved: list[bool] = []
    new_atoms: dict[int, Any] = {}
    residues: list[tuple[Residue, Any, dict[str, Any]]] = []
    for chain in chains:
        owner = topology.addChain(chain.name)
        for residue in chain.residues:
            made = topology.addResidue(residue.name, owner, residue.number, residue.code)
            atoms: dict[str, Any] = {}
            for name, (element, x) in residue.atoms.items():
                atoms[name] = topology.addAtom(name, element, made)
                positions.append(x)
                resolved.append(name in residue.seen)
            residues.append((residue, made, atoms))
            if residue.source is not None:
                for old in residue.source.atoms():
                    if old.name in atoms:
                        new_atoms[old.index] = atoms[old.name]
    topology.createStandardBonds()
    places = np.array(positions)
    bonds = _Bonds(topology, places)
    ligands = set()
    for residue, made, atoms in residues:
        if residue.standard:
            _standard_bonds(bonds, residue.name, atoms)
        else:
            ligands.add(residue.name)
            _ligand_bonds(bonds, residue.name, made, atoms, components, given)
    number = 0
    for chain in chains:
        here = residues[number : number + len(chain.residues)]
        number += len(chain.residues)
        for (_, _, one), (_, _, two) in pairwise(here if chain.polymer else []):
            if "C" in one and "N" in two:
                bonds.add(one["C"], two["N"])
    for bond in file.topology.bonds():
        ends = [new_atoms.get(a.index) for a in (bond[0], bond[1])]
        if ends[0] is not None and ends[1] is not None:
            bonds.add_if_near(ends[0], ends[1])
    return Built(topology, places, np.array(resolved), frozenset(ligands))


class _Bonds:
    """The bonds of a Topology, each once."""

    def __init__(self, topology: Any, positions: NDArray[np.float64]) -> None:
        self.topology = topology
        self.positions = positions
        self._there = {frozenset((b[0].index, b[1].index)) for b in topology.bonds()}

    def add(self, one: Any, two: Any) -> None:
        key = frozenset((one.index, two.index))
        if key not in self._there:
            self._there.add(key)
            self.topology.addBond(one, two)

    def add_if_near(self, one: Any, two: Any) -> None:
        peptide = {one.name, two.name} == {"C", "N"} and one.residue is not two.residue
        limit = LONGEST_PEPTIDE_BOND_NM if peptide else LONGEST_BOND_NM
        gap = self.positions[one.index] - self.positions[two.index]
        if np.linalg.norm(gap) <= limit:
            self.add(one, two)

    def note_new(self) -> None:
        """Learn of bonds that others added to the Topology."""
        self._there = {frozenset((b[0].index, b[1].index)) for b in self.topology.bonds()}


def _standard_bonds(bonds: _Bonds, name: str, atoms: Mapping[str, Any]) -> None:
    from ..systems.residues import find_template
    from ..systems.skeleton import Skeleton

    template = find_template(name)
    assert template is not None
    for i, j, _ in Skeleton.from_smiles(template.smiles[0]).bonds:
        if template.names[i] in atoms and template.names[j] in atoms:
            bonds.add(atoms[template.names[i]], atoms[template.names[j]])
    if "OXT" in atoms:
        bonds.add(atoms["C"], atoms["OXT"])


def _ligand_bonds(
    bonds: _Bonds,
    name: str,
    residue: Any,
    atoms: Mapping[str, Any],
    components: Components,
    given: Mapping[str, Any],
) -> None:
    """Bonds of a residue that is not standard: by names where they are known, else by distances."""
    if name in components and name not in given:
        mol, names = components[name]
        for bond in mol.GetBonds():
            one, two = names[bond.GetBeginAtomIdx()], names[bond.GetEndAtomIdx()]
            if one in atoms and two in atoms:
                bonds.add(atoms[one], atoms[two])
        return
    from ..systems.ligand_files import perceived_graph
    from ..systems.ligand_placing import complete_bonds
    from ..systems.modified import modified_molecule

    mol = given.get(name, modified_molecule(name))
    graph = perceived_graph(residue, [], bonds.positions)
    complete_bonds(bonds.topology, graph, mol, bonds.positions)
    bonds.note_new()


def assemble(base: Built, names: Sequence[str], assembly: Assembly, most_atoms: int) -> Built:
    """Copy chains as an assembly says.

    Parameters
    ----------
    base : Built
    names : sequence of str
        The file's name of each chain of the Topology.
    assembly : Assembly
    most_atoms : int

    Returns
    -------
    Built
        Chains in the assembly's order; copies of a chain A are A, A-2, A-3, ...

    Raises
    ------
    ValueError
        More atoms than `most_atoms`.
    """
    from openmm import app

    old_chains = list(base.topology.chains())
    counts = {c.index: sum(1 for _ in c.atoms()) for c in old_chains}
    total = sum(
        len(operators) * sum(counts[c.index] for c in old_chains if names[c.index] in chosen)
        for chosen, operators in assembly.parts
    )
    if total > most_atoms:
        raise ValueError(
            f"assembly {assembly.name} has {total} atoms, more than {most_atoms}: take the "
            "asymmetric unit instead (assembly=None)"
        )
    topology: Any = app.Topology()
    positions: list[NDArray[np.float64]] = []
    resolved: list[NDArray[np.bool_]] = []
    used: dict[str, int] = {}
    for chosen, operators in assembly.parts:
        for operator in operators:
            new: dict[int, Any] = {}
            for chain in (c for c in old_chains if names[c.index] in chosen):
                used[chain.id] = used.get(chain.id, 0) + 1
                copy = used[chain.id]
                made = topology.addChain(chain.id if copy == 1 else f"{chain.id}-{copy}")
                for residue in chain.residues():
                    owner = topology.addResidue(
                        residue.name, made, residue.id, residue.insertionCode
                    )
                    for atom in residue.atoms():
                        new[atom.index] = topology.addAtom(atom.name, atom.element, owner)
            index = np.fromiter(new, int, len(new))
            positions.append(base.positions_nm[index] @ operator[:, :3].T + operator[:, 3])
            resolved.append(base.resolved[index])
            for bond in base.topology.bonds():
                if bond[0].index in new and bond[1].index in new:
                    ends = new[bond[0].index], new[bond[1].index]
                    topology.addBond(*ends, bond.type, bond.order)
    return Built(topology, np.concatenate(positions), np.concatenate(resolved), base.ligands)
