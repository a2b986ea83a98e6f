"""Shares of frames without clashes, breaks and wrong handedness, at the thresholds of others.

The thresholds differ by tool, so each rate names its own (`RULES`). All distances are in nm here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import bond_lengths, chiral_volumes
from .atoms import AtomTable

__all__ = [
    "RULES",
    "Rule",
    "alpha_gaps",
    "alpha_minimum",
    "chirality",
    "closest_pair",
    "peptide_gaps",
    "residue_minimum",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """A rule that a frame keeps or breaks: its source and its words, thresholds included."""

    source: str
    text: str
    threshold_nm: float


RULES = {
    "ca_clash": Rule("Str2Str", "no two CA nearer than 3.0 A", 0.30),
    "ca_break_reference": Rule(
        "Str2Str", "no neighbouring CA further apart than the largest in the reference", np.nan
    ),
    "ca_break": Rule("ConfDiff", "no neighbouring CA further apart than 4.2 A", 0.42),
    "peptide_bond": Rule("ConfDiff", "peptide C-N bonds of at most 1.4 A (share of bonds)", 0.14),
    "atom_clash": Rule(
        "BioEmu", "no heavy atoms of residues more than two apart nearer than 1.0 A", 0.10
    ),
    "loose_ca_break": Rule("BioEmu", "no neighbouring CA further apart than 4.5 A", 0.45),
    "loose_peptide_bond": Rule("BioEmu", "no peptide C-N bond longer than 2.0 A", 0.20),
    "backbone_clash": Rule(
        "TEMPO", "no backbone atoms of different residues nearer than 1.2 A", 0.12
    ),
}


def alpha_minimum(positions_nm: NDArray[Any]) -> Floats:
    """Smallest distance between any two points of a frame, [F] of [F, N, 3]."""
    from scipy.spatial.distance import pdist

    x = np.asarray(positions_nm, np.float64)
    if x.shape[1] < 2:
        return np.full(len(x), np.inf)
    return np.array([pdist(frame).min() for frame in x])


def alpha_gaps(positions_nm: NDArray[Any], atoms: AtomTable) -> Floats:
    """Distances between neighbouring alpha carbons, [F, K]."""
    alpha = atoms.named("CA")
    pairs = np.array([(alpha[i], alpha[j]) for i, j in atoms.peptide_bonds], int).reshape(-1, 2)
    return bond_lengths(np.asarray(positions_nm, np.float64), pairs)


def peptide_gaps(positions_nm: NDArray[Any], atoms: AtomTable) -> Floats:
    """Lengths of the peptide bonds, [F, K]; K = 0 where C or N are not modelled."""
    n, c = atoms.named("N"), atoms.named("C")
    pairs = [(c[i], n[j]) for i, j in atoms.peptide_bonds.tolist() if i in c and j in n]
    return bond_lengths(np.asarray(positions_nm, np.float64), np.array(pairs, int).reshape(-1, 2))


def residue_minimum(
    positions_nm: NDArray[Any],
    chosen: NDArray[np.int64],
    residue: NDArray[np.int64],
    apart: int,
    cutoff_nm: float,
) -> Floats:
    """Smallest distance between chosen atoms of residues at least `apart` from each other, [F].

    Distances beyond the cutoff are not searched and read infinite.
    """
    numbers = residue[chosen]
    x = np.asarray(positions_nm, np.float64)[:, chosen]
    result = np.full(len(x), np.inf)
    for k, frame in enumerate(x):
        pairs, distances = closest_pair(frame, cutoff_nm)
        far = np.abs(numbers[pairs[:, 0]] - numbers[pairs[:, 1]]) >= apart
        if far.any():
            result[k] = distances[far].min()
    return result


def closest_pair(points: Floats, cutoff_nm: float) -> tuple[NDArray[np.int64], Floats]:
    """Pairs [K, 2] of points [N, 3] nearer than a cutoff, and their distances [K]."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(cutoff_nm, output_type="ndarray")
    return pairs, np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)


def chirality(positions_nm: NDArray[Any], atoms: AtomTable) -> Floats:
    """Sines of the handedness at alpha carbons, [F, K]: the triple product of unit vectors to N, C
    and CB; positive for L amino acids. K = 0 without beta carbons.
    """
    n, c, beta = atoms.named("N"), atoms.named("C"), atoms.named("CB")
    alpha = atoms.named("CA")
    rows = [(alpha[r], n[r], c[r], beta[r]) for r in alpha if r in n and r in c and r in beta]
    centers = np.array(rows, int).reshape(-1, 4)
    return np.nan_to_num(chiral_volumes(np.asarray(positions_nm, np.float64), centers))
