"""Where a rollout is: all that its next frame depends on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rollout_attempt import Attempt


@dataclass
class RolloutState:
    """Where a rollout of W walkers of A atoms is: all that its next frame depends on, and sums.

    Attributes
    ----------
    frames, attempts, failures : int64 [W]
        frames written; attempts made in all; attempts in a row that gave no frame
    positions_nm : float64 [W, A, 3]
        the last frame of each
    latents : float32 [W, S]
        the latent state after it
    reasons : Counter
        attempts by verdict
    largest_h : float
        largest component of any latent so far, in absolute value
    rmsd_sum_nm : float
        sum of the RMSD between frames that follow each other
    walltime_s : float
        time spent by all processes that worked on the rollout
    restarts : int
        how often a walker went back to its start
    """

    frames: NDArray[np.int64]
    attempts: NDArray[np.int64]
    failures: NDArray[np.int64]
    positions_nm: NDArray[np.float64]
    latents: NDArray[np.float32]
    reasons: Counter[str]
    largest_h: float = 0.0
    rmsd_sum_nm: float = 0.0
    walltime_s: float = 0.0
    restarts: int = 0

    @staticmethod
    def start(positions_nm: NDArray[np.float64], state_size: int) -> RolloutState:
        """No frames yet, and no history."""
        walkers = len(positions_nm)
        return RolloutState(
            frames=np.zeros(walkers, dtype=np.int64),
            attempts=np.zeros(walkers, dtype=np.int64),
            failures=np.zeros(walkers, dtype=np.int64),
            positions_nm=positions_nm.copy(),
            latents=np.zeros((walkers, state_size), dtype=np.float32),
            reasons=Counter(),
        )

    @property
    def done(self) -> int:
        """Frames that every walker has."""
        return int(self.frames.min())

    @property
    def due(self) -> NDArray[np.int64]:
        """The walkers that are behind: those of the next call of the network."""
        return np.flatnonzero(self.frames == self.frames.min())

    def take(self, walker: int, attempt: Attempt, written: bool) -> None:
        """Count an attempt, and go on from its frame if it is written."""
        self.attempts[walker] += 1
        self.reasons[attempt.reason] += 1
        if not written:
            self.failures[walker] += 1
            return
        self.positions_nm[walker] = attempt.positions_nm
        self.latents[walker] = attempt.latent
        self.frames[walker] += 1
        self.failures[walker] = 0
        self.rmsd_sum_nm += attempt.rmsd_nm
        self.largest_h = max(self.largest_h, attempt.largest_h)
