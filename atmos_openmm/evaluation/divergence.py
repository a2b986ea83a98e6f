"""Jensen-Shannon divergence between torsion histograms, and how much of it is sampling error.

Natural logarithms: the divergence is in nats, between 0 and ln 2 = 0.693. Its square root, a
metric, is called the distance here; `scipy.spatial.distance.jensenshannon` and the tables of MDGen
(Jing, Stark, Jaakkola, Berger 2024), which use it, call the distance "JSD".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
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
    p, q = p / p.sum(), q / q.sum()
    mixture = (p + q) / 2

    def kullback_leibler(x: NDArray[np.float64]) -> float:
        seen = x > 0
        return float(np.sum(x[seen] * np.log(x[seen] / mixture[seen])))

    # Rounding can leave -1e-17 for equal histograms.
    return max(0.0, (kullback_leibler(p) + kullback_leibler(q)) / 2)


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


@dataclass(frozen=True)
class SamplingError:
    """Divergences of parts of one data set from each other.

    Attributes
    ----------
    divergences_nats : tuple of float
        One a pair of parts.
    """

    divergences_nats: tuple[float, ...]

    @property
    def mean_nats(self) -> float:
        """Mean over the pairs."""
        return float(np.mean(self.divergences_nats))

    @property
    def largest_nats(self) -> float:
        """The largest of the pairs."""
        return float(np.max(self.divergences_nats))


def halves_error(phi: NDArray[Any], psi: NDArray[Any], bins: int = BINS) -> SamplingError:
    """Divergence of the first half of a trajectory [F] from its second half."""
    phi, psi = np.asarray(phi), np.asarray(psi)
    if len(phi) < 2:
        raise ValueError(f"{len(phi)} frame(s) cannot be cut into halves")
    middle = len(phi) // 2
    return replicas_error([(phi[:middle], psi[:middle]), (phi[middle:], psi[middle:])], bins)


def replicas_error(
    replicas: Sequence[tuple[NDArray[Any], NDArray[Any]]], bins: int = BINS
) -> SamplingError:
    """Divergences between all pairs of replicas, each a pair (phi [F], psi [F]) in radians."""
    if len(replicas) < 2:
        raise ValueError("the error between replicas needs at least two of them")
    histograms = [torsion_histogram(phi, psi, bins) for phi, psi in replicas]
    return SamplingError(
        tuple(jensen_shannon_divergence(a, b) for a, b in combinations(histograms, 2))
    )
