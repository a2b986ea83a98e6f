"""How the weights of a mixture depend on the torsions next door, by maximum likelihood."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from .wrapped_normal import LOG_TWO_PI, FloatArray

__all__ = ["fit_gates", "gated_log_density", "harmonics"]

RIDGE = 3.0
"""Strength, in frames, of the pull of the harmonics' coefficients to 0."""

_RIDGE_OF_CONSTANTS = 0.1


def harmonics(angles: FloatArray) -> FloatArray:
    """The features [1 + 2 G, F] of gates: 1, cos t_0, sin t_0, cos t_1 ... of angles [F, G]."""
    table = np.ones((1 + 2 * angles.shape[1], len(angles)))
    table[1::2], table[2::2] = np.cos(angles.T), np.sin(angles.T)
    return table


def gated_log_density(
    gates: FloatArray,
    log_kernels: FloatArray,
    features: FloatArray,
    size: int,
    uniform_weight: float,
) -> FloatArray:
    """Log density [F] of a block of `size` torsions.

    Parameters
    ----------
    gates : float64 array [K, 1 + 2 G]
    log_kernels : float64 array [K, F]
        Logs of the components' densities.
    features : float64 array [1 + 2 G, F]
    size : int
    uniform_weight : float
    """
    logits = gates @ features
    mixed = logsumexp(logits + log_kernels, axis=0) - logsumexp(logits, axis=0)
    uniform = math.log(uniform_weight) - size * LOG_TWO_PI
    return np.asarray(np.logaddexp(mixed + math.log1p(-uniform_weight), uniform))


def fit_gates(
    weights: FloatArray,
    log_kernels: FloatArray,
    features: FloatArray,
    counts: FloatArray,
    size: int,
    uniform_weight: float,
) -> FloatArray:
    """The gates [K, 1 + 2 G] of highest penalised likelihood, for components that stay.

    Parameters
    ----------
    weights : float64 array [K]
        Of the components on average, where the search starts.
    log_kernels, features, size, uniform_weight
        As of `gated_log_density`.
    counts : float64 array [F]
        How many independent frames each one stands for.
    """
    start = np.zeros((len(weights), len(features)))
    start[:, 0] = np.log(weights)
    ridge = np.full(len(features), RIDGE)
    ridge[0] = _RIDGE_OF_CONSTANTS
    uniform = math.log(uniform_weight) - size * LOG_TWO_PI - math.log1p(-uniform_weight)

    def cost(flat: FloatArray) -> tuple[float, FloatArray]:
        gates = flat.reshape(start.shape)
        logits = gates @ features
        logits -= logsumexp(logits, axis=0)
        joint = logits + log_kernels
        total = np.logaddexp(logsumexp(joint, axis=0), uniform)
        share = np.exp(joint - total)
        slope = (share - share.sum(axis=0) * np.exp(logits)) * counts
        away = gates - start
        value = -float(counts @ total) + 0.5 * float((ridge * away**2).sum())
        return value, (ridge * away - slope @ features.T).ravel()

    found = minimize(cost, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x.reshape(start.shape))
