"""The bonds of a structure file: what it names, what names imply, and what distances tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.text import listed
from .atom_rows import SHOWN
from .broken_bonds import LONGEST_PEPTIDE_BOND_NM
from .labels import atom_label, residue_label
from .residues import DISULFIDE_NAMES, METALS, find_template
from .thiolates import LONGEST_DISULFIDE_NM

__all__ = ["set_bonds"]

FloatArray = NDArray[np.float64]
_SULPHURS_NEAR_NM = 0.3
"""Sulphurs without hydrogen nearer than this are told of."""
_METAL_REACH_NM = 0.3
"""A cysteine's sulphur nearer to a metal than this is bound to it (Zn-S 0.23)."""
_COVALENT_REACH_NM = 0.21
"""Carbon, nitrogen and oxygen nearer to a sulphur than this are bonded to it (0.18)."""


def set_bonds(
    topology: Any,
    positions: FloatArray,
    named: Iterable[Sequence[Any]],
    standard: Iterable[tuple[int, int]],
    notes: list[str],
) -> None:
    """Give a Topology without bonds those of its file.

    They are the bonds that the file names, those of standard residues by their names where the
    chain goes on, disulfides by distance, and the bonds that close rings of residues. Metals are
    bonded to nothing outside of their residue. A cysteine that has hydrogens, but neither HG nor a
    bond, becomes CYM.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : array [atoms, 3], nm
    named : iterable of (atom, atom) or (atom, atom, type, order)
        What the file says.
    standard : iterable of (int, int)
        Atom numbers of what OpenMM adds by names.
    notes : list of str
        Gains what was chosen.
    """
    bonds = _BondList()
    coordination = []
    for one, two, *kind in named:
        if one.residue is not two.residue and (_is_metal(one) or _is_metal(two)):
            coordination.append(one if _is_metal(one) else two)
        else:
            bonds.add(one, two, *kind)
    atoms = list(topology.atoms())
    for one, two in ((atoms[i], atoms[j]) for i, j in standard):
        if not _ends_between(one, two, positions):
            bonds.add(one, two)
    _add_disulfides(topology, positions, bonds, notes)
    _link_backbones(topology, positions, bonds, notes)
    for bond in bonds:
        topology.addBond(*bond)
    metals = {id(a.residue): residue_label(a.residue, chain=True) for a in coordination}
    if metals:
        notes.append(
            f"Bonds of {listed(metals.values(), SHOWN)} to other residues are left out: what holds "
            "a metal is the force field's matter."
        )
    _name_thiolates(topology, positions, bonds, notes)


class _BondList:
    """Bonds, each once, and the atoms that have some to other residues."""

    def __init__(self) -> None:
        self._bonds: dict[frozenset[int], tuple[Any, ...]] = {}
        self.partners: dict[int, list[Any]] = {}

    def add(self, one: Any, two: Any, *kind: Any) -> None:
        key = frozenset((one.index, two.index))
        if len(key) == 2 and key not in self._bonds:
            self._bonds[key] = (one, two, *kind)
            if one.residue is not two.residue:
                self.partners.setdefault(one.index, []).append(two)
                self.partners.setdefault(two.index, []).append(one)

    def __iter__(self) -> Any:
        return iter(self._bonds.values())


def _is_metal(atom: Any) -> bool:
    return atom.element is not None and atom.element.symbol in METALS


def _ends_between(one: Any, two: Any, positions: FloatArray) -> bool:
    """Whether a chain ends between two residues of one chain that names would bond.

    It does after a cap of the carboxyl end, and where a terminal oxygen or a charged nitrogen
    stands between residues that are not in reach of each other.
    """
    if one.residue is two.residue:
        return False
    first, second = sorted((one.residue, two.residue), key=lambda r: r.index)
    template = find_template(first.name)
    if template is not None and template.name in ("NME", "NH2"):
        return True
    far = np.linalg.norm(positions[one.index] - positions[two.index]) > LONGEST_PEPTIDE_BOND_NM
    ended = any(a.name == "OXT" for a in first.atoms())
    begun = {"CA", "H2", "H3"} <= {a.name for a in second.atoms()}
    return bool(far) and (ended or begun)


