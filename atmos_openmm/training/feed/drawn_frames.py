"""What must hold of frames before a network is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.geometry import bond_lengths
from ...data.faults import DataFileError, Fault
from ...data.hands import other_hands, stereocentres
from ...data.sample_checks import LONGEST_BOND_NM, SHORTEST_BOND_NM
from .picking import Picks

if TYPE_CHECKING:
    from ...systems.features import MoleculeFeatures

__all__ = ["FEWEST_SEEN", "check_frames"]

FEWEST_SEEN = 4
"""Atoms that were seen, at least: fewer have no shape to superpose."""


def check_frames(
    picks: Picks,
    positions_nm: NDArray[np.float32],
    features: MoleculeFeatures,
    resolved: NDArray[np.bool_],
) -> None:
    """Refuse frames that are no frames of the molecule.

    Values that are not finite; bonds that no molecule has, because a periodic box splits it or a
    run blew up (`data.check` looks at whole files for the same); and carbons, stereocentres or
    methylenes, whose hand is the other one than in the molecule's features: MD never changes it, so
    such a run has its labels or its chemistry from elsewhere. Nitrogens may invert.

    Parameters
    ----------
    picks : Picks
    positions_nm : float32 [L + 1, B, A, 3]
        What was read of them.
    features : MoleculeFeatures
    resolved : bool [A]
        Only atoms that were seen are looked at.

    Raises
    ------
    DataFileError
    """
    x = positions_nm.reshape(-1, *positions_nm.shape[-2:])
    if resolved.sum() < FEWEST_SEEN:
        message = f"{int(resolved.sum())} of its atoms were seen; expected {FEWEST_SEEN} at least."
        raise _error(picks, 0, "incomplete", message)
    bad = ~np.isfinite(x[:, resolved]).all(axis=(1, 2))
    if bad.any():
        raise _error(picks, int(np.argmax(bad)), "nonfinite", "its coordinates are not finite.")
    bonds = features.bonds[resolved[features.bonds].all(axis=1)]
    length = bond_lengths(x, bonds)
    odd = (length > LONGEST_BOND_NM) | (length < SHORTEST_BOND_NM)
    if odd.any():
        f, b = (int(k[0]) for k in np.nonzero(odd))
        ends = " and ".join(features.atom_label(int(a)) for a in bonds[b])
        raise _error(
            picks,
            f,
            "broken",
            f"{ends} are bonded and {length[f, b]:.3f} nm apart. The box splits the molecule (make "
            "it whole first), the run blew up, or the coordinates are in another unit.",
        )
    _check_hands(picks, x, features, resolved)


def _check_hands(
    picks: Picks,
    x: NDArray[np.float32],
    features: MoleculeFeatures,
    resolved: NDArray[np.bool_],
) -> None:
    centres, signs = stereocentres(features, resolved)
    mirrored = other_hands(x, centres, signs)
    if mirrored.any():
        f, c = (int(k[0]) for k in np.nonzero(mirrored))
        raise _error(
            picks,
            f,
            "inconsistent",
            f"{features.atom_label(int(centres[c, 0]))} has the other hand than in the molecule's "
            "first frame: its labels or its chemistry are others. Put such runs into a file of "
            "their own.",
        )


def _error(picks: Picks, frame: int, kind: str, message: str) -> DataFileError:
    """An error about a frame, numbered along [L + 1, B]."""
    sample = picks.samples[int(picks.sample.reshape(-1)[frame])]
    at, number = sample.provenance, int(picks.frame.reshape(-1)[frame])
    return DataFileError(
        Fault(at.path, at.entry or sample.name, kind, f"frame {number}: {message}")
    )
