"""Maxwell-Boltzmann velocities from stateless noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from .context_state import state_forces, state_velocities
from .noise import VELOCITY_STREAM, normal

if TYPE_CHECKING:
    import openmm


def particle_masses(system: openmm.System) -> NDArray[np.float64]:
    """Masses [P] of the particles of a System, in dalton."""
    from openmm import unit

    return np.array(
        [
            system.getParticleMass(i).value_in_unit(unit.dalton)
            for i in range(system.getNumParticles())
        ]
    )


def virtual_sites(system: openmm.System) -> NDArray[np.bool_]:
    """Which particles [P] of a System are virtual sites."""
    return np.array([system.isVirtualSite(i) for i in range(system.getNumParticles())], dtype=bool)


def thermal_velocities(
    masses_da: NDArray[np.float64], temperature_k: float, seed: int, attempt: int
) -> NDArray[np.float64]:
    """Velocities [P, 3] in nm/ps drawn from the Maxwell-Boltzmann distribution.

    Particles take three numbers each in their order; massless particles take none and stay at
    rest. Constraints and the motion of the centre of mass are left to the caller.
    """
    heavy = np.flatnonzero(masses_da > 0)
    deviates = normal(seed, VELOCITY_STREAM, attempt, 3 * len(heavy)).reshape(-1, 3)
    velocities = np.zeros((len(masses_da), 3))
    for row, particle in enumerate(heavy):
        width = math.sqrt(GAS_CONSTANT_KJ_PER_MOL_K * temperature_k / float(masses_da[particle]))
        velocities[particle] = width * deviates[row]
    return velocities


def without_net_momentum(
    velocities: NDArray[np.float64], masses_da: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same velocities with the velocity of the centre of mass taken off every massive one."""
    moving = masses_da > 0
    drift = (masses_da[:, None] * velocities).sum(axis=0) / masses_da.sum()
    result = velocities.copy()
    result[moving] -= drift
    return result


def draw_velocities(
    context: openmm.Context,
    masses_da: NDArray[np.float64],
    virtual: NDArray[np.bool_],
    temperature_k: float,
    seed: int,
    attempt: int,
) -> None:
    """Give a Context new velocities at a temperature, on its constraints, without drift.

    Parameters
    ----------
    context : openmm.Context
        Its Integrator says when velocities are kept, and how well constraints hold.
    masses_da : float64 [P]
    virtual : bool [P]
        Which particles are virtual sites. Where others have no mass they are fixed, and the
        motion of the centre of mass is left as it is.
    temperature_k : float
    seed, attempt : int
        Which noise they are drawn from.
    """
    integrator = context.getIntegrator()
    moving = masses_da > 0
    velocities = thermal_velocities(masses_da, temperature_k, seed, attempt)

    # They are drawn for the time of the positions; a leapfrog scheme keeps them half a step behind,
    # and would otherwise heat with every jump.

    offset_ps = _velocity_offset_ps(integrator)
    if offset_ps > 0:
        groups = integrator.getIntegrationForceGroups()
        forces = state_forces(context.getState(forces=True, groups=groups))
        velocities[moving] -= forces[moving] * (offset_ps / masses_da[moving])[:, None]
    context.setVelocities(velocities)
    context.applyVelocityConstraints(integrator.getConstraintTolerance())
    if bool((moving | virtual).all()):
        velocities = state_velocities(context.getState(velocities=True))
        context.setVelocities(without_net_momentum(velocities, masses_da))


def _velocity_offset_ps(integrator: openmm.Integrator) -> float:
    """How far an integrator keeps its velocities behind the positions, in ps.

    As `Integrator::getVelocityTimeOffset()` of OpenMM says, which Python does not see.
    """
    import openmm

    if isinstance(integrator, openmm.CompoundIntegrator):
        integrator = integrator.getIntegrator(0)
    half_step_behind = (
        openmm.LangevinMiddleIntegrator,
        openmm.LangevinIntegrator,
        openmm.VerletIntegrator,
        openmm.DPDIntegrator,
        openmm.QTBIntegrator,
    )
    if isinstance(integrator, half_step_behind):
        return 0.5 * float(integrator.getStepSize()._value)
    return 0.0
