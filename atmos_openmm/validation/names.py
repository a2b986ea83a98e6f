"""How atoms are called in messages and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..systems.labels import residue_number

__all__ = ["atom_labels", "join_atoms", "residue_labels"]


def residue_labels(topology: Any) -> list[str]:
    """Name every residue as chain/residue, such as ``A/ALA2``.

    The residue number is the one in the file (with its insertion code); a chain without an
    identifier is counted from 1. What would be called the same twice, as in two chains of one
    identifier, is counted: ``A(2)/ALA2``.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    list of str, one a residue, in the order of the Topology.
    """
    found: Counter[str] = Counter()
    labels = []
    for residue in topology.residues():
        chain = residue.chain.id.strip() or str(residue.chain.index + 1)
        name = f"{residue.name}{residue_number(residue)}"
        found[f"{chain}/{name}"] += 1
        again = found[f"{chain}/{name}"]
        labels.append(f"{chain}({again})/{name}" if again > 1 else f"{chain}/{name}")
    return labels


def atom_labels(topology: Any) -> list[str]:
    """Name every atom as chain/residue/atom, such as ``A/ALA2/CB``; see `residue_labels`."""
    residues = residue_labels(topology)
    return [f"{residues[atom.residue.index]}/{atom.name}" for atom in topology.atoms()]


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
