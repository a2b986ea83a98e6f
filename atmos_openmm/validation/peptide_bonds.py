"""Peptide bonds and the torsions around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .names import residue_labels

__all__ = ["OmegaTorsions", "omega_torsions"]


@dataclass(frozen=True)
class OmegaTorsions:
    """The omega torsions of a Topology.

    Attributes
    ----------
    atoms : array [T,4], int64
        carbon before C, C, N, carbon after N: 180 degrees when the peptide bond is trans.
    labels : tuple of str
        the two residues of each, as in ``A/ALA2-NME3``.
    """

    atoms: np.ndarray
    labels: tuple[str, ...]


def omega_torsions(topology: Any) -> OmegaTorsions:
    """Find the peptide bonds of a Topology and the torsions around them.

    A peptide bond is a bond between a carbon named C of one residue and a nitrogen named N of
    another. Its torsion runs over CA where there is one, and over the only other carbon neighbour
    in caps (ACE, NME). A bond to a terminal NH2 has no torsion.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    OmegaTorsions
    """
    neighbours: dict[Any, list[Any]] = {}
    for first, second in topology.bonds():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)

    def carbons(atom: Any, other: Any) -> list[Any]:
        return [
            n
            for n in neighbours[atom]
            if n is not other and n.element is not None and n.element.symbol == "C"
        ]

    def alpha(atom: Any, other: Any) -> Any | None:
        near = carbons(atom, other)
        named = [n for n in near if n.name == "CA"]
        return (named or near or [None])[0]

    residues = residue_labels(topology)
    rows, labels = [], []
    for bond in topology.bonds():
        pair = sorted(bond, key=lambda atom: atom.name)
        c, n = pair
        if (c.name, n.name) != ("C", "N") or c.residue is n.residue:
            continue
        before, after = alpha(c, n), alpha(n, c)
        if before is None or after is None:
            continue
        rows.append((before.index, c.index, n.index, after.index))
        after_slash = residues[n.residue.index].rsplit("/", 1)[1]
        labels.append(f"{residues[c.residue.index]}-{after_slash}")
    return OmegaTorsions(np.array(rows, dtype=np.int64).reshape(-1, 4), tuple(labels))
