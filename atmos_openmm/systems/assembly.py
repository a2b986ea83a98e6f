"""The features of a molecule, put together from those of its residues."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .built_residue import BuiltResidue
from .chemistry import triple_product_sign
from .molecule_features import MoleculeFeatures
from .polymers import chain_numbers, hidden_bond, polymer_residues

FloatArray = npt.NDArray[np.float32]

Centre = tuple[list[int], float]


class FeatureAssembly:
    """Puts residues together in Topology order.

    Parameters
    ----------
    residues : list of BuiltResidue
    with_hydrogens : bool
        Whether the model's atoms include hydrogens.
    whole_caps : bool
        Whether a cap is one token.
    """

    def __init__(
        self, residues: list[BuiltResidue], with_hydrogens: bool, whole_caps: bool
    ) -> None:
        self._residues = residues
        # Residues that are one token.
        self._whole = [
            (t := r.fit.template) is not None and (whole_caps or t.is_amino_acid) for r in residues
        ]
        self._model = sorted(
            i
            for r in residues
            for k, i in enumerate(r.atoms)
            if i >= 0 and (with_hydrogens or k < r.chemistry.num_heavy)
        )
        self._number = {i: m for m, i in enumerate(self._model)}
        count = len(self._model)
        self._ref_pos = np.zeros((count, 3), np.float32)
        self._charge = np.zeros(count, np.float32)
        self._element = np.zeros(count, np.int64)
        self._uid = np.zeros(count, np.int64)
        self._to_token = np.zeros(count, np.int64)
        self._names = [""] * count
        # Names as the network is told them: the wwPDB's for heavy atoms, whatever the Topology's.
        self._told_names = [""] * count
        self._label_order = list(range(count))
        self._bonds: dict[tuple[int, int], float] = {}
        self._chiral: list[Centre] = []
        self._labels: list[Centre] = []
        # Of each token: its class, and the number of its residue.
        self._restype: list[int] = []
        self._token_residue: list[int] = []
        for u, residue in enumerate(residues):
            where = {k: self._number[i] for k, i in enumerate(residue.atoms) if i in self._number}
            self._add_atoms(u, residue, where)
            self._add_bonds(residue, where)
            self._add_centres(residue, where)
            self._add_tokens(u, residue, where)
        self._chiral.sort()
        self._labels.sort()

    def _add_atoms(self, u: int, r: BuiltResidue, where: dict[int, int]) -> None:
        """Elements, charges, names and reference conformer; `where`: local number to model atom."""
        local = r.conformer[list(where)]
        for (k, m), point in zip(where.items(), local - local.mean(axis=0), strict=True):
            self._ref_pos[m] = point
            self._charge[m] = r.chemistry.charges[k]
            self._element[m] = r.graph.elements[r.atoms[k]]
            self._uid[m] = u
            self._names[m] = self._told_names[m] = r.graph.names[r.atoms[k]]
            if r.fit.template is not None and k < r.chemistry.num_heavy:
                self._told_names[m] = r.fit.template.names[k]
            self._label_order[m] = where[int(r.conventional[k])]

    def _add_bonds(self, r: BuiltResidue, where: dict[int, int]) -> None:
        for i, j, order in r.chemistry.bonds:
            if i in where and j in where:
                self._bonds[_pair(where[i], where[j])] = order
        for here, there in r.graph.partners:
            self._bonds[_pair(self._number[here], self._number[there])] = 1.0

    def _add_centres(self, r: BuiltResidue, where: dict[int, int]) -> None:
        """Stereocentres, and centres that are chiral only by the labels of like atoms."""
        for entry, sign in zip(r.chemistry.chiral, r.chemistry.chiral_signs, strict=True):
            indices = [r.topology_index(k) for k in entry]
            if all(i in self._number for i in indices):
                self._chiral.append(([self._number[i] for i in indices], float(sign)))
        for c, a, b, d, _ in r.chemistry.alike:
            if all(k in where for k in (c, a, b, d)):
                sign = triple_product_sign(*(r.conformer[k] for k in (c, a, b, d)))
                self._labels.append(([where[k] for k in (c, a, b, d)], float(sign)))

    def _add_tokens(self, u: int, r: BuiltResidue, where: dict[int, int]) -> None:
        """One token for the residue, or one for each heavy atom with its hydrogens."""
        first = len(self._restype)
        num_heavy = r.chemistry.num_heavy
        if self._whole[u]:
            count = 1
            token_of = dict.fromkeys(where, first)
        else:
            heavy = sorted((k for k in where if k < num_heavy), key=lambda k: where[k])
            count = len(heavy)
            token_of = {k: first + t for t, k in enumerate(heavy)}
            for k in where:
                if k >= num_heavy:
                    token_of[k] = token_of[r.chemistry.parents[k - num_heavy]]
        self._restype += [r.fit.restype] * count
        self._token_residue += [u] * count
        for k, m in where.items():
            self._to_token[m] = token_of[k]

    def features(self) -> MoleculeFeatures:
        """Return the features of the whole molecule."""
        index, asym, entity, sym = chain_numbers(self._residues)
        per_token = np.array(self._token_residue, np.int64)
        pairs = sorted(self._bonds)
        return MoleculeFeatures(
            atom_indices=np.array(self._model, np.int64),
            restype=np.array(self._restype, np.int64),
            residue_index=index[per_token],
            asym_id=asym[per_token],
            entity_id=entity[per_token],
            sym_id=sym[per_token],
            token_bonds=self._token_bonds(index, asym),
            atom_to_token=self._to_token,
            ref_pos=self._ref_pos,
            ref_charge=self._charge,
            ref_mask=np.ones(len(self._model), np.float32),
            ref_element=self._element,
            ref_atom_name_chars=np.array([_name_chars(n) for n in self._told_names], np.int64),
            ref_space_uid=self._uid,
            bonds=np.array(pairs, np.int64).reshape(-1, 2),
            bond_order=np.array([self._bonds[p] for p in pairs], np.float32),
            chiral_centers=_atoms_of(self._chiral),
            chiral_signs=_signs_of(self._chiral),
            label_centers=_atoms_of(self._labels),
            label_signs=_signs_of(self._labels),
            residue_names=tuple(self._residues[u].graph.residue.name for u in self._token_residue),
            atom_names=tuple(self._names),
            label_order=tuple(self._label_order),
        )

    def _token_bonds(self, index: npt.NDArray[np.int64], asym: npt.NDArray[np.int64]) -> FloatArray:
        """Return which tokens [N, N] are bonded, as far as the network is told."""
        # A cap of several tokens is a ligand to Protenix, whose bonds are told.
        polymer = [
            p and (w or r.fit.template is None)
            for p, w, r in zip(
                polymer_residues(self._residues), self._whole, self._residues, strict=True
            )
        ]
        bonds = np.zeros((len(self._restype), len(self._restype)), np.float32)
        for i, j in self._bonds:
            s, t = self._to_token[i], self._to_token[j]
            if s != t and not hidden_bond(polymer, index, asym, self._uid[i], self._uid[j]):
                bonds[s, t] = bonds[t, s] = 1.0
        return bonds


def _pair(i: int, j: int) -> tuple[int, int]:
    return (i, j) if i < j else (j, i)


def _atoms_of(centres: Iterable[Centre]) -> npt.NDArray[np.int64]:
    return np.array([atoms for atoms, _ in centres], np.int64).reshape(-1, 4)


def _signs_of(centres: Iterable[Centre]) -> FloatArray:
    return np.array([sign for _, sign in centres], np.float32)


def _name_chars(name: str) -> list[int]:
    """Return the four characters of a name as Protenix numbers them: ord(c) - 32."""
    return [min(max(ord(c) - 32, 0), 63) for c in name.upper()[:4].ljust(4)]
