"""Transitions between basins of a torsion, counted so that recrossings do not count.

A frame belongs to the core that was visited last (transition-based assignment; Buchete and
Hummer 2008, Schuette et al. 2011 call the cores milestones). A trajectory that only touches the
region between two cores, however often it crosses the dividing line there, makes no transition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Core:
    """One core set: an interval of a torsion in degrees; `low` > `high` wraps over 180."""

    name: str
    low_degrees: float
    high_degrees: float

    def contains(self, angles: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each angle, in radians, lies in the core."""
        degrees = (np.degrees(np.asarray(angles, dtype=np.float64)) + 180) % 360 - 180
        if self.low_degrees <= self.high_degrees:
            inside = (degrees >= self.low_degrees) & (degrees <= self.high_degrees)
        else:
            inside = (degrees >= self.low_degrees) | (degrees <= self.high_degrees)
        return np.asarray(inside)


# The basins of phi of an L residue that is not glycine or proline: beta, polyproline and alpha-R
# lie at phi < 0, alpha-L and C7ax at phi > 0. The dividing ridges are at 0 and near +130 degrees;
# beta structures reach over 180, so +-180 is no ridge. Cores keep 30 degrees from both ridges.
PHI_CORES = (Core("phi<0", 160.0, -30.0), Core("phi>0", 30.0, 100.0))

UNASSIGNED = -1


def assign_cores(angles: NDArray[Any], cores: Sequence[Core] = PHI_CORES) -> NDArray[np.int64]:
    """Number of the core that was visited last, for each frame of one trajectory.

    Parameters
    ----------
    angles : array [F]
        Radians, in the order of time.
    cores : sequence of Core
        Disjoint.

    Returns
    -------
    int64 array [F]
        Core numbers. Frames before the first visit to a core are -1.
    """
    angles = np.asarray(angles, dtype=np.float64)
    if angles.ndim != 1:
        raise ValueError(f"angles have shape {angles.shape}, expected one torsion, [frames]")
    visited = np.full(len(angles), UNASSIGNED, dtype=np.int64)
    for number, core in enumerate(cores):
        inside = core.contains(angles)
        if np.any(inside & (visited != UNASSIGNED)):
            raise ValueError(f"core {core.name!r} overlaps an earlier one; cores must be disjoint")
        visited[inside] = number
    # Index of the last frame inside any core, carried forward.
    last = np.maximum.accumulate(np.where(visited != UNASSIGNED, np.arange(len(angles)), -1))
    return np.where(last >= 0, visited[np.maximum(last, 0)], UNASSIGNED)


@dataclass(frozen=True)
class TransitionCount:
    """Transitions between cores.

    Attributes
    ----------
    counts : int64 array [S, S]
        counts[i, j] transitions from core i to core j; zero diagonal.
    fractions : float64 array [S]
        Share of the assigned frames that belongs to each core.
    names : tuple of str
        S names.
    """

    counts: NDArray[np.int64]
    fractions: NDArray[np.float64]
    names: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of transitions in all directions."""
        return int(self.counts.sum())


def count_transitions(trajectories: Iterable[NDArray[Any]]) -> TransitionCount:
    """Count transitions between `PHI_CORES` in trajectories [F] of phi (rad), none across two."""
    counts = np.zeros((len(PHI_CORES), len(PHI_CORES)), dtype=np.int64)
    frames = np.zeros(len(PHI_CORES), dtype=np.float64)
    for angles in trajectories:
        states = assign_cores(angles)
        states = states[states != UNASSIGNED]
        frames += np.bincount(states, minlength=len(PHI_CORES))
        changed = states[1:] != states[:-1]
        np.add.at(counts, (states[:-1][changed], states[1:][changed]), 1)
    total = frames.sum()
    return TransitionCount(
        counts, frames / total if total else frames, tuple(core.name for core in PHI_CORES)
    )


@dataclass(frozen=True)
class Rate:
    """A rate of events a second with its exact 95 % Poisson interval.

    `per_second` is events/seconds; `low` and `high` bound it (Garwood 1936). With no event, `low`
    is 0 and `high` the one-sided bound -ln(0.05)/seconds, about 3/seconds.
    """

    events: int
    seconds: float
    per_second: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.events == 0:
            return f"< {self.high:.2g}"
        return f"{self.per_second:.3g} ({self.low:.2g} to {self.high:.2g})"


def event_rate(events: int, seconds: float) -> Rate:
    """Rate of `events` independent events seen in `seconds` of wall clock.

    Raises
    ------
    ValueError
        If the time is not positive or the number negative.
    """
    if not seconds > 0 or events < 0:
        raise ValueError(
            f"found {events} events in {seconds} s; expected at least 0 events in a positive time"
        )
    if events == 0:
        return Rate(0, seconds, 0.0, 0.0, float(-np.log(0.05)) / seconds)
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * events) / 2
    high = chi2.ppf(0.975, 2 * events + 2) / 2
    return Rate(events, seconds, events / seconds, float(low) / seconds, float(high) / seconds)


@dataclass(frozen=True)
class RateRatio:
    """Ratio of two rates with its 95 % interval; `is_lower_bound` where the second saw no event."""

    value: float
    low: float
    high: float
    is_lower_bound: bool

    def __str__(self) -> str:
        if self.is_lower_bound:
            return f"> {self.value:.3g}"
        return f"{self.value:.3g} ({self.low:.2g} to {self.high:.2g})"


def rate_ratio(first: Rate, second: Rate) -> RateRatio:
    """Ratio first/second of two Poisson rates.

    Given the total number of events, the first's share is binomial with probability
    r t1/(r t1 + t2), so the exact (Clopper-Pearson) interval of that probability gives the
    interval of the ratio r. Where the second rate saw no event the value is the one-sided 95 %
    lower bound of the ratio.
    """
    from scipy.stats import binomtest

    n, m = first.events, second.events

    def ratio(share: float) -> float:
        if share >= 1:
            return float("inf")
        return share / (1 - share) * second.seconds / first.seconds

    if m == 0:
        exact = binomtest(n, n, alternative="greater").proportion_ci(0.95) if n else None
        bound = ratio(float(exact.low)) if exact else 0.0
        return RateRatio(bound, bound, float("inf"), True)
    exact = binomtest(n, n + m).proportion_ci(0.95)
    low, high = ratio(float(exact.low)), ratio(float(exact.high))
    return RateRatio(first.per_second / second.per_second, low, high, False)
