"""Topology to the arrays that the network reads.

`features_from_topology` takes an OpenMM Topology apart into tokens (a standard residue or cap each;
a heavy atom each of anything else) and gives every atom its element, name, formal charge and place
in its residue's reference conformer, which RDKit makes (ETKDG, fixed seed).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .chemistry import (
    ResidueChemistry,
    build_chemistry,
    cis_sign,
    labelled_order,
    triple_product_sign,
)
from .errors import FeatureError, MissingBondsError
from .ligands import fit_ligand
from .matching import Fit, ResidueGraph, fit_standard
from .openmm_bridge import positions_in_nm
from .residues import RESTYPE_UNKNOWN, SOLVENT, find_template

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


def _bond_order(bond: Any) -> float | None:
    """Return the order that the Topology gives a bond: 1, 2, 3, 1.5 for aromatic, or None."""
    kind = str(bond.type) if bond.type is not None else ""
    named = {"Single": 1.0, "Double": 2.0, "Triple": 3.0, "Aromatic": 1.5, "Amide": 1.0}
    if kind in named:
        return named[kind]
    return None if bond.order is None else float(bond.order)


def _is_left_out(residue: Any) -> bool:
    """Whether a residue is solvent or an ion: water, or one atom without template."""
    if residue.name.strip().upper() in SOLVENT:
        return True
    real = [a for a in residue.atoms() if a.element is not None]
    return len(real) <= 1 and find_template(residue.name) is None


def _select(topology: Any, solute: Iterable[int] | None) -> set[int]:
    """Return the Topology indices of the solute's atoms, virtual sites left out."""
    atoms = list(topology.atoms())
    if solute is None:
        chosen = {
            a.index
            for r in topology.residues()
            if not _is_left_out(r)
            for a in r.atoms()
            if a.element is not None
        }
        if not chosen:
            raise FeatureError(
                f"The Topology's {len(atoms)} atoms are all solvent or ions: nothing to model. "
                "Name the atoms to model in solute=[indices]."
            )
        return chosen
    given = [int(i) for i in solute]
    if not given:
        raise FeatureError("solute is empty; name at least one atom, or leave it out.")
    if len(set(given)) != len(given):
        raise FeatureError("solute names an atom twice; each index may stand in it once.")
    beyond = [i for i in given if not 0 <= i < len(atoms)]
    if beyond:
        raise FeatureError(
            f"solute holds {beyond[0]}, but the Topology's atoms are 0 to {len(atoms) - 1}."
        )
    chosen = set(given)
    for residue in topology.residues():
        inside = [a for a in residue.atoms() if a.element is not None]
        count = sum(a.index in chosen for a in inside)
        # Hydrogens may be left out: heavy-atom models have none.
        heavy = [a for a in inside if a.element.atomic_number > 1]
        if count and any(a.index not in chosen for a in heavy):
            lacking = next(a for a in heavy if a.index not in chosen)
            raise FeatureError(
                f"solute cuts through residue {residue.name} {residue.id}: atom {lacking.index} "
                f"({lacking.name}) is not in it. Take whole residues."
            )
    return {i for i in chosen if atoms[i].element is not None}


