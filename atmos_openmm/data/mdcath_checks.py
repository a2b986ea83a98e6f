"""mdCATH's own statistics against its coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.geometry import gyration_radius, superpose
from .entries import opened
from .faults import Fault
from .sample import Sample

__all__ = ["check_statistics", "rmsf", "selections"]

TOLERANCE_NM = 5e-4
"""Releases superpose in single precision and iterate differently; another molecule, another
selection or angstrom in place of nm are off by 1e-2 nm at least."""
CONVERGED = 1e-9
MOST_ITERATIONS = 100


def check_statistics(sample: Sample) -> list[Fault]:
    """Compare stored radii of gyration and fluctuations with what the coordinates give.

    Radius of gyration: heavy atoms, equal weights. Fluctuations: alpha carbons after superposition
    of the alpha carbons, on their mean or on the first frame, about their mean.
    """
    at = sample.provenance
    heavy, alpha = selections(sample)
    with opened(at.path, at.entry) as run:
        stored = {
            name: np.asarray(run[name][...], np.float64).reshape(-1)
            for name in ("gyrationRadius", "rmsf")
            if name in run
        }
    positions = sample.frames.read()
    faults = []
    for name, told in stored.items():
        if name == "rmsf":
            candidates = [rmsf(positions[:, alpha], mean) for mean in (True, False)]
        else:
            candidates = [gyration_radius(positions[:, heavy])]
        if len(told) != len(candidates[0]):
            message = f"{name} has {len(told)} values; expected {len(candidates[0])}."
        else:
            off = min(float(np.abs(c - told).max()) for c in candidates)
            if off <= TOLERANCE_NM:
                continue
            message = (
                f"the stored {name} is up to {off:.3g} nm off what the coordinates give "
                f"(at most {TOLERANCE_NM:g} expected): coordinates or atoms are others."
            )
        faults.append(Fault(at.path, at.entry, "inconsistent", message, fatal=False))
    return faults


def selections(sample: Sample) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the heavy atoms, and of the alpha carbons, one a residue of the file."""
    atoms = list(sample.molecule().topology.atoms())
    heavy = [a.index for a in atoms if a.element.atomic_number > 1]
    alpha = [a.index for a in atoms if a.name == "CA" and a.residue.name not in ("ACE", "NME")]
    return np.array(heavy, np.int64), np.array(alpha, np.int64)


def rmsf(positions: ArrayLike, mean: bool = True) -> NDArray[np.float64]:
    """Root mean square distance of each atom from its mean position after superposition.

    Parameters
    ----------
    positions : array, shape (F, A, 3)
        All atoms count in the superposition: give alpha carbons alone for the usual values.
    mean : bool
        Superpose on the mean structure, found by iteration; else on the first frame.

    Returns
    -------
    ndarray, shape (A,)
        In the unit of the positions.
    """
    x = np.asarray(positions, np.float64)
    fitted = superpose(x, x[0])
    average = fitted.mean(axis=0)
    for _ in range(MOST_ITERATIONS if mean else 0):
        fitted = superpose(x, average)
        before, average = average, fitted.mean(axis=0)
        if np.sqrt(((average - before) ** 2).sum(axis=-1).mean()) < CONVERGED:
            break
    return np.sqrt(((fitted - average) ** 2).sum(axis=-1).mean(axis=0))
