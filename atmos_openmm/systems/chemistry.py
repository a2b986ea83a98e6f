"""Bond orders, charges, stereochemistry and reference conformers of one residue, through RDKit.

A residue is described by a skeleton (its heavy atoms with Kekule bonds and stereochemistry), the
hydrogens on each heavy atom, formal charges, and the elements that it is bonded to in other
residues. `build_chemistry` turns that into a `ResidueChemistry`, cached, so that a protein costs
one embedding for each kind of residue in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .like_atoms import flat_groups, like_neighbours
from .residue_molecule import ResidueMolecule
from .skeleton import Skeleton

Vector = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ResidueChemistry:
    """What RDKit knows of a residue. L local atoms: first the heavy atoms in the skeleton's order,
    then the hydrogens, heavy atom by heavy atom.

    Attributes
    ----------
    num_heavy : int
        number of heavy atoms
    parents : tuple of int
        for each hydrogen, the heavy atom that carries it
    charges : tuple of int
        formal charge of each local atom
    bonds : tuple of (int, int, float)
        local atoms and order (1.5 for aromatic)
    conformer : array [L, 3]
        reference conformer, angstrom
    chiral : tuple of (int, int, int, int)
        stereocentres: centre and three neighbours in the skeleton's order; a neighbour in another
        residue is -1 - k for the k-th partner
    chiral_signs : tuple of int
        sign of the triple product of each, from the conformer
    undefined : tuple of int
        stereocentres whose hand the skeleton does not say; the conformer has an arbitrary one
    alike : tuple
        centres whose neighbours include atoms alike by symmetry (a methylene's two hydrogens, a
        methyl's three, valine's CG1 and CG2): (centre, a, b, d, swap), where `swap` is pairs of
        local atoms whose exchange turns the handedness of their labels over
    planar : tuple
        flat groups whose two ends are told apart by cis and trans (the hydrogens of an amide's
        NH2, arginine's NH1 and NH2): (reference, middle, centre, end, swap); the end is cis or
        trans to the reference about the bond middle-centre
    double : tuple of (int, int, int, int, bool)
        double bonds that have a cis and a trans form: a neighbour, the two atoms, a neighbour of
        the second; and whether the skeleton says which it is
    double_signs : tuple of int
        +1 where these neighbours are cis in the conformer, -1 where they are trans
    """

    num_heavy: int
    parents: tuple[int, ...]
    charges: tuple[int, ...]
    bonds: tuple[tuple[int, int, float], ...]
    conformer: Vector
    chiral: tuple[tuple[int, int, int, int], ...]
    chiral_signs: tuple[int, ...]
    undefined: tuple[int, ...]
    alike: tuple[tuple[int, int, int, int, tuple[tuple[int, int], ...]], ...]
    planar: tuple[tuple[int, int, int, int, tuple[tuple[int, int], ...]], ...]
    double: tuple[tuple[int, int, int, int, bool], ...]
    double_signs: tuple[int, ...]


def cis_sign(a: Vector, b: Vector, c: Vector, d: Vector) -> int:
    """Return +1 where the torsion a-b-c-d is cis (its cosine positive), -1 where it is trans."""
    b1, b2, b3 = b - a, c - b, d - c
    return 1 if float(np.dot(np.cross(b1, b2), np.cross(b2, b3))) >= 0 else -1


def triple_product_sign(c: Vector, a: Vector, b: Vector, d: Vector) -> int:
    """Return the sign of (a-c) . ((b-c) x (d-c)): +1 or -1; 0 where flat within rounding."""
    va, vb, vd = a - c, b - c, d - c
    scale = np.linalg.norm(va) * np.linalg.norm(vb) * np.linalg.norm(vd)
    value = float(np.dot(va, np.cross(vb, vd)))
    if scale == 0 or abs(value) < 1e-3 * scale:
        return 0
    return 1 if value > 0 else -1


@lru_cache(maxsize=4096)
def build_chemistry(
    skeleton: Skeleton,
    hydrogens: tuple[int, ...],
    charges: tuple[int, ...],
    partners: tuple[tuple[int, int], ...],
    outer: tuple[int, ...] = (),
    flips: frozenset[int] = frozenset(),
    turns: frozenset[tuple[int, int]] = frozenset(),
) -> ResidueChemistry:
    """Build a residue's chemistry and reference conformer.

    Parameters
    ----------
    skeleton : Skeleton
        heavy atoms and Kekule bonds
    hydrogens, charges : tuple of int
        hydrogens on each heavy atom and its formal charge
    partners : tuple of (int, int)
        bonds to other residues: heavy atom, and the element of its partner
    outer : tuple of int
        heavy atoms that count as further out than any other neighbour when neighbours are put in
        order (proline's N, seen from CD)
    flips : frozenset of int
        stereocentres that have the hand opposite to that of the residue built without flips
    turns : frozenset of (int, int)
        double bonds that are cis where the residue built without turns has trans, or the reverse

    Raises
    ------
    FeatureError
        where RDKit finds the chemistry impossible or cannot embed it
    """
    residue = ResidueMolecule(skeleton, hydrogens, charges, partners, outer)
    centres = residue.stereocentres()
    positions = residue.embed()
    quartets = residue.double_bonds()
    if flips or turns:
        _set_isomer(residue.mol, positions, quartets, flips, turns)
        positions = residue.embed()
    local = residue.local
    keep = sorted(local, key=lambda k: local[k])
    conformer = positions[keep]
    chiral, signs = [], []
    for c, _ in centres:
        neighbours = residue.neighbours(c)[:3]
        a, b, d = (residue.local_or_partner(n) for n in neighbours)
        chiral.append((c, a, b, d))
        signs.append(triple_product_sign(*(positions[k] for k in (c, *neighbours))))
    double = [
        (local[a], i, j, local[d], told)
        for a, i, j, d, told in quartets
        if all(k in local for k in (a, i, j, d)) and max(i, j) < residue.num_heavy
    ]
    return ResidueChemistry(
        num_heavy=residue.num_heavy,
        parents=tuple(residue.parents),
        charges=tuple(residue.mol.GetAtomWithIdx(k).GetFormalCharge() for k in keep),
        bonds=residue.bonds(),
        conformer=conformer,
        chiral=tuple(chiral),
        chiral_signs=tuple(signs),
        undefined=tuple(i for i, code in centres if code == "?"),
        alike=tuple(like_neighbours(residue, [i for i, _ in centres])),
        planar=tuple(flat_groups(residue)),
        double=tuple(double),
        double_signs=tuple(cis_sign(*(conformer[k] for k in entry[:4])) for entry in double),
    )


def _set_isomer(
    mol: Any,
    positions: Vector,
    quartets: list[tuple[int, int, int, int, bool]],
    flips: frozenset[int],
    turns: frozenset[tuple[int, int]],
) -> None:
    """Invert stereocentres and double bonds of an embedded molecule, all others as embedded."""
    from rdkit import Chem

    # Tags from the first conformer: they exist at centres that the skeleton leaves open too.
    Chem.AssignStereochemistryFrom3D(mol)
    for k in flips:
        mol.GetAtomWithIdx(k).InvertChirality()
    for a, i, j, d, _ in quartets:
        bond = mol.GetBondBetweenAtoms(i, j)
        cis = cis_sign(*(positions[k] for k in (a, i, j, d))) > 0
        bond.SetStereoAtoms(a, d)
        kinds = Chem.BondStereo.STEREOTRANS, Chem.BondStereo.STEREOCIS
        bond.SetStereo(kinds[cis != ((i, j) in turns)])
