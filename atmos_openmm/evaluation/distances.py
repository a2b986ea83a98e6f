"""Distances within and between frames, and their distributions (Str2Str).

Histograms of 50 bins over the reference's range: what lies outside of it is not counted, and every
bin gets 1e-6 on top, as published (Lu, Zhong, Zhang, Tang 2024). The distance is SciPy's
`jensenshannon`: the square root of the divergence in nats.

One case differs from the publication: of values that all lie outside nothing is left but the
1e-6, a flat histogram, which may be nearer to the reference than MD is. Their distance is that of
histograms without a common bin, sqrt(ln 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .divergence import row_divergences

__all__ = [
    "BINS",
    "OFFSET",
    "bin_numbers",
    "far_distances",
    "histogram_distance",
    "histograms",
    "mean_distance",
    "pairwise_distance",
    "value_range",
]

BINS = 50
PSEUDO_COUNT = 1e-6
#: Pairs nearer in the sequence hardly change their distance.
OFFSET = 3

Floats = NDArray[np.float64]


def far_distances(positions_nm: NDArray[Any]) -> NDArray[np.float32]:
    """Distances between points at least `OFFSET` apart in the sequence, [F, P] of [F, N, 3]."""
    x = np.asarray(positions_nm, np.float32)
    i, j = np.triu_indices(x.shape[1], k=OFFSET)
    return np.stack([np.linalg.norm(frame[i] - frame[j], axis=-1) for frame in x])


def pairwise_distance(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Root mean square distance of atoms between frames as they lie, [F, A, 3] and [G, A, 3].

    Returns
    -------
    float64 array [F, G]
        Unit of the positions.
    """
    from scipy.spatial.distance import cdist

    atoms = first.shape[1]
    return cdist(first.reshape(len(first), -1), second.reshape(len(second), -1)) / np.sqrt(atoms)


def value_range(reference: NDArray[Any]) -> tuple[Floats, Floats]:
    """Smallest and largest value of each column of [G, P]."""
    x = np.asarray(reference)
    return x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)


def bin_numbers(values: NDArray[Any], low: Floats, high: Floats) -> NDArray[np.int8]:
    """Bin of each value of [F, P] in its column's range; -1 outside of it.

    The last bin includes its right edge. As with `numpy.histogram`, a range of no width is widened
    by 1/2 on both sides.
    """
    width = np.where(high > low, high - low, 1.0)
    low = np.where(high > low, low, low - 0.5)
    numbers = np.empty(values.shape, np.int8)
    for row, frame in zip(numbers, values, strict=True):
        place = (frame.astype(np.float64) - low) / width * BINS
        inside = (place >= 0) & (place <= BINS)
        row[:] = np.where(inside, np.minimum(np.where(inside, place, 0), BINS - 1), -1)
    return numbers


def histograms(numbers: NDArray[np.int8]) -> Floats:
    """Histogram of each column of bin numbers [F, P], [P, BINS], with the pseudo-count."""
    columns = numbers.shape[1]
    counts = np.zeros(columns * BINS)
    start = BINS * np.arange(columns)
    for row in numbers:
        counts[(start + row)[row >= 0]] += 1  # one value a column: no index comes twice
    return counts.reshape(columns, BINS) + PSEUDO_COUNT


def histogram_distance(first: Floats, second: Floats) -> float:
    """Mean over the rows of the Jensen-Shannon distance of histograms [P, BINS].

    Rows of `first` that hold the pseudo-count alone are as far as can be.
    """
    divergence = row_divergences(first, second)
    divergence[first.max(axis=1) < 1] = np.log(2)
    return float(np.sqrt(divergence).mean())


def mean_distance(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Mean over the columns of the Jensen-Shannon distance of [F, P] from a reference [G, P]."""
    low, high = value_range(reference)
    return histogram_distance(
        histograms(bin_numbers(values, low, high)), histograms(bin_numbers(reference, low, high))
    )
