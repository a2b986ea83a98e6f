"""Which ligand is which residue of a structure, and where the others go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.text import listed
from .atom_rows import SHOWN
from .errors import FeatureError
from .labels import residue_label
from .ligand_files import add_bonds, append_ligand, mismatch, perceived_graph, title
from .ligand_fit import LigandFit, best_fit
from .ligands import chain_forms
from .modified import modified_molecule
from .residue_graph import ResidueGraph
from .residues import find_template
from .selection import is_environment, is_left_out

__all__ = ["complete_bonds", "place_ligands"]

FloatArray = npt.NDArray[np.float64]

_ALIKE = 0.1
"""Costs that differ by less than this do not tell two ligands apart; see `ligand_fit`."""


@dataclass(frozen=True)
class _GivenLigand:
    """A ligand that was given."""

    path: Path
    mol: Any

    @property
    def name(self) -> str:
        return title(self.mol) or "the molecule"

    def same_as(self, other: Any) -> bool:
        """Whether another RDKit Mol is the same molecule."""
        return self.mol is other or _identity(self.mol) == _identity(other)


def _identity(mol: Any) -> str:
    from rdkit import Chem

    return str(Chem.MolToSmiles(Chem.RemoveHs(Chem.Mol(mol))))


def place_ligands(
    topology: Any,
    positions: FloatArray,
    ligands: Sequence[tuple[Path, Any]],
    chemistry: dict[str, Any],
    notes: list[str],
) -> FloatArray:
    """Match ligands to residues without template, and add the others to the Topology.

    Each residue is the ligand that fits it best: by its graph, which has to be the same, then by
    hydrogens, bond orders, bond lengths and angles, hand and place. A ligand may be several
    residues. Two ligands under one name are kept apart: the residue of the later one is renamed.

    Parameters
    ----------
    topology : openmm.app.Topology
        Gains bonds with their orders, and the ligands that are not there.
    positions : array [atoms, 3], nm
    ligands : sequence of (path, RDKit Mol)
    chemistry : dict of str to RDKit Mol
        What is known by residue name; gains the ligands.
    notes : list of str
        Gains what was chosen.

    Returns
    -------
    array [all atoms, 3], nm

    Raises
    ------
    FeatureError
        Residues that are none of the ligands, while ligands are left over.
    """
    given = [_GivenLigand(path, mol) for path, mol in ligands]
    residues = [
        r
        for r in topology.residues()
        if modified_molecule(r.name) is not None
        or (not is_left_out(r) and find_template(r.name) is None)
    ]
    bonds: dict[int, list[Any]] = {r.index: [] for r in residues}
    for bond in topology.bonds():
        for owner in {bond[0].residue.index, bond[1].residue.index} & bonds.keys():
            bonds[owner].append(bond)
    by_name = dict(chemistry)
    used: list[int] = []
    reasons: list[str] = []
    environment: list[str] = []
    for residue in residues:
        graph = perceived_graph(residue, bonds[residue.index], positions)
        known = by_name.get(residue.name) or modified_molecule(residue.name)
        # Only bonds may be lacking.
        if known is not None and complete_bonds(topology, graph, known, positions):
            continue
        number, fit = _choose(graph, given, positions, notes)
        if fit is not None:
            used.append(number)
            add_bonds(topology, graph, given[number].mol, fit.match)
            _enter(topology, residue, given[number], chemistry, notes)
        elif is_environment(residue, chemistry):
            environment.append(residue_label(residue, chain=True))
        elif given and known is None:
            why = "; ".join(mismatch(graph, ligand.mol) for ligand in given)
            reasons.append(f"{graph.label()} is none of the ligands given. {why}.")
    rest = _left_over(given, used)
    if reasons and rest:
        raise FeatureError(" ".join(reasons) + " Give each ligand as it is in the structure.")
    if environment:
        notes.append(
            f"{listed(environment, SHOWN)}: left to molecular dynamics, since nothing tells the "
            "chemistry, or there is a metal in it."
        )
    for ligand in rest:
        name = _free_name(topology, chemistry, "LIG")
        positions = append_ligand(topology, positions, ligand.mol, name)
        chemistry[name] = ligand.mol
        label = title(ligand.mol) or "The molecule"
        notes.append(f"{label} of {ligand.path.name} is added as residue {name}.")
    return positions


def _choose(
    graph: ResidueGraph, ligands: Sequence[_GivenLigand], positions: FloatArray, notes: list[str]
) -> tuple[int, LigandFit | None]:
    """The ligand that fits a residue best, by its number; no fit where none does."""
    found = [
        (fit.cost, k, fit)
        for k, ligand in enumerate(ligands)
        if (fit := best_fit(graph, ligand.mol, positions)) is not None
    ]
    if not found:
        return -1, None
    found.sort(key=lambda f: f[:2])
    cost, number, fit = found[0]
    equal = [
        ligands[k].name
        for other, k, _ in found[1:]
        if other - cost < _ALIKE and not ligands[k].same_as(ligands[number].mol)
    ]
    if equal:
        notes.append(
            f"{graph.label()} may as well be {', '.join(equal)}: nothing in its atoms tells."
        )
    return number, fit


def _left_over(ligands: Sequence[_GivenLigand], used: Sequence[int]) -> list[_GivenLigand]:
    """Ligands that are no residue; of copies of one molecule, those beyond the residues it is."""
    rest: list[_GivenLigand] = []
    for k, ligand in enumerate(ligands):
        there = [ligands[j] for j in used] + rest
        copies = sum(other.same_as(ligand.mol) for other in ligands)
        if k not in used and sum(other.same_as(ligand.mol) for other in there) < copies:
            rest.append(ligand)
    return rest


def _enter(
    topology: Any, residue: Any, ligand: _GivenLigand, chemistry: dict[str, Any], notes: list[str]
) -> None:
    """Note which ligand a residue is, under a name that is that ligand's alone."""
    old = residue_label(residue, chain=True)
    other = chemistry.get(residue.name)
    if other is not None and not ligand.same_as(other):
        alike = (name for name, mol in chemistry.items() if ligand.same_as(mol))
        residue.name = next(alike, None) or _free_name(topology, chemistry, "L01")
        notes.append(
            f"residue {old} is another molecule than others of its name; it is called "
            f"{residue.name} here."
        )
    chemistry.setdefault(residue.name, ligand.mol)
    notes.append(
        f"residue {residue_label(residue, chain=True)} (index {residue.index}) is {ligand.name} "
        f"of {ligand.path.name}."
    )


def _free_name(topology: Any, chemistry: dict[str, Any], first: str) -> str:
    """A residue name that nothing has: this one, or L01, L02, ..."""
    names = {r.name for r in topology.residues()} | chemistry.keys()
    return next(n for n in (first, *(f"L{k:02d}" for k in range(1, 100))) if n not in names)


def complete_bonds(
    topology: Any, graph: ResidueGraph, molecule: Any, positions: FloatArray
) -> bool:
    """Give a residue of known chemistry the bonds that its file does not have, where it fits."""
    for form, *_ in chain_forms(molecule):
        fit = best_fit(graph, form, positions)
        if fit is not None:
            add_bonds(topology, graph, form, fit.match)
            return True
    return False
