"""Jensen-Shannon divergence between torsion histograms, and how much of it is sampling error.

Natural logarithms: the divergence is in nats, between 0 and ln 2 = 0.693. Its square root, a
metric, is called the distance here; `scipy.spatial.distance.jensenshannon` and the tables of MDGen
(Jing, Stark, Jaakkola, Berger 2024), which use it, call the distance "JSD".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bins along each of phi and psi, as MDGen has them.
BINS = 50


def torsion_histogram(
    phi: NDArray[Any], psi: NDArray[Any], bins: int = BINS
) -> NDArray[np.float64]:
    """Counts of (phi, psi) on a grid over [-pi, pi) squared.

    Parameters
    ----------
    phi, psi : array [F]
        Radians of one residue.

    Returns
    -------
    float64 array [bins, bins]
        First axis phi, second axis psi.
    """
    # Folded into [-pi, pi), so that no frame is dropped for a value of exactly pi.
    phi, psi = ((np.asarray(x, dtype=np.float64) + np.pi) % (2 * np.pi) - np.pi for x in (phi, psi))
    if not (np.isfinite(phi).all() and np.isfinite(psi).all()):
        raise ValueError(
            "torsions contain values that are not finite; look for frames with NaN "
            "or coincident atoms"
        )
    edges = np.linspace(-np.pi, np.pi, bins + 1)
    return np.histogram2d(phi.ravel(), psi.ravel(), bins=[edges, edges])[0]


def jensen_shannon_divergence(p: NDArray[Any], q: NDArray[Any]) -> float:
    """Jensen-Shannon divergence in nats of two histograms of one shape; counts are normalised.

    JSD(p, q) = KL(p, m)/2 + KL(q, m)/2 with m = (p + q)/2.

    Raises
    ------
    ValueError
        For different shapes, negative counts or an empty histogram.
    """
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if p.shape != q.shape:
        raise ValueError(f"histograms have shapes {p.shape} and {q.shape}; they must be equal")
    for histogram in (p, q):
        if not np.isfinite(histogram).all() or histogram.min() < 0 or histogram.sum() <= 0:
            raise ValueError("a histogram must hold finite counts, none negative and some positive")
    return float(row_divergences(p.reshape(1, -1), q.reshape(1, -1))[0])


def row_divergences(p: NDArray[Any], q: NDArray[Any]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence in nats of each row of two histograms [N, bins]."""
    from scipy.special import rel_entr

    p, q = (counts / counts.sum(axis=1, keepdims=True) for counts in (p, q))
    middle = (p + q) / 2
    # SciPy's own `jensenshannon` has no number where rounding leaves -1e-17 of equal histograms.
    return np.maximum((rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=1) / 2, 0)


def jensen_shannon_distance(p: NDArray[Any], q: NDArray[Any]) -> float:
    """Square root of `jensen_shannon_divergence`, a metric (0 to 0.833)."""
    return float(np.sqrt(jensen_shannon_divergence(p, q)))


def resampled_divergence(
    histogram: NDArray[Any], samples: int, repeats: int = 20, seed: int = 1
) -> float:
    """Mean divergence in nats from a histogram of so many independent samples drawn from it.

    What a perfect sampler of the same distribution would show with this number of independent
    frames; correlated frames count for fewer. For many samples it tends to (K - 1)/(8 samples) with
    K occupied bins.
    """
    counts = np.asarray(histogram, dtype=np.float64)
    shares = counts.ravel() / counts.sum()
    random = np.random.default_rng(seed)
    return float(
        np.mean(
            [
                jensen_shannon_divergence(random.multinomial(samples, shares), shares)
                for _ in range(repeats)
            ]
        )
    )
