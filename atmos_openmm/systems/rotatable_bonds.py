"""Which bonds of a molecule are rotatable, which side turns, and what the torsions are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.text import listed
from .molecule_features import MoleculeFeatures
from .residues import RESTYPE_UNKNOWN

#: How many names a note lists.
LISTED = 12


@dataclass(frozen=True)
class Bond:
    """A rotatable bond. Atoms are numbers in the features.

    Attributes
    ----------
    name : str
    residue : int
        number of the residue (`ref_space_uid`) it belongs to
    place : tuple of int
        its place among the residue's torsions, as a sorting key
    atoms : tuple of int
        a, b, c, d of its torsion; d's side turns
    turning : tuple of int
        atoms that turn, without c
    is_backbone : bool
        whether it is phi or psi
    """

    name: str
    residue: int
    place: tuple[int, ...]
    atoms: tuple[int, int, int, int]
    turning: tuple[int, ...]
    is_backbone: bool


@dataclass(frozen=True)
class _Backbone:
    """N, CA and C of a residue; the carbon bonded to N and the nitrogen bonded to C, if any."""

    n: int
    ca: int
    c: int
    before: int | None
    after: int | None


class MoleculeGraph:
    """The bonds of a molecule, its residues' backbones, and what can turn.

    Parameters
    ----------
    features : MoleculeFeatures
    """

    def __init__(self, features: MoleculeFeatures) -> None:
        self._features = features
        self._elements = features.ref_element.tolist()
        self._residue = features.ref_space_uid.tolist()
        self._near: list[dict[int, float]] = [{} for _ in range(features.num_atoms)]
        orders = features.bond_order.tolist()
        for (i, j), order in zip(features.bonds.tolist(), orders, strict=True):
            self._near[i][j] = self._near[j][i] = order
        self._first = {residue: k for k, residue in reversed(list(enumerate(self._residue)))}
        self._backbones = {
            residue: backbone
            for residue in self._first
            if (backbone := self._find_backbone(residue)) is not None
        }

    def residue_label(self, residue: int) -> str:
        """Return a residue as names of torsions begin, e.g. "ALA2", or "B/ALA2"."""
        features = self._features
        token = int(features.atom_to_token[self._first[residue]])
        label = f"{features.residue_names[token].strip()}{int(features.residue_index[token])}"
        if features.asym_id.max(initial=0) == 0:
            return label
        return f"{_chain_letters(int(features.asym_id[token]))}/{label}"

    def residue_before(self, residue: int) -> int:
        """Return the residue whose carbonyl a nitrogen of this one is bonded to, or -1."""
        backbone = self._backbones.get(residue)
        if backbone is not None:
            return -1 if backbone.before is None else int(self._residue[backbone.before])
        # A cap has no backbone.
        for n in (k for k, r in enumerate(self._residue) if r == residue):
            for c in self._near[n]:
                if self._residue[c] != residue and self._is_amide(c, n):
                    return int(self._residue[c])
        return -1

    def rotatable_bonds(
        self, methyls: bool, moved: npt.NDArray[np.bool_] | None = None
    ) -> tuple[list[Bond], list[str]]:
        """Return the rotatable bonds, and notes on those that are left to dynamics.

        Where only some atoms are `moved` [A], bonds without a side wholly among them are left
        out; those that have moved atoms on both ends are named in the notes.
        """
        chis = dict(self._chi_bonds())
        found: list[Bond] = []
        left: dict[str, list[str]] = {}
        in_ring = self._ring_bonds()
        for i, j in self._features.bonds.tolist():
            if self._near[i][j] != 1 or min(len(self._near[i]), len(self._near[j])) < 2:
                continue
            sides = [(b, c) for b, c in ((j, i), (i, j)) if self._turns_alone(b, c, moved)]
            if moved is not None and not sides and not (moved[i] and moved[j]):
                continue
            if (i, j) in in_ring:
                left.setdefault("In rings", []).append(self._bond_name(i, j))
            elif self._is_cis_trans(i, j) or self._is_cis_trans(j, i):
                left.setdefault("With a cis and a trans form", []).append(self._bond_name(i, j))
            elif self._is_linear(i) or self._is_linear(j):
                left.setdefault("Next to a linear atom", []).append(self._bond_name(i, j))
            elif not sides:
                named = left.setdefault("Would turn what is not in the solute", [])
                named.append(self._bond_name(i, j))
            elif methyls or not (self._is_rotor(i, j) or self._is_rotor(j, i)):
                found.append(self._bond(i, j, chis, sides))
        return found, [f"{reason}: {listed(names, LISTED)}." for reason, names in left.items()]

    def _turns_alone(self, b: int, c: int, moved: npt.NDArray[np.bool_] | None) -> bool:
        """Whether all that turns on the side of c of the bond b-c may move."""
        if moved is None:
            return True
        if not all(moved[k] for k in self._near[c] if k != b):
            return False
        return bool(moved[sorted(self._side(b, c) - {c})].all())

    def _bond(
        self, i: int, j: int, chis: dict[tuple[int, int], int], allowed: list[tuple[int, int]]
    ) -> Bond:
        """Make the torsion of a rotatable bond, i < j; one of the `allowed` (b, c) turns."""
        residue = min(self._residue[i], self._residue[j])
        backbone = self._backbones.get(residue)
        root = self._first[residue] if backbone is None else backbone.ca
        kind, ends = self._backbone_kind(backbone, i, j)
        place: tuple[int, ...]
        if kind:
            name, place = kind, (0, ("phi", "psi").index(kind))
        elif (i, j) in chis:
            name, place = f"chi{chis[i, j]}", (1, chis[i, j])
        else:
            name, place = "", (2, min(self._distance(root, i), self._distance(root, j)), i, j)
        name = f"{self.residue_label(residue)} {name}" if name else self._bond_name(i, j)
        sides = self._side(j, i), self._side(i, j)
        # The smaller side turns; of equal ones that with the lowest atom number.
        b, c = min(allowed, key=lambda bond: _size(sides[bond == (i, j)]))
        turning = sides[(b, c) == (i, j)] - {c}
        a = ends.get(b, self._leading(b, c))
        d = ends.get(c, self._leading(c, b))
        return Bond(name, residue, place, (a, b, c, d), tuple(sorted(turning)), bool(kind))

    def _backbone_kind(
        self, backbone: _Backbone | None, i: int, j: int
    ) -> tuple[str, dict[int, int]]:
        """Return "phi", "psi" or "", and the outer atom of its torsion at each end."""
        if backbone is None:
            return "", {}
        n, ca, c = backbone.n, backbone.ca, backbone.c
        if {i, j} == {n, ca} and backbone.before is not None:
            return "phi", {n: backbone.before, ca: c}
        if {i, j} == {ca, c}:
            after = self._leading(c, ca) if backbone.after is None else backbone.after
            return "psi", {ca: n, c: after}
        return "", {}

    def _chi_bonds(self) -> Iterator[tuple[tuple[int, int], int]]:
        """Yield the bonds of side chains that have a chi number: from CA on, to heavy atoms."""
        for residue, backbone in self._backbones.items():
            outside = {backbone.n, backbone.c, backbone.before, backbone.after}
            b = backbone.ca
            branches = [k for k in self._near[b] if self._elements[k] > 1 and k not in outside]
            c = self._ranked(branches)[0] if branches else None
            number, seen = 1, {b}
            while c is not None and self._residue[c] == residue and c not in seen:
                seen.add(c)
                following = [k for k in self._near[c] if k != b and self._elements[k] > 1]
                if not following:
                    break
                yield (min(b, c), max(b, c)), number
                b, c = c, self._ranked(following)[0]
                number += 1

    def _find_backbone(self, residue: int) -> _Backbone | None:
        """Find N, CA and C by elements and bonds: N-C-C(=O) once, in an amino acid or a chain."""
        z, near = self._elements, self._near
        members = [k for k, r in enumerate(self._residue) if r == residue]
        found = [
            (n, ca, c)
            for c in members
            if z[c] == 6 and any(z[o] == 8 and order == 2 for o, order in near[c].items())
            for ca in near[c]
            if z[ca] == 6 and len(near[ca]) == 4 and self._residue[ca] == residue
            for n in near[ca]
            if z[n] == 7 and self._residue[n] == residue
        ]
        if len(found) != 1:
            return None
        n, ca, c = found[0]
        before = [k for k in near[n] if self._residue[k] != residue and self._is_amide(k, n)]
        after = [k for k in near[c] if self._residue[k] != residue and self._is_amide(c, k)]
        token = int(self._features.atom_to_token[ca])
        if not (before or after or self._features.restype[token] != RESTYPE_UNKNOWN):
            return None
        return _Backbone(n, ca, c, next(iter(before), None), next(iter(after), None))

    def _is_amide(self, c: int, n: int) -> bool:
        near, z = self._near[c], self._elements
        return z[c] == 6 and z[n] == 7 and any(z[k] == 8 and o == 2 for k, o in near.items())

    def _is_cis_trans(self, c: int, x: int) -> bool:
        """Whether c-x is a bond of an amide, amidine, guanidine or ester: (N, O, S)=C-(N, O, S).

        An acid's hydroxyl is none: its other form is the same molecule.
        """
        z, near = self._elements, self._near
        if z[c] != 6 or z[x] not in (7, 8, 16):
            return False
        if z[x] != 7 and all(z[k] == 1 for k in near[x] if k != c):
            return False
        return any(z[k] in (7, 8, 16) and order == 2 for k, order in near[c].items())

    def _is_linear(self, atom: int) -> bool:
        orders = list(self._near[atom].values())
        return len(orders) == 2 and (3 in orders or orders.count(2) == 2)

    def _is_rotor(self, inner: int, centre: int) -> bool:
        """Whether `centre` carries three like terminal atoms beside `inner`."""
        others = [k for k in self._near[centre] if k != inner]
        alike = len({self._elements[k] for k in others}) == 1
        return len(others) == 3 and alike and all(len(self._near[k]) == 1 for k in others)

    def _ring_bonds(self) -> set[tuple[int, int]]:
        from rdkit import Chem

        mol = Chem.RWMol()
        for element in self._elements:
            mol.AddAtom(Chem.Atom(int(element)))
        for i, j in self._features.bonds.tolist():
            mol.AddBond(i, j, Chem.BondType.SINGLE)
        Chem.FastFindRings(mol)
        ends = ((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds() if b.IsInRing())
        return {(min(pair), max(pair)) for pair in ends}

    def _side(self, fixed: int, start: int) -> set[int]:
        """Return the atoms on the side of `start` of the bond fixed-start."""
        seen, stack = {start}, [start]
        while stack:
            atom = stack.pop()
            new = {k for k in self._near[atom] if (atom, k) != (start, fixed)} - seen
            seen |= new
            stack += new
        return seen

    def _distance(self, root: int, atom: int) -> int:
        """Return how many bonds lie between two atoms."""
        seen, shell, distance = {root}, {root}, 0
        while shell and atom not in shell:
            shell = {k for s in shell for k in self._near[s]} - seen
            seen |= shell
            distance += 1
        return distance

    def _ranked(self, atoms: Sequence[int]) -> list[int]:
        """Return atoms by atomic number, the heaviest first, then by name and number."""
        names = self._features.atom_names
        return sorted(atoms, key=lambda k: (-self._elements[k], names[k], k))

    def _leading(self, centre: int, other: int) -> int:
        return self._ranked([k for k in self._near[centre] if k != other])[0]

    def _bond_name(self, i: int, j: int) -> str:
        """Return e.g. "SER2 CB-OG", or "CYS2 SG-CYS7 SG" between residues."""
        names = self._features.atom_names
        labels = [self.residue_label(self._residue[k]) for k in (i, j)]
        second = "" if self._residue[i] == self._residue[j] else f"{labels[1]} "
        return f"{labels[0]} {names[i]}-{second}{names[j]}"


def _size(side: set[int]) -> tuple[int, int]:
    return len(side), min(side)


def _chain_letters(number: int) -> str:
    """Return A, B, ... Z, AA, AB and so on."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
