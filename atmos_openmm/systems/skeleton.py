"""Heavy atoms of a residue with Kekule bonds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The valence of the neutral atom, where one is enough to tell charges from bonds.
NEUTRAL_VALENCE = {1: 1, 5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 14: 4, 16: 2, 17: 1, 34: 2, 35: 1, 53: 1}


@dataclass(frozen=True)
class Skeleton:
    """Heavy atoms of a residue with Kekule bonds; hashable, made from an RDKit molecule.

    Attributes
    ----------
    binary : bytes
        RDKit's binary form of the molecule, its aromatic bonds written as Kekule bonds
    elements : tuple of int
        atomic numbers
    bonds : tuple of (int, int, int)
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
    def from_mol(mol: Any) -> Skeleton:
        """Make a skeleton from an RDKit molecule without hydrogens, with Kekule bonds."""
        elements = tuple(a.GetAtomicNum() for a in mol.GetAtoms())
        bonds = tuple(
            (b.GetBeginAtomIdx(), b.GetEndAtomIdx(), int(b.GetBondTypeAsDouble()))
            for b in mol.GetBonds()
        )
        return Skeleton(mol.ToBinary(), elements, bonds)

    def order_sums(self) -> list[int]:
        """Return the sum of bond orders at each atom, inside the skeleton."""
        sums = [0] * len(self.elements)
        for i, j, order in self.bonds:
            sums[i] += order
            sums[j] += order
        return sums
