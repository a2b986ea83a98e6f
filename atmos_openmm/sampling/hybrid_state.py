"""Where a hybrid run is: all that it goes on from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WalkerState:
    """Where one walker is.

    Attributes
    ----------
    context : bytes
        OpenMM's checkpoint of its Context (and of the integrator with its counters).
    frames : int
        Frames in its trajectory.
    segment : int
        Number of its next MD segment.
    step : int
        MD steps made.
    energy_limit_kj_per_mol : float
        Last known limit of its energy window; infinite before there was one.
    """

    context: bytes
    frames: int
    segment: int
    step: int
    energy_limit_kj_per_mol: float


@dataclass(frozen=True)
class HybridState:
    """Where a hybrid run is, between two cycles.

    Attributes
    ----------
    cycle : int
        Cycles completed by every walker.
    walltime_s : float
        Time spent so far in all the processes that worked on the run.
    generated : int
        Valid generated frames so far.
    reasons : Counter
        Proposals by verdict.
    walkers : tuple of WalkerState
    replicas : tuple of bytes
        Checkpoints of the hot replicas of all walkers, one walker after the other.
    ladders : tuple of dict
        What each walker's exchanges have come to; empty without hot replicas.
    """

    cycle: int
    walltime_s: float
    generated: int
    reasons: Counter[str]
    walkers: tuple[WalkerState, ...]
    replicas: tuple[bytes, ...] = ()
    ladders: tuple[dict[str, Any], ...] = ()

    @property
    def done(self) -> int:
        """Cycles completed by every walker."""
        return self.cycle
