"""The jumps of a HybridDriver: judged proposals of a module, or moves by Metropolis."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..jump.acceptance import EnergyConditions, EnergyWindow, EnergyWindows
from ..jump.judge import Judge
from ..jump.metropolis import MovedFrame
from ..jump.proposal import Proposal
from ..jump.propose import ProposedFrames, propose_frames
from ..jump.snapshot import Snapshot
from ..jump.velocities import (
    carry_velocities,
    draw_velocities,
    has_middle,
    particle_masses,
    removes_drift,
)

if TYPE_CHECKING:
    import openmm
    import torch


@dataclass
class DriverWalker:
    """What persists between the jumps of one Context.

    Attributes
    ----------
    context : openmm.Context
    seed : int
    windows : EnergyWindows
    state : float32 [S]
        hidden state of the module
    given_temperature_k : float or None
        of the jumps; the integrator's where none was given
    attempts : int
        proposals or moves so far
    jumps : int
        jumps of the mode "metropolis" so far
    learned_time_ps : float
    reasons : Counter of str
        attempts by verdict
    tried, accepted : Counter of str
        moves by kind
    last : Proposal or None
        of a module
    """

    context: openmm.Context
    seed: int
    windows: EnergyWindows
    state: NDArray[np.float32]
    given_temperature_k: float | None = None
    attempts: int = 0
    jumps: int = 0
    learned_time_ps: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    last: Proposal | None = None

    @property
    def temperature_k(self) -> float:
        """Temperature of the jumps."""
        if self.given_temperature_k is not None:
            return self.given_temperature_k
        return float(self.context.getIntegrator().getTemperature()._value)

    @property
    def window(self) -> EnergyWindow:
        """The window at the present temperature and parameters."""
        return self.windows.use(EnergyConditions.of(self.context, self.temperature_k))


class JumpKind(Protocol):
    """One way to jump."""

    def jump(self, walkers: Sequence[DriverWalker]) -> None:
        """Make the jump that is due, for every walker."""
        ...


class JumpVelocities:
    """Gives Contexts of one System their velocities after an accepted jump.

    Parameters
    ----------
    system : openmm.System
    """

    def __init__(self, system: openmm.System) -> None:
        self.masses_da = particle_masses(system)
        self._remove_drift = removes_drift(system)

    def redraw(self, walker: DriverWalker, attempt: int) -> None:
        """Draw velocities from the walker's noise of this number."""
        draw_velocities(
            walker.context,
            self.masses_da,
            walker.temperature_k,
            walker.seed,
            attempt,
            self._remove_drift,
        )

    def carry(
        self,
        walker: DriverWalker,
        before: Snapshot,
        positions_nm: NDArray[np.float64],
        attempt: int,
    ) -> None:
        """Move a walker to other positions with the velocities that it has.

        An Integrator whose step has no middle gets new ones: its own are not independent of the
        positions, or not thermal at all.
        """
        if not has_middle(walker.context.getIntegrator()):
            walker.context.setPositions(positions_nm)
            walker.context.computeVirtualSites()
            self.redraw(walker, attempt)
            return
        carry_velocities(
            walker.context,
            before.positions_nm,
            positions_nm,
            before.velocities,
            self.masses_da,
            walker.temperature_k,
            walker.seed,
            attempt,
        )


