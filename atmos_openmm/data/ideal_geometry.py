"""Places for atoms that an experiment did not see.

They are no data (masks keep them out of losses) but must be finite, near where they belong and of
the right hand, since a network reads all atoms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose

__all__ = ["ideal_residue", "place_missing", "terminal_oxygen"]

FloatArray = NDArray[np.float64]
SEED = 1
RIGID_NM = 0.275
"""Bonded atoms and those that share a neighbour are this near: torsions do not move them."""


@lru_cache(maxsize=64)
def _conformer(smiles: str) -> FloatArray:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol: Any = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if AllChem.EmbedMolecule(mol, randomSeed=SEED) != 0:  # type: ignore[attr-defined]
        raise ValueError(f"RDKit finds no conformer of {smiles}.")
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    return np.array(mol.GetConformer().GetPositions())[heavy] * 0.1


def ideal_residue(name: str) -> dict[str, FloatArray]:
    """Heavy atoms of a standard residue (L) or cap in one conformer, nm.

    Raises
    ------
    ValueError
        No standard residue.
    """
    from ..systems.residues import find_template

    template = find_template(name)
    if template is None:
        raise ValueError(f"{name} is no standard residue.")
    return dict(zip(template.names, _conformer(template.smiles[0]), strict=True))


def place_missing(
    name: str, seen: dict[str, FloatArray], anchor: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Positions for the heavy atoms of a residue that are not there.

    Parameters
    ----------
    name : str
        A standard residue.
    seen : dict of str to array [3]
        Its atoms that are there, nm.
    anchor : array [3], optional
        Where the residue goes when none of its atoms is there.

    Returns
    -------
    dict of str to array [3]
        Each missing atom, by the ideal geometry of its neighbours; torsions are arbitrary.
    """
    ideal = ideal_residue(name)
    centre = np.mean(list(ideal.values()), axis=0)
    if not any(n in seen for n in ideal):
        start = np.zeros(3) if anchor is None else anchor
        return {n: start + x - centre for n, x in ideal.items()}
    there = {n: x for n, x in seen.items() if n in ideal}
    placed: dict[str, FloatArray] = {}
    # From atoms that are there outwards, so that each is placed by its neighbours.
    while len(there) < len(ideal):
        gaps = {
            n: sorted((float(np.linalg.norm(x - ideal[m])), m) for m in there)
            for n, x in ideal.items()
            if n not in there
        }
        atom = min(gaps, key=lambda n: gaps[n][0])
        near = [m for k, (gap, m) in enumerate(gaps[atom]) if gap < RIGID_NM or k < 3]
        if len(near) >= 3:
            moving = np.stack([ideal[n] for n in (*near, atom)])
            target = np.stack([*(there[n] for n in near), np.zeros(3)])
            x = superpose(moving[None], target, np.arange(len(near)))[0, -1]
        else:
            x = there[near[0]] + ideal[atom] - ideal[near[0]]
        there[atom] = placed[atom] = x
    return placed


def terminal_oxygen(carbon: FloatArray, alpha: FloatArray, oxygen: FloatArray) -> FloatArray:
    """OXT: the mirror image of O in the axis from the alpha carbon to C."""
    axis = (carbon - alpha) / np.linalg.norm(carbon - alpha)
    bond = oxygen - carbon
    return carbon + 2.0 * np.dot(bond, axis) * axis - bond
