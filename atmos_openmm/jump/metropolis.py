"""Torsional moves of one Context, tested by Metropolis: exact for any density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from .context_state import potential_energy
from .noise import ACCEPTANCE_STREAM, NoiseStream
from .snapshot import Snapshot
from .torsion_moves import TorsionMoves

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True, eq=False)
class MovedFrame:
    """Where a series of moves ended.

    Attributes
    ----------
    positions_nm : float64 [P, 3]
        Virtual sites are not placed.
    outcomes : tuple of (str, bool)
        Kind of each move, and whether it was accepted.
    """

    positions_nm: NDArray[np.float64]
    outcomes: tuple[tuple[str, bool], ...]

    @property
    def moved(self) -> bool:
        """Whether any move was accepted."""
        return any(accepted for _, accepted in self.outcomes)


def make_moves(
    context: openmm.Context,
    before: Snapshot,
    moves: TorsionMoves,
    count: int,
    temperature_k: float,
    seed: int,
    attempt: int,
) -> MovedFrame:
    """Make moves one after the other, each with one energy.

    Parameters
    ----------
    context : openmm.Context
        Its positions are those of the last trial afterwards.
    before : Snapshot
        Of the Context.
    moves : TorsionMoves
    count : int
        How many.
    temperature_k : float
    seed : int
    attempt : int
        Number of the first move; it selects the noise.
    """
    groups = context.getIntegrator().getIntegrationForceGroups()
    thermal = GAS_CONSTANT_KJ_PER_MOL_K * temperature_k
    positions, energy = before.positions_nm, before.energy_kj_per_mol
    angles = moves.torsions.measure(positions)
    outcomes = []
    for number in range(attempt, attempt + count):
        move = moves.propose(angles, seed, number)
        trial = moves.apply(positions, angles, move)
        context.setPositions(trial)
        context.computeVirtualSites()
        trial_energy = potential_energy(context, groups)
        log_u = math.log(NoiseStream(seed, ACCEPTANCE_STREAM, number).uniform())
        # A NaN is no number that anything is less than.
        accepted = log_u < (energy - trial_energy) / thermal + move.log_ratio
        outcomes.append((move.kind, accepted))
        if accepted:
            positions, angles, energy = trial, move.angles, trial_energy
    return MovedFrame(positions, tuple(outcomes))
