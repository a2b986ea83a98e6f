"""A ladder of replicas at several temperatures that exchange configurations by Metropolis' test.

With Langevin (middle) dynamics positions and velocities are independent in the middle of the step,
at x_half = x - v dt/2, where velocities are Maxwell's. Configurations are exchanged there: with
velocities scaled by sqrt(T'/T), Maxwell's at the new temperature, kinetic energies cancel, and the
test on U(x_half) alone leaves the product of the replicas' distributions as it is (Sugita and
Okamoto, Chem. Phys. Lett. 314, 141, 1999). The one error is the integrator's: of second order in
the time step, in the distribution at x_half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..jump.noise import EXCHANGE_STREAM, NoiseStream
from ..jump.snapshot import Snapshot
from ..jump.velocities import has_middle, leave_middle

if TYPE_CHECKING:
    import openmm


class ReplicaLadder:
    """Contexts of one System without barostat or box, from the coldest to the hottest.

    Parameters
    ----------
    contexts : sequence of openmm.Context
        Each with its Langevin integrator, at its temperature.
    temperatures_k : sequence of float
        Rising.
    seed : int
        Of the exchanges.

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
        The temperatures do not rise, there are not as many as contexts, the System has a box, or
        the dynamics is not Langevin's.
    """

    def __init__(
        self,
        contexts: Sequence[openmm.Context],
        temperatures_k: Sequence[float],
        seed: int,
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
        for context in contexts:
            integrator = context.getIntegrator()
            tested = getattr(integrator, "getDynamics", lambda: "")() == "hmc"
            if tested or not has_middle(integrator):
                kind = "HMC" if tested else type(integrator).__name__
                raise ValueError(
                    f"A replica moves by {kind}; exchanges are made in the middle of a step of "
                    "Langevin dynamics."
                )
        self._contexts = list(contexts)
        self._temperatures = kelvin
        self._seed = seed
        self.tried = np.zeros(len(kelvin) - 1, dtype=np.int64)
        self.accepted = np.zeros(len(kelvin) - 1, dtype=np.int64)
        self.configurations = np.arange(len(kelvin))
        self.round_trips = 0
        # By configuration: 0 it has been nowhere, 1 at the coldest last, 2 at the hottest since.
        self._way = np.zeros(len(kelvin), dtype=np.int64)
        self._follow_ways()

    def counters(self) -> dict[str, Any]:
        """What `restore` takes, as plain values."""
        return {
            "tried": self.tried.tolist(),
            "accepted": self.accepted.tolist(),
            "configurations": self.configurations.tolist(),
            "round_trips": self.round_trips,
            "ways": self._way.tolist(),
        }

    def restore(self, counters: Mapping[str, Any]) -> None:
        """Go on from what `counters` gave."""
        self.tried = np.array(counters["tried"], dtype=np.int64)
        self.accepted = np.array(counters["accepted"], dtype=np.int64)
        self.configurations = np.array(counters["configurations"])
        self.round_trips = int(counters["round_trips"])
        self._way = np.array(counters["ways"], dtype=np.int64)

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
        contexts = self._contexts[cold : cold + 2]
        temperatures = self._temperatures[cold : cold + 2]
        before = [Snapshot.of(context) for context in contexts]
        energies = [snapshot.energy_kj_per_mol for snapshot in before]
        if not log_u < exchange_log_ratio(*energies, *temperatures):
            for context, snapshot in zip(contexts, before, strict=True):
                snapshot.restore(context)
            return False
        for own, other in ((0, 1), (1, 0)):
            scale = math.sqrt(temperatures[own] / temperatures[other])
            contexts[own].setPositions(before[other].positions_nm)
            contexts[own].setVelocities(before[other].velocities * scale)
            leave_middle(contexts[own])
        return True

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
