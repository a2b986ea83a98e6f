"""Distributions of alpha-carbon distances and of the radius of gyration (Str2Str).

Histograms of 50 bins over the reference's range: what lies outside of it is not counted, and every
bin gets 1e-6 on top, as published (Lu, Zhong, Zhang, Tang 2024). The distance is SciPy's
`jensenshannon`: the square root of the divergence in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "OFFSET", "far_distances", "gyration_radius", "mean_distance"]

BINS = 50
PSEUDO_COUNT = 1e-6
#: Pairs nearer in the sequence hardly change their distance.
OFFSET = 3

Floats = NDArray[np.float64]


def far_distances(positions_nm: NDArray[Any], offset: int = OFFSET) -> NDArray[np.float32]:
    """Distances between points at least `offset` apart in the sequence, [F, P] of [F, N, 3]."""
    x = np.asarray(positions_nm, np.float32)
    i, j = np.triu_indices(x.shape[1], k=offset)
    return np.stack([np.linalg.norm(frame[i] - frame[j], axis=-1) for frame in x])


def gyration_radius(positions_nm: NDArray[Any]) -> Floats:
    """Root mean square distance of points [F, N, 3] from their centroid, [F]."""
    x = np.asarray(positions_nm, np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    return np.sqrt((x**2).sum(axis=-1).mean(axis=-1))


def binned(values: NDArray[Any], low: Floats, high: Floats, bins: int = BINS) -> Floats:
    """Histogram of each column of [F, P] on its range, [P, bins], with the pseudo-count.

    The last bin includes its right edge.
    """
    columns = values.shape[1]
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    width = np.where(high > low, high - low, 1.0)
    # As np.histogram: a range of no width is widened by 1/2 on both sides.
    low = np.where(high > low, low, low - 0.5)
    place = (np.asarray(values, np.float64) - low) / width * bins
    inside = (place >= 0) & (place <= bins)
    number = np.minimum(place, bins - 1, where=inside, out=np.zeros_like(place)).astype(int)
    flat = number + bins * np.arange(columns)
    counts = np.bincount(flat[inside], minlength=bins * columns)
    return counts.reshape(columns, bins).astype(np.float64) + PSEUDO_COUNT


def mean_distance(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Mean over the columns of the Jensen-Shannon distance of [F, P] from a reference [G, P]."""
    low = np.asarray(reference, np.float64).min(axis=0)
    high = np.asarray(reference, np.float64).max(axis=0)
    p, q = binned(values, low, high), binned(reference, low, high)
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle) + q * np.log(q / middle)).sum(axis=1) / 2
    return float(np.sqrt(np.maximum(divergence, 0)).mean())
