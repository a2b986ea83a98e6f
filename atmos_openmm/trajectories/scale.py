"""Units of length that are others than the format's, told from the frames themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["scale_fault"]

NEIGHBOURS_NM = (0.07, 0.17)
"""Between these is the median distance of atoms to their nearest one, hydrogens or not."""
WIDEST = 2.0
"""Most of these distances of a molecule are bonds, and alike; those of points at random are not."""
FEWEST_ATOMS = 4


def scale_fault(positions_nm: NDArray[Any]) -> str:
    """Say that a frame is ten times too small or too large; '' where it is not.

    Parameters
    ----------
    positions_nm : array [A, 3]
    """
    from scipy.spatial import cKDTree

    if len(positions_nm) < FEWEST_ATOMS or not np.isfinite(positions_nm).all():
        return ""
    gaps = cKDTree(positions_nm).query(positions_nm, k=2)[0][:, 1]
    first, nearest, last = (float(q) for q in np.quantile(gaps, (0.1, 0.5, 0.9)))
    if last > WIDEST * first:  # no molecule of any size
        return ""
    low, high = NEIGHBOURS_NM
    for factor, size, stored, expected in (
        (0.1, "a tenth of", "nm", "angstrom"),
        (10.0, "ten times", "angstrom", "nm"),
    ):
        if low <= nearest / factor <= high:
            return (
                f"neighbouring atoms are {nearest:.3g} nm apart, {size} what they should be: the "
                f"coordinates seem to be in {stored} where the format has {expected}"
            )
    return ""
