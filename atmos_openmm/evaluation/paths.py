"""Transition paths between macrostates under a Markov model (MDGen).

A path of N steps with fixed ends is a Markov bridge: from s_t the next state has the probability
T(s_t, s) T^(N-t-2)(s, s_N) / T^(N-t-1)(s_t, s_N), with states numbered from 0 to N - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bridge_probabilities", "cut_paths", "sample_bridges"]

SEED = 137

Floats = NDArray[np.float64]
States = NDArray[np.int64]


def _powers(transition: Floats, steps: int) -> list[Floats]:
    powers = [np.eye(len(transition))]
    for _ in range(steps):
        powers.append(powers[-1] @ transition)
    return powers


def bridge_probabilities(paths: NDArray[Any], transition: NDArray[Any]) -> Floats:
    """Probability of each path [P, N] given its two ends, [P]; 0 for paths that cannot be."""
    transition = np.asarray(transition, np.float64)
    paths = np.asarray(paths)
    steps = paths.shape[1] - 1
    end = _powers(transition, steps)[steps][paths[:, 0], paths[:, -1]]
    way = np.prod(transition[paths[:, :-1], paths[:, 1:]], axis=1)
    return np.divide(way, end, out=np.zeros(len(paths)), where=end > 0)


def sample_bridges(
    start: int, end: int, length: int, transition: NDArray[Any], count: int
) -> States:
    """Paths [count, length] of a Markov chain from `start` that end in `end`.

    Raises
    ------
    ValueError
        If no path of this length leads there.
    """
    transition = np.asarray(transition, np.float64)
    powers = _powers(transition, length - 1)
    if powers[length - 1][start, end] <= 0:
        raise ValueError(f"no path of {length} frames leads from state {start} to state {end}")
    random = np.random.default_rng(SEED)
    paths = np.full((count, length), start)
    for t in range(1, length):
        left = length - 1 - t
        weights = transition[paths[:, t - 1]] * powers[left][:, end]
        cumulative = np.cumsum(weights, axis=1)
        drawn = random.random(count) * cumulative[:, -1]
        paths[:, t] = (cumulative <= drawn[:, None]).sum(axis=1)
    return paths


def cut_paths(trajectories: Sequence[States], length: int, lag: int) -> States:
    """Stretches of `length` states `lag` frames apart whose ends differ, [P, length].

    Consecutive stretches start `lag` frames after each other.
    """
    found = []
    for states in trajectories:
        thinned = np.asarray(states)[::lag]
        if len(thinned) >= length:
            windows = np.lib.stride_tricks.sliding_window_view(thinned, length)
            found.append(windows[windows[:, 0] != windows[:, -1]])
    return np.concatenate(found) if found else np.empty((0, length), np.int64)
