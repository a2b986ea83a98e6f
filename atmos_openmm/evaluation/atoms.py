"""Which atoms a metric looks at: alpha carbons, backbone, heavy atoms, ligand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..systems.labels import residue_number

if TYPE_CHECKING:
    import mdtraj

__all__ = ["BACKBONE_NAMES", "AtomTable", "common_atoms"]

Indices = NDArray[np.int64]

BACKBONE_NAMES = ("N", "CA", "C", "O")
#: Residues with fewer heavy atoms are ions or additives, not ligands.
SMALLEST_LIGAND = 6

_CARBON = 6
_OXYGEN_NAMES = {"O", "OT1", "O1"}


@dataclass(frozen=True, eq=False)
class AtomTable:
    """Atoms of a molecule as plain arrays; A atoms, R residues.

    Attributes
    ----------
    names : tuple of str
        A atom names.
    elements : int64 array [A]
        Atomic numbers; 0 for virtual sites.
    residue : int64 array [A]
        Index of each atom's residue.
    residue_names, residue_ids : tuple of str
        R names and numbers.
    chain : int64 array [R]
        Index of each residue's chain.
    bonds : int64 array [M, 2]
        Atom indices, i < j.
    """

    names: tuple[str, ...]
    elements: Indices
    residue: Indices
    residue_names: tuple[str, ...]
    residue_ids: tuple[str, ...]
    chain: Indices
    bonds: Indices

    @classmethod
    def from_openmm(cls, topology: Any) -> AtomTable:
        """Read an openmm.app.Topology."""
        atoms, residues = list(topology.atoms()), list(topology.residues())
        bonds = sorted({tuple(sorted((a.index, b.index))) for a, b in topology.bonds()})
        return cls(
            tuple(atom.name for atom in atoms),
            np.array([0 if a.element is None else a.element.atomic_number for a in atoms], int),
            np.array([atom.residue.index for atom in atoms], int),
            tuple(residue.name for residue in residues),
            tuple(residue_number(residue) for residue in residues),
            np.array([residue.chain.index for residue in residues], int),
            np.array(bonds, int).reshape(-1, 2),
        )

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, atoms: Indices) -> AtomTable:
        """The table of some atoms, in the order given; residues without atoms are left out."""
        kept, residue = np.unique(self.residue[atoms], return_inverse=True)
        place = np.full(len(self), -1)
        place[atoms] = np.arange(len(atoms))
        bonds = np.sort(place[self.bonds], axis=1)
        return AtomTable(
            tuple(self.names[i] for i in atoms),
            self.elements[atoms],
            residue.astype(np.int64),
            tuple(self.residue_names[r] for r in kept),
            tuple(self.residue_ids[r] for r in kept),
            self.chain[kept],
            bonds[(bonds >= 0).all(axis=1)],
        )

    @cached_property
    def alpha_carbons(self) -> Indices:
        """Atoms named CA that are carbons (calcium ions are not), one a residue."""
        return np.array(
            [
                i
                for i, name in enumerate(self.names)
                if name == "CA" and self.elements[i] == _CARBON
            ],
            int,
        )

    @cached_property
    def protein_residues(self) -> Indices:
        """Residues with an alpha carbon, [N]; row n of `backbone` and `alpha_carbons` is theirs."""
        return self.residue[self.alpha_carbons]

    @property
    def protein_labels(self) -> list[str]:
        """Names and numbers of these residues, such as ``ALA2``, [N]."""
        return [f"{self.residue_names[r]}{self.residue_ids[r]}" for r in self.protein_residues]

    @cached_property
    def backbone(self) -> Indices:
        """Atoms N, CA, C and O of the residues with an alpha carbon, as far as they are there."""
        wanted = set(self.protein_residues.tolist())
        return np.array(
            [
                i
                for i, name in enumerate(self.names)
                if self.residue[i] in wanted and (name in BACKBONE_NAMES or name in _OXYGEN_NAMES)
            ],
            int,
        )

    @cached_property
    def heavy(self) -> Indices:
        """All atoms but hydrogens and virtual sites."""
        return np.flatnonzero(self.elements > 1)

    @cached_property
    def protein_heavy(self) -> Indices:
        """Heavy atoms of the residues with an alpha carbon."""
        inside = np.isin(self.residue, self.protein_residues)
        return np.flatnonzero(inside & (self.elements > 1))

    def named(self, name: str) -> dict[int, int]:
        """Residue index -> atom of this name, among the residues with an alpha carbon."""
        wanted = set(self.protein_residues.tolist())
        return {
            int(self.residue[i]): i
            for i, other in enumerate(self.names)
            if other == name and self.residue[i] in wanted
        }

    @cached_property
    def peptide_bonds(self) -> Indices:
        """Neighbouring residues along each chain: rows (residue, next residue), [K, 2].

        Two residues are neighbours when a C-N bond joins them, or, where the table has no bonds
        between them because an atom is missing (alpha-carbon models), when they follow each other
        in their chain with numbers one apart.
        """
        n, c = self.named("N"), self.named("C")
        bonded = {tuple(bond) for bond in self.bonds.tolist()}
        rows = []
        residues = self.protein_residues.tolist()
        for first, second in zip(residues[:-1], residues[1:], strict=True):
            if first in c and second in n:
                pair = tuple(sorted((c[first], n[second])))
                joined = pair in bonded
            else:
                joined = self.chain[first] == self.chain[second] and _consecutive(
                    self.residue_ids[first], self.residue_ids[second]
                )
            if joined:
                rows.append((first, second))
        return np.array(rows, int).reshape(-1, 2)

    def ligand(self, residue_name: str | None = None) -> Indices:
        """Heavy atoms of the ligand.

        Parameters
        ----------
        residue_name : str, optional
            Residue name; by default every residue that is no amino acid, cap, nucleotide, water or
            small ion.

        Raises
        ------
        ValueError
            If there is no such residue.
        """
        from ..systems.residues import SOLVENT, find_template

        protein = set(self.protein_residues.tolist())
        counts = np.bincount(self.residue[self.heavy], minlength=len(self.residue_names))
        if residue_name is not None:
            chosen = [r for r, name in enumerate(self.residue_names) if name == residue_name]
        else:
            chosen = [
                r
                for r, name in enumerate(self.residue_names)
                if r not in protein
                and name not in SOLVENT
                and counts[r] >= SMALLEST_LIGAND
                and find_template(name) is None
            ]
        if not chosen:
            wanted = "of a ligand" if residue_name is None else f"named {residue_name}"
            raise ValueError(
                f"no residue {wanted} was found among {', '.join(sorted(set(self.residue_names)))}"
            )
        return np.flatnonzero(np.isin(self.residue, chosen) & (self.elements > 1))

    def to_mdtraj(self) -> mdtraj.Topology:
        """As an mdtraj Topology, bonds included."""
        import mdtraj

        topology = mdtraj.Topology()
        chains = {int(k): topology.add_chain() for k in np.unique(self.chain)}
        residues = [
            topology.add_residue(name, chains[int(self.chain[r])])
            for r, name in enumerate(self.residue_names)
        ]
        atoms = []
        for name, element, residue in zip(self.names, self.elements, self.residue, strict=True):
            symbol = (
                mdtraj.element.Element.getByAtomicNumber(int(element))
                if element
                else mdtraj.element.virtual
            )
            atoms.append(topology.add_atom(name, symbol, residues[residue]))
        for i, j in self.bonds:
            topology.add_bond(atoms[i], atoms[j])
        return topology


def _consecutive(first: str, second: str) -> bool:
    try:
        return int(second) - int(first) == 1
    except ValueError:
        return True


def common_atoms(tables: Sequence[AtomTable]) -> list[Indices]:
    """Atoms that all tables have, in the first table's order.

    Atoms are the same when residue (counted among those with an alpha carbon, or among the rest)
    and name are; so a backbone model of a protein meets its all-atom trajectory. Where a residue
    has a name twice, as caps counted to the terminal residue may, the first is the first.

    Parameters
    ----------
    tables : sequence of AtomTable

    Returns
    -------
    list of int64 arrays
        Indices into each table, of one length.

    Raises
    ------
    ValueError
        If the proteins have different sequences, or nothing is shared.
    """
    keyed = []
    for table in tables:
        order = {int(r): k for k, r in enumerate(table.protein_residues)}
        rest = [r for r in range(len(table.residue_names)) if r not in order]
        order.update({r: -1 - k for k, r in enumerate(rest)})
        keys: dict[tuple[int, str, int], int] = {}
        seen: Counter[tuple[int, str]] = Counter()
        for i, (r, name) in enumerate(zip(table.residue, table.names, strict=True)):
            keys[order[int(r)], name, seen[order[int(r)], name]] = i
            seen[order[int(r)], name] += 1
        keyed.append(keys)
    first = [_canonical(tables[0].residue_names[r]) for r in tables[0].protein_residues]
    for table in tables[1:]:
        names = [_canonical(table.residue_names[r]) for r in table.protein_residues]
        if names != first:
            where = next(
                (k for k, (a, b) in enumerate(zip(first, names, strict=False)) if a != b),
                min(len(first), len(names)),
            )
            here = slice(where, where + 3)
            raise ValueError(
                f"trajectories or structures hold different proteins: {len(first)} and "
                f"{len(names)} residues with alpha carbons, which differ from residue {where + 1} "
                f"on ({first[here]} and {names[here]}); all have to be of one molecule"
            )
    shared = [key for key in keyed[0] if all(key in other for other in keyed[1:])]
    if not shared:
        raise ValueError("the trajectories have no atom (residue and name) in common")
    return [np.array([keys[key] for key in shared], int) for keys in keyed]


def _canonical(name: str) -> str:
    from ..systems.residues import find_template

    template = find_template(name)
    return name if template is None else template.name
