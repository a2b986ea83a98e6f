"""Basins: how the values of a molecule's torsions are divided into states that are counted.

A residue with phi and psi has three: phi > 0; at phi < 0 alpha-R, with psi from -120 to 60 degrees;
and beta/PPII, the rest. A lone phi or psi is divided into thirds, any other torsion into its three
rotamers (0 to 120, 120 to 240, 240 to 360 degrees), and the torsions of flat groups, which have
two minima, into halves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BETWEEN", "Basins", "count_entries", "find_basins"]

#: Of a frame that is too near to a border to tell that a basin was entered.
BETWEEN = -1
#: How far from a border a frame has to be, in degrees, to count as having entered a basin.
MARGIN_DEGREES = 15.0

RAMACHANDRAN = ("beta/PPII", "alpha-R", "phi>0")
#: The borders of alpha-R in psi, degrees.
ALPHA_PSI = (-120.0, 60.0)
THIRDS = ((0.0, 120.0, 240.0), ("0..120", "120..240", "240..360"))
ROTAMERS = ((0.0, 120.0, 240.0), ("g+", "trans", "g-"))
#: The two sides of a flat group that stands across, and of one that lies in its plane.
SIDES = ((0.0, 180.0), ("+90", "-90"))
PLANAR = ((90.0, 270.0), ("trans", "cis"))

_RING_RESIDUES = ("PHE", "TYR", "TRP", "HIS", "HID", "HIE", "HIP")
#: Residue and torsion -> its division, where that is not into three rotamers.
_TWOFOLD = {
    **{(residue, "chi2"): SIDES for residue in _RING_RESIDUES},
    ("ASP", "chi2"): PLANAR,
    ("GLU", "chi3"): PLANAR,
    ("TYR", "CZ-OH"): PLANAR,
}


@dataclass(frozen=True)
class Basins:
    """A division of the values of one torsion, or of phi and psi of one residue.

    Attributes
    ----------
    name : str
        Such as "ALA2 phi, psi" and "LEU3 chi1".
    torsions : tuple of int
        The torsion, or phi and psi, by number.
    names : tuple of str
        Of the basins.
    borders : tuple of float
        Where each basin of a single torsion begins, degrees from 0 to 360, ascending; the last one
        goes on to the first. Empty for phi and psi.
    """

    name: str
    torsions: tuple[int, ...]
    names: tuple[str, ...]
    borders: tuple[float, ...] = ()

    def assign(
        self, angles: NDArray[np.floating[Any]], margin_degrees: float = 0.0
    ) -> NDArray[np.int64]:
        """The basin of each frame.

        Parameters
        ----------
        angles : array [..., T]
            Radians, all torsions of the molecule.
        margin_degrees : float
            Frames nearer than this to a border are `BETWEEN`.

        Returns
        -------
        int64 array [...]
        """
        degrees = np.degrees(np.asarray(angles, dtype=np.float64)[..., self.torsions])
        if self.borders:
            borders = np.array(self.borders)
            return _cut(degrees[..., 0], borders, np.arange(len(borders)), margin_degrees)
        left = _cut(degrees[..., 0], np.array([0.0, 180.0]), np.array([1, 0]), margin_degrees)
        borders = np.array(ALPHA_PSI)[::-1] % 360
        alpha = _cut(degrees[..., 1], borders, np.array([0, 1]), margin_degrees)
        result = np.where(left == 1, RAMACHANDRAN.index("phi>0"), alpha)
        return np.asarray(np.where(left == BETWEEN, BETWEEN, result), dtype=np.int64)


def _cut(
    degrees: NDArray[np.float64],
    borders: NDArray[np.float64],
    codes: NDArray[np.int64],
    margin: float,
) -> NDArray[np.int64]:
    """Codes of the intervals between ascending borders on the circle, `BETWEEN` near them."""
    degrees = degrees % 360
    # Before the first border one is in the last interval.
    found = codes[(np.searchsorted(borders, degrees, side="right") - 1) % len(borders)]
    if margin > 0:
        away = np.abs((degrees[..., None] - borders + 180) % 360 - 180).min(axis=-1)
        found = np.where(away < margin, BETWEEN, found)
    return np.asarray(found, dtype=np.int64)


def count_entries(labels: NDArray[np.int64], basins: int) -> NDArray[np.int64]:
    """How often each basin was entered from another one, in a series [F] with `BETWEEN`.

    A frame that is `BETWEEN` belongs to the basin that was seen last, so that crossing a border
    back and forth near it counts for nothing.
    """
    seen = labels[labels != BETWEEN]
    entered = seen[1:][seen[1:] != seen[:-1]]
    return np.bincount(entered, minlength=basins)


def find_basins(names: Sequence[str]) -> tuple[Basins, ...]:
    """The divisions of all torsions of a molecule.

    Parameters
    ----------
    names : sequence of str
        Of the torsions, as `find_torsions` gives them: "ALA2 phi", "LEU3 chi1", "LIG1 C3-C7", with
        "A/" in front for a chain.
    """
    where = {name: number for number, name in enumerate(names)}
    result = []
    for number, name in enumerate(names):
        residue, _, kind = name.rpartition(" ")
        phi, psi = where.get(f"{residue} phi"), where.get(f"{residue} psi")
        if kind in ("phi", "psi") and phi is not None and psi is not None:
            if kind == "phi":
                result.append(Basins(f"{residue} phi, psi", (phi, psi), RAMACHANDRAN))
            continue
        borders, labels = THIRDS if kind in ("phi", "psi") else _rotamers(residue, kind)
        result.append(Basins(name, (number,), labels, borders))
    return tuple(result)


def _rotamers(residue: str, kind: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    found = re.fullmatch(r"(?:.*/)?([A-Z]{3})-?\d+\w*", residue)
    return _TWOFOLD.get((found[1] if found else "", kind), ROTAMERS)
