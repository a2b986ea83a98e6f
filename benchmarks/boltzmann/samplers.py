"""The samplers that are compared, behind one interface.

A sampler advances by a block, gives the frames of the block and counts its evaluations of energy
and forces (of either, or both at once). All start from the same minimised structure, on OpenMM's
CPU platform with one thread.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .molecules import Molecule

BLOCK_STEPS = 50
FRICTION = 1.0
Frames = NDArray[np.float32]


class Sampler(ABC):
    """One run of one method.

    Attributes
    ----------
    evaluations : int
        So far, set-up included.
    """

    #: Share of the run that is left out of averages.
    burn_in = 0.1

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self.seed = seed
        self.evaluations = 0

    def prepare(self) -> None:  # noqa: B027, most methods have none
        """Do the set-up that counts: it is in the clock and in the evaluations."""

    @abstractmethod
    def advance(self) -> tuple[Frames, NDArray[np.float64]]:
        """Advance by a block; frames [F, A, 3] in nm and log weights [F]."""

    def notes(self) -> dict[str, Any]:
        """What is worth keeping of the run."""
        return {}


class Case:
    """A molecule, its System and the common start."""

    def __init__(self, molecule: Molecule) -> None:
        import openmm

        self.molecule = molecule
        self.topology, positions, self.system = molecule.build()
        context = openmm.Context(self.system, openmm.VerletIntegrator(0.001), *one_thread())
        context.setPositions(positions)
        context.applyConstraints(1e-6)
        openmm.LocalEnergyMinimizer.minimize(context)
        self.start = context.getState(positions=True).getPositions(asNumpy=True)._value

    def integrator(self, seed: int) -> Any:
        """LangevinMiddle in the molecule's setting."""
        import openmm

        molecule = self.molecule
        integrator = openmm.LangevinMiddleIntegrator(
            molecule.temperature, FRICTION, molecule.step_ps
        )
        integrator.setRandomNumberSeed(seed)
        return integrator

    def simulation(self, integrator: Any, seed: int, system: Any = None) -> Any:
        """A Simulation at the start with velocities of the temperature; of `system` itself."""
        from openmm import app

        system = copy.deepcopy(self.system) if system is None else system
        simulation = app.Simulation(self.topology, system, integrator, *one_thread())
        simulation.context.setPositions(self.start)
        simulation.context.setVelocitiesToTemperature(self.molecule.temperature, seed)
        return simulation


def one_thread() -> tuple[Any, dict[str, str]]:
    """Platform and properties of every Context here."""
    import openmm

    return openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}


def positions_of(context: Any) -> Frames:
    """One frame [1, A, 3]."""
    state = context.getState(positions=True)
    return np.asarray(state.getPositions(asNumpy=True)._value, np.float32)[None]


class MolecularDynamics(Sampler):
    """Plain MD as a good user runs it."""

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        self.simulation = case.simulation(case.integrator(seed), seed)

    def advance(self) -> tuple[Frames, NDArray[np.float64]]:
        self.simulation.integrator.step(BLOCK_STEPS)
        self.evaluations += BLOCK_STEPS
        return positions_of(self.simulation.context), np.zeros(1)


class ReplicaExchange(Sampler):
    """OpenMM's temperature replica exchange; the clock and the count are of all replicas."""

    hottest = 600.0
    steps = 100

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        from openmm import app

        np.random.seed(seed)
        coldest = case.molecule.temperature
        count = 4 if case.molecule.constraints else 7
        states = [{"temperature": t} for t in np.geomspace(coldest, self.hottest, count)]
        self.replicas = count
        self.sampler = app.ReplicaExchangeSampler(
            states, case.simulation(case.integrator(seed), seed), self.steps
        )

    def advance(self) -> tuple[Frames, NDArray[np.float64]]:
        self.sampler.simulate(1)
        self.evaluations += self.replicas * (self.steps + 1)
        cold = list(self.sampler.replicaStateIndex).index(0)
        state = self.sampler.replicaConformation[cold]
        positions = state.getPositions(asNumpy=True)._value
        return np.asarray(positions, np.float32)[None], np.zeros(1)


class Opes(Sampler):
    """OPES of the package openmm-opes on phi and psi, or on up to three phi of longer chains.

    Frames are weighted by the bias of their time; the first fifth, in which it forms, is left out.
    """

    burn_in = 0.2
    barrier = 40.0
    width = 0.15
    frequency = 250

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        import openmm
        from openmm import app
        from openmm_opes import OPES

        from atmos_openmm.systems.backbone import backbone_quads

        chosen = [q for q in backbone_quads(case.topology) if q.get("phi") is not None]
        kinds = ("phi", "psi") if len(chosen) == 1 else ("phi",)
        quads = [q[kind] for q in chosen for kind in kinds][:3]
        grid = 61 if len(quads) < 3 else 31
        system = copy.deepcopy(case.system)
        variables = []
        for atoms in quads:
            force = openmm.CustomTorsionForce("theta")
            force.addTorsion(*map(int, atoms), [])
            variables.append(app.BiasVariable(force, -np.pi, np.pi, self.width, True, grid))
        kelvin = case.molecule.temperature
        self.opes = OPES(system, variables, kelvin, self.barrier, self.frequency, None)
        self.simulation = case.simulation(case.integrator(seed), seed, system)

    def advance(self) -> tuple[Frames, NDArray[np.float64]]:
        self.opes.step(self.simulation, BLOCK_STEPS)
        self.evaluations += BLOCK_STEPS
        bias = self.opes.getBiasEnergy(self.simulation.context)
        energy = bias._value if hasattr(bias, "_value") else float(bias)
        weight = np.array([energy / self.case.molecule.kT])
        return positions_of(self.simulation.context), weight

    def notes(self) -> dict[str, Any]:
        return {"kernels": int(self.opes.getNumKernels())}
