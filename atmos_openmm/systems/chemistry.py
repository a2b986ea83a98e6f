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

import numpy as np
import numpy.typing as npt

from .errors import FeatureError

EMBED_SEED = 0xA7305
"""Seed of the ETKDG embedding: reference conformers are the same everywhere."""

Vector = npt.NDArray[np.float64]

# The valence of the neutral atom, where one is enough to tell charges from bonds.
NEUTRAL_VALENCE = {1: 1, 5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 14: 4, 16: 2, 17: 1, 34: 2, 35: 1, 53: 1}


@dataclass(frozen=True)
class Skeleton:
    """Heavy atoms of a residue with Kekule bonds; hashable, made from an RDKit molecule.

    Attributes
    ----------
    binary: bytes
        RDKit's binary form of the molecule, its aromatic bonds written as Kekule bonds
    elements: tuple of int
        atomic numbers
    bonds: tuple of (int, int, int)
        first atom, second atom, order 1, 2 or 3
    """

    binary: bytes
    elements: tuple[int, ...]
    bonds: tuple[tuple[int, int, int], ...]

    @staticmethod
    def from_smiles(smiles: str) -> Skeleton:
        """Make a skeleton from SMILES with Kekule bonds."""
        from rdkit import Chem

        return Skeleton.from_mol(Chem.MolFromSmiles(smiles, sanitize=False))

    @staticmethod
    def from_mol(mol: object) -> Skeleton:
        """Make a skeleton from an RDKit molecule without hydrogens, with Kekule bonds."""
        elements = tuple(a.GetAtomicNum() for a in mol.GetAtoms())  # type: ignore[attr-defined]
        bonds = tuple(
            (b.GetBeginAtomIdx(), b.GetEndAtomIdx(), int(b.GetBondTypeAsDouble()))
            for b in mol.GetBonds()  # type: ignore[attr-defined]
        )
        return Skeleton(mol.ToBinary(), elements, bonds)  # type: ignore[attr-defined]

    def order_sums(self) -> list[int]:
        """Return the sum of bond orders at each atom, inside the skeleton."""
        sums = [0] * len(self.elements)
        for i, j, order in self.bonds:
            sums[i] += order
            sums[j] += order
        return sums


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
    alike: tuple
        centres whose neighbours include atoms alike by symmetry (a methylene's two hydrogens, a
        methyl's three, valine's CG1 and CG2): (centre, a, b, d, swap), where `swap` is pairs of
        local atoms whose exchange turns the handedness of their labels over
    """

    num_heavy: int
    parents: tuple[int, ...]
    charges: tuple[int, ...]
    bonds: tuple[tuple[int, int, float], ...]
    conformer: Vector
    chiral: tuple[tuple[int, int, int, int], ...]
    chiral_signs: tuple[int, ...]
    alike: tuple[tuple[int, int, int, int, tuple[tuple[int, int], ...]], ...]


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
    flips: frozenset[int],
) -> object:
    """Assemble the RDKit molecule: heavy atoms, partners, all hydrogens explicit."""
    from rdkit import Chem

    mol = Chem.RWMol(Chem.Mol(skeleton.binary))
    for atom, count, charge in zip(mol.GetAtoms(), hydrogens, charges, strict=True):
        atom.SetFormalCharge(charge)
        atom.SetNumRadicalElectrons(0)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(count)
        if atom.GetIdx() in flips:
            atom.InvertChirality()
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


def _embed(mol: object) -> Vector:
    """Return one ETKDG conformer, [all atoms, 3] angstrom, the same on every call."""
    from rdkit.Chem import AllChem

    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = EMBED_SEED
    parameters.enforceChirality = True
    for random_coordinates in (False, True):
        parameters.useRandomCoords = random_coordinates
        if AllChem.EmbedMolecule(mol, parameters) == 0:
            return np.array(mol.GetConformer().GetPositions())  # type: ignore[attr-defined]
    from rdkit import Chem

    raise FeatureError(
        "RDKit could not embed a reference conformer of the residue with SMILES "
        f"{Chem.MolToSmiles(Chem.RemoveHs(mol))}. Check its stereochemistry and ring bonds."
    )


def _branch_swap(mol: object, ranks: list[int], centre: int, b: int, d: int) -> list | None:
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

        def onward(atom: int, source: int) -> list[int]:
            neighbours = mol.GetAtomWithIdx(atom).GetNeighbors()  # type: ignore[attr-defined]
            return sorted((n.GetIdx() for n in neighbours if n.GetIdx() != source),
                          key=lambda k: (ranks[k], k))  # fmt: skip

        next_i, next_j = onward(i, from_i), onward(j, from_j)
        if [ranks[k] for k in next_i] != [ranks[k] for k in next_j]:
            return None
        stack.extend((p, q, i, j) for p, q in zip(next_i, next_j, strict=True))
    return pairs


@lru_cache(maxsize=4096)
def build_chemistry(
    skeleton: Skeleton,
    hydrogens: tuple[int, ...],
    charges: tuple[int, ...],
    partners: tuple[tuple[int, int], ...],
    outer: tuple[int, ...] = (),
    flips: frozenset[int] = frozenset(),
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
        stereocentres that have the hand opposite to the skeleton's (D residues)

    Raises
    ------
    FeatureError
        where RDKit finds the chemistry impossible or cannot embed it
    """
    from rdkit import Chem

    mol = _with_partners(skeleton, hydrogens, charges, partners, flips)
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
    parents = []
    for i in heavy:
        for n in mol.GetAtomWithIdx(i).GetNeighbors():  # type: ignore[attr-defined]
            if n.GetIdx() >= n_heavy and n.GetAtomicNum() == 1 and n.GetIdx() not in partner_number:
                local[n.GetIdx()] = n_heavy + len(parents)
                parents.append(i)

    positions = _embed(mol)
    keep = sorted(local, key=lambda k: local[k])
    conformer = positions[keep]

    bonds = []
    for bond in mol.GetBonds():  # type: ignore[attr-defined]
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if i in local and j in local:
            a, b = sorted((local[i], local[j]))
            bonds.append((a, b, float(bond.GetBondTypeAsDouble())))

    def neighbour_order(centre: int) -> list[int]:
        atoms = [n.GetIdx() for n in mol.GetAtomWithIdx(centre).GetNeighbors()]  # type: ignore[attr-defined]
        inner = [a for a in atoms if a in heavy and a not in outer]
        last = [a for a in atoms if a in heavy and a in outer]
        linked = [a for a in atoms if a in partner_number]
        hydrogen = sorted((a for a in atoms if a in local and a >= n_heavy), key=lambda k: local[k])
        return sorted(inner) + last + linked + hydrogen

    found = Chem.FindMolChiralCenters(
        mol, includeUnassigned=True, includeCIP=False, useLegacyImplementation=False
    )
    centres = sorted(i for i, _ in found if i in heavy)
    chiral, signs = [], []
    for c in centres:
        neighbours = neighbour_order(c)[:3]
        chiral.append((c, *(local[n] if n in local else -1 - partner_number[n] for n in neighbours)))
        signs.append(triple_product_sign(*(positions[k] for k in (c, *neighbours))))

    ranks = list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
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
        ordered = [n for n in neighbours if n not in same] + same
        if any(n not in local for n in ordered[:3]):
            continue
        alike.append(
            (c, *(local[n] for n in ordered[:3]), tuple((local[i], local[j]) for i, j in swap))
        )
    # Large branches first: exchanging them carries the smaller ones along.
    alike.sort(key=lambda entry: -len(entry[4]))
    formal = tuple(mol.GetAtomWithIdx(k).GetFormalCharge() for k in keep)  # type: ignore[attr-defined]
    return ResidueChemistry(
        n_heavy, tuple(parents), formal, tuple(bonds), conformer,
        tuple(chiral), tuple(signs), tuple(alike),
    )  # type: ignore[arg-type]  # fmt: skip


def labelled_conformer(
    chemistry: ResidueChemistry, desired: tuple[int, ...] | None = None
) -> Vector:
    """Return the conformer with atoms alike by symmetry labelled in a given hand.

    Which of a methylene's hydrogens is called HB2 is a matter of labels, yet a molecule keeps it
    for ever. Without `desired` every such centre has the sign -1 of its triple product, which for
    methylenes (inner neighbour, outer neighbour, hydrogen of the lower number), VAL CB and LEU CG
    is the wwPDB's naming (Markley et al., J. Biomol. NMR 12, 1, 1998); for methyls, whose naming
    has no hand, it is this function's choice.

    Parameters
    ----------
    chemistry: ResidueChemistry
        the residue
    desired: tuple of int, optional
        wanted sign for each entry of `chemistry.alike`; 0 keeps the convention
    """
    conformer = chemistry.conformer.copy()
    for k, (c, a, b, d, swap) in enumerate(chemistry.alike):
        want = -1 if desired is None or desired[k] == 0 else desired[k]
        if triple_product_sign(*(conformer[i] for i in (c, a, b, d))) != want:
            for i, j in swap:
                conformer[[i, j]] = conformer[[j, i]]
    return conformer
