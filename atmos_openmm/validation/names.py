"""How atoms are called in messages and tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..systems.labels import residue_number

__all__ = ["atom_labels", "chain_label", "join_atoms"]


def chain_label(chain: Any) -> str:
    """The identifier of a chain, or its number from 1 where it has none."""
    return chain.id.strip() or str(chain.index + 1)


def atom_labels(topology: Any) -> list[str]:
    """Name every atom as chain/residue/atom, such as ``A/ALA2/CB``.

    The residue number is the one in the file (with its insertion code); a chain without an
    identifier is counted from 1.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    list of str, one an atom, in the order of the Topology.
    """
    labels = []
    for atom in topology.atoms():
        residue = atom.residue
        number = residue_number(residue)
        labels.append(f"{chain_label(residue.chain)}/{residue.name}{number}/{atom.name}")
    return labels


def join_atoms(labels: list[str], atoms: Iterable[int]) -> str:
    """Name a bond, an angle or a torsion: the labels of its atoms with dashes between.

    The chain and residue are left out where they are those of the atom before, so that a bond
    inside a residue reads ``A/ALA2/CA-CB``.
    """
    parts: list[str] = []
    before = None
    for atom in atoms:
        residue, name = labels[int(atom)].rsplit("/", 1)
        parts.append(name if residue == before else f"{residue}/{name}")
        before = residue
    return "-".join(parts)
