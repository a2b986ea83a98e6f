"""Topology to the arrays that the network reads.

`features_from_topology` takes an OpenMM Topology apart into tokens (a standard residue or cap each;
a heavy atom each of anything else) and gives every atom its element, name, formal charge and place
in its residue's reference conformer, which RDKit makes (ETKDG, fixed seed).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .built_residue import BuiltResidue
from .chemistry import triple_product_sign
from .errors import FeatureError, MissingAtomsError, raise_all
from .ligands import fit_ligand
from .matching import ADD_HYDROGENS, Fit, fit_standard
from .openmm_bridge import atom_positions_in_nm
from .polymers import chain_numbers, hidden_bond, polymer_residues
from .residue_graph import ResidueGraph, residue_graphs
from .selection import select_solute

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MoleculeFeatures:
    """What the network is told about a molecule. A atoms in Topology order, N tokens, M bonds.

    Attributes
    ----------
    atom_indices: int64 [A]
        index of each model atom in the Topology and System
    restype: int64 [N]
        Protenix's residue classes (ALA to VAL 0 to 19, 20 for caps and ligand atoms)
    residue_index: int64 [N]
        residue number in its chain, from 1 (residues of the solute only)
    asym_id, entity_id, sym_id: int64 [N]
        chain; group of chains alike; number of the copy within that group; from 0
    token_bonds: float32 [N, N]
        1 for bonds between tokens other than peptide bonds of consecutive residues
    atom_to_token: int64 [A]
    ref_pos: float32 [A, 3]
        reference conformer of the atom's residue, angstrom, centred per residue over the atoms of
        the model
    ref_charge: float32 [A]
        formal charge
    ref_mask: float32 [A]
        1 where ref_pos is known
    ref_element: int64 [A]
        atomic number
    ref_atom_name_chars: int64 [A, 4]
        ord(c) - 32, left-justified, 0 for blank
    ref_space_uid: int64 [A]
        number of the residue whose reference conformer ref_pos belongs to
    bonds: int64 [M, 2]
        i < j, model atom numbers, sorted
    bond_order: float32 [M]
        1, 2, 3, or 1.5 for aromatic bonds
    chiral_centers: int64 [C, 4]
        stereocentre, then three of its neighbours a, b, d
    chiral_signs: float32 [C]
        sign of (a-c) . ((b-c) x (d-c)) in the right-handed molecule, +1 or -1
    label_centers: int64 [P, 4]
        centres that are not chiral but for the labels of atoms alike by symmetry (the hydrogens of
        a methylene or methyl, valine's CG1 and CG2), with three neighbours. MD never exchanges
        these labels; exchanging them gives the same molecule, so no screen tests them
    label_signs: float32 [P]
        sign of each in ref_pos: wwPDB's naming, or as in the `positions` given
    residue_names: tuple of str, N
        residue name of each token, as in the Topology
    atom_names: tuple of str, A
    label_order: tuple of int, A
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


def features_from_topology(
    topology: Any,
    atoms: Literal["all", "heavy"] = "all",
    solute: Iterable[int] | None = None,
    *,
    positions: Any | None = None,
    molecules: Mapping[str, Any] | None = None,
    caps: Literal["token", "atoms"] = "token",
) -> MoleculeFeatures:
    """Turn a Topology into the features of its solute.

    Water, ions (residues of one atom) and virtual sites are left out unless `solute` names them.
    Standard residues are recognised by name and fitted by their graph of elements and bonds, so
    atoms may stand in any order and hydrogens may have any name. Protonation states follow from
    the hydrogens that are there (HIS, ASP, GLU, LYS, CYS, termini).

    Parameters
    ----------
    topology: openmm.app.Topology
        with bonds
    atoms: "all" or "heavy"
        whether the model's atoms include hydrogens. With "heavy", a residue without any hydrogens
        has the protonation of its name at neutral pH
    solute: iterable of int, optional
        Topology indices of the atoms to model: whole residues, whole molecules
    positions: Quantity or array [all atoms, 3] (nm), optional
        coordinates to take handedness from: that of stereocentres (D residues and epimers, which
        are reported by a warning; ligands), and that of the labels of atoms alike by symmetry,
        which structure builders assign as they please. Without it: L amino acids, ligands as in
        their molecule, labels as the wwPDB names them
    molecules: mapping from residue name to RDKit Mol, optional
        chemistry of residues that are not standard. Modified amino acids may be given as they
        stand in a chain or as free amino acids
    caps: "token" or "atoms"
        whether a cap (ACE, NME, FOR, NH2) is one token, or one for each heavy atom with its bonds
        in token_bonds, as Protenix has it

    Returns
    -------
    MoleculeFeatures

    Raises
    ------
    UnknownResidueError
        a residue that is not standard, without chemistry
    MissingAtomsError
        missing hydrogens (with "all") or heavy atoms
    MissingBondsError
        no bonds, duplicate bonds, bonds that are not the residue's
    FeatureError
        anything else that cannot be modelled; all of these are ValueErrors
    """
    if atoms not in ("all", "heavy"):
        raise FeatureError(f"atoms is {atoms!r}; expected 'all' or 'heavy'.")
    if caps not in ("token", "atoms"):
        raise FeatureError(f"caps is {caps!r}; expected 'token' or 'atoms'.")
    coordinates = None
    if positions is not None:
        try:
            coordinates = atom_positions_in_nm(positions, topology.getNumAtoms())
        except ValueError as error:
            raise FeatureError(str(error)) from error
        if not np.isfinite(coordinates).all():
            bad = np.flatnonzero(~np.isfinite(coordinates).all(axis=1))
            atoms_there = list(topology.atoms())
            named = ", ".join(
                f"{i} ({atoms_there[i].name} of {atoms_there[i].residue.name} "
                f"{atoms_there[i].residue.id})"
                for i in bad[:10]
            )
            raise FeatureError(
                f"positions hold values that are not finite, at {len(bad)} atoms: {named}"
                f"{', ...' if len(bad) > 10 else ''}. Give another frame."
            )
    graphs = residue_graphs(topology, select_solute(topology, solute))
    fits = fit_residues(graphs, molecules, atoms == "all")
    residues = [BuiltResidue(g, f, coordinates) for g, f in zip(graphs, fits, strict=True)]
    return _assemble(residues, atoms == "all", caps == "token")


def fit_residues(
    graphs: list[ResidueGraph], molecules: Mapping[str, Any] | None, need_hydrogens: bool
) -> list[Fit]:
    """Settle the chemistry of all residues.

    Raises
    ------
    FeatureError
        with the faults of all residues, of their common type where they have one
    """
    fits: list[Fit] = []
    faults: list[FeatureError] = []
    for graph in graphs:
        try:
            fit = fit_standard(graph, need_hydrogens)
            fits.append(fit_ligand(graph, molecules, need_hydrogens) if fit is None else fit)
        except FeatureError as error:
            faults.append(error)
    light = any(graph.has_hydrogens for graph in graphs)
    if need_hydrogens and not light and any(isinstance(f, MissingAtomsError) for f in faults):
        raise MissingAtomsError(
            "The solute has no hydrogens, and features of all atoms were asked for. "
            f"{ADD_HYDROGENS} Or take a heavy-atom model (atoms='heavy')."
        )
    raise_all(faults)
    return fits


def _name_chars(name: str) -> list[int]:
    """Return the four characters of a name as Protenix numbers them: ord(c) - 32."""
    return [min(max(ord(c) - 32, 0), 63) for c in name.upper()[:4].ljust(4)]


def _assemble(
    residues: list[BuiltResidue], with_hydrogens: bool, whole_caps: bool
) -> MoleculeFeatures:
    """Put the residues' pieces together in Topology order."""
    whole = [
        (t := r.fit.template) is not None and (whole_caps or t.is_amino_acid) for r in residues
    ]
    model = sorted(
        i
        for r in residues
        for k, i in enumerate(r.atoms)
        if i >= 0 and (with_hydrogens or k < r.chemistry.num_heavy)
    )
    number = {i: m for m, i in enumerate(model)}
    count = len(model)
    ref_pos = np.zeros((count, 3), np.float32)
    charge = np.zeros(count, np.float32)
    element = np.zeros(count, np.int64)
    uid = np.zeros(count, np.int64)
    to_token = np.zeros(count, np.int64)
    names = [""] * count
    # Names as the network is told them: the wwPDB's for heavy atoms, whatever the Topology's.
    known = [""] * count
    label_order = list(range(count))
    bonds: dict[tuple[int, int], float] = {}
    chiral: list[tuple[list[int], float]] = []
    labels: list[tuple[list[int], float]] = []
    restype: list[int] = []
    residue_names: list[str] = []
    token_residue: list[int] = []

    for u, r in enumerate(residues):
        chem = r.chemistry
        kept = [k for k, i in enumerate(r.atoms) if i in number]
        where = {k: number[r.atoms[k]] for k in kept}
        local = r.conformer[kept]
        for k, point in zip(kept, local - local.mean(axis=0), strict=True):
            m = where[k]
            ref_pos[m] = point
            charge[m] = chem.charges[k]
            element[m] = r.graph.elements[r.atoms[k]]
            uid[m] = u
            names[m] = r.graph.names[r.atoms[k]]
            known[m] = names[m]
            if r.fit.template is not None and k < chem.num_heavy:
                known[m] = r.fit.template.names[k]
            label_order[m] = where[int(r.conventional[k])]
        for i, j, order in chem.bonds:
            if i in where and j in where:
                bonds[tuple(sorted((where[i], where[j])))] = order  # type: ignore[index]
        for here, there in r.graph.partners:
            bonds[tuple(sorted((number[here], number[there])))] = 1.0  # type: ignore[index]
        for entry, sign in zip(chem.chiral, chem.chiral_signs, strict=True):
            indices = [r.topology_index(k) for k in entry]
            if all(i in number for i in indices):
                chiral.append(([number[i] for i in indices], float(sign)))
        for c, a, b, d, _ in chem.alike:
            if all(k in where for k in (c, a, b, d)):
                sign = triple_product_sign(*(r.conformer[k] for k in (c, a, b, d)))
                labels.append(([where[k] for k in (c, a, b, d)], float(sign)))

        if whole[u]:
            token = len(restype)
            restype.append(r.fit.restype)
            residue_names.append(r.graph.residue.name)
            token_residue.append(u)
            for m in where.values():
                to_token[m] = token
        else:
            # Heavy atoms in Topology order; a hydrogen belongs to its atom's token.
            heavy = sorted(k for k in kept if k < chem.num_heavy)
            heavy.sort(key=lambda k: where[k])
            token_of = {k: len(restype) + t for t, k in enumerate(heavy)}
            for k in heavy:
                restype.append(r.fit.restype)
                residue_names.append(r.graph.residue.name)
                token_residue.append(u)
                to_token[where[k]] = token_of[k]
            for k in kept:
                if k >= chem.num_heavy:
                    to_token[where[k]] = token_of[chem.parents[k - chem.num_heavy]]

    index, asym, entity, sym = chain_numbers(residues)
    # A cap of several tokens is a ligand to Protenix, whose bonds are told.
    polymer = [
        p and (w or r.fit.template is None)
        for p, w, r in zip(polymer_residues(residues), whole, residues, strict=True)
    ]
    token_bonds = np.zeros((len(restype), len(restype)), np.float32)
    for i, j in bonds:
        s, t = to_token[i], to_token[j]
        if s != t and not hidden_bond(polymer, index, asym, uid[i], uid[j]):
            token_bonds[s, t] = token_bonds[t, s] = 1.0
    pairs = sorted(bonds)
    chiral.sort()
    labels.sort()
    per_token = np.array(token_residue, np.int64)
    return MoleculeFeatures(
        atom_indices=np.array(model, np.int64),
        restype=np.array(restype, np.int64),
        residue_index=index[per_token],
        asym_id=asym[per_token],
        entity_id=entity[per_token],
        sym_id=sym[per_token],
        token_bonds=token_bonds,
        atom_to_token=to_token,
        ref_pos=ref_pos,
        ref_charge=charge,
        ref_mask=np.ones(count, np.float32),
        ref_element=element,
        ref_atom_name_chars=np.array([_name_chars(n) for n in known], np.int64),
        ref_space_uid=uid,
        bonds=np.array(pairs, np.int64).reshape(-1, 2),
        bond_order=np.array([bonds[p] for p in pairs], np.float32),
        chiral_centers=np.array([c for c, _ in chiral], np.int64).reshape(-1, 4),
        chiral_signs=np.array([s for _, s in chiral], np.float32),
        label_centers=np.array([c for c, _ in labels], np.int64).reshape(-1, 4),
        label_signs=np.array([s for _, s in labels], np.float32),
        residue_names=tuple(residue_names),
        atom_names=tuple(names),
        label_order=tuple(label_order),
    )
