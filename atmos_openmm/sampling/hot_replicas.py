"""Hot replicas of the walkers of an exact run, which exchange configurations with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..jump.noise import walker_seed
from .exact_walker import ExactWalker, exact_integrator
from .exchange import ReplicaLadder
from .hybrid_settings import MOST_TEMPERATURES, Moves
from .moving_walker import MovingWalker, UnstableDynamicsError, thermostat_seed

if TYPE_CHECKING:
    from ..density import TorsionDensity
    from ..systems.torsions import Torsions
    from .run_mode import Sampled

#: Between the seeds of walkers and those of hot replicas.
_REPLICA_STREAM = 5000011


class HotReplica(MovingWalker):
    """A replica above a walker: it moves as that does, and keeps no frames."""

    def run_cycle(self) -> None:
        """Moves, if they are due, and `interval` steps of dynamics.

        Raises
        ------
        UnstableDynamicsError
            If dynamics breaks down.
        """
        state, problem = self._advance(self._interval)
        if state is None:
            kelvin = self.integrator.getTemperature()._value
            raise UnstableDynamicsError(
                f"Molecular dynamics of the replica of walker {self.index} at {kelvin:g} K broke "
                f"down ({problem}). Use a shorter time step or a lower temperature. Frames up to "
                "the last commit are safe."
            )


class WalkerLadder:
    """A walker, the replicas above it, and their exchanges after each cycle.

    Parameters
    ----------
    walker : ExactWalker
        The coldest, which gives the frames.
    sampled : Sampled
    moves : Moves
        With temperatures above that of the run.
    torsions : Torsions
    density : TorsionDensity
        What all of them draw from.
    """

    def __init__(
        self,
        walker: ExactWalker,
        sampled: Sampled,
        moves: Moves,
        torsions: Torsions,
        density: TorsionDensity,
    ) -> None:
        self._walker = walker
        self._seed = sampled.plan.seed
        self.replicas = []
        for rung, kelvin in enumerate(moves.hot_k, start=1):
            dynamics = replace(sampled.plan.dynamics, temperature_k=kelvin)
            hot = replace(sampled, plan=replace(sampled.plan, dynamics=dynamics))
            integrator = exact_integrator(hot, moves, torsions, density)
            integrator.setJumpSeed(walker_seed(self._seed, self._number(rung)))
            integrator.setRandomNumberSeed(thermostat_seed(self._seed, self._number(rung)))
            context = sampled.context(integrator, walker.index)
            self.replicas.append(
                HotReplica(
                    walker.index,
                    context,
                    integrator,
                    interval=moves.interval,
                    report=moves.interval,
                    periodic=sampled.periodic,
                )
            )
        contexts = [walker.context, *(replica.context for replica in self.replicas)]
        temperatures = [sampled.plan.dynamics.temperature_k, *moves.hot_k]
        self.exchanges = ReplicaLadder(
            contexts, temperatures, walker_seed(self._seed, self._number(0))
        )

    def _number(self, rung: int) -> int:
        return _REPLICA_STREAM + MOST_TEMPERATURES * self._walker.index + rung

    def start(self) -> None:
        """Put every replica where the walker is, with velocities of its own temperature."""
        positions = self._walker.context.getState(positions=True).getPositions(asNumpy=True)
        for rung, replica in enumerate(self.replicas, start=1):
            replica.context.setPositions(positions)
            kelvin = replica.integrator.getTemperature()
            seed = walker_seed(self._seed, self._number(rung))
            replica.context.setVelocitiesToTemperature(kelvin, seed)

    def run_cycle(self, cycle: int) -> None:
        """A cycle of the replicas, after one of the walker; then exchanges."""
        for replica in self.replicas:
            replica.run_cycle()
        self.exchanges.exchange(cycle)

    def restore(self, contexts: Sequence[bytes], counters: dict[str, Any]) -> None:
        """Go to where it was."""
        for replica, context in zip(self.replicas, contexts, strict=True):
            replica.context.loadCheckpoint(context)
        self.exchanges.restore(counters)
