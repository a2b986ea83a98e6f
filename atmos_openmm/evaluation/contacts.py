"""Weak and transient contacts between alpha carbons (AlphaFlow, TEMPO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTACT_NM", "ContactSets", "contact_sets", "contacts", "jaccard"]

CONTACT_NM = 0.8
WEAK_BELOW = 0.9
TRANSIENT_ABOVE = 0.1

Bools = NDArray[np.bool_]


def contacts(positions_nm: NDArray[Any]) -> Bools:
    """Which pairs of points are nearer than `CONTACT_NM`, in each frame.

    Parameters
    ----------
    positions_nm : array [F, N, 3]

    Returns
    -------
    bool array [F, N (N - 1) / 2]
        Pairs i < j in the order of `numpy.triu_indices`.
    """
    from scipy.spatial.distance import pdist

    return np.array([pdist(frame) < CONTACT_NM for frame in np.asarray(positions_nm, np.float64)])


@dataclass(frozen=True)
class ContactSets:
    """Contacts that change, each a bool array over pairs.

    `weak`: in the native structure, and in fewer than 90 % of the frames. `transient`: not in the
    native structure, and in more than 10 % of the frames.
    """

    weak: Bools
    transient: Bools


def contact_sets(native: Bools, shares: NDArray[np.float64]) -> ContactSets:
    """Sort pairs [P] by whether they touch in the native structure and by their share of frames."""
    return ContactSets(native & (shares < WEAK_BELOW), ~native & (shares > TRANSIENT_ABOVE))


def jaccard(first: Bools, second: Bools) -> float:
    """Common share of two sets: |A and B| / |A or B|; NaN where both are empty."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else float("nan")