def _residue_graphs(topology: Any, chosen: set[int]) -> list[ResidueGraph]:
    """Collect the solute's residues with their bonds, checked."""
    atoms = list(topology.atoms())
    graphs: dict[int, ResidueGraph] = {}
    for residue in topology.residues():
        inside = [a for a in residue.atoms() if a.index in chosen]
        if not inside:
            continue
        names = {a.index: a.name for a in inside}
        heavy = [a.index for a in inside if a.element.atomic_number > 1]
        heavy.sort(key=lambda i: (names[i], i))
        if not heavy:
            raise FeatureError(
                f"residue {residue.name} {residue.id} has hydrogens only; it cannot be modelled."
            )
        graphs[residue.index] = ResidueGraph(
            residue, heavy, names, {a.index: a.element.atomic_number for a in inside},
            {i: [] for i in heavy}, {}, [], {},
        )  # fmt: skip
    seen: set[tuple[int, int]] = set()
    owners: dict[int, int] = {}
    for bond in topology.bonds():
        i, j = sorted((bond[0].index, bond[1].index))
        if i not in chosen and j not in chosen:
            continue
        if atoms[i].element is None or atoms[j].element is None:
            continue
        if (i, j) in seen:
            raise MissingBondsError(
                f"The Topology holds the bond {atoms[i]} - {atoms[j]} twice. Remove the copy."
            )
        seen.add((i, j))
        if i not in chosen or j not in chosen:
            inner, other = (atoms[i], atoms[j]) if i in chosen else (atoms[j], atoms[i])
            if other.element.atomic_number == 1 and other.residue.index == inner.residue.index:
                continue
            raise FeatureError(
                f"The solute's atom {inner.index} ({inner.name} of {inner.residue.name} "
                f"{inner.residue.id}) is bonded to atom {other.index} ({other.name} of "
                f"{other.residue.name} {other.residue.id}), which is not in the solute. Take whole "
                "molecules."
            )
        gi, gj = graphs[atoms[i].residue.index], graphs[atoms[j].residue.index]
        light = [k for k in (i, j) if atoms[k].element.atomic_number == 1]
        if light:
            h = light[0]
            parent = j if h == i else i
            if len(light) == 2 or gi is not gj or h in owners:
                raise MissingBondsError(
                    f"The hydrogen {atoms[h]} has more than one bond, or a bond to another "
                    "residue's atom or to a hydrogen. Mend the Topology's bonds."
                )
            owners[h] = parent
            gi.hydrogens[parent].append(h)
        elif gi is gj:
            gi.bonds[(i, j)] = _bond_order(bond)
        else:
            gi.partners.append((i, j))
            gj.partners.append((j, i))
            gi.partner_elements[j] = atoms[j].element.atomic_number
            gj.partner_elements[i] = atoms[i].element.atomic_number
    if not seen and len(chosen) > 1:
        raise MissingBondsError(
            "The Topology has no bonds. Call topology.createStandardBonds() (and "
            "createDisulfideBonds(positions)), or load the structure with a reader that makes "
            "bonds."
        )
    for graph in graphs.values():
        free = [i for i in graph.names if graph.elements[i] == 1 and i not in owners]
        if free:
            listed = ", ".join(graph.names[i] for i in free)
            raise MissingBondsError(
                f"{graph.label()}: the hydrogens {listed} have no bond. Call "
                "topology.createStandardBonds() on a Topology with standard atom names."
            )
        for hydrogens in graph.hydrogens.values():
            hydrogens.sort(key=lambda i: (graph.names[i], i))
        graph.partners.sort(key=lambda p: (graph.names[p[0]], p))
    return list(graphs.values())


class _Residue:
    """One residue fitted and built: local atoms as Topology indices, beside its chemistry."""

    def __init__(self, graph: ResidueGraph, fit: Fit, coordinates: Any | None) -> None:
        self.graph = graph
        self.fit = fit
        number = {a: k for k, a in enumerate(fit.atoms)}
        self.partner_atoms = [there for _, there in graph.partners]
        partners = tuple((number[here], graph.partner_elements[there])
                         for here, there in graph.partners)  # fmt: skip
        self.arguments = (fit.skeleton, fit.hydrogens, fit.charges, partners, fit.outer)
        self.chemistry = self._build(frozenset())
        # -1 stands for a hydrogen that the Topology does not have.
        self.atoms: list[int] = list(fit.atoms)
        for k, atom in enumerate(fit.atoms):
            present = graph.hydrogens[atom]
            self.atoms += present if present else [-1] * fit.hydrogens[k]
        alike = planar = None
        if coordinates is not None:
            self._take_hand(coordinates)
            sides = self.chemistry.planar
            alike = tuple(self._sign(e[:4], coordinates) for e in self.chemistry.alike)
            planar = tuple(self._sign(e[:4], coordinates, cis_sign) for e in sides)
        elif self.chemistry.undefined:
            names = ", ".join(graph.names[fit.atoms[k]] for k in self.chemistry.undefined)
            raise FeatureError(
                f"{graph.label()} has stereocentres of unknown hand: {names}. Pass positions=, or "
                "in molecules= a molecule with its stereochemistry."
            )
        order = labelled_order(self.chemistry, alike, planar)
        self.conformer = self.chemistry.conformer[order]
        # Where each atom of the naming convention is found under the labels in use.
        self.conventional = np.argsort(order)[labelled_order(self.chemistry)]

    def _build(self, flips: frozenset[int]) -> ResidueChemistry:
        try:
            return build_chemistry(*self.arguments, flips)
        except FeatureError as error:
            raise FeatureError(f"{self.graph.label()}: {error}") from error

    def topology_index(self, local: int) -> int:
        """Return the Topology index of a local atom, or of partner -1 - k; -1 for none."""
        return self.atoms[local] if local >= 0 else self.partner_atoms[-1 - local]

    def _sign(
        self,
        quartet: tuple[int, ...],
        coordinates: Any,
        measure: Callable[..., int] = triple_product_sign,
    ) -> int:
        """Measure a sign on coordinates; 0 where an atom of it is not in the Topology."""
        indices = [self.topology_index(k) for k in quartet]
        return 0 if min(indices) < 0 else measure(*(coordinates[i] for i in indices))

    def _take_hand(self, coordinates: Any) -> None:
        """Take the hand of each stereocentre from coordinates; D residues are reported."""
        flips = frozenset(
            entry[0]
            for entry, sign in zip(
                self.chemistry.chiral, self.chemistry.chiral_signs, strict=True
            )
            if self._sign(entry, coordinates) == -sign
        )
        open_centres = [e for e in self.chemistry.chiral if e[0] in self.chemistry.undefined]
        flat = [e[0] for e in open_centres if self._sign(e, coordinates) == 0]
        if flat:
            names = ", ".join(self.graph.names[self.fit.atoms[k]] for k in flat)
            raise FeatureError(
                f"{self.graph.label()}: the positions given are flat at {names}, so that its hand "
                "cannot be told. Minimise the structure first."
            )
        if not flips:
            return
        if self.fit.template is not None:
            names = ", ".join(self.graph.names[self.fit.atoms[k]] for k in sorted(flips))
            warnings.warn(
                f"{self.graph.label()} has the opposite hand of the standard residue at {names} in "
                "the positions given (a D residue or an epimer); the positions' hand is used.",
                stacklevel=4,
            )
        self.chemistry = self._build(flips)


