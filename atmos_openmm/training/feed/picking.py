"""Which frames the rollouts of a draw take, their lags and temperatures; and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.sample import Sample

__all__ = [
    "EQUILIBRIUM_LAGS_PS",
    "STATIC_TEMPERATURE_KELVIN",
    "Picks",
    "lag_frames",
    "pick_dynamics",
    "pick_exchange",
    "pick_static",
    "read_picks",
]

EQUILIBRIUM_LAGS_PS = (1.0e3, 1.0e4)
"""Lags of frames without memory of each other: of a replica exchange, and single structures."""
STATIC_TEMPERATURE_KELVIN = 300.0
"""Temperature that structures without time are given."""
COLDEST_SHARE = 0.6
"""Share of replica-exchange rollouts that are at the coldest temperature whatever else is there."""


@dataclass(frozen=True)
class Picks:
    """Frames of B rollouts of L jumps, not yet read.

    Attributes
    ----------
    samples : tuple of Sample
    sample, frame : int64 [L + 1, B], or [1, B] for structures without time
        Number among `samples`, and frame of it.
    lag_ps, temperature_kelvin : float64 [L, B]
    lag_range_ps : (float, float)
        What the lags were drawn from.
    """

    samples: tuple[Sample, ...]
    sample: NDArray[np.int64]
    frame: NDArray[np.int64]
    lag_ps: NDArray[np.float64]
    temperature_kelvin: NDArray[np.float64]
    lag_range_ps: tuple[float, float]


def lag_frames(
    sample: Sample, jumps: int, lag_range_ps: tuple[float, float]
) -> tuple[float, float]:
    """Shortest and longest lag, in frames, that rollouts through a run of dynamics can have.

    The range is cut, so that lags stay log-uniform in what is left of it: a lag is at least one
    frame, and the longest is such that `jumps` of them fit into the run. (Lags that are shortened
    until they fit would pile up below the length of the run, and start at its beginning.) A range
    that lies beyond either end becomes that end.
    """
    longest = (sample.num_frames - 1) // jumps
    spacing = float(sample.spacing_ps or 0.0)
    low, high = (lag / spacing for lag in lag_range_ps)
    return min(max(low, 1.0), longest), min(max(high, 1.0), longest)


def pick_dynamics(
    rng: np.random.Generator,
    samples: Sequence[Sample],
    jumps: int,
    rollouts: int,
    lag_range_ps: tuple[float, float],
) -> Picks:
    """Draw rollouts through runs of real time.

    A run is drawn in proportion to its frames, each lag log-uniformly in the part of
    `lag_range_ps` that the run has (`lag_frames`), rounded to frames, and the start uniformly
    among those from which the rollout fits. Where no run has `jumps` + 1 frames, rollouts have as
    many jumps as the longest run allows.
    """
    most = max(s.num_frames for s in samples) - 1
    jumps = min(jumps, most)
    weight = np.array([s.num_frames if s.num_frames > jumps else 0 for s in samples], np.float64)
    sample = np.empty((jumps + 1, rollouts), np.int64)
    frame = np.empty((jumps + 1, rollouts), np.int64)
    lag = np.empty((jumps, rollouts))
    temperature = np.empty((jumps, rollouts))
    ranges = []
    for b in range(rollouts):
        k = int(rng.choice(len(samples), p=weight / weight.sum()))
        run = samples[k]
        assert run.spacing_ps is not None and run.temperature_kelvin is not None  # dynamics
        low, high = lag_frames(run, jumps, lag_range_ps)
        steps = np.rint(np.exp(rng.uniform(np.log(low), np.log(high), jumps))).astype(np.int64)
        start = int(rng.integers(0, run.num_frames - int(steps.sum())))
        sample[:, b] = k
        frame[:, b] = start + np.concatenate([[0], np.cumsum(steps)])
        lag[:, b] = steps * run.spacing_ps
        temperature[:, b] = run.temperature_kelvin
        ranges.append((np.rint(low) * run.spacing_ps, np.rint(high) * run.spacing_ps))
    span = (float(min(r[0] for r in ranges)), float(max(r[1] for r in ranges)))
    return Picks(tuple(samples), sample, frame, lag, temperature, span)


def pick_exchange(
    rng: np.random.Generator, samples: Sequence[Sample], jumps: int, rollouts: int
) -> Picks:
    """Draw rollouts of frames at one temperature of a replica exchange, independent of each other.

    The coldest temperature is taken more often (`COLDEST_SHARE`, and then as often as any other):
    it is the one that models are mostly asked for. Lags are log-uniform in `EQUILIBRIUM_LAGS_PS`.
    """
    kelvin = np.array([s.temperature_kelvin for s in samples], np.float64)
    lengths = np.array([s.num_frames for s in samples])
    coldest = np.flatnonzero(kelvin == kelvin.min())
    sample = np.empty((jumps + 1, rollouts), np.int64)
    temperature = np.empty((jumps, rollouts))
    for b in range(rollouts):
        wanted = coldest if rng.random() < COLDEST_SHARE else np.arange(len(samples))
        chosen = kelvin[wanted[int(rng.integers(len(wanted)))]]
        same = np.flatnonzero(kelvin == chosen)
        weight = lengths[same].astype(np.float64)
        sample[:, b] = rng.choice(same, size=jumps + 1, p=weight / weight.sum())
        temperature[:, b] = chosen
    frame = rng.integers(0, lengths[sample])
    lag = _lags_without_memory(rng, (jumps, rollouts))
    return Picks(tuple(samples), sample, frame, lag, temperature, EQUILIBRIUM_LAGS_PS)


def pick_static(rng: np.random.Generator, samples: Sequence[Sample], rollouts: int) -> Picks:
    """Draw a structure without time: one jump that leads to it, with a lag without memory."""
    k = int(rng.integers(len(samples)))
    frame = rng.integers(0, samples[k].num_frames, (1, rollouts))
    return Picks(
        tuple(samples),
        np.full((1, rollouts), k, np.int64),
        frame,
        _lags_without_memory(rng, (1, rollouts)),
        np.full((1, rollouts), STATIC_TEMPERATURE_KELVIN),
        EQUILIBRIUM_LAGS_PS,
    )


def _lags_without_memory(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    low, high = np.log(EQUILIBRIUM_LAGS_PS)
    return np.exp(rng.uniform(low, high, shape))


def read_picks(picks: Picks, atoms: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read the frames of a draw, and nothing else, in one read a sample.

    Parameters
    ----------
    picks : Picks
    atoms : int64 [A]
        Atoms that are wanted (`MoleculeFeatures.atom_indices`).

    Returns
    -------
    ndarray, shape (L + 1, B, A, 3), float32
        Positions in nm.

    Raises
    ------
    DataFileError
        The frames cannot be read.
    """
    found = np.empty((*picks.frame.shape, len(atoms), 3), np.float32)
    for k in np.unique(picks.sample):
        mine = picks.sample == k
        found[mine] = picks.samples[k].frames.read(picks.frame[mine])[:, atoms]
    return found