class ModuleJumps:
    """Proposes one frame for every walker with one call of the module, and judges them.

    Parameters
    ----------
    module : torch.jit.ScriptModule
    solute : int64 [A]
    judge : Judge
    velocities : JumpVelocities
    lag_ps : float
    filtered : bool
        whether the energy window decides
    threads : int
        of the module
    """

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        solute: NDArray[np.int64],
        judge: Judge,
        velocities: JumpVelocities,
        lag_ps: float,
        filtered: bool,
        threads: int,
    ) -> None:
        self._module = module
        self._solute = solute
        self._judge = judge
        self._velocities = velocities
        self._lag_ps = lag_ps
        self._filtered = filtered
        self._threads = threads

    def jump(self, walkers: Sequence[DriverWalker]) -> None:
        """Propose one frame for every walker whose window is ready."""
        learned = [copy.deepcopy(walker.windows.known) for walker in walkers]
        snapshots = take_snapshots(walkers)
        for walker, snapshot in zip(walkers, snapshots, strict=True):
            walker.window.statistics.add(snapshot.energy_kj_per_mol)
        ready = []
        for walker, snapshot in zip(walkers, snapshots, strict=True):
            if not self._filtered or walker.window.ready:
                ready.append((walker, snapshot))
            else:
                snapshot.restore(walker.context)
        if not ready:
            return
        try:
            frames = propose_frames(
                self._module,
                np.stack([snapshot.positions_nm[self._solute] for _, snapshot in ready]),
                np.stack([walker.state for walker, _ in ready]),
                [(walker.seed, walker.attempts) for walker, _ in ready],
                self._lag_ps,
                [walker.temperature_k for walker, _ in ready],
                self._threads,
                fragments=self._judge.fragments,
            )
        except RuntimeError as error:
            import openmm

            for walker, snapshot, known in zip(walkers, snapshots, learned, strict=True):
                snapshot.restore(walker.context)
                walker.windows.known = known
            raise openmm.OpenMMException(str(error)) from None
        for row, (walker, snapshot) in enumerate(ready):
            self._settle(walker, snapshot, frames, row)

    def _settle(
        self, walker: DriverWalker, snapshot: Snapshot, frames: ProposedFrames, row: int
    ) -> None:
        """Judge a walker's frame; keep it with new velocities, or put everything back."""
        attempt = walker.attempts
        walker.attempts += 1
        window = walker.window if self._filtered else None
        proposal = self._judge.judge(walker.context, snapshot, frames, row, attempt, window)
        walker.last = proposal
        walker.reasons[proposal.reason] += 1
        if not proposal.accepted:
            snapshot.restore(walker.context)
            return
        walker.state = frames.states[row].copy()
        walker.learned_time_ps += self._lag_ps
        self._velocities.redraw(walker, attempt)


class MetropolisJumps:
    """Makes a number of moves of every walker, each tested by Metropolis.

    Parameters
    ----------
    make : function
        Makes the moves of one walker from a snapshot of its Context.
    count : int
        moves at a jump
    velocities : JumpVelocities
    """

    def __init__(
        self,
        make: Callable[[DriverWalker, Snapshot], MovedFrame],
        count: int,
        velocities: JumpVelocities,
    ) -> None:
        self._make = make
        self._count = count
        self._velocities = velocities

    def jump(self, walkers: Sequence[DriverWalker]) -> None:
        """Make the moves; where none was accepted, a walker goes on as if there had been none."""
        snapshots = take_snapshots(walkers)
        moved = []
        for walker, snapshot in zip(walkers, snapshots, strict=True):
            try:
                moved.append(self._make(walker, snapshot))
            except RuntimeError as error:
                import openmm

                for every, before in zip(walkers, snapshots, strict=True):
                    before.restore(every.context)
                raise openmm.OpenMMException(str(error)) from None
        for walker, snapshot, after in zip(walkers, snapshots, moved, strict=True):
            for kind, accepted in after.drawn:
                walker.tried[kind] += 1
                walker.accepted[kind] += accepted
            walker.reasons.update(after.outcomes)
            walker.attempts += self._count
            if after.moved:
                self._velocities.carry(walker, snapshot, after.positions_nm, walker.jumps)
            else:
                snapshot.restore(walker.context)
            walker.jumps += 1


def take_snapshots(walkers: Sequence[DriverWalker]) -> list[Snapshot]:
    """Bring every walker to the middle of its step.

    Raises
    ------
    openmm.OpenMMException
        if an energy there is not finite; every walker is then as it was
    """
    import openmm

    snapshots = [Snapshot.of(walker.context) for walker in walkers]
    energies = [snapshot.energy_kj_per_mol for snapshot in snapshots]
    broken = [index for index, energy in enumerate(energies) if not math.isfinite(energy)]
    if broken:
        for walker, snapshot in zip(walkers, snapshots, strict=True):
            snapshot.restore(walker.context)
        raise openmm.OpenMMException(
            f"The potential energy of walker {broken[0]} before a jump is not a finite number, so "
            "the dynamics has failed. Use a smaller step size, or minimize the starting positions."
        )
    return snapshots
