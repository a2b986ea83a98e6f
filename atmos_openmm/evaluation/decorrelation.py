"""Autocorrelation of torsions and slow components, and the time in which they forget (MDGen)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["autocorrelation", "decorrelation_time", "torsion_autocorrelation"]

Floats = NDArray[np.float64]
Trajectories = Sequence[NDArray[Any]]


def raw_autocorrelation(trajectories: Trajectories, lags: int) -> Floats:
    """<x(t) x(t + lag)> for lags 0 to `lags`, [lags + 1, T], of trajectories [F_i, T].

    Not less the mean; each lag is divided by the number of its own pairs (`adjusted` of
    statsmodels' acovf), pairs of all trajectories counted together.
    """
    total: Floats | None = None
    pairs = np.zeros(lags + 1)
    for x in trajectories:
        x = np.asarray(x, np.float64)
        size = 2 ** int(np.ceil(np.log2(2 * len(x))))
        power = np.abs(np.fft.rfft(x, size, axis=0)) ** 2
        sums = np.zeros((lags + 1, x.shape[1]))
        count = min(lags + 1, len(x))
        sums[:count] = np.fft.irfft(power, size, axis=0)[:count]
        total = sums if total is None else total + sums
        pairs[:count] += len(x) - np.arange(count)
    if total is None:
        raise ValueError("an autocorrelation needs a trajectory")
    return np.divide(
        total, pairs[:, None], out=np.full_like(total, np.nan), where=pairs[:, None] > 0
    )


def torsion_autocorrelation(angles: Trajectories, lags: int) -> Floats:
    """Normalised autocorrelation of (cos, sin) of torsions [F_i, T], [lags + 1, T].

    (<cos cos' + sin sin'> - b)/(1 - b) with b = <cos>^2 + <sin>^2: 1 at lag 0, 0 when the torsion
    has forgotten where it was. A torsion that never moves stays at 1.
    """
    together = np.concatenate([np.asarray(a, np.float64) for a in angles])
    baseline = np.cos(together).mean(axis=0) ** 2 + np.sin(together).mean(axis=0) ** 2
    raw = raw_autocorrelation([np.cos(a) for a in angles], lags)
    raw = raw + raw_autocorrelation([np.sin(a) for a in angles], lags)
    return _normalised(raw, baseline, np.ones_like(baseline))


def autocorrelation(values: Trajectories, lags: int) -> Floats:
    """Normalised autocorrelation (<x x'> - <x>^2)/(<x^2> - <x>^2) of values [F_i, T]."""
    together = np.concatenate([np.asarray(v, np.float64) for v in values])
    return _normalised(
        raw_autocorrelation(values, lags), together.mean(axis=0) ** 2, (together**2).mean(axis=0)
    )


def _normalised(raw: Floats, baseline: Floats, one: Floats) -> Floats:
    span = one - baseline
    moving = span > 1e-9 * np.maximum(one, 1e-300)
    return np.divide(raw - baseline, span, out=np.ones_like(raw), where=moving[None])


def decorrelation_time(curves: NDArray[Any]) -> Floats:
    """Lag at which each curve [L, T] first falls to 1/e, interpolated, in frames; inf if never."""
    curves = np.asarray(curves, np.float64)
    below = curves <= np.exp(-1)
    first = np.argmax(below, axis=0)
    times = np.full(curves.shape[1], np.inf)
    for k in np.flatnonzero(below.any(axis=0)):
        high, low = curves[first[k] - 1, k], curves[first[k], k]
        times[k] = first[k] - 1 + (high - np.exp(-1)) / (high - low)
    return times
