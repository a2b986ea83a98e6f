"""Frames that two ensembles share, whatever the files' names, formats, order and superposition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import rmsd
from .ensemble import Ensemble

__all__ = ["check_rows", "copied_trajectories", "shared_frames"]

PAIRS = 24
"""Distances that frames are compared by before they are superposed."""
SEED = 137
TOLERANCE_NM = 2e-3
"""Two roundings to XTC's thousandths of a nm change a distance by less."""
CONFIRMED = 20
"""Pairs of frames that are superposed to see that they are the same."""
LEAST_SHARE = 0.05
"""Fewer shared frames are common starts, or chance."""

Frames = NDArray[np.float32]
Prints = NDArray[np.float64]


def check_rows(
    reference: Ensemble, oracles: Sequence[Ensemble], generators: Sequence[Ensemble]
) -> list[str]:
    """Compare the frames of all rows of an evaluation.

    Returns
    -------
    list of str
        Which generators share frames with another row.

    Raises
    ------
    ValueError
        An oracle shares frames with the reference.
    """
    for oracle in oracles:
        count = shared_frames(oracle, reference)
        if count:
            raise ValueError(
                f"{count} of the {oracle.num_frames} frames of the oracle {oracle.name!r} are "
                f"frames of the reference {reference.name!r}: MD would be measured against "
                "itself. Give an MD replica that is not part of the reference"
            )
    rows, notes = [reference, *oracles], []
    for row in generators:
        for other in rows:
            count = shared_frames(row, other)
            if count:
                notes.append(
                    f"{count} of the {row.num_frames} frames of {row.name} are frames of "
                    f"{other.name}: it is no independent row."
                )
        rows.append(row)
    return notes


def shared_frames(one: Ensemble, other: Ensemble) -> int:
    """How many frames of an ensemble another one of the same atoms has, too.

    0 for less than a twentieth of the shorter one.
    """
    first, second = one.positions_nm[one.frames], other.positions_nm[other.frames]
    return _shared(first, _fingerprints(first), second, _fingerprints(second))


def copied_trajectories(trajectories: Sequence[Frames]) -> list[tuple[int, int, int]]:
    """Which trajectories [F, A, 3] share frames with one before them.

    Returns
    -------
    list of (int, int, int)
        The trajectory's number, that of the other one, and how many frames they share.
    """
    prints = [_fingerprints(x) for x in trajectories]
    found = []
    for k, x in enumerate(trajectories):
        for j in range(k):
            count = _shared(x, prints[k], trajectories[j], prints[j])
            if count:
                found.append((k, j, count))
                break
    return found


def _shared(one: Frames, mine: Prints, other: Frames, theirs: Prints) -> int:
    from scipy.spatial import cKDTree

    gaps, partners = cKDTree(theirs).query(mine, p=np.inf, distance_upper_bound=TOLERANCE_NM)
    alike = np.flatnonzero(gaps < np.inf)
    if len(alike) < max(2.0, LEAST_SHARE * min(len(one), len(other))):
        return 0
    # Mirror images have the same distances, and few distances do not tell everything.
    sample = alike[np.linspace(0, len(alike) - 1, min(CONFIRMED, len(alike))).astype(int)]
    same = rmsd(one[sample], other[partners[sample]]) < TOLERANCE_NM
    return len(alike) if same.mean() > 0.5 else 0


def _fingerprints(positions_nm: Frames) -> Prints:
    """The same few distances [F, K] of every frame, between pairs of atoms drawn once."""
    atoms = positions_nm.shape[1]
    first, second = np.triu_indices(min(atoms, 7), 1)
    if atoms > 7:
        random = np.random.default_rng(SEED)
        first = random.integers(atoms, size=PAIRS)
        second = (first + random.integers(1, atoms, PAIRS)) % atoms
    if not len(first):
        return np.zeros((len(positions_nm), 1))
    steps = positions_nm[:, first].astype(np.float64) - positions_nm[:, second]
    return np.asarray(np.linalg.norm(steps, axis=-1))
