"""Bond orders, charges, stereochemistry and reference conformers of one residue, through RDKit.

A residue is described by a skeleton (its heavy atoms with Kekule bonds and stereochemistry), the
hydrogens on each heavy atom, formal charges, and the elements that it is bonded to in other
residues. `build_chemistry` turns that into a `ResidueChemistry`, cached, so that a protein costs
one embedding for each kind of residue in it.

The partners in other residues are stood in for by small groups (a formyl group on a nitrogen's
partner carbon, an amine on a carbon's partner nitrogen, a thiol on sulphur), so that the
geometry at the link is that of the chain; they are taken away afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FeatureError
from .skeleton import Skeleton

EMBED_SEED = 0xA7305
"""Seed of the ETKDG embedding: reference conformers are the same everywhere."""

Vector = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ResidueChemistry:
    """What RDKit knows of a residue. L local atoms: first the heavy atoms in the skeleton's order,
    then the hydrogens, heavy atom by heavy atom.

    Attributes
    ----------
    num_heavy: int
        number of heavy atoms
    parents: tuple of int
        for each hydrogen, the heavy atom that carries it
    charges: tuple of int
        formal charge of each local atom
    bonds: tuple of (int, int, float)
        local atoms and order (1.5 for aromatic)
    conformer: array [L, 3]
        reference conformer, angstrom
    chiral: tuple of (int, int, int, int)
        stereocentres: centre and three neighbours in the skeleton's order; a neighbour in another
        residue is -1 - k for the k-th partner
    chiral_signs: tuple of int
        sign of the triple product of each, from the conformer
    undefined: tuple of int
        stereocentres whose hand the skeleton does not say; the conformer has an arbitrary one
    alike: tuple
        centres whose neighbours include atoms alike by symmetry (a methylene's two hydrogens, a
        methyl's three, valine's CG1 and CG2): (centre, a, b, d, swap), where `swap` is pairs of
        local atoms whose exchange turns the handedness of their labels over
    planar: tuple
        flat groups whose two ends are told apart by cis and trans (the hydrogens of an amide's
        NH2, arginine's NH1 and NH2): (reference, middle, centre, end, swap); the end is cis or
        trans to the reference about the bond middle-centre
    double: tuple of (int, int, int, int, bool)
        double bonds that have a cis and a trans form: a neighbour, the two atoms, a neighbour of
        the second; and whether the skeleton says which it is
    double_signs: tuple of int
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


def _with_partners(
    skeleton: Skeleton,
    hydrogens: tuple[int, ...],
    charges: tuple[int, ...],
    partners: tuple[tuple[int, int], ...],
) -> Any:
    """Assemble the RDKit molecule: heavy atoms, partners, all hydrogens explicit."""
    from rdkit import Chem

    mol = Chem.RWMol(Chem.Mol(skeleton.binary))  # type: ignore[call-overload]
    for atom, count, charge in zip(mol.GetAtoms(), hydrogens, charges, strict=True):
        atom.SetFormalCharge(charge)
        atom.SetNumRadicalElectrons(0)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(count)
    for anchor, element in partners:
        added = mol.AddAtom(Chem.Atom(element))
        mol.AddBond(anchor, added, Chem.BondType.SINGLE)
        if element == 6 and skeleton.elements[anchor] == 7:
            # The partner of a backbone nitrogen is a carbonyl carbon: makes the amide planar.
            oxygen = mol.AddAtom(Chem.Atom(8))
            mol.AddBond(added, oxygen, Chem.BondType.DOUBLE)
    try:
        Chem.SanitizeMol(mol)
    except Exception as error:  # RDKit raises several unrelated types here
        raise FeatureError(
            f"RDKit finds the residue's chemistry impossible: {error}. Check the bonds, hydrogens "
            "and charges of the residue."
        ) from error
    full = Chem.AddHs(mol)
    Chem.AssignStereochemistry(full, cleanIt=True, force=True)
    return full


def _embed(mol: Any) -> Vector:
    """Return one ETKDG conformer, [all atoms, 3] angstrom, the same on every call."""
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = EMBED_SEED
    parameters.enforceChirality = True
    for random_coordinates in (False, True):
        parameters.useRandomCoords = random_coordinates
        if rdDistGeom.EmbedMolecule(mol, parameters) == 0:
            return np.array(mol.GetConformer().GetPositions())
    from rdkit import Chem

    raise FeatureError(
        "RDKit could not embed a reference conformer of the residue with SMILES "
        f"{Chem.MolToSmiles(Chem.RemoveHs(mol))}. Check its stereochemistry and ring bonds."
    )


def _onward(mol: Any, ranks: list[int], atom: int, source: int) -> list[int]:
    """Return an atom's neighbours except `source`, by rank."""
    neighbours = (n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors())
    return sorted((n for n in neighbours if n != source), key=lambda n: (ranks[n], n))


def _branch_swap(
    mol: Any, ranks: list[int], centre: int, b: int, d: int
) -> list[tuple[int, int]] | None:
    """Pair the atoms of two equivalent branches at `centre`; None where they share atoms."""
    seen = {centre}
    pairs: list[tuple[int, int]] = []
    stack = [(b, d, centre, centre)]
    while stack:
        i, j, from_i, from_j = stack.pop()
        if i == j or i in seen or j in seen:
            return None
        seen.update((i, j))
        pairs.append((i, j))

        next_i, next_j = _onward(mol, ranks, i, from_i), _onward(mol, ranks, j, from_j)
        if [ranks[k] for k in next_i] != [ranks[k] for k in next_j]:
            return None
        stack.extend((p, q, i, j) for p, q in zip(next_i, next_j, strict=True))
    return pairs


def _flat_ends(mol: Any, centre: int, neighbours: list[int]) -> tuple[list[int], int]:
    """Return the two like ends of a flat NH2 or C(NH2)2 group, and the third neighbour.

    The ends are hydrogens of a nitrogen beside a carbon with a double bond, or two nitrogens with
    equally many hydrogens and no other neighbour. Empty where `centre` is no such group.
    """
    from rdkit import Chem

    atom = mol.GetAtomWithIdx(centre)
    if len(neighbours) != 3 or atom.GetHybridization() != Chem.HybridizationType.SP2:
        return [], -1
    hydrogens = [n for n in neighbours if mol.GetAtomWithIdx(n).GetAtomicNum() == 1]
    amines = [
        n
        for n in neighbours
        if mol.GetAtomWithIdx(n).GetAtomicNum() == 7
        and sum(k.GetAtomicNum() > 1 for k in mol.GetAtomWithIdx(n).GetNeighbors()) == 1
        and mol.GetAtomWithIdx(n).GetDegree() == 3
    ]
    ends = hydrogens if atom.GetAtomicNum() == 7 else amines
    if len(ends) != 2:
        return [], -1
    return ends, next(n for n in neighbours if n not in ends)


def _double_bonds(mol: Any) -> list[tuple[int, int, int, int, bool]]:
    """Return double bonds with a cis and a trans form, see `ResidueChemistry.double`."""
    from rdkit import Chem

    found = []
    for info in Chem.FindPotentialStereo(mol, cleanIt=False):
        if info.type != Chem.StereoType.Bond_Double:
            continue
        bond = mol.GetBondWithIdx(info.centeredOn)
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        sides = [
            [n.GetIdx() for n in mol.GetAtomWithIdx(k).GetNeighbors() if n.GetIdx() != other]
            for k, other in ((i, j), (j, i))
        ]
        if bond.IsInRing() or not all(sides):
            continue
        told = info.specified == Chem.StereoSpecified.Specified
        found.append((min(sides[0]), i, j, min(sides[1]), told))
    return found


def _resonant_ends(mol: Any) -> list[list[int]]:
    """Return groups of oxygens that differ only in which of them is drawn with the double bond.

    In a phosphate or phosphonate they make no stereocentre, though a Kekule form shows one.
    """
    groups = []
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() != 15:
            continue
        ends = [
            n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 8 and n.GetDegree() == 1
        ]
        if len(ends) > 1:
            groups.append(ends)
    return groups


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
    skeleton: Skeleton
        heavy atoms and Kekule bonds
    hydrogens, charges: tuple of int
        hydrogens on each heavy atom and its formal charge
    partners: tuple of (int, int)
        bonds to other residues: heavy atom, and the element of its partner
    outer: tuple of int
        heavy atoms that count as further out than any other neighbour when neighbours are put in
        order (proline's N, seen from CD)
    flips: frozenset of int
        stereocentres that have the hand opposite to that of the residue built without flips
    turns: frozenset of (int, int)
        double bonds that are cis where the residue built without turns has trans, or the reverse

    Raises
    ------
    FeatureError
        where RDKit finds the chemistry impossible or cannot embed it
    """
    from rdkit import Chem

    mol = _with_partners(skeleton, hydrogens, charges, partners)
    n_heavy = len(skeleton.elements)
    heavy = range(n_heavy)
    partner_number = {n_heavy: 0}
    # Partners were added in order, an amide's oxygen after its carbon.
    index = n_heavy
    for k, (anchor, element) in enumerate(partners):
        partner_number[index] = k
        index += 2 if element == 6 and skeleton.elements[anchor] == 7 else 1
    if not partners:
        partner_number = {}

    # Local numbers: heavy atoms first, then the hydrogens of each in turn.
    local = {i: i for i in heavy}
    parents: list[int] = []
    for i in heavy:
        for n in mol.GetAtomWithIdx(i).GetNeighbors():
            if n.GetIdx() >= n_heavy and n.GetAtomicNum() == 1 and n.GetIdx() not in partner_number:
                local[n.GetIdx()] = n_heavy + len(parents)
                parents.append(i)

    found = Chem.FindMolChiralCenters(
        mol, includeUnassigned=True, includeCIP=False, useLegacyImplementation=False
    )
    resonant = _resonant_ends(mol)
    found = [
        (i, code)
        for i, code in found
        if mol.GetAtomWithIdx(i).GetAtomicNum() != 15
        or not any(mol.GetBondBetweenAtoms(i, g[0]) for g in resonant)
    ]
    undefined = tuple(sorted(i for i, code in found if i in heavy and code == "?"))
    positions = _embed(mol)
    quartets = _double_bonds(mol)
    if flips or turns:
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
        positions = _embed(mol)
    keep = sorted(local, key=lambda k: local[k])
    conformer = positions[keep]

    bonds = []
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if i in local and j in local:
            a, b = sorted((local[i], local[j]))
            bonds.append((a, b, float(bond.GetBondTypeAsDouble())))

    def neighbour_order(centre: int) -> list[int]:
        atoms = [n.GetIdx() for n in mol.GetAtomWithIdx(centre).GetNeighbors()]
        inner = [a for a in atoms if a in heavy and a not in outer]
        last = [a for a in atoms if a in heavy and a in outer]
        linked = [a for a in atoms if a in partner_number]
        hydrogen = sorted((a for a in atoms if a in local and a >= n_heavy), key=lambda k: local[k])
        return sorted(inner) + last + linked + hydrogen

    centres = sorted(i for i, _ in found if i in heavy)
    chiral, signs = [], []
    for c in centres:
        neighbours = neighbour_order(c)[:3]
        a, b, d = (local[n] if n in local else -1 - partner_number[n] for n in neighbours)
        chiral.append((c, a, b, d))
        signs.append(triple_product_sign(*(positions[k] for k in (c, *neighbours))))

    ranks = list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
    for group in resonant:
        for k in group:
            ranks[k] = ranks[group[0]]
    alike = []
    for c in heavy:
        neighbours = neighbour_order(c)
        if c in centres or len(neighbours) != 4:
            continue
        groups: dict[int, list[int]] = {}
        for n in neighbours:
            groups.setdefault(ranks[n], []).append(n)
        same = next((g for g in groups.values() if len(g) in (2, 3)), None)
        if same is None:
            continue
        swap = _branch_swap(mol, ranks, c, same[0], same[1])
        if swap is None or any(k not in local for pair in swap for k in pair):
            continue
        # Others first, then those alike: the three named atoms hold at least one of a pair.
        ordered = ([n for n in neighbours if n not in same] + same)[:3]
        if all(n in local for n in ordered):
            a, b, d = (local[n] for n in ordered)
            alike.append((c, a, b, d, tuple((local[i], local[j]) for i, j in swap)))

    planar = []
    for c in heavy:
        ends, rest = _flat_ends(mol, c, neighbour_order(c))
        if not ends or rest not in local:
            continue
        reference = next((n for n in neighbour_order(rest) if n != c and n in local), None)
        # Charges and bond orders tell arginine's two ends apart, the geometry hardly.
        swap = _branch_swap(mol, [0] * mol.GetNumAtoms(), c, *ends)
        if reference is not None and swap is not None:
            pairs = tuple((local[i], local[j]) for i, j in swap)
            planar.append((reference, rest, c, local[ends[0]], pairs))
    double = [
        (local[a], i, j, local[d], told)
        for a, i, j, d, told in quartets
        if all(k in local for k in (a, i, j, d)) and max(i, j) < n_heavy
    ]
    sides = tuple(cis_sign(*(conformer[k] for k in entry[:4])) for entry in double)
    # Large branches first: exchanging them carries the smaller ones along.
    alike.sort(key=lambda entry: -len(entry[4]))
    planar.sort(key=lambda entry: -len(entry[4]))
    formal = tuple(mol.GetAtomWithIdx(k).GetFormalCharge() for k in keep)
    return ResidueChemistry(
        n_heavy, tuple(parents), formal, tuple(bonds), conformer,
        tuple(chiral), tuple(signs), undefined, tuple(alike), tuple(planar), tuple(double), sides,
    )  # fmt: skip
