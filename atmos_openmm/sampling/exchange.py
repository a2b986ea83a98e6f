"""A ladder of replicas at several temperatures that exchange configurations by Metropolis' test.

With Langevin (middle) dynamics positions and velocities are independent in the middle of the step,
at x_half = x - v dt/2, where velocities are Maxwell's. Configurations are exchanged there: with
velocities scaled by sqrt(T'/T), Maxwell's at the new temperature, kinetic energies cancel, and the
test on U(x_half) alone leaves the product of the replicas' distributions as it is. The one error
is the integrator's: of second order in the time step, in the distribution at x_half. Between HMC
trajectories, positions are samples and velocities are drawn anew: they are exchanged as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..jump.noise import EXCHANGE_STREAM, NoiseStream

if TYPE_CHECKING:
    import openmm


class ReplicaLadder:
    """Contexts of one System without barostat or box, from the coldest to the hottest.

    Parameters
    ----------
    contexts : sequence of openmm.Context
        Each with its integrator, at its temperature.
    temperatures_k : sequence of float
        Rising.
    seed : int
        Of the exchanges.
    middle : bool
        Whether to exchange in the middle of the step (Langevin), or at its end (HMC).

    Attributes
    ----------
    tried, accepted : int64 [R - 1]
        Exchanges of each pair of neighbours.
    configurations : int64 [R]
        The number of the start that each replica's configuration has come from.
    round_trips : int
        Ways of configurations from the coldest replica to the hottest and back.

    Raises
    ------
    ValueError
        The temperatures do not rise, there are not as many as contexts, or the System has a box.
    """

    def __init__(
        self,
        contexts: Sequence[openmm.Context],
        temperatures_k: Sequence[float],
        seed: int,
        *,
        middle: bool = True,
    ) -> None:
        kelvin = [float(value) for value in temperatures_k]
        if len(kelvin) < 2 or kelvin[0] <= 0 or not np.all(np.diff(kelvin) > 0):
            raise ValueError(
                f"Temperatures are {kelvin} K: give two or more that rise from above 0."
            )
        if len(contexts) != len(kelvin):
            raise ValueError(
                f"There are {len(contexts)} contexts and {len(kelvin)} temperatures: give one each."
            )
        if contexts[0].getSystem().usesPeriodicBoundaryConditions():
            raise ValueError("The System has a periodic box: exchanges need one without.")
        self._contexts = list(contexts)
        self._temperatures = kelvin
        self._seed = seed
        self._middle = middle
        self.tried = np.zeros(len(kelvin) - 1, dtype=np.int64)
        self.accepted = np.zeros(len(kelvin) - 1, dtype=np.int64)
        self.configurations = np.arange(len(kelvin))
        self.round_trips = 0
        # By configuration: 0 it has been nowhere, 1 at the coldest last, 2 at the hottest since.
        self._way = np.zeros(len(kelvin), dtype=np.int64)
        self._follow_ways()

    def exchange(self, cycle: int) -> list[tuple[int, int]]:
        """Test the even pairs of neighbours, or the odd ones after odd cycles.

        Returns
        -------
        list of (int, int)
            The pairs that exchanged their configurations.
        """
        noise = NoiseStream(self._seed, EXCHANGE_STREAM, cycle)
        swapped = []
        for cold in range(cycle % 2, len(self._contexts) - 1, 2):
            self.tried[cold] += 1
            if self._exchange_pair(cold, math.log(noise.uniform())):
                self.accepted[cold] += 1
                pair = [cold, cold + 1]
                self.configurations[pair] = self.configurations[pair[::-1]]
                swapped.append((cold, cold + 1))
        self._follow_ways()
        return swapped

    def _exchange_pair(self, cold: int, log_u: float) -> bool:
        pair = (cold, cold + 1)
        before = [_positions_velocities(self._contexts[replica]) for replica in pair]
        points = [
            self._to_point(replica, *state) for replica, state in zip(pair, before, strict=True)
        ]
        temperatures = [self._temperatures[replica] for replica in pair]
        energies = [energy for _, energy in points]
        if not log_u < exchange_log_ratio(*energies, *temperatures):
            for replica, (x, v) in zip(pair, before, strict=True):
                self._contexts[replica].setPositions(x)
                self._contexts[replica].setVelocities(v)
            return False
        for replica, other in ((0, 1), (1, 0)):
            scale = math.sqrt(temperatures[replica] / temperatures[other])
            self._set(pair[replica], points[other][0], before[other][1] * scale)
        return True

    def _to_point(
        self, replica: int, x: NDArray[np.float64], v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Where positions and velocities are independent, and the potential energy there."""
        context = self._contexts[replica]
        if self._middle:
            _place(context, x - 0.5 * _step_ps(context) * v)
        state = context.getState(
            positions=True, energy=True, groups=context.getIntegrator().getIntegrationForceGroups()
        )
        return state.getPositions(asNumpy=True)._value, float(state.getPotentialEnergy()._value)

    def _set(self, replica: int, point: NDArray[np.float64], v: NDArray[np.float64]) -> None:
        context = self._contexts[replica]
        if self._middle:
            _place(context, point + 0.5 * _step_ps(context) * v)
        else:
            context.setPositions(point)
        context.setVelocities(v)

    def _follow_ways(self) -> None:
        coldest, hottest = self.configurations[0], self.configurations[-1]
        if self._way[coldest] == 2:
            self.round_trips += 1
        self._way[coldest] = 1
        if self._way[hottest] == 1:
            self._way[hottest] = 2


def exchange_log_ratio(
    energy_a: float, energy_b: float, temperature_a_k: float, temperature_b_k: float
) -> float:
    """Log of the ratio that Metropolis' test of an exchange asks for; energies in kJ/mol.

    An energy that is not finite is never exchanged.
    """
    if not (math.isfinite(energy_a) and math.isfinite(energy_b)):
        return -math.inf
    inverse = (1 / temperature_a_k - 1 / temperature_b_k) / GAS_CONSTANT_KJ_PER_MOL_K
    return inverse * (energy_a - energy_b)


def _step_ps(context: openmm.Context) -> float:
    return float(context.getIntegrator().getStepSize()._value)


def _positions_velocities(
    context: openmm.Context,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    state = context.getState(positions=True, velocities=True)
    return state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value


def _place(context: openmm.Context, x: NDArray[np.float64]) -> None:
    """Set positions, with constraints and virtual sites."""
    context.setPositions(x)
    context.applyConstraints(context.getIntegrator().getConstraintTolerance())
    context.computeVirtualSites()
