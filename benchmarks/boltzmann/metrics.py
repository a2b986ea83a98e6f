"""Figures of merit of weighted, correlated samples against a reference.

Wasserstein distances are those of transferable-samplers (Prose, arXiv 2508.18175): of energies in
kT, of all phi and psi on the torus, of the first two TICA coordinates; the square root of the
least mean squared distance. Its clouds have 10,000 points each, ours fewer, which makes them
larger: the distance between two clouds of the reference stands beside each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def autocovariances(series: Array) -> Array:
    """Autocovariance about zero [N], each lag over the whole length, of chains [C, N]."""
    length = series.shape[-1]
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(series, size, axis=-1)
    power = np.abs(spectrum) ** 2
    return np.fft.irfft(power, size, axis=-1)[..., :length].mean(axis=0) / length


def squared_error(series: Array) -> float:
    """Expected square of a chain's mean, of chains [C, N] whose true mean is zero.

    The autocovariance about the known mean is summed as long as pairs of lags are positive (Geyer
    1992). A chain that sits on one side of the truth so counts for what it is.
    """
    covariances = autocovariances(np.atleast_2d(series))
    length = len(covariances)
    even = length // 2 * 2
    pairs = covariances[:even].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    stop = int(negative[0]) if len(negative) else len(pairs)
    total = 2 * pairs[:stop].sum() - covariances[0]
    return float(max(total, covariances[0] / length) / length)


def effective_samples(values: Array, log_weights: Array, mean: float, variance: float) -> float:
    """Independent samples with the same error of the mean, of chains [C, N], for one chain.

    Parameters
    ----------
    values, log_weights : array [C, N]
    mean, variance : float
        The reference's.
    """
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    weights /= weights.mean(axis=-1, keepdims=True)
    error = squared_error(weights * (values - mean))
    return variance / error if error > 0 else float("inf")


def angle_samples(angles: Array, log_weights: Array, reference: Array) -> float:
    """`effective_samples` of an angle: of its cosine and sine together."""
    errors, variances = 0.0, 0.0
    for function in (np.cos, np.sin):
        truth = function(reference)
        variance = float(truth.var())
        errors += variance / effective_samples(
            function(angles), log_weights, float(truth.mean()), variance
        )
        variances += variance
    return variances / errors


def populations(labels: NDArray[np.int64], weights: Array, basins: int) -> Array:
    """Weighted shares [basins]."""
    counted = np.bincount(labels, weights=weights, minlength=basins)
    return counted / counted.sum()


def free_energy_error(found: Array, truth: Array, kT: float) -> float:
    """Largest difference of kT log p over the basins of the truth; infinite for an empty one."""
    with np.errstate(divide="ignore"):
        return float(kT * np.abs(np.log(found) - np.log(truth)).max())


def settled(times: Array, errors: Array, tolerance: float) -> float:
    """First time from which on all errors are within the tolerance; NaN for never."""
    outside = np.flatnonzero(~(np.asarray(errors) <= tolerance))
    first = int(outside[-1]) + 1 if len(outside) else 0
    return float(times[first]) if first < len(times) else float("nan")


def energy_wasserstein(first: Array, second: Array) -> float:
    """2-Wasserstein distance of two samples of numbers."""
    quantiles = (np.arange(4000) + 0.5) / 4000
    a, b = (np.quantile(x, quantiles, method="inverted_cdf") for x in (first, second))
    return float(np.sqrt(np.mean((a - b) ** 2)))


def cloud_wasserstein(first: Array, second: Array, torus: bool = False) -> float:
    """2-Wasserstein distance of two clouds [N, D] of equal size, by exact assignment.

    With `torus` the coordinates are angles and the squared distance is the sum over them of the
    squares of the shorter ways round.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if len(first) != len(second):
        raise ValueError(f"Clouds of {len(first)} and {len(second)} points; expected equal sizes.")
    if torus:
        costs = np.zeros((len(first), len(second)))
        for a, b in zip(first.T, second.T, strict=True):
            gap = np.abs(a[:, None] - b[None])
            costs += np.minimum(gap, 2 * np.pi - gap) ** 2
    else:
        costs = cdist(first, second, "sqeuclidean")
    rows, columns = linear_sum_assignment(costs)
    return float(np.sqrt(costs[rows, columns].mean()))


def resample(log_weights: Array, count: int, seed: int) -> NDArray[np.int64]:
    """Frames that stand for a weighted sample: evenly spaced along its cumulative weight."""
    weights = np.exp(log_weights - log_weights.max())
    edges = np.cumsum(weights) / weights.sum()
    start = np.random.default_rng(seed).random()
    return np.searchsorted(edges, (np.arange(count) + start) / count).clip(max=len(edges) - 1)