def features_from_topology(
    topology: Any,
    atoms: Literal["all", "heavy"] = "all",
    solute: Iterable[int] | None = None,
    *,
    positions: Any | None = None,
    molecules: Mapping[str, Any] | None = None,
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
        chemistry of residues that are not standard

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
    coordinates = None
    if positions is not None:
        try:
            coordinates = positions_in_nm(positions, topology.getNumAtoms())
        except ValueError as error:
            raise FeatureError(str(error)) from error
        if not np.isfinite(coordinates).all():
            raise FeatureError("positions hold values that are not finite.")
    chosen = _select(topology, solute)
    residues = []
    for graph in _residue_graphs(topology, chosen):
        fit = fit_standard(graph, atoms == "all")
        if fit is None:
            fit = fit_ligand(graph, molecules, atoms == "all")
        residues.append(_Residue(graph, fit, coordinates))
    return _assemble(residues, atoms == "all")


def _name_chars(name: str) -> list[int]:
    """Return the four characters of a name as Protenix numbers them: ord(c) - 32."""
    return [min(max(ord(c) - 32, 0), 63) for c in name.upper()[:4].ljust(4)]


def _assemble(residues: list[_Residue], with_hydrogens: bool) -> MoleculeFeatures:
    """Put the residues' pieces together in Topology order."""
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

        if r.fit.template is not None:
            token = len(restype)
            restype.append(r.fit.template.restype)
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
                restype.append(RESTYPE_UNKNOWN)
                residue_names.append(r.graph.residue.name)
                token_residue.append(u)
                to_token[where[k]] = token_of[k]
            for k in kept:
                if k >= chem.num_heavy:
                    to_token[where[k]] = token_of[chem.parents[k - chem.num_heavy]]

    index, asym, entity, sym = _chain_numbers(residues)
    peptide = _peptide_links(residues)
    token_bonds = np.zeros((len(restype), len(restype)), np.float32)
    for i, j in bonds:
        s, t = to_token[i], to_token[j]
        if s != t and (model[i], model[j]) not in peptide:
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
        ref_atom_name_chars=np.array([_name_chars(n) for n in names], np.int64),
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


def _peptide_links(residues: list[_Residue]) -> set[tuple[int, int]]:
    """Return the C-N bonds between consecutive residues of a chain, as sorted Topology indices."""
    links = set()
    where = {r.graph.residue.index: r for r in residues}
    for r in residues:
        follower = where.get(r.graph.residue.index + 1)
        if follower is None or follower.graph.residue.chain is not r.graph.residue.chain:
            continue
        first, second = r.fit.template, follower.fit.template
        if first is None or second is None or "C" not in first.names or "N" not in second.names:
            continue
        c = r.fit.atoms[first.names.index("C")]
        n = follower.fit.atoms[second.names.index("N")]
        if (c, n) in r.graph.partners:
            links.add((min(c, n), max(c, n)))
    return links


def _chain_numbers(
    residues: list[_Residue],
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Number residues in their chain, chains, entities and copies; one entry a residue.

    A ligand that is bonded to nothing is a chain of its own, as in AlphaFold 3.
    """
    units: dict[tuple[int, int], list[int]] = {}
    for u, r in enumerate(residues):
        alone = r.fit.template is None and not r.graph.partners
        key = (r.graph.residue.chain.index, r.graph.residue.index if alone else -1)
        units.setdefault(key, []).append(u)
    index, asym, entity, sym = (np.zeros(len(residues), np.int64) for _ in range(4))
    entities: dict[tuple[str, ...], int] = {}
    copies: dict[int, int] = {}
    for a, members in enumerate(units.values()):
        sequence = tuple(
            t.name if (t := residues[u].fit.template) else residues[u].graph.residue.name
            for u in members
        )
        e = entities.setdefault(sequence, len(entities))
        copies[e] = copies.get(e, -1) + 1
        for k, u in enumerate(members):
            index[u], asym[u], entity[u], sym[u] = k + 1, a, e, copies[e]
    return index, asym, entity, sym
