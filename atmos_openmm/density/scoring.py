"""How well a density describes frames that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .exact_density import ExactDensity
from .fitting import prepare_frames
from .wrapped_normal import FloatArray

__all__ = ["DensityScore", "held_out_score"]


@dataclass(frozen=True)
class DensityScore:
    """Mean log densities, in nats a frame; the higher the better.

    Two densities of the same torsions may be compared by their difference. The uniform one has
    -1.838 for each torsion.

    Attributes
    ----------
    mean : float
        Of all torsions together.
    error : float
        Standard error of the mean, from the spread among pieces of time.
    blocks : float64 array [B]
        Of each block given the earlier ones; they sum to the mean.
    given_all : float64 array [B]
        Of each block given all others, as moves of one block see it.
    """

    mean: float
    error: float
    blocks: FloatArray
    given_all: FloatArray


def held_out_score(
    density: ExactDensity,
    angles: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    trajectories: Sequence[int] | None = None,
) -> DensityScore:
    """Score a density on frames [F, T] in radians; options as of `TorsionDensity.from_angles`.

    Raises
    ------
    ValueError
        If a shape or number is wrong.
    """
    frames = prepare_frames(angles, len(density.names), weights, trajectories)
    share = frames.counts / frames.counts.sum()
    sequential = density.log_blocks(frames.angles, "sequential")
    values = sequential.sum(axis=1)
    mean = float(share @ values)
    deviations = np.bincount(frames.pieces, share * (values - mean))
    return DensityScore(
        mean,
        float(np.sqrt((deviations**2).sum())),
        share @ sequential,
        share @ density.log_blocks(frames.angles, "conditional"),
    )
