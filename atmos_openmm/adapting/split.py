"""What is trained on, what early stopping watches, and what is held out.

Each trajectory is cut along its time::

    training | gap | validation | gap | held out

A random choice of frames would not do: frames a picosecond apart are nearly the same, so that held
out frames would have twins in training. The gap is as long as the slowest torsion remembers, where
the trajectory allows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..evaluation.decorrelation import decorrelation_time, torsion_autocorrelation

if TYPE_CHECKING:
    from .data import Run

__all__ = ["Part", "Split", "correlation_frames", "split_runs"]

#: The gaps before the held-out and the validation part are at most these shares of a trajectory.
LONGEST_GAP = 0.1
LONGEST_VALIDATION_GAP = 0.03
#: Share of the frames before the held-out part that early stopping watches.
VALIDATION = 0.1
#: Fewest frames of a trajectory; of all training parts together; of all held-out parts together.
FEWEST_FRAMES = 12
FEWEST_TRAINING = 40
FEWEST_HELD_OUT = 20

Part = tuple[int, int]


@dataclass(frozen=True)
class Split:
    """Parts of each run as frame numbers [start, stop).

    Attributes
    ----------
    runs : tuple of int
        Numbers of the runs that are long enough to be cut; the parts below are in this order.
    training, validation, held_out : tuple of (int, int)
    gaps : tuple of int
        Frames left out before the held-out part of each run.
    notes : tuple of str
    """

    runs: tuple[int, ...]
    training: tuple[Part, ...]
    validation: tuple[Part, ...]
    held_out: tuple[Part, ...]
    gaps: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def count(self, part: str) -> int:
        """Frames of ``training``, ``validation`` or ``held_out`` in all runs."""
        return sum(stop - start for start, stop in getattr(self, part))


def correlation_frames(angles: Sequence[NDArray[np.float64]]) -> float:
    """Frames in which the slowest torsion forgets, of trajectories of angles [F_i, T] in radians.

    Where its autocorrelation first falls to 1/e, among lags to a quarter of the longest
    trajectory; infinite where it does not.
    """
    lags = max(len(a) for a in angles) // 4
    if lags < 1:
        return math.inf
    return float(decorrelation_time(torsion_autocorrelation(angles, lags)).max())


def split_runs(runs: Sequence[Run], held_out: float, correlation: float) -> Split:
    """Cut runs into parts.

    Parameters
    ----------
    runs : sequence of Run
    held_out : float
        Share of each run, its last, that is held out: between 0 and 1.
    correlation : float
        Frames in which the slowest torsion forgets, see `correlation_frames`. Frames of a replica
        exchange are kept apart by the same number.

    Raises
    ------
    ValueError
        The share makes no sense, or there are too few frames; the message says how many there are.
    """
    if not 0.0 < held_out < 0.9:
        raise ValueError(
            f"The share to hold out is {held_out:g}; expected between 0 and 0.9, such as 0.25."
        )
    rows: list[tuple[int, Part, Part, Part, int]] = []
    notes = []
    short = [run.name for run in runs if len(run) < FEWEST_FRAMES]
    if short:
        notes.append(
            f"Left out, with fewer than {FEWEST_FRAMES} frames: {', '.join(short[:5])}"
            + (f" and {len(short) - 5} more." if len(short) > 5 else ".")
        )
    for number, run in enumerate(runs):
        frames = len(run)
        if frames < FEWEST_FRAMES:
            continue
        remembered = math.ceil(min(correlation, frames))
        gap = max(1, min(remembered, int(LONGEST_GAP * frames)))
        small_gap = max(1, min(remembered, int(LONGEST_VALIDATION_GAP * frames)))
        last = frames - max(2, round(held_out * frames))
        first = last - gap - max(2, round(VALIDATION * (last - gap)))
        if first - small_gap < 4:
            raise ValueError(
                f"{run.name} has {frames} frames, of which {held_out:g} are held out; too few are "
                "left to train on. Hold out less, or make a longer trajectory."
            )
        rows.append((number, (0, first - small_gap), (first, last - gap), (last, frames), gap))
    numbers, training, validation, kept, gaps = zip(*rows, strict=True) if rows else ((),) * 5
    split = Split(numbers, training, validation, kept, gaps, tuple(notes))
    found = sum(len(run) for run in runs)
    if split.count("training") < FEWEST_TRAINING or split.count("held_out") < FEWEST_HELD_OUT:
        raise ValueError(
            f"The trajectories have {found} frames in all: {split.count('training')} would be "
            f"trained on and {split.count('held_out')} held out; at least {FEWEST_TRAINING} and "
            f"{FEWEST_HELD_OUT} are needed for numbers that mean anything. Make the molecular "
            "dynamics longer, or store frames more often."
        )
    if any(gap < correlation for gap in gaps):
        notes.append(_short_gap(correlation, max(gaps)))
    return Split(numbers, training, validation, kept, gaps, tuple(notes))


def _short_gap(correlation: float, gap: int) -> str:
    slow = (
        "does not forget its start within a quarter of the longest trajectory"
        if math.isinf(correlation)
        else f"needs {correlation:.0f} frames to forget where it was"
    )
    return (
        f"The slowest torsion {slow}, more than the gap of {gap} frames before the held-out part: "
        "its frames lie in states that training saw, so that they judge how frames are made and "
        "not whether other states would be found."
    )
