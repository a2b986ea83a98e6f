"""Markov models of discretised trajectories, as MDGen uses them: k-means, then PCCA+.

Counts slide over each trajectory; the transition matrix is the reversible one of the largest
likelihood (Bowman et al. 2009; Prinz et al. 2011), on the largest strongly connected set of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MarkovModel",
    "StateModel",
    "count_matrix",
    "estimate_markov_model",
    "fit_states",
    "flux_matrix",
    "k_means",
]

Floats = NDArray[np.float64]
States = NDArray[np.int64]

CLUSTERS = 100
MACROSTATES = 10
SEED = 137
#: Fewer frames than this a cluster leave most of its transitions unseen.
FRAMES_PER_CLUSTER = 10


def count_matrix(trajectories: Sequence[States], lag: int, states: int) -> Floats:
    """Transitions over `lag` frames, every start frame counted, [states, states]."""
    counts = np.zeros((states, states))
    for states_of in trajectories:
        if len(states_of) > lag:
            np.add.at(counts, (states_of[:-lag], states_of[lag:]), 1)
    return counts


@dataclass(frozen=True)
class MarkovModel:
    """A reversible Markov model.

    Attributes
    ----------
    active : int64 array [K]
        The connected states that it holds.
    transition : float64 array [K, K]
        Row-stochastic.
    stationary : float64 array [K]
    states : int
        Of the discretisation.
    """

    active: States
    transition: Floats
    stationary: Floats
    states: int

    def full_stationary(self) -> Floats:
        """Stationary vector over all states, 0 outside the connected ones."""
        result = np.zeros(self.states)
        result[self.active] = self.stationary
        return result

    def full_transition(self) -> Floats:
        """Transition matrix over all states; the others stay where they are."""
        result = np.eye(self.states)
        result[np.ix_(self.active, self.active)] = self.transition
        return result


def estimate_markov_model(
    counts: NDArray[Any], tolerance: float = 1e-12, iterations: int = 100_000
) -> MarkovModel:
    """Reversible transition matrix of the largest likelihood for a count matrix [S, S].

    Solves x_ij = (c_ij + c_ji) / (c_i/x_i + c_j/x_j) with x_i = sum_j x_ij by iteration;
    T_ij = x_ij / x_i, and the stationary vector is x_i / sum x.

    Raises
    ------
    ValueError
        If nothing was counted, or no state is ever come back to, so that none is connected.
    """
    from scipy.sparse.csgraph import connected_components

    counts = np.asarray(counts, np.float64)
    if counts.sum() <= 0:
        raise ValueError(
            "a Markov model needs transitions; all trajectories are shorter than its lag"
        )
    _, label = connected_components(counts > 0, directed=True, connection="strong")
    inside = label[:, None] == label[None]
    weights = np.bincount(label, np.where(inside, counts, 0).sum(axis=1))
    if not weights.any():
        raise ValueError(
            "a Markov model needs a state that is come back to; these trajectories "
            "leave every state for good"
        )
    active = np.flatnonzero(label == int(np.argmax(weights)))
    c = counts[np.ix_(active, active)]
    both, rows = c + c.T, c.sum(axis=1)
    x = both.copy()
    for _ in range(iterations):
        ratio = rows / x.sum(axis=1)
        updated = np.divide(
            both, ratio[:, None] + ratio[None], out=np.zeros_like(x), where=both > 0
        )
        updated /= updated.sum()
        change = np.abs(updated.sum(axis=1) - x.sum(axis=1) / x.sum()).max()
        x = updated
        if change < tolerance:
            break
    total = x.sum(axis=1)
    return MarkovModel(active, x / total[:, None], total / total.sum(), len(counts))


def flux_matrix(model: MarkovModel) -> Floats:
    """Flux pi_i T_ij between all states, [S, S], 0 outside the connected ones."""
    full = model.full_transition()
    return model.full_stationary()[:, None] * full


@dataclass(frozen=True)
class StateModel:
    """A discretisation made on reference data.

    Attributes
    ----------
    centres : float64 array [C, D]
        Of the clusters.
    macrostate : int64 array [C]
        Macrostate of each cluster.
    macrostates : int
    micro : MarkovModel
        Between the clusters.
    macro : MarkovModel
        Between the macrostates, estimated from the trajectories of macrostates.
    lag : int
        Frames of the reference.
    """

    centres: Floats
    macrostate: States
    macrostates: int
    micro: MarkovModel
    macro: MarkovModel
    lag: int

    def assign(self, points: NDArray[Any]) -> States:
        """Macrostate of each point [F, D], by the nearest cluster."""
        from scipy.spatial import cKDTree

        return self.macrostate[cKDTree(self.centres).query(points)[1]]


def k_means(
    points: Floats, clusters: int, seed: int = SEED, iterations: int = 100
) -> tuple[Floats, States]:
    """Lloyd's k-means from centres drawn by k-means++ (Arthur, Vassilvitskii 2007).

    Returns
    -------
    centres : float64 array [C, D]
        At most `clusters`; empty ones are left out.
    labels : int64 array [F]
        The nearest centre of each point.
    """
    from scipy.spatial import cKDTree

    random = np.random.default_rng(seed)
    chosen = [int(random.integers(len(points)))]
    squares = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < clusters and squares.max() > 0:
        chosen.append(int(random.choice(len(points), p=squares / squares.sum())))
        squares = np.minimum(squares, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    centres = points[chosen]
    labels = np.full(len(points), -1)
    for _ in range(iterations):
        before, labels = labels, cKDTree(centres).query(points)[1]
        if np.array_equal(before, labels):
            break
        counts = np.bincount(labels, minlength=len(centres))
        sums = [np.bincount(labels, x, minlength=len(centres)) for x in points.T]
        occupied = counts > 0
        centres = (np.stack(sums, axis=1)[occupied]) / counts[occupied, None]
    _, labels = np.unique(labels, return_inverse=True)
    return centres, labels.astype(np.int64)


def fit_states(
    trajectories: Sequence[NDArray[Any]],
    lag: int,
    clusters: int = CLUSTERS,
    macrostates: int = MACROSTATES,
    seed: int = SEED,
) -> StateModel:
    """k-means, Markov model, PCCA+, and the Markov model of the macrostates.

    Parameters
    ----------
    trajectories : sequence of arrays [F_i, D]
        In TICA's kinetic map.
    lag : int
        Frames.
    clusters, macrostates : int
        At most so many: there is a cluster for ten frames at most, and fewer macrostates than
        connected clusters.
    seed : int
        Of k-means.

    Raises
    ------
    ValueError
        If the trajectories are too short.
    """
    from scipy.spatial import cKDTree

    points = np.concatenate([np.asarray(x, np.float64) for x in trajectories])
    clusters = max(2, min(clusters, len(points) // FRAMES_PER_CLUSTER))
    centres, labels = k_means(points, clusters, seed)
    ends = np.cumsum([len(x) for x in trajectories])[:-1]
    discrete = np.split(labels, ends)
    micro = estimate_markov_model(count_matrix(discrete, lag, len(centres)))
    wanted = min(macrostates, len(micro.active) - 1)
    grouped = np.zeros(len(micro.active), np.int64)
    if wanted >= 2:
        from deeptime.markov import pcca

        grouped = np.asarray(pcca(micro.transition, wanted, micro.stationary).assignments, np.int64)
    # Clusters that no way leads to and back from join the macrostate of the nearest that has one.
    nearest = cKDTree(centres[micro.active]).query(centres)[1]
    macrostate = grouped[nearest]
    number = max(wanted, 1)
    coarse = [macrostate[states] for states in discrete]
    macro = estimate_markov_model(count_matrix(coarse, lag, number))
    return StateModel(centres, macrostate, number, micro, macro, lag)