def _add_disulfides(
    topology: Any, positions: FloatArray, bonds: _BondList, notes: list[str]
) -> None:
    free = []
    for residue in topology.residues():
        names = {a.name: a for a in residue.atoms()}
        cysteine = residue.name in ("CYS", *DISULFIDE_NAMES)
        if cysteine and "SG" in names and "HG" not in names:
            if names["SG"].index not in bonds.partners:
                free.append(names["SG"])
    near = sorted(
        (float(np.linalg.norm(positions[one.index] - positions[two.index])), one.index, two.index)
        for one, two in combinations(free, 2)
        if np.abs(positions[one.index] - positions[two.index]).max() < _SULPHURS_NEAR_NM
    )
    atoms = {a.index: a for a in free}
    for distance, i, j in near:
        one, two = atoms[i], atoms[j]
        taken = [k for k in (i, j) if k in bonds.partners]
        ends = (
            f"{residue_label(one.residue, chain=True)} and {residue_label(two.residue, chain=True)}"
        )
        if distance > LONGEST_DISULFIDE_NM:
            if distance < _SULPHURS_NEAR_NM:
                notes.append(
                    f"The sulphurs of {ends} are {distance:.3f} nm apart, too far for a disulfide "
                    f"(at most {LONGEST_DISULFIDE_NM} nm); none is taken."
                )
        elif taken:
            other = bonds.partners[taken[0]][0].residue
            notes.append(
                f"The sulphurs of {ends} are {distance:.3f} nm apart as well, but one of them has "
                f"a nearer partner, {residue_label(other, chain=True)}: the disulfides are "
                "ambiguous."
            )
        else:
            bonds.add(one, two)
    for residue in topology.residues():
        if residue.name not in DISULFIDE_NAMES:
            continue
        if any(a.index in bonds.partners for a in residue.atoms() if a.name == "SG"):
            residue.name = "CYS"
        else:
            notes.append(
                f"{residue_label(residue, chain=True)} is named as half of a disulfide, but no "
                f"free sulphur is within {LONGEST_DISULFIDE_NM} nm."
            )


def _link_backbones(
    topology: Any, positions: FloatArray, bonds: _BondList, notes: list[str]
) -> None:
    """Bond carbons and nitrogens of the backbone that are in reach and have no neighbour.

    OpenMM bonds the standard residues that follow each other. What is left are modified ones, and
    the ends of rings, which are said.
    """
    carbons, nitrogens = [], []
    for residue in topology.residues():
        names = {a.name: a for a in residue.atoms()}
        whole = {"N", "CA", "C"} <= names.keys()
        if (whole or residue.name in ("ACE", "FOR") and "C" in names) and "OXT" not in names:
            if names["C"].index not in bonds.partners:
                carbons.append(names["C"])
        charged = whole and {"H2", "H3"} <= names.keys()
        if (whole or residue.name in ("NME", "NH2") and "N" in names) and not charged:
            if names["N"].index not in bonds.partners:
                nitrogens.append(names["N"])
    for carbon in carbons:
        reach = [
            (float(np.linalg.norm(positions[carbon.index] - positions[n.index])), n.index, n)
            for n in nitrogens
            if n.residue is not carbon.residue and n.index not in bonds.partners
        ]
        if not reach:
            continue
        distance, _, nitrogen = min(reach)
        if distance <= LONGEST_PEPTIDE_BOND_NM:
            bonds.add(carbon, nitrogen)
            if nitrogen.residue.index == carbon.residue.index + 1:
                continue
            notes.append(
                f"{atom_label(carbon, chain=True)} and {atom_label(nitrogen, chain=True)} are "
                f"{distance:.3f} nm apart and are bonded."
            )


def _name_thiolates(
    topology: Any, positions: FloatArray, bonds: _BondList, notes: list[str]
) -> None:
    """Call a cysteine CYM where its hydrogens say that it is."""
    metals = [a for a in topology.atoms() if _is_metal(a)]
    others = np.array(
        [a.element is not None and a.element.atomic_number > 1 for a in topology.atoms()]
    )
    others[[m.index for m in metals]] = False
    for residue in topology.residues():
        names = {a.name: a for a in residue.atoms()}
        if residue.name != "CYS" or "SG" not in names or "HG" in names:
            continue
        sulphur = names["SG"]
        if sulphur.index in bonds.partners:
            continue
        apart = np.linalg.norm(positions - positions[sulphur.index], axis=1)
        apart[[a.index for a in residue.atoms()]] = np.inf
        if np.any(apart[others] < _COVALENT_REACH_NM):
            continue  # bound to a ligand whose bond the file does not tell
        holder = next(
            (
                f", bound to {residue_label(m.residue, chain=True)}"
                for m in metals
                if np.linalg.norm(positions[m.index] - positions[sulphur.index]) < _METAL_REACH_NM
            ),
            "",
        )
        if any(a.element is not None and a.element.atomic_number == 1 for a in residue.atoms()):
            notes.append(
                f"{residue_label(residue, chain=True)} has hydrogens, but no HG and no disulfide: "
                f"it is read as a thiolate, CYM{holder}."
            )
            residue.name = "CYM"
        elif holder:
            notes.append(
                f"{residue_label(residue, chain=True)} is{holder[1:]}, and without hydrogens read "
                "as neutral; add hydrogens in the state CYM first."
            )
