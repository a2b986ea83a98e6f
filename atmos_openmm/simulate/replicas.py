"""The copies of a molecule at all temperatures: what they are, and the Contexts that move them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..core.units import plain, positions_in_nm
from .packing import PackedSystem
from .simulation_settings import SimulationSettings

if TYPE_CHECKING:
    from openmm import Context, System

__all__ = ["FRICTION_PER_PS", "ReplicaState", "Replicas"]

FRICTION_PER_PS = 1.0
MINIMISER_ITERATIONS = 500
CONSTRAINT_TOLERANCE = 1e-6


@dataclass
class ReplicaState:
    """Everything the next chunk needs, for T temperatures of M copies of A atoms.

    Attributes
    ----------
    positions_nm, velocities : ndarray, shape (T, M, A, 3)
        nm, each copy centred; nm/ps.
    attempted, accepted : ndarray of int, shape (T - 1,)
        Exchanges of neighbouring temperatures.
    walkers : ndarray of int, shape (T, M)
        Which walker of its ladder stands at each temperature.
    round_trips : ndarray of int, shape (M,)
    direction : ndarray of int, shape (T, M)
        By walker: +1 last at the top, -1 at the bottom.
    """

    positions_nm: NDArray[np.float64]
    velocities: NDArray[np.float64]
    attempted: NDArray[np.int64]
    accepted: NDArray[np.int64]
    walkers: NDArray[np.int64]
    round_trips: NDArray[np.int64]
    direction: NDArray[np.int64]

    @staticmethod
    def fresh(positions_nm: NDArray[np.float64], velocities: NDArray[np.float64]) -> ReplicaState:
        """The state before the first exchange."""
        temperatures, copies = positions_nm.shape[:2]
        pairs = max(0, temperatures - 1)
        walkers = np.repeat(np.arange(temperatures)[:, None], copies, axis=1)
        return ReplicaState(
            positions_nm,
            velocities,
            np.zeros(pairs, np.int64),
            np.zeros(pairs, np.int64),
            walkers,
            np.zeros(copies, np.int64),
            np.zeros_like(walkers),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state as named arrays, for a chunk."""
        return {f"state_{f.name}": getattr(self, f.name) for f in fields(self)}

    @staticmethod
    def of(arrays: Mapping[str, NDArray[Any]]) -> ReplicaState:
        """The state that a chunk holds."""
        return ReplicaState(**{f.name: arrays[f"state_{f.name}"] for f in fields(ReplicaState)})

    def copy(self) -> ReplicaState:
        """A state whose arrays are its own."""
        return ReplicaState(*(getattr(self, f.name).copy() for f in fields(self)))


class Replicas:
    """The Contexts of one molecule: a packed one a temperature and a small one for energies.

    Parameters
    ----------
    settings : SimulationSettings
    single : openmm.System
        The molecule alone.
    packed : PackedSystem
        Its copies.
    threads : int
        Of the CPU platform.
    """

    def __init__(
        self,
        settings: SimulationSettings,
        single: System,
        packed: PackedSystem,
        threads: int,
    ) -> None:
        import openmm as mm

        self.settings = settings
        self.packed = packed
        platform = mm.Platform.getPlatform(settings.platform)
        properties = {"Threads": str(threads)} if settings.platform == "CPU" else {}
        self.contexts: list[Context] = []
        self.integrators: list[Any] = []
        for temperature in settings.temperatures:
            integrator = mm.LangevinMiddleIntegrator(
                temperature, FRICTION_PER_PS, settings.timestep_for(temperature) * 1e-3
            )
            self.integrators.append(integrator)
            self.contexts.append(mm.Context(packed.system, integrator, platform, properties))
        self.single = mm.Context(single, mm.VerletIntegrator(0.001), platform, properties)
        self.beta = 1.0 / (GAS_CONSTANT_KJ_PER_MOL_K * np.array(settings.temperatures))

    def seed(self, *key: Any) -> np.random.Generator:
        """Fresh random numbers for every Context, a function of the seed and the key alone."""
        for number, (context, integrator) in enumerate(
            zip(self.contexts, self.integrators, strict=True)
        ):
            integrator.setRandomNumberSeed(_derive(self.settings.seed, *key, number))
            context.reinitialize(preserveState=False)
        return np.random.Generator(np.random.Philox(_derive(self.settings.seed, *key, "exchange")))

    def potential_energies(self, copies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Potential energy in kJ/mol of each copy [..., A, 3] alone, without a cutoff."""
        from openmm import unit

        flat = copies.reshape(-1, *copies.shape[-2:])
        energies = np.empty(len(flat))
        for i, x in enumerate(flat):
            self.single.setPositions(x)
            state = self.single.getState(energy=True)
            energies[i] = plain(state.getPotentialEnergy(), unit.kilojoule_per_mole)
        return energies.reshape(copies.shape[:-2])

    def minimise(self, copies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each copy [N, A, 3] relaxed alone."""
        import openmm as mm

        out = np.empty_like(copies)
        for i, x in enumerate(copies):
            self.single.setPositions(x)
            mm.LocalEnergyMinimizer.minimize(self.single, 10.0, MINIMISER_ITERATIONS)
            self.single.applyConstraints(CONSTRAINT_TOLERANCE)
            out[i] = positions_in_nm(self.single.getState(positions=True).getPositions(True))
        return out

    def load(self, t: int, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> None:
        """Put the copies [M, A, 3] of one temperature on their sites."""
        self.contexts[t].setPositions(self.packed.to_sites(positions))
        self.contexts[t].setVelocities(velocities.reshape(-1, 3))

    def read(self, t: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centred positions (nm) and velocities (nm/ps), [M, A, 3], of one temperature."""
        from openmm import unit

        state = self.contexts[t].getState(positions=True, velocities=True)
        velocities = state.getVelocities(True).value_in_unit(unit.nanometer / unit.picosecond)
        shape = (self.packed.num_copies, self.packed.num_atoms, 3)
        return (
            self.packed.from_sites(positions_in_nm(state.getPositions(True))),
            np.array(velocities, dtype=float).reshape(shape),
        )

    def draw_velocities(self, t: int, seed: int) -> None:
        """Satisfy the constraints at one temperature and draw Maxwell-Boltzmann velocities."""
        self.contexts[t].applyConstraints(CONSTRAINT_TOLERANCE)
        self.contexts[t].setVelocitiesToTemperature(self.settings.temperatures[t], seed)


def _derive(*key: Any) -> int:
    """A positive 31-bit seed from anything JSON holds."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:4], "little") % (2**31 - 1) + 1
