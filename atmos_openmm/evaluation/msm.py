"""Markov models of discretised trajectories, as MDGen uses them: k-means, then PCCA+.

Counts slide over each trajectory; the transition matrix is the reversible one of the largest
likelihood (Bowman et al. 2009; Prinz et al. 2011), on a strongly connected set of states. Both are
deeptime's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MarkovModel",
    "StateModel",
    "estimate_markov_model",
    "fit_states",
    "flux_matrix",
    "k_means",
    "markov_model",
]

Floats = NDArray[np.float64]
States = NDArray[np.int64]

CLUSTERS = 100
MACROSTATES = 10
SEED = 137
#: Of the stationary vector, where the iteration of the transition matrix ends.
TOLERANCE = 1e-12
#: Fewer frames than this a cluster leave most of its transitions unseen.
FRAMES_PER_CLUSTER = 10


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


def estimate_markov_model(counts: NDArray[Any]) -> MarkovModel:
    """Reversible transition matrix of the largest likelihood for a count matrix [S, S].

    It is that of the connected states with the most transitions between them.

    Raises
    ------
    ValueError
        If no state is ever come back to, so that none is connected.
    """
    from deeptime.markov.tools import estimation

    counts = np.asarray(counts, np.float64)
    # deeptime's own choice is the set of the most states, however rarely they are seen.
    active = max(estimation.connected_sets(counts), key=lambda s: counts[np.ix_(s, s)].sum())
    inside = counts[np.ix_(active, active)]
    if not inside.any():
        raise ValueError(
            "a Markov model needs a state that is come back to; these trajectories "
            "leave every state for good"
        )
    transition, stationary = estimation.transition_matrix(
        inside, reversible=True, maxerr=TOLERANCE, return_statdist=True, warn_not_converged=False
    )
    return MarkovModel(active.astype(np.int64), transition, stationary, len(counts))


def markov_model(trajectories: Sequence[States], lag: int, states: int) -> MarkovModel:
    """The Markov model of trajectories of states at a lag in frames; every start frame counts.

    Raises
    ------
    ValueError
        If no trajectory is longer than the lag, or none comes back to a state.
    """
    from deeptime.markov.tools.estimation import count_matrix

    return estimate_markov_model(
        count_matrix(list(trajectories), lag, sparse_return=False, nstates=states)
    )


def flux_matrix(model: MarkovModel) -> Floats:
    """Flux pi_i T_ij between all states, [S, S], 0 outside the connected ones."""
    flux = model.full_stationary()[:, None] * model.full_transition()
    # The two are equal by detailed balance; rounding must not rank them.
    return (flux + flux.T) / 2


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


def k_means(points: Floats, clusters: int) -> tuple[Floats, States]:
    """Lloyd's k-means from centres drawn by k-means++ (Arthur, Vassilvitskii 2007).

    Returns
    -------
    centres : float64 array [C, D]
        At most `clusters`; empty ones are left out.
    labels : int64 array [F]
        The nearest centre of each point.
    """
    from scipy.cluster.vq import kmeans2

    clusters = min(clusters, len(np.unique(points, axis=0)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        centres, labels = kmeans2(
            points, clusters, iter=100, minit="++", seed=np.random.default_rng(SEED)
        )
    occupied, labels = np.unique(labels, return_inverse=True)
    return centres[occupied], labels.astype(np.int64)


def fit_states(
    trajectories: Sequence[NDArray[Any]],
    lag: int,
    clusters: int = CLUSTERS,
    macrostates: int = MACROSTATES,
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

    Raises
    ------
    ValueError
        If the trajectories are too short.
    """
    from scipy.spatial import cKDTree

    points = np.concatenate([np.asarray(x, np.float64) for x in trajectories])
    clusters = max(2, min(clusters, len(points) // FRAMES_PER_CLUSTER))
    centres, labels = k_means(points, clusters)
    ends = np.cumsum([len(x) for x in trajectories])[:-1]
    discrete = np.split(labels, ends)
    micro = markov_model(discrete, lag, len(centres))
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
    macro = markov_model(coarse, lag, number)
    return StateModel(centres, macrostate, number, micro, macro, lag)
