"""Names of substituents that differ only in their place: HB2 and HB3, NH1 and NH2, ...

The IUPAC rule names them by handedness or by cis and trans (Markley et al., Pure Appl. Chem. 70,
117, 1998). Names that were given at random are harmless for a force field and confusing for
anything that learns from named atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.geometry import torsion_angles
from .backbone import bonded_neighbours, handedness

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = ["fix_names", "planar_groups", "prochiral_groups"]


def prochiral_groups(topology: Topology) -> list[tuple[int, int, list[int], list[int]]]:
    """Groups whose members' names follow from handedness alone.

    Returns
    -------
    list of (centre, previous, first, second)
        Atom numbers: the centre, its neighbour towards the backbone, and the two lists of atoms
        that must change places (a hydrogen each, or a methyl group with its hydrogens) where the
        triple product (previous - centre) . ((first - centre) x (second - centre)) is positive.
        The first entries of the lists are the atoms bonded to the centre.
    """
    neighbours = bonded_neighbours(topology)
    groups: list[tuple[int, int, list[int], list[int]]] = []
    for residue in topology.residues():
        index = {a.name: a.index for a in residue.atoms()}
        name_of = {i: n for n, i in index.items()}
        for name, centre in index.items():
            if name.startswith("H"):
                continue
            around = neighbours[centre]
            hydrogens = sorted(
                (n for n in around if name_of.get(n, "").startswith("H")), key=name_of.__getitem__
            )
            others = [n for n in around if n not in hydrogens]
            if len(hydrogens) >= 2 and len(around) == 4:
                # The last step of the way from the backbone to the centre.
                rank = _remoteness(name)
                nearer = [n for n in others if _remoteness(name_of.get(n)) < rank]
                previous = max(nearer or others, key=lambda n: _remoteness(name_of.get(n)))
                groups.append((centre, previous, [hydrogens[-2]], [hydrogens[-1]]))
        for resname, centre_name, prev_name, one, two in (
            ("VAL", "CB", "CA", "CG1", "CG2"),
            ("LEU", "CG", "CB", "CD1", "CD2"),
        ):
            if residue.name == resname and one in index and two in index:
                pair = [_branch(neighbours, index[a], index[centre_name]) for a in (one, two)]
                groups.append((index[centre_name], index[prev_name], *pair))
    return groups


# The first atom named must be cis to the reference: torsion (reference, middle, centre, first).
_PLANAR = {
    "ASN": [("CB", "CG", "ND2", "HD21", "HD22")],
    "GLN": [("CG", "CD", "NE2", "HE21", "HE22")],
    "ARG": [
        ("CD", "NE", "CZ", "NH1", "NH2"),
        ("NE", "CZ", "NH1", "HH11", "HH12"),
        ("NE", "CZ", "NH2", "HH21", "HH22"),
    ],
}


def planar_groups(
    topology: Topology,
) -> list[tuple[tuple[int, int, int], list[int], list[int]]]:
    """Amide and guanidinium groups whose two ends are told apart by cis and trans.

    Returns
    -------
    list of ((reference, middle, centre), first, second)
        Atom numbers. The atoms of ``first`` and ``second`` must change places where the torsion
        reference-middle-centre-first is trans.
    """
    neighbours = bonded_neighbours(topology)
    groups = []
    for residue in topology.residues():
        index = {a.name: a.index for a in residue.atoms()}
        for names in _PLANAR.get(residue.name, []):
            if all(name in index for name in names):
                a, b, c, one, two = (index[name] for name in names)
                groups.append(((a, b, c), _branch(neighbours, one, c), _branch(neighbours, two, c)))
    return groups


def _branch(neighbours: dict[int, list[int]], atom: int, centre: int) -> list[int]:
    """An atom and what hangs on it away from the centre, in the order of their numbers."""
    return [atom, *sorted(n for n in neighbours[atom] if n != centre)]


def _remoteness(name: str | None) -> int:
    """How far from the backbone's nitrogen an atom stands by its Greek letter."""
    if name is None or name == "C":  # another residue, or the way onwards along the chain
        return len(_REMOTENESS)
    return _REMOTENESS.index(name[1]) if len(name) > 1 and name[1] in _REMOTENESS else 0


_REMOTENESS = "NABGDEZH"


def fix_names(topology: Topology, positions_nm: ArrayLike) -> NDArray[np.float64]:
    """Give substituents that differ only in their place the positions their names call for.

    The members of such a pair are chemically the same, so that changing places changes neither
    the molecule nor its energy: it makes files from different builders comparable atom by atom.
    The decision is made on the first frame and holds for the others, since no bond breaks.

    Parameters
    ----------
    topology : openmm.app.Topology
        Peptide with PDB version 3 names and bonds.
    positions_nm : array, shape (A, 3) or (F, A, 3)

    Returns
    -------
    ndarray, the same shape
    """
    positions = np.array(positions_nm)
    frames = positions[None] if positions.ndim == 2 else positions
    for (a, b, c), first, second in planar_groups(topology):
        if np.cos(torsion_angles(frames[0], [(a, b, c, first[0])])[0]) < 0.0:
            frames[:, first + second] = frames[:, second + first]
    # Heavy pairs first: they carry their hydrogens along, whose own order is then looked at.
    for centre, previous, first, second in sorted(
        prochiral_groups(topology), key=lambda g: -len(g[2])
    ):
        if handedness(frames[0], centre, previous, first[0], second[0]) > 0.0:
            frames[:, first + second] = frames[:, second + first]
    return frames[0] if positions.ndim == 2 else frames
