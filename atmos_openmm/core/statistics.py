"""How much a correlated time series says: effective samples, errors of means, mixing of chains.

Series are chains [C, N]: C independent runs of N equally spaced values each. A single run [N] is
one chain. The estimators are those of Vehtari, Gelman, Simpson, Carpenter and Buerkner (Bayesian
Analysis 16, 667, 2021): chains are split in halves, autocorrelations are measured against the
variance of all chains together, so that chains which disagree count for little, and their sum is
cut by Geyer's initial monotone sequence (Statistical Science 7, 473, 1992).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "batch_means_error",
    "effective_sample_size",
    "split_r_hat",
    "standard_error",
    "statistical_inefficiency",
]

FloatArray = NDArray[np.float64]

#: Below this length the halves of a chain say nothing.
SHORTEST_CHAIN = 8
#: Batches of all chains together, and of each chain at least.
BATCHES = 20
_BATCHES_A_CHAIN = 4


def effective_sample_size(chains: ArrayLike) -> float:
    """Independent samples that give the mean with the same error.

    Parameters
    ----------
    chains : array [C, N] or [N]

    Returns
    -------
    float
        NaN for chains shorter than `SHORTEST_CHAIN` or a constant, whose correlation is unknown.
        Chains that never leave values of their own count one each.
    """
    halves = _halves(chains)
    if halves is None:
        return math.nan
    count, length = halves.shape
    within, pooled = _variances(halves)
    if pooled == 0:
        return math.nan
    correlations = 1 - (within - _autocovariances(halves) * length / (length - 1)) / pooled
    correlations[0] = 1.0
    time = 2 * _initial_monotone_sum(correlations) - 1
    total = count * length
    # Chains that alternate can know more than independent ones, within reason (Stan's limit).
    return float(min(total / max(time, 1e-12), total * math.log10(total)))


def statistical_inefficiency(chains: ArrayLike) -> float:
    """Number of successive samples that are worth one independent one; NaN where unknown.

    It is 1 + 2 times the sum of the autocorrelation over positive times, 1 for independent samples.

    Parameters
    ----------
    chains : array [C, N] or [N]
    """
    halves = _halves(chains)
    return math.nan if halves is None else halves.size / effective_sample_size(chains)


def standard_error(chains: ArrayLike) -> float:
    """Standard error of the mean of all chains, from their effective sample size.

    Parameters
    ----------
    chains : array [C, N] or [N]
    """
    halves = _halves(chains)
    if halves is None:
        return math.nan
    return math.sqrt(_variances(halves)[1] / effective_sample_size(chains))


def batch_means_error(chains: ArrayLike, batches: int = BATCHES) -> float:
    """Standard error of the mean of all chains, from the means of long stretches of each.

    It needs no autocorrelation function, but batches that are longer than the correlations. The
    spread is that around the mean of all chains, so that it holds their disagreement.

    Parameters
    ----------
    chains : array [C, N] or [N]
    batches : int
        Of all chains together; at least four a chain. What is left over at the beginning of a
        chain is not used.

    Returns
    -------
    float
        NaN for chains with fewer values than batches.
    """
    x = _chains(chains)
    count = max(_BATCHES_A_CHAIN, -(-batches // len(x)))
    size = x.shape[1] // count
    if size < 1:
        return math.nan
    means = x[:, x.shape[1] - count * size :].reshape(-1, size).mean(axis=1)
    return float(means.std(ddof=1) / math.sqrt(len(means)))


def split_r_hat(chains: ArrayLike) -> float:
    """Rank-normalised split R-hat: 1 where chains and their halves agree.

    The larger one of that of the values and that of their distances from the median, which sees
    chains of the same centre and different spread.

    Parameters
    ----------
    chains : array [C, N] or [N]

    Returns
    -------
    float
        NaN for short chains and a constant; infinite for constants that differ.
    """
    halves = _halves(chains)
    if halves is None:
        return math.nan
    folded = np.abs(halves - np.median(halves))
    found = [_r_hat(_rank_normalised(values)) for values in (halves, folded)]
    known = [value for value in found if not math.isnan(value)]
    return max(known, default=math.nan)


def _chains(chains: ArrayLike) -> FloatArray:
    x = np.asarray(chains, dtype=np.float64)
    x = x[None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise ValueError(f"chains have {x.ndim} dimensions; expected [C, N], or [N] for one chain.")
    if not np.isfinite(x).all():
        raise ValueError("chains hold numbers that are not finite.")
    return x


def _halves(chains: ArrayLike) -> FloatArray | None:
    """First and second half of each chain [2 C, N // 2]; None where they are too short."""
    x = _chains(chains)
    length = x.shape[1] // 2
    if len(x) == 0 or x.shape[1] < SHORTEST_CHAIN:
        return None
    return np.concatenate([x[:, :length], x[:, -length:]])


def _variances(chains: FloatArray) -> tuple[float, float]:
    """Mean variance within chains, and the estimate of that of all together."""
    length = chains.shape[1]
    # About the first value of each, so that a constant has a variance of exactly zero.
    within = float((chains - chains[:, :1]).var(axis=1, ddof=1).mean())
    between = float(chains.mean(axis=1).var(ddof=1))
    return within, (length - 1) / length * within + between


def _autocovariances(chains: FloatArray) -> FloatArray:
    """Mean over chains of the autocovariance [N] of each about its own mean."""
    from scipy.fft import irfft, next_fast_len, rfft

    length = chains.shape[1]
    size = next_fast_len(2 * length, real=True)
    spectrum = rfft(chains - chains.mean(axis=1, keepdims=True), size, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
    return np.asarray(irfft(power, size)[:length] / length)


def _initial_monotone_sum(correlations: FloatArray) -> float:
    """Sum of correlations from time 0 on, as long as pairs of them are positive and fall."""
    even = len(correlations) // 2 * 2
    pairs = correlations[:even].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    stop = int(negative[0]) if len(negative) else len(pairs)
    total = float(np.minimum.accumulate(pairs[:stop]).sum())
    # What follows the last pair is part of the sum where it is positive.
    rest = float(correlations[2 * stop]) if 2 * stop < len(correlations) else 0.0
    return total + max(rest, 0.0)


def _r_hat(chains: FloatArray) -> float:
    within, pooled = _variances(chains)
    if pooled == 0:
        return math.nan
    return math.sqrt(pooled / within) if within > 0 else math.inf


def _rank_normalised(chains: FloatArray) -> FloatArray:
    """Values replaced by the normal deviates of their ranks among all chains."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(chains, method="average").reshape(chains.shape)
    return np.asarray(ndtri((ranks - 0.375) / (chains.size + 0.25)))
