"""What the network is told about a molecule."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MoleculeFeatures:
    """What the network is told about a molecule. A atoms in Topology order, N tokens, M bonds.

    Attributes
    ----------
    atom_indices : int64 [A]
        index of each model atom in the Topology and System
    restype : int64 [N]
        Protenix's residue classes (ALA to VAL 0 to 19, 20 for caps and ligand atoms)
    residue_index : int64 [N]
        residue number in its chain, from 1 (residues of the solute only)
    asym_id, entity_id, sym_id : int64 [N]
        chain; group of chains alike; number of the copy within that group; from 0
    token_bonds : float32 [N, N]
        1 for bonds between tokens other than peptide bonds of consecutive residues
    atom_to_token : int64 [A]
    ref_pos : float32 [A, 3]
        reference conformer of the atom's residue, angstrom, centred per residue over the atoms of
        the model
    ref_charge : float32 [A]
        formal charge
    ref_mask : float32 [A]
        1 where ref_pos is known
    ref_element : int64 [A]
        atomic number
    ref_atom_name_chars : int64 [A, 4]
        ord(c) - 32, left-justified, 0 for blank
    ref_space_uid : int64 [A]
        number of the residue whose reference conformer ref_pos belongs to
    bonds : int64 [M, 2]
        i < j, model atom numbers, sorted
    bond_order : float32 [M]
        1, 2, 3, or 1.5 for aromatic bonds
    chiral_centers : int64 [C, 4]
        stereocentre, then three of its neighbours a, b, d
    chiral_signs : float32 [C]
        sign of (a-c) . ((b-c) x (d-c)) in the right-handed molecule, +1 or -1
    label_centers : int64 [P, 4]
        centres that are not chiral but for the labels of atoms alike by symmetry (the hydrogens of
        a methylene or methyl, valine's CG1 and CG2), with three neighbours. MD never exchanges
        these labels; exchanging them gives the same molecule, so no screen tests them
    label_signs : float32 [P]
        sign of each in ref_pos: wwPDB's naming, or as in the `positions` given
    residue_names : tuple of str, N
        residue name of each token, as in the Topology
    atom_names : tuple of str, A
    label_order : tuple of int, A
        a permutation of like atoms: frames [..., label_order, :] have their labels as the naming
        convention says; the identity where the features were made without positions
    """

    atom_indices: IntArray
    restype: IntArray
    residue_index: IntArray
    asym_id: IntArray
    entity_id: IntArray
    sym_id: IntArray
    token_bonds: FloatArray
    atom_to_token: IntArray
    ref_pos: FloatArray
    ref_charge: FloatArray
    ref_mask: FloatArray
    ref_element: IntArray
    ref_atom_name_chars: IntArray
    ref_space_uid: IntArray
    bonds: IntArray
    bond_order: FloatArray
    chiral_centers: IntArray
    chiral_signs: FloatArray
    label_centers: IntArray
    label_signs: FloatArray
    residue_names: tuple[str, ...]
    atom_names: tuple[str, ...]
    label_order: tuple[int, ...] = ()

    @property
    def num_atoms(self) -> int:
        """Number of model atoms, A."""
        return len(self.atom_indices)

    @property
    def num_tokens(self) -> int:
        """Number of tokens, N."""
        return len(self.restype)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by field name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in values.items() if isinstance(v, np.ndarray)}

    def tensors(self) -> dict[str, Any]:
        """Return the arrays as torch tensors by field name (copies)."""
        import torch

        return {k: torch.from_numpy(v.copy()) for k, v in self.arrays().items()}

    def atom_label(self, atom: int) -> str:
        """Return how messages name a model atom, e.g. 'CA of ALA (atom 8)'."""
        name = self.residue_names[int(self.atom_to_token[atom])]
        return f"{self.atom_names[atom]} of {name} (atom {int(self.atom_indices[atom])})"
