"""Rows of an evaluation that share frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..trajectories.repeats import FramePrints
from .ensemble import Ensemble

__all__ = ["check_rows", "copied_trajectories"]


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
    rows = [reference, *oracles, *generators]
    prints = [FramePrints.of(row.positions_nm[row.frames]) for row in rows]
    for oracle, own in zip(oracles, prints[1:], strict=False):
        count = own.shared(prints[0])
        if count:
            raise ValueError(
                f"{count} of the {oracle.num_frames} frames of the oracle {oracle.name!r} are "
                f"frames of the reference {reference.name!r}: MD would be measured against "
                "itself. Give an MD replica that is not part of the reference"
            )
    return [
        f"{count} of the {row.num_frames} frames of {row.name} are frames of {other.name}: it is "
        "no independent row."
        for k, row in enumerate(rows)
        for j, other in enumerate(rows[:k])
        if k > len(oracles) and (count := prints[k].shared(prints[j]))
    ]


def copied_trajectories(trajectories: Sequence[NDArray[np.float32]]) -> list[tuple[int, int, int]]:
    """Which trajectories [F, A, 3] share frames with one before them.

    Returns
    -------
    list of (int, int, int)
        The trajectory's number, that of the other one, and how many frames they share.
    """
    prints = [FramePrints.of(x) for x in trajectories]
    found = []
    for k, own in enumerate(prints):
        shared = ((j, own.shared(other)) for j, other in enumerate(prints[:k]))
        first = next(((j, count) for j, count in shared if count), None)
        if first is not None:
            found.append((k, *first))
    return found
