"""Faults of MISATO's complexes that need frames or the PDB entry to be seen."""

from __future__ import annotations

import os
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.constants import NM_PER_ANGSTROM
from .entries import opened
from .faults import Fault
from .misato import ligand_atoms
from .sample import Sample

__all__ = ["CONTACT_NM", "check_cuts", "check_ligand", "compare_with_pdb", "contact_distances"]

CONTACT_NM = 0.8
"""No bound ligand is further from every heavy atom of the protein than this: two layers of water
fit between."""
DISPLACED_NM = 0.1
"""A resolved structure and what was prepared from it differ by less."""
FACING_NM = 1.0
"""From the C of one chain to the N of the next: a few missing residues span that much."""
BLOCK = 10


def contact_distances(sample: Sample, frames: Any = slice(None)) -> NDArray[np.float64]:
    """Shortest distance between heavy atoms of ligand and protein in each frame, nm.

    Raises
    ------
    ValueError
        There is no ligand.
    """
    from scipy.spatial import cKDTree

    ligand = ligand_atoms(sample)
    if not len(ligand):
        raise ValueError(f"{sample.name} has no residue MOL, hence no distance to it.")
    elements = np.array([a.element.atomic_number for a in sample.molecule().topology.atoms()])
    heavy = elements > 1
    inside = np.zeros(len(elements), bool)
    inside[ligand] = True
    numbers = sample.frames.numbers(frames)
    found = []
    for start in range(0, len(numbers), BLOCK):
        for x in sample.frames.read(numbers[start : start + BLOCK]):
            gaps, _ = cKDTree(x[heavy & ~inside]).query(x[heavy & inside])
            found.append(float(np.min(gaps)))
    return np.array(found)


def check_ligand(sample: Sample) -> list[Fault]:
    """Tell whether and when the ligand leaves the protein."""
    at = sample.provenance
    if not len(ligand_atoms(sample)):
        return []
    gaps = contact_distances(sample)
    away = np.flatnonzero(~(gaps <= CONTACT_NM))
    if not len(away):
        return []
    when = f"frame {away[0]}"
    if sample.spacing_ps is not None:
        when += f" ({away[0] * sample.spacing_ps:g} ps)"
    message = (
        f"the ligand has left the protein: from {when} on it is away in {len(away)} of "
        f"{len(gaps)} frames, up to {np.max(gaps):.2f} nm from the nearest heavy atom."
    )
    return [Fault(at.path, at.entry, "ligand-gone", message, fatal=False)]


def check_cuts(sample: Sample) -> list[Fault]:
    """Name charged ends that face each other, as preparing a protein with gaps leaves them."""
    at, molecule = sample.provenance, sample.molecule()
    positions, faults = np.asarray(molecule.positions_nm), []
    chains = [list(chain.residues()) for chain in molecule.topology.chains()]
    for before, after in zip(chains, chains[1:], strict=False):
        last, first = ({a.name: a.index for a in r.atoms()} for r in (before[-1], after[0]))
        if not {"C", "OXT"} <= last.keys() or not {"N", "H3"} <= first.keys():
            continue
        gap = float(np.linalg.norm(positions[last["C"]] - positions[first["N"]]))
        if gap < FACING_NM:
            message = (
                f"{before[-1].name} {before[-1].id} ends a chain and {after[0].name} "
                f"{after[0].id} begins the next one {gap:.2f} nm away, both charged: the protein "
                "seems to be cut there, where residues are missing or a bond is."
            )
            faults.append(Fault(at.path, at.entry, "incomplete", message, fatal=False))
    return faults


def compare_with_pdb(sample: Sample, structure: str | os.PathLike[str]) -> list[Fault]:
    """Compare a complex with its PDB entry: order of the residues, and places of alpha carbons.

    Parameters
    ----------
    sample : Sample
        Of MISATO; its atoms_coordinates_ref are in the entry's frame of reference.
    structure : path
        PDB or mmCIF file.

    Raises
    ------
    FeatureError
        The structure cannot be read.
    """
    from ..systems.structure_files import read_structure_file

    at = sample.provenance
    fault = partial(Fault, at.path, at.entry, "order", fatal=False)
    file = read_structure_file(os.fspath(structure))
    ours, our_atoms = _alpha_carbons(sample.molecule().topology)
    theirs, their_atoms = _alpha_carbons(file.topology)
    if ours != theirs:
        pairs = enumerate(zip_longest(ours, theirs, fillvalue="the end"))
        number, (here, there) = next((k, pair) for k, pair in pairs if pair[0] != pair[1])
        message = (
            f"its residues are not those of {os.fspath(structure)} in order: residue {number} is "
            f"{here} here and {there} there ({len(ours)} and {len(theirs)} residues). Do not "
            "carry residue numbers over."
        )
        return [fault(message=message)]
    with opened(at.path, at.entry) as group:
        reference = group["atoms_coordinates_ref"][...] * NM_PER_ANGSTROM
    gaps = np.linalg.norm(reference[our_atoms] - file.positions_nm[their_atoms], axis=1)
    far = np.flatnonzero(gaps > DISPLACED_NM)
    if not len(far):
        return []
    message = (
        f"{len(far)} of {len(gaps)} alpha carbons are elsewhere than in {os.fspath(structure)}, up "
        f"to {gaps.max():.2f} nm: another frame of reference or another order of like residues."
    )
    return [fault(message=message)]


def _alpha_carbons(topology: Any) -> tuple[list[str], list[int]]:
    """Names of the amino acids that have an alpha carbon, and its number in each."""
    from ..systems.residues import find_template

    names, atoms = [], []
    for residue in topology.residues():
        template = find_template(residue.name)
        carbon = next((a.index for a in residue.atoms() if a.name == "CA"), None)
        if template is not None and template.is_amino_acid and carbon is not None:
            names.append(template.name)
            atoms.append(carbon)
    return names, atoms
