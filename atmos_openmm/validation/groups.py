"""Which parts of a System interaction energies are computed between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..systems.residues import find_template
from ..systems.selection import is_left_out
from .names import residue_labels

__all__ = ["GroupPair", "default_pairs", "named_pairs"]

#: More ligands than this are taken together by their residue names.
MANY_LIGANDS = 5


@dataclass(frozen=True)
class GroupPair:
    """Two groups of particles without a particle in common.

    Attributes
    ----------
    name : str
        Such as ``protein - LIG1``.
    first, second : array, int64
        Particle numbers, sorted.
    """

    name: str
    first: np.ndarray
    second: np.ndarray


def _molecules(topology: Any) -> list[list[Any]]:
    """Residues of each molecule: those that bonds hold together."""
    parent = list(range(topology.getNumResidues()))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b in topology.bonds():
        parent[root(a.residue.index)] = root(b.residue.index)
    found: dict[int, list[Any]] = {}
    for residue in topology.residues():
        found.setdefault(root(residue.index), []).append(residue)
    return list(found.values())


def default_pairs(topology: Any) -> list[GroupPair]:
    """The pairs that a user asks for first: protein and each ligand, solute and solvent.

    A molecule with a standard amino acid is part of the protein. What is water or an ion is
    solvent. The chains of a protein without a ligand are paired with each other.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    list of GroupPair
        empty where the Topology is one molecule.
    """
    labels = residue_labels(topology)
    protein: list[list[Any]] = []
    ligands: list[tuple[str, list[Any]]] = []
    solvent: list[Any] = []
    for residues in _molecules(topology):
        if all(is_left_out(r) for r in residues):
            solvent += residues
        elif any((t := find_template(r.name)) is not None and t.is_amino_acid for r in residues):
            protein.append(residues)
        else:
            ligands.append((labels[residues[0].index], residues))
    if len(ligands) > MANY_LIGANDS:
        ligands = [(residues[0].name, residues) for _, residues in ligands]
    named: dict[str, list[Any]] = {}
    if protein and ligands:
        named["protein"] = [r for residues in protein for r in residues]
    elif len(protein) <= MANY_LIGANDS:
        chains = [f"chain {labels[rs[0].index].split('/')[0]}" for rs in protein]
        if len(set(chains)) < len(chains):  # several molecules under one identifier
            chains = [f"molecule {k}" for k in range(1, len(protein) + 1)]
        named.update(dict(zip(chains, protein, strict=True)))
    for name, residues in ligands:
        named[name] = [*named.get(name, []), *residues]
    groups = {name: _atoms(residues) for name, residues in named.items()}
    pairs = []
    names = list(groups)
    for k, first in enumerate(names):
        for second in names[k + 1 :] if first == "protein" or not ligands else []:
            pairs.append(GroupPair(f"{first} - {second}", groups[first], groups[second]))
    solute = _atoms([r for rs in protein for r in rs] + [r for _, rs in ligands for r in rs])
    if len(solute) and solvent:
        pairs.append(GroupPair("solute - solvent", solute, _atoms(solvent)))
    return pairs


def _atoms(residues: list[Any]) -> np.ndarray:
    return np.array(sorted(atom.index for r in residues for atom in r.atoms()), dtype=np.int64)


def named_pairs(groups: Mapping[str, Any], num_particles: int) -> list[GroupPair]:
    """All pairs of groups that a caller names.

    Parameters
    ----------
    groups : mapping from name to particle numbers
    num_particles : int

    Raises
    ------
    ValueError
        A group is empty or names a particle that is not there, or two share a particle.
    """
    arrays = {}
    for name, given in groups.items():
        atoms = np.unique(np.asarray(list(given), dtype=np.int64))
        if not len(atoms) or atoms[0] < 0 or atoms[-1] >= num_particles:
            raise ValueError(
                f"the group {name!r} should hold particles from 0 to {num_particles - 1}; found "
                f"{atoms[[0, -1]].tolist() if len(atoms) else 'none'}"
            )
        arrays[name] = atoms
    names = list(arrays)
    pairs = []
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            shared = np.intersect1d(arrays[first], arrays[second])
            if len(shared):
                raise ValueError(
                    f"the groups {first!r} and {second!r} share particle {shared[0]}; interaction "
                    "energies are between groups without a particle in common"
                )
            pairs.append(GroupPair(f"{first} - {second}", arrays[first], arrays[second]))
    return pairs
