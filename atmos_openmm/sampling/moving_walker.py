"""What walkers of all kinds of hybrid runs share: a Context that moves, and where it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..jump.noise import walker_seed
from ..jump.velocities import particle_masses
from .hybrid_state import WalkerState

if TYPE_CHECKING:
    import openmm

    from .trajectory_files import Frame

#: Steps between the seeds of the thermostats and those of the jumps, so that they never coincide.
_THERMOSTAT_STREAM = 1000003


class UnstableDynamicsError(ValueError):
    """Molecular dynamics broke down although no jump came before it."""


class MovingWalker:
    """A Context with an AtmosIntegrator, and frames that wait for a commit.

    Parameters
    ----------
    index : int
        number of the walker
    context : openmm.Context
        with an AtmosIntegrator, its positions and velocities set
    integrator : AtmosIntegrator
        the Context's
    interval, report : int
        steps between jumps and between frames
    periodic : bool
        whether frames carry box vectors
    """

    def __init__(
        self,
        index: int,
        context: openmm.Context,
        integrator: Any,
        *,
        interval: int,
        report: int,
        periodic: bool,
    ) -> None:
        self.index = index
        self.context = context
        self.integrator = integrator
        self._interval = interval
        self._report = report
        self._periodic = periodic
        self._groups = integrator.getIntegrationForceGroups()
        self._kinetic_limit = _kinetic_limit(context.getSystem(), integrator)
        self.step = 0
        self.segment = 0
        self.energy_limit = math.inf
        self.frames: list[Frame] = []
        self._frame_count = 0

    def state(self) -> WalkerState:
        """Where it is."""
        return WalkerState(
            context=self.context.createCheckpoint(),
            frames=self._frame_count,
            segment=self.segment,
            step=self.step,
            energy_limit_kj_per_mol=self.energy_limit,
        )

    def restore(self, state: WalkerState) -> None:
        """Go to where it was, with nothing that waits to be committed."""
        self.context.loadCheckpoint(state.context)
        self.step = state.step
        self.segment = state.segment
        self.energy_limit = state.energy_limit_kj_per_mol
        self._frame_count = state.frames
        self.forget()

    def forget(self) -> None:
        """Drop frames and rows: they are committed."""
        self.frames = []

    def _next_stop(self, end: int) -> int:
        """The step of the next frame, or the end if that comes first."""
        return min(end, (self.step // self._report + 1) * self._report)

    def _advance(self, steps: int) -> tuple[openmm.State | None, str]:
        """Make steps; the State after them, or None and what is wrong with it."""
        try:
            self.integrator.step(steps)
            state = self.context.getState(
                positions=True, energy=True, velocities=True, groups=self._groups
            )
        except Exception as error:
            if any(sign in str(error) for sign in ("NaN", "not a finite number")):
                return None, str(error)
            raise
        if not math.isfinite(state.getPotentialEnergy()._value):
            return None, "the potential energy is not finite"
        kinetic = float(state.getKineticEnergy()._value)
        if not kinetic < self._kinetic_limit:
            return None, f"the kinetic energy rose to {kinetic:.3g} kJ/mol"
        return state, ""


def thermostat_seed(seed: int, walker: int) -> int:
    """The seed of a walker's thermostat."""
    return walker_seed(seed, _THERMOSTAT_STREAM + walker)


def _kinetic_limit(system: openmm.System, integrator: Any) -> float:
    """A kinetic energy in kJ/mol that no thermostatted dynamics reaches.

    Ten times the mean, and 50 kT more, which a Maxwell-Boltzmann distribution exceeds less than
    once in e^50 frames however few the degrees of freedom.
    """
    thermal = GAS_CONSTANT_KJ_PER_MOL_K * float(integrator.getTemperature()._value)
    moving = int((particle_masses(system) > 0).sum())
    return thermal * (0.5 * 10 * 3 * moving + 50)
