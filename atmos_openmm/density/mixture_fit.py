"""Mixtures of wrapped normals by expectation maximisation.

The image of an angle is a hidden variable like the component, so each step raises the exact
likelihood of the wrapped normals (up to the prior and to the bound on their widths).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from .wrapped_normal import LARGEST_SD, LOG_TWO_PI, REACH, FloatArray, Kernels, wrap

__all__ = ["Mixture", "bounded", "fit_mixture"]

PRIOR_SD = 0.15
"""Standard deviation in radians that a component tends to which has few frames."""

SMALLEST_SD = 0.03
"""Least standard deviation in radians along any direction."""

MOST_WIDE = 4
"""Torsions of a component that may be wide enough for two images each, to keep values cheap."""

_WIDE_SD = math.pi / REACH
_START_SD = 0.3
_PRIOR_COUNT = 0.5  # frames that every component has before it sees any
_STEPS = 80
_TOLERANCE = 1e-4  # of the log likelihood a frame
_CHUNK = 1 << 21  # numbers in the largest temporary array, about


@dataclass(frozen=True)
class Mixture:
    """Components of a mixture: weights [K], means [K, d] and covariances [K, d, d]."""

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray

    def log_kernels(self, angles: FloatArray) -> FloatArray:
        """Logs of the components' densities [K, F] at angles [F, d]."""
        kernels = Kernels(self.covariances)
        step = _chunk(kernels, angles.shape[1])
        parts = [
            kernels.log_densities(wrap(angles[None, k : k + step] - self.means[:, None]))
            for k in range(0, len(angles), step)
        ]
        return np.concatenate(parts, axis=1)


def bounded(covariances: FloatArray) -> FloatArray:
    """Covariances whose marginal standard deviations keep to the bounds, by scaling rows."""
    sd = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    order = np.argsort(np.argsort(-sd, axis=1), axis=1)
    limit = np.where(order < MOST_WIDE, LARGEST_SD, _WIDE_SD) * (1.0 - 1e-9)
    scale = np.minimum(1.0, limit / sd)
    return np.asarray(covariances * scale[:, :, None] * scale[:, None, :])


def fit_mixture(
    angles: FloatArray,
    counts: FloatArray,
    components: int,
    uniform_weight: float,
    seed: int,
    starts: int = 1,
) -> Mixture:
    """Fit a mixture of wrapped normals beside a uniform part of given weight.

    Parameters
    ----------
    angles : float64 array [F, d]
    counts : float64 array [F]
        How many independent frames each one stands for.
    components : int
    uniform_weight : float
    seed : int
        Of the starting points.
    starts : int
        Independent starts, of which the likeliest is taken.

    Returns
    -------
    Mixture
    """
    generator = np.random.default_rng(seed)
    best: tuple[float, Mixture] | None = None
    for _ in range(starts):
        means = _starting_means(angles, counts, components, generator)
        found = _climb(angles, counts, means, uniform_weight)
        if best is None or found[0] > best[0]:
            best = found
    assert best is not None
    return best[1]


def _starting_means(
    angles: FloatArray, counts: FloatArray, components: int, generator: np.random.Generator
) -> FloatArray:
    """Frames far from each other on the torus (k-means++)."""
    chosen = [int(generator.choice(len(angles), p=counts / counts.sum()))]
    nearest = np.full(len(angles), np.inf)
    for _ in range(components - 1):
        distance = (wrap(angles - angles[chosen[-1]]) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, distance)
        # A little for all, as there may be fewer different frames than components.
        weight = (nearest + 1e-6) * counts
        chosen.append(int(generator.choice(len(angles), p=weight / weight.sum())))
    return angles[chosen]


def _climb(
    angles: FloatArray, counts: FloatArray, means: FloatArray, uniform_weight: float
) -> tuple[float, Mixture]:
    components, size = means.shape
    mixture = Mixture(
        np.full(components, 1.0 / components),
        wrap(means),
        np.tile(np.eye(size) * _START_SD**2, (components, 1, 1)),
    )
    before = -math.inf
    for _ in range(_STEPS):
        score, moments = _expect(angles, counts, mixture, uniform_weight)
        if score - before < _TOLERANCE * counts.sum():
            break
        before = score
        mixture = _maximise(mixture, *moments)
    return score, mixture


def _expect(
    angles: FloatArray, counts: FloatArray, mixture: Mixture, uniform_weight: float
) -> tuple[float, tuple[FloatArray, FloatArray, FloatArray]]:
    """The log likelihood; each component's frames [K], sums [K, d] and squares [K, d, d]."""
    components, size = mixture.means.shape
    kernels = Kernels(mixture.covariances)
    owner = kernels.images.component
    log_weights = (np.log(mixture.weights) + math.log1p(-uniform_weight))[owner]
    uniform = math.log(uniform_weight) - size * LOG_TWO_PI
    score = 0.0
    number, first = np.zeros(components), np.zeros((components, size))
    second = np.zeros((components, size, size))
    step = _chunk(kernels, size)
    for start in range(0, len(angles), step):
        part = slice(start, start + step)
        x, terms = kernels.image_terms(wrap(angles[None, part] - mixture.means[:, None]))
        terms += log_weights[:, None]
        total = np.logaddexp(logsumexp(terms, axis=0), uniform)
        score += float(counts[part] @ total)
        share = np.exp(terms - total) * counts[part]
        weighted = np.swapaxes(x * share[..., None], 1, 2)
        starts = kernels.images.starts
        number += np.add.reduceat(share.sum(axis=1), starts)
        first += np.add.reduceat(weighted.sum(axis=2), starts)
        second += np.add.reduceat(weighted @ x, starts)
    return score, (number, first, second)


def _maximise(
    mixture: Mixture, number: FloatArray, first: FloatArray, second: FloatArray
) -> Mixture:
    size = first.shape[1]
    safe = np.maximum(number, 1e-9)
    shift = first / safe[:, None]
    scatter = second - safe[:, None, None] * shift[:, :, None] * shift[:, None, :]
    prior = float(size)
    covariances = (scatter + prior * PRIOR_SD**2 * np.eye(size)) / (safe + prior)[:, None, None]
    values, vectors = np.linalg.eigh(covariances)
    values = np.maximum(values, SMALLEST_SD**2)
    covariances = (vectors * values[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    weights = number + _PRIOR_COUNT
    return Mixture(weights / weights.sum(), wrap(mixture.means + shift), bounded(covariances))


def _chunk(kernels: Kernels, size: int) -> int:
    return max(1, _CHUNK // (len(kernels.images.component) * size))


def effective_counts(weights: ArrayLike | None, frames: int) -> FloatArray:
    """Independent frames [F] that weighted ones stand for: Kish's number, (sum w)^2 / sum w^2.

    Raises
    ------
    ValueError
        If weights are negative, not finite, all zero or not one for each frame.
    """
    if weights is None:
        return np.ones(frames)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (frames,) or not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise ValueError(
            f"weights must be {frames} finite numbers, one for each frame, none negative and not "
            "all 0."
        )
    return np.asarray(w * w.sum() / (w @ w))
