"""One walker of an exact run: a Context whose integrator turns torsions, tested by Metropolis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..jump.acceptance import METROPOLIS
from ..jump.context_state import state_box, state_positions
from ..jump.noise import walker_seed
from ..jump.torsion_moves import MOVE_KINDS, SERIES
from .exact_storage import frame_dtype, move_dtype
from .hybrid_settings import Moves
from .moving_walker import MovingWalker, UnstableDynamicsError, thermostat_seed
from .run_mode import Sampled

if TYPE_CHECKING:
    import openmm

    from ..density import TorsionDensity
    from ..integrator import AtmosIntegrator
    from ..systems.torsions import Torsions


class ExactWalker(MovingWalker):
    """Runs cycles of some moves and `interval` steps; keeps records until they are committed.

    Parameters
    ----------
    torsions : Torsions
        Measured on every frame.
    others
        See `MovingWalker`.
    """

    def __init__(
        self,
        index: int,
        context: openmm.Context,
        integrator: AtmosIntegrator,
        torsions: Torsions,
        *,
        interval: int,
        report: int,
        periodic: bool,
    ) -> None:
        self.frame_rows: list[tuple[Any, ...]] = []
        self.move_rows: list[tuple[Any, ...]] = []
        self._torsions = torsions
        super().__init__(
            index, context, integrator, interval=interval, report=report, periodic=periodic
        )
        self._counts = self._count()

    def restore(self, state: Any) -> None:
        """Go to where it was, with nothing that waits to be committed."""
        super().restore(state)
        self._counts = self._count()

    def forget(self) -> None:
        """Drop frames and rows: they are committed."""
        super().forget()
        self.frame_rows, self.move_rows = [], []

    def follow(self, other: ExactWalker) -> None:
        """Go to where another walker is."""
        state = other.context.getState(positions=True, velocities=True)
        self.context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
        self.context.setPositions(state.getPositions(asNumpy=True))
        self.context.setVelocities(state.getVelocities(asNumpy=True))

    @property
    def frame_count(self) -> int:
        """Frames in its trajectory, and those that wait."""
        return self._frame_count

    def statistics(self) -> dict[str, tuple[int, int]]:
        """Proposed and accepted moves by kind, since the beginning of the run.

        Where moves are series, their trials are counted by kind, as the surrogate tested them.
        """
        found = self.integrator.getMoveStatistics()
        pairs = {kind: found.get(kind, (0, 0)) for kind in MOVE_KINDS}
        pairs[SERIES] = self.integrator.getSeriesStatistics()
        return {kind: (int(proposed), int(taken)) for kind, (proposed, taken) in pairs.items()}

    def tests(self) -> tuple[int, int]:
        """Moves or series that were tested with the energy, and those of them that passed."""
        return int(self.integrator.getNumProposed()), int(self.integrator.getNumAccepted())

    def trajectories(self) -> tuple[int, int]:
        """Proposed and accepted HMC trajectories."""
        proposed, accepted = self.integrator.getTrajectoryStatistics()
        return int(proposed), int(accepted)

    def run_cycle(self, cycle: int) -> None:
        """Moves, if they are due, and `interval` steps of dynamics.

        Raises
        ------
        UnstableDynamicsError
            If dynamics breaks down. Nothing is made again with another outcome: that would bend
            the averages.
        """
        end = self.step + self._interval
        while self.step < end:
            target = self._next_stop(end)
            state, problem = self._advance(target - self.step)
            if state is None:
                raise UnstableDynamicsError(
                    f"Molecular dynamics of walker {self.index} broke down after step {self.step} "
                    f"({problem}). Use a shorter time step, minimise the start, or check the force "
                    "field. Frames up to the last commit are safe."
                )
            self.step = target
            if target % self._report == 0:
                self._record_frame(cycle, state)
        now, before = self._count(), self._counts
        self._counts = now
        moves = now - before
        tested, accepted = moves[-1].tolist()
        hmc = accepted if tested else -1
        self.move_rows.append((self.index, cycle, moves[:-1, 0], moves[:-1, 1], hmc))

    def new_rows(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What is new, as rows of the tables of moves and of frames."""
        moves = np.array(self.move_rows, dtype=move_dtype())
        frames = np.zeros(len(self.frame_rows), dtype=frame_dtype(len(self._torsions)))
        if self.frame_rows:
            columns = (frames.dtype.names or ())[:-1]
            for column, values in zip(columns, zip(*self.frame_rows, strict=True), strict=True):
                frames[column] = values
            frames["torsions"] = self._torsions.measure(np.stack([x for x, _ in self.frames]))
        return moves, frames

    def _count(self) -> NDArray[np.int64]:
        """Proposed and accepted [9, 2] of each kind of move, of series and of trajectories."""
        return np.array([*self.statistics().values(), self.trajectories()], dtype=np.int64)

    def _record_frame(self, cycle: int, state: openmm.State) -> None:
        self.frames.append((state_positions(state), state_box(state) if self._periodic else None))
        self.frame_rows.append(
            (
                self.index,
                cycle,
                self._frame_count,
                self.step,
                float(state.getPotentialEnergy()._value),
                float(state.getKineticEnergy()._value),
            )
        )
        self._frame_count += 1


def create_exact_walkers(
    sampled: Sampled, moves: Moves, torsions: Torsions, density: TorsionDensity
) -> list[ExactWalker]:
    """Contexts with their integrators, at the start positions, without velocities."""
    seed = sampled.plan.seed
    walkers = []
    for index in range(len(sampled.starts_nm)):
        integrator = exact_integrator(sampled, moves, torsions, density)
        integrator.setJumpSeed(walker_seed(seed, index))
        integrator.setRandomNumberSeed(thermostat_seed(seed, index))
        walkers.append(
            ExactWalker(
                index,
                sampled.context(integrator, index),
                integrator,
                torsions,
                interval=moves.interval,
                report=sampled.plan.report,
                periodic=sampled.periodic,
            )
        )
    return walkers


def exact_integrator(
    sampled: Sampled, moves: Moves, torsions: Torsions, density: TorsionDensity
) -> AtmosIntegrator:
    """An integrator that makes the moves of a plan."""
    from ..integrator import AtmosIntegrator

    dynamics = sampled.plan.dynamics
    integrator = AtmosIntegrator(dynamics.temperature_k, dynamics.friction_per_ps, dynamics.step_ps)
    integrator.setAcceptanceMode(METROPOLIS)
    integrator.setTorsionMoves(torsions, density)
    integrator.setMovesPerJump(moves.count)
    integrator.setTrialsPerMove(moves.trials)
    if moves.shares is not None:
        integrator.setMoveShares(moves.shares)
    integrator.setDynamics(moves.dynamics)
    integrator.setJumpInterval(moves.interval)
    return integrator
