"""Distributions of torsions in rollouts beside held-out molecular dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.atoms import AtomTable
from ..evaluation.bootstrap import block_bootstrap
from ..evaluation.ensemble import Ensemble
from ..evaluation.torsions import TorsionSet, find_torsions, pair_distances, torsion_distances
from .before_after import Measurement

if TYPE_CHECKING:
    from .data import MolecularDynamics

__all__ = ["compare_distributions", "molecule_torsions"]

RESAMPLES = 60


def molecule_torsions(dynamics: MolecularDynamics) -> TorsionSet | None:
    """Backbone and side-chain torsions, and those about the other single bonds that turn.

    None where nothing turns.
    """
    table = AtomTable.from_openmm(dynamics.topology)
    rows, names, pairs = [], [], []
    try:
        found = find_torsions(table)
        rows, names, pairs = found.atoms.tolist(), list(found.names), found.pairs.tolist()
    except ValueError:  # no amino acids
        pass
    for row in _ligand_torsions(dynamics, table):
        rows.append(row)
        residue = int(table.residue[row[1]])
        label = f"{table.residue_names[residue]}{table.residue_ids[residue]}"
        names.append(f"{table.names[row[1]]}-{table.names[row[2]]} {label}")
    if not rows:
        return None
    return TorsionSet(np.array(rows, int), tuple(names), np.array(pairs, int).reshape(-1, 2))


def _ligand_torsions(dynamics: MolecularDynamics, table: AtomTable) -> list[list[int]]:
    """One torsion of heavy atoms for each single bond outside of rings, in ligands."""
    if not dynamics.molecules:
        return []
    features = dynamics.features("heavy", "atoms")
    index = features.atom_indices
    neighbours: dict[int, list[int]] = {m: [] for m in range(len(index))}
    for i, j in features.bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    found = []
    for (i, j), order in zip(features.bonds.tolist(), features.bond_order.tolist(), strict=True):
        names = {table.residue_names[int(table.residue[index[m]])] for m in (i, j)}
        if order != 1.0 or not names <= dynamics.molecules.keys() or _in_ring(neighbours, i, j):
            continue
        first = [m for m in neighbours[i] if m != j]
        last = [m for m in neighbours[j] if m != i]
        if first and last:
            found.append([int(index[m]) for m in (min(first), i, j, min(last))])
    return found


def _in_ring(neighbours: Mapping[int, list[int]], i: int, j: int) -> bool:
    """Whether there is a way from i to j besides their bond."""
    seen, ahead = {i}, [m for m in neighbours[i] if m != j]
    while ahead:
        here = ahead.pop()
        if here == j:
            return True
        if here not in seen:
            seen.add(here)
            ahead += neighbours[here]
    return False


def compare_distributions(
    torsions: TorsionSet, ensemble: Ensemble, held_out: Ensemble
) -> Measurement:
    """Distances of an ensemble's torsion distributions from those of held-out dynamics.

    Errors are by block bootstrap over the ensemble's own frames.
    """
    reference = torsions.angles(held_out.positions_nm)[held_out.frames]

    def values(of: Ensemble) -> dict[str, float]:
        angles = of.per_frame("torsions", torsions.angles)
        told = {"torsions": float(torsion_distances(angles, reference).mean())}
        if len(torsions.pairs):
            told["phi_psi"] = float(pair_distances(angles, reference, torsions).mean())
        return told

    errors = block_bootstrap(values, ensemble, RESAMPLES)
    return Measurement({}, {key: (value, errors[key]) for key, value in values(ensemble).items()})
