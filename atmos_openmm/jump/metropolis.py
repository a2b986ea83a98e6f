"""Torsional moves of one Context, tested by Metropolis: exact for any density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from .context_state import potential_energy
from .noise import (
    ACCEPTANCE_STREAM,
    TRIAL_ACCEPTANCE_STREAM,
    TRIAL_STREAM,
    NoiseStream,
)
from .snapshot import Snapshot
from .torsion_moves import TorsionMoves

if TYPE_CHECKING:
    import openmm


class Surrogate(Protocol):
    """A fast approximation of the energy."""

    def evaluate(
        self, positions_nm: NDArray[np.float64], box_nm: NDArray[np.float64] | None = None
    ) -> float:
        """Energy (kJ/mol) of positions [P, 3] in a box [3, 3], up to a constant."""
        ...


@dataclass(frozen=True, eq=False)
class MovedFrame:
    """Where a number of moves ended.

    Attributes
    ----------
    positions_nm : float64 [P, 3]
        Virtual sites are not placed.
    outcomes : tuple of bool
        Whether each test with the System's energy was passed.
    drawn : tuple of (str, bool)
        Kind of each change of torsions that was drawn, and whether its own test was passed: with
        the System's energy, or in a series with that of the surrogate.
    """

    positions_nm: NDArray[np.float64]
    outcomes: tuple[bool, ...]
    drawn: tuple[tuple[str, bool], ...]

    @property
    def moved(self) -> bool:
        """Whether any move was accepted."""
        return any(self.outcomes)


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
    drawn = []
    for number in range(attempt, attempt + count):
        move = moves.propose(angles, seed, number)
        trial = moves.apply(positions, angles, move)
        context.setPositions(trial)
        context.computeVirtualSites()
        trial_energy = potential_energy(context, groups)
        log_u = math.log(NoiseStream(seed, ACCEPTANCE_STREAM, number).uniform())
        # A NaN is no number that anything is less than.
        accepted = log_u < (energy - trial_energy) / thermal + move.log_ratio
        drawn.append((move.kind, accepted))
        if accepted:
            positions, angles, energy = trial, move.angles, trial_energy
    return MovedFrame(positions, tuple(accepted for _, accepted in drawn), tuple(drawn))


def make_series(
    context: openmm.Context,
    before: Snapshot,
    moves: TorsionMoves,
    surrogate: Surrogate,
    count: int,
    trials: int,
    temperature_k: float,
    seed: int,
    attempt: int,
    trial: int,
) -> MovedFrame:
    """Make moves one after the other, each a series of trials that a surrogate tests.

    Trials of random kinds are reversible for the surrogate's distribution, and so is a series of
    them. Its ends are then in detailed balance for the System's by the difference of the two
    energies (Iftimie et al., J. Chem. Phys. 113, 4852 (2000); Gelb, J. Chem. Phys. 118, 7747
    (2003)), whatever the surrogate.

    Parameters
    ----------
    context : openmm.Context
        Its positions are those of the last series afterwards.
    before : Snapshot
        Of the Context.
    moves : TorsionMoves
    surrogate : Surrogate
    count, trials : int
        How many series, and trials in each.
    temperature_k : float
    seed : int
    attempt, trial : int
        Numbers of the first series and trial; they select the noise.
    """
    groups = context.getIntegrator().getIntegrationForceGroups()
    thermal = GAS_CONSTANT_KJ_PER_MOL_K * temperature_k
    positions, energy = before.positions_nm, before.energy_kj_per_mol
    outcomes, drawn = [], []
    for number in range(attempt, attempt + count):
        end, angles = positions, moves.torsions.measure(positions)
        begin_surrogate = end_surrogate = surrogate.evaluate(positions, before.box_nm)
        changed = False
        for _ in range(trials):
            move = moves.propose(angles, seed, trial, TRIAL_STREAM)
            turned = moves.apply(end, angles, move)
            turned_energy = surrogate.evaluate(turned, before.box_nm)
            log_u = math.log(NoiseStream(seed, TRIAL_ACCEPTANCE_STREAM, trial).uniform())
            accepted = log_u < (end_surrogate - turned_energy) / thermal + move.log_ratio
            drawn.append((move.kind, accepted))
            if accepted:
                end, angles, end_surrogate, changed = turned, move.angles, turned_energy, True
            trial += 1
        passed = False
        if changed:
            context.setPositions(end)
            context.computeVirtualSites()
            end_energy = potential_energy(context, groups)
            log_u = math.log(NoiseStream(seed, ACCEPTANCE_STREAM, number).uniform())
            off = (energy - end_energy) - (begin_surrogate - end_surrogate)
            passed = log_u < off / thermal
            if passed:
                positions, energy = end, end_energy
        outcomes.append(passed)
    return MovedFrame(positions, tuple(outcomes), tuple(drawn))
