"""Moves of one Context, tested by Metropolis: exact for any explicit density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..systems.openmm_bridge import constraint_arrays
from .acceptance import METROPOLIS
from .context_state import potential_energy
from .module_call import module_sizes
from .noise import (
    ACCEPTANCE_STREAM,
    TRIAL_ACCEPTANCE_STREAM,
    TRIAL_STREAM,
    NoiseStream,
)
from .propose import propose_frames
from .snapshot import Snapshot
from .torsion_moves import TorsionMoves

if TYPE_CHECKING:
    import openmm
    import torch

ACCEPTED = "accepted"

MODULE_ROUNDING_NM = 1e-5
"""What single precision may do to the lengths of bonds in a module's frame."""


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
    outcomes : tuple of str
        What came of each test with the System's energy: "accepted", "metropolis", or why there was
        none.
    drawn : tuple of (str, bool)
        Kind of each change of torsions that was drawn, and whether its own test was passed: with
        the System's energy, or in a series with that of the surrogate.
    """

    positions_nm: NDArray[np.float64]
    outcomes: tuple[str, ...]
    drawn: tuple[tuple[str, bool], ...]

    @property
    def moved(self) -> bool:
        """Whether any move was accepted."""
        return ACCEPTED in self.outcomes


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
        trial_energy = _energy_of(context, trial, groups)
        log_u = math.log(NoiseStream(seed, ACCEPTANCE_STREAM, number).uniform())
        # A NaN is no number that anything is less than.
        accepted = log_u < (energy - trial_energy) / thermal + move.log_ratio
        drawn.append((move.kind, accepted))
        if accepted:
            positions, angles, energy = trial, move.angles, trial_energy
    outcomes = tuple(_outcome(accepted) for _, accepted in drawn)
    return MovedFrame(positions, outcomes, tuple(drawn))


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
            end_energy = _energy_of(context, end, groups)
            log_u = math.log(NoiseStream(seed, ACCEPTANCE_STREAM, number).uniform())
            off = (energy - end_energy) - (begin_surrogate - end_surrogate)
            passed = log_u < off / thermal
            if passed:
                positions, energy = end, end_energy
        outcomes.append(_outcome(passed))
    return MovedFrame(positions, tuple(outcomes), tuple(drawn))


class ModuleMoves:
    """Makes moves that a bound module proposes together with their `log_ratio`.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        Without a state.
    system : openmm.System
    solute : int64 [A]
        Particle of each atom of the module.
    lag_ps : float
    threads : int
        Of torch.

    Raises
    ------
    ValueError
        If the module has a state: its ratio cannot be that of a way back.
    """

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        system: openmm.System,
        solute: NDArray[np.int64],
        lag_ps: float,
        threads: int = 1,
    ) -> None:
        size = module_sizes(module).state_size
        if size > 0:
            raise ValueError(
                f"The module remembers a state of {size} numbers, so that its log_ratio cannot be "
                "that of a way back. Give torsions and their density, or a module without state."
            )
        self._module, self._solute, self._threads = module, solute, threads
        self._lag_ps = lag_ps
        pairs, lengths = constraint_arrays(system)
        touching = np.isin(pairs, solute).any(axis=1)
        self._constrained, self._lengths_nm = pairs[touching], lengths[touching]

    def make(
        self,
        context: openmm.Context,
        before: Snapshot,
        count: int,
        temperature_k: float,
        seed: int,
        attempt: int,
    ) -> MovedFrame:
        """Make moves one after the other; see :func:`make_moves`.

        A frame lies as near to the old one as it can, and so would the old one to it: the way back
        is the same.

        Raises
        ------
        RuntimeError
            If the module fails.
        """
        groups = context.getIntegrator().getIntegrationForceGroups()
        thermal = GAS_CONSTANT_KJ_PER_MOL_K * temperature_k
        positions, energy = before.positions_nm, before.energy_kj_per_mol
        outcomes = []
        for number in range(attempt, attempt + count):
            frames = propose_frames(
                self._module,
                positions[None, self._solute],
                np.zeros((1, 0), dtype=np.float32),
                [(seed, number)],
                self._lag_ps,
                temperature_k,
                self._threads,
            )
            ratio = float(frames.log_ratios[0])
            if not (np.isfinite(frames.positions_nm).all() and math.isfinite(ratio)):
                outcomes.append("nonfinite")
                continue
            trial = positions.copy()
            trial[self._solute] = frames.positions_nm[0]
            if self._broken(trial):
                outcomes.append("constraints")
                continue
            trial_energy = _energy_of(context, trial, groups)
            log_u = math.log(NoiseStream(seed, ACCEPTANCE_STREAM, number).uniform())
            accepted = log_u < (energy - trial_energy) / thermal + ratio
            outcomes.append(_outcome(accepted))
            if accepted:
                positions, energy = trial, trial_energy
        return MovedFrame(positions, tuple(outcomes), ())

    def _broken(self, positions: NDArray[np.float64]) -> bool:
        first, second = self._constrained.T
        actual = np.linalg.norm(positions[first] - positions[second], axis=1)
        return bool((np.abs(actual - self._lengths_nm) > MODULE_ROUNDING_NM).any())


def _energy_of(context: openmm.Context, positions: NDArray[np.float64], groups: int) -> float:
    context.setPositions(positions)
    context.computeVirtualSites()
    return potential_energy(context, groups)


def _outcome(accepted: bool) -> str:
    return ACCEPTED if accepted else METROPOLIS
