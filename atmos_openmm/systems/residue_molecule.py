"""One residue as an RDKit molecule: what is bonded to it stood in for, hydrogens explicit.

The partners in other residues are stood in for by small groups (a formyl group on a nitrogen's
partner carbon, an amine on a carbon's partner nitrogen, a thiol on sulphur), so that the
geometry at the link is that of the chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FeatureError
from .skeleton import Skeleton

EMBED_SEED = 0xA7305
"""Seed of the ETKDG embedding: reference conformers are the same everywhere."""

Vector = npt.NDArray[np.float64]


class ResidueMolecule:
    """A residue as RDKit knows it, and the local numbers of its atoms.

    Parameters are those of `chemistry.build_chemistry`.

    Attributes
    ----------
    mol : rdkit.Chem.Mol
        Heavy atoms in the skeleton's order, partners with what stands in for their residues, then
        all hydrogens.
    num_heavy : int
        Heavy atoms of the residue itself.
    local : dict of int to int
        RDKit's number to local number: heavy atoms first, then the hydrogens of each in turn.
    parents : list of int
        For each hydrogen of the residue, the heavy atom that carries it.
    partner_number : dict of int to int
        RDKit's number of each partner to its place in `partners`.

    Raises
    ------
    FeatureError
        Where RDKit finds the chemistry impossible.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        hydrogens: tuple[int, ...],
        charges: tuple[int, ...],
        partners: tuple[tuple[int, int], ...],
        outer: tuple[int, ...],
    ) -> None:
        self.mol = _with_partners(skeleton, hydrogens, charges, partners)
        self.num_heavy = len(skeleton.elements)
        self._outer = outer
        self.partner_number: dict[int, int] = {}
        # Partners were added in order, an amide's oxygen after its carbon.
        index = self.num_heavy
        for k, (anchor, element) in enumerate(partners):
            self.partner_number[index] = k
            index += 2 if element == 6 and skeleton.elements[anchor] == 7 else 1
        self.local = {i: i for i in range(self.num_heavy)}
        self.parents: list[int] = []
        for i in range(self.num_heavy):
            for n in self.mol.GetAtomWithIdx(i).GetNeighbors():
                k = n.GetIdx()
                own = k >= self.num_heavy and k not in self.partner_number
                if own and n.GetAtomicNum() == 1:
                    self.local[k] = self.num_heavy + len(self.parents)
                    self.parents.append(i)

    def neighbours(self, centre: int) -> list[int]:
        """Return an atom's neighbours: inner and outer heavy atoms, partners, hydrogens."""
        atoms = [n.GetIdx() for n in self.mol.GetAtomWithIdx(centre).GetNeighbors()]
        heavy = [a for a in atoms if a < self.num_heavy]
        inner = sorted(a for a in heavy if a not in self._outer)
        last = [a for a in heavy if a in self._outer]
        linked = [a for a in atoms if a in self.partner_number]
        hydrogens = [a for a in atoms if a in self.local and a >= self.num_heavy]
        return inner + last + linked + sorted(hydrogens, key=lambda k: self.local[k])

    def local_or_partner(self, atom: int) -> int:
        """Return the local number of an atom, or -1 - k for the k-th partner."""
        return self.local[atom] if atom in self.local else -1 - self.partner_number[atom]

    def bonds(self) -> tuple[tuple[int, int, float], ...]:
        """Return the bonds inside the residue: local atoms and order."""
        found = []
        for bond in self.mol.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            if i in self.local and j in self.local:
                a, b = sorted((self.local[i], self.local[j]))
                found.append((a, b, float(bond.GetBondTypeAsDouble())))
        return tuple(found)

    def stereocentres(self) -> list[tuple[int, str]]:
        """Return the residue's stereocentres and their labels, "?" where the hand is open."""
        from rdkit import Chem

        found = Chem.FindMolChiralCenters(
            self.mol, includeUnassigned=True, includeCIP=False, useLegacyImplementation=False
        )
        resonant = self.resonant_ends()
        return sorted(
            (i, code)
            for i, code in found
            if i < self.num_heavy
            and (
                self.mol.GetAtomWithIdx(i).GetAtomicNum() != 15
                or not any(self.mol.GetBondBetweenAtoms(i, g[0]) for g in resonant)
            )
        )

    def ranks(self) -> list[int]:
        """Return a rank for each atom, the same for those alike by symmetry or resonance."""
        from rdkit import Chem

        ranks = list(Chem.CanonicalRankAtoms(self.mol, breakTies=False, includeChirality=False))
        for group in self.resonant_ends():
            for k in group:
                ranks[k] = ranks[group[0]]
        return ranks

    def embed(self) -> Vector:
        """Return one ETKDG conformer, [all atoms, 3] angstrom, the same on every call."""
        from rdkit import rdBase
        from rdkit.Chem import rdDistGeom

        parameters: Any = rdDistGeom.ETKDGv3()
        parameters.randomSeed = EMBED_SEED
        parameters.enforceChirality = True
        for random_coordinates in (False, True):
            parameters.useRandomCoords = random_coordinates
            with rdBase.BlockLogs():  # a thiolate's sulphur has no type in its force field
                failed = rdDistGeom.EmbedMolecule(self.mol, parameters)
            if not failed:
                return np.array(self.mol.GetConformer().GetPositions())
        from rdkit import Chem

        smiles = Chem.MolToSmiles(Chem.RemoveHs(self.mol))
        raise FeatureError(
            f"RDKit could not embed a reference conformer of the residue with SMILES {smiles}. "
            "Check its stereochemistry and ring bonds."
        )

    def double_bonds(self) -> list[tuple[int, int, int, int, bool]]:
        """Return double bonds with a cis and a trans form, in RDKit's numbers."""
        from rdkit import Chem

        found = []
        for info in Chem.FindPotentialStereo(self.mol, cleanIt=False):
            if info.type != Chem.StereoType.Bond_Double:
                continue
            bond = self.mol.GetBondWithIdx(info.centeredOn)
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            sides = [
                [
                    n.GetIdx()
                    for n in self.mol.GetAtomWithIdx(k).GetNeighbors()
                    if n.GetIdx() != other
                ]
                for k, other in ((i, j), (j, i))
            ]
            if bond.IsInRing() or not all(sides):
                continue
            told = info.specified == Chem.StereoSpecified.Specified
            found.append((min(sides[0]), i, j, min(sides[1]), told))
        return found

    def resonant_ends(self) -> list[list[int]]:
        """Return groups of oxygens that differ only in which of them is drawn with the double bond.

        In a phosphate or phosphonate they make no stereocentre, though a Kekule form shows one.
        """
        groups = []
        for atom in self.mol.GetAtoms():
            if atom.GetAtomicNum() != 15:
                continue
            ends = [
                n.GetIdx()
                for n in atom.GetNeighbors()
                if n.GetAtomicNum() == 8 and n.GetDegree() == 1
            ]
            if len(ends) > 1:
                groups.append(ends)
        return groups


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
