"""Backbone and side-chain torsions, and the distance of their distributions (MDGen).

Histograms of 100 bins a torsion and 50 x 50 bins a (phi, psi) pair on [-pi, pi). What MDGen's
tables call JSD is SciPy's `jensenshannon`: the square root of the divergence in nats, between 0
and sqrt(ln 2) = 0.833.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import torsion_angles
from .atoms import AtomTable
from .divergence import jensen_shannon_distance, row_divergences, torsion_histogram

__all__ = ["TORSION_BINS", "TorsionSet", "find_torsions", "pair_distances", "torsion_distances"]

TORSION_BINS = 100
PAIR_BINS = 50

# The fourth atom of each chi torsion by the standard names; the first three are those of the chain
# that leads there (IUPAC-IUB 1970).
_CHI = (
    ("N", "CA", "CB", ("CG", "CG1", "OG", "OG1", "SG")),
    ("CA", "CB", ("CG", "CG1"), ("CD", "CD1", "OD1", "ND1", "SD")),
    ("CB", "CG", ("CD", "SD"), ("NE", "OE1", "CE")),
    ("CG", "CD", ("NE", "CE"), ("CZ", "NZ")),
    ("CD", "NE", "CZ", "NH1"),
)
_RINGS = {"PRO", "HYP"}


@dataclass(frozen=True)
class TorsionSet:
    """The torsions of a molecule.

    Attributes
    ----------
    atoms : int64 array [T, 4]
    names : tuple of str
        T names such as ``phi ALA2`` and ``chi1 VAL3``.
    pairs : int64 array [R, 2]
        Rows of phi and psi of the residues that have both.
    """

    atoms: NDArray[np.int64]
    names: tuple[str, ...]
    pairs: NDArray[np.int64]

    @cached_property
    def backbone(self) -> NDArray[np.bool_]:
        """Which are phi or psi, [T]; the rest are chi."""
        return np.array([not name.startswith("chi") for name in self.names], bool)

    def angles(self, positions_nm: NDArray[Any]) -> NDArray[np.float64]:
        """Radians [F, T] in [-pi, pi) of positions [F, A, 3]."""
        return torsion_angles(positions_nm, self.atoms)

    @property
    def residues(self) -> tuple[str, ...]:
        """Names of the residues that have both phi and psi, such as ``ALA2``."""
        return tuple(self.names[i].removeprefix("phi ") for i in self.pairs[:, 0])

    def phi_psi(self, positions_nm: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """phi and psi [F, R] in radians of these residues, of positions [F, A, 3]."""
        phi, psi = (torsion_angles(positions_nm, self.atoms[rows]) for rows in self.pairs.T)
        return phi, psi


def sines_and_cosines(angles: NDArray[Any]) -> NDArray[np.float64]:
    """Features [F, 2 T] of angles [F, T]: all sines, then all cosines."""
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def find_torsions(atoms: AtomTable) -> TorsionSet:
    """phi and psi where the peptide bond is there (caps count as neighbours), and chi1 to chi5.

    A gap in a chain gives no torsion across it.

    Raises
    ------
    ValueError
        If there is none.
    """
    before: dict[int, int] = {}
    after: dict[int, int] = {}
    for i, j in atoms.bonds:
        for c, n in ((i, j), (j, i)):
            if (
                atoms.names[c] == "C"
                and atoms.names[n] == "N"
                and atoms.residue[c] != atoms.residue[n]
            ):
                before[int(atoms.residue[n])] = int(c)
                after[int(atoms.residue[c])] = int(n)
    inside: dict[int, dict[str, int]] = {}
    for index, (residue, name) in enumerate(zip(atoms.residue, atoms.names, strict=True)):
        inside.setdefault(int(residue), {})[name] = index
    rows: list[list[int]] = []
    names: list[str] = []
    pairs: list[list[int]] = []
    for residue, found in inside.items():
        label = f"{atoms.residue_names[residue]}{atoms.residue_ids[residue]}"
        here = {}
        if {"N", "CA", "C"} <= found.keys():
            n, ca, c = (found[name] for name in ("N", "CA", "C"))
            if residue in before:
                here["phi"] = [before[residue], n, ca, c]
            if residue in after:
                here["psi"] = [n, ca, c, after[residue]]
        if len(here) == 2:
            pairs.append([len(rows), len(rows) + 1])
        if "CA" in found:
            for number, definition in enumerate(_CHI, start=1):
                picked = _pick(definition, found)
                if picked is not None:
                    here[f"chi{number}"] = picked
        rows += here.values()
        names += [f"{kind} {label}" for kind in here]
    if not rows:
        raise ValueError(
            f"no torsion was found among {len(atoms)} atoms; phi and psi need atoms N, CA and C "
            "and bonds between residues, chi the standard names of side chains"
        )
    return TorsionSet(np.array(rows, int), tuple(names), np.array(pairs, int).reshape(-1, 2))


def _pick(definition: Any, found: Mapping[str, int]) -> list[int] | None:
    """Atoms of a torsion, the first name that is there at each place."""
    picked = []
    for choices in definition:
        choices = (choices,) if isinstance(choices, str) else choices
        name = next((choice for choice in choices if choice in found), None)
        if name is None:
            return None
        picked.append(found[name])
    return picked


def torsion_counts(angles: NDArray[Any]) -> NDArray[np.float64]:
    """Histograms [T, 100] of angles [F, T] on [-pi, pi)."""
    folded = (np.asarray(angles, np.float64) + np.pi) / (2 * np.pi) % 1.0
    bins = np.minimum((folded * TORSION_BINS).astype(int), TORSION_BINS - 1)
    count = bins.shape[1]
    flat = bins + TORSION_BINS * np.arange(count)
    counts = np.bincount(flat.ravel(), minlength=TORSION_BINS * count)
    return counts.reshape(count, -1).astype(np.float64)


def torsion_distances(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Jensen-Shannon distance (square root, nats) of each torsion of [F, T] and [G, T]."""
    return np.sqrt(row_divergences(torsion_counts(first), torsion_counts(second)))


def pair_distances(
    first: NDArray[Any], second: NDArray[Any], torsions: TorsionSet
) -> NDArray[np.float64]:
    """Jensen-Shannon distance of each residue's (phi, psi) map, [R]."""
    return np.array(
        [
            jensen_shannon_distance(
                torsion_histogram(first[:, i], first[:, j], PAIR_BINS),
                torsion_histogram(second[:, i], second[:, j], PAIR_BINS),
            )
            for i, j in torsions.pairs
        ]
    )
