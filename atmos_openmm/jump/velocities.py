"""Maxwell-Boltzmann velocities from stateless noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from .context_state import state_forces, state_positions, state_velocities
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
    temperature_k: float,
    seed: int,
    attempt: int,
    remove_drift: bool,
) -> None:
    """Give a Context new velocities at a temperature, and end the step that a jump interrupted.

    The positions have to be those in the middle of a step, see `move_to_middle`: there velocities
    are Maxwell's and independent of the positions, which are then moved on by half a step. (At the
    end of a step the two are not independent. Velocities drawn there heat what is stiff.)

    Parameters
    ----------
    context : openmm.Context
        Its Integrator says how velocities are kept, and how well constraints hold.
    masses_da : float64 [P]
    temperature_k : float
    seed, attempt : int
        Which noise they are drawn from.
    remove_drift : bool
        Whether the centre of mass is brought to rest, see `removes_drift`.
    """
    integrator = context.getIntegrator()
    velocities = thermal_velocities(masses_da, temperature_k, seed, attempt)
    kick_ps = _kick_ps(integrator)
    if kick_ps > 0:
        # Leapfrog keeps the velocities of half a step before the positions.
        moving = masses_da > 0
        groups = integrator.getIntegrationForceGroups()
        forces = state_forces(context.getState(forces=True, groups=groups))
        velocities[moving] -= forces[moving] * (kick_ps / masses_da[moving])[:, None]
    context.setVelocities(velocities)
    context.applyVelocityConstraints(integrator.getConstraintTolerance())
    if remove_drift:
        velocities = state_velocities(context.getState(velocities=True))
        context.setVelocities(without_net_momentum(velocities, masses_da))
    leave_middle(context)


def carry_velocities(
    context: openmm.Context,
    from_nm: NDArray[np.float64],
    to_nm: NDArray[np.float64],
    velocities: NDArray[np.float64],
    masses_da: NDArray[np.float64],
    temperature_k: float,
    seed: int,
    attempt: int,
) -> None:
    """Move a Context from positions to others, keep its velocities, and end its step.

    In the middle of a step velocities are Maxwell's and independent of the positions, so they stay
    as they are while positions move: drawing them anew would brake the dynamics. What constraints
    forbid changes with the positions, though. With Maxwell's numbers for what they forbid at the
    old ones these are free velocities, and at the new ones they lose what is forbidden there.

    Parameters
    ----------
    context : openmm.Context
        Its Integrator has a middle, see `has_middle`.
    from_nm, to_nm : float64 [P, 3]
        In the middle of a step; `from_nm` on the constraints.
    velocities : float64 [P, 3]
        In nm/ps.
    masses_da : float64 [P]
    temperature_k : float
    seed, attempt : int
        Which noise is taken where there are constraints.
    """
    if context.getSystem().getNumConstraints() > 0:
        thermal = thermal_velocities(masses_da, temperature_k, seed, attempt)
        velocities = _constrained(context, from_nm, velocities - thermal) + thermal
        velocities = _constrained(context, to_nm, velocities)
    context.setPositions(to_nm)
    context.setVelocities(velocities)
    leave_middle(context)


def _constrained(
    context: openmm.Context, positions_nm: NDArray[np.float64], velocities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Velocities without what constraints forbid at these positions, which the Context keeps."""
    context.setPositions(positions_nm)
    context.computeVirtualSites()
    context.setVelocities(velocities)
    context.applyVelocityConstraints(context.getIntegrator().getConstraintTolerance())
    return state_velocities(context.getState(velocities=True))


def move_to_middle(context: openmm.Context) -> None:
    """Move a Context's positions back to the middle of the last step, on the constraints.

    For integrators that move positions by half a step before and after they renew velocities; the
    positions of others stay. Velocities are left alone.
    """
    _drift(context, -_half_step_ps(context.getIntegrator()))


def leave_middle(context: openmm.Context) -> None:
    """Move a Context's positions from the middle of a step to its end, on the constraints."""
    _drift(context, _half_step_ps(context.getIntegrator()))


def has_middle(integrator: openmm.Integrator) -> bool:
    """Whether an integrator's step has a middle at which it renews velocities."""
    return _half_step_ps(integrator) > 0


def removes_drift(system: openmm.System) -> bool:
    """Whether a System keeps its centre of mass at rest, so that new velocities have to as well."""
    import openmm

    return any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())


def _drift(context: openmm.Context, time_ps: float) -> None:
    """Let the particles fly for a time, then put them on the constraints."""
    if time_ps == 0:
        return
    state = context.getState(positions=True, velocities=True)
    context.setPositions(state_positions(state) + time_ps * state_velocities(state))
    context.applyConstraints(context.getIntegrator().getConstraintTolerance())
    context.computeVirtualSites()


def _half_step_ps(integrator: openmm.Integrator) -> float:
    """How long ago the middle of an integrator's step was, in ps; 0 where it has none."""
    import openmm

    with_middle = (
        openmm.LangevinMiddleIntegrator,
        openmm.LangevinIntegrator,
        openmm.DPDIntegrator,
        openmm.QTBIntegrator,
    )
    integrator = _acting(integrator)
    is_one = isinstance(integrator, with_middle)
    return 0.5 * float(integrator.getStepSize()._value) if is_one else 0.0


def _kick_ps(integrator: openmm.Integrator) -> float:
    """How far an integrator without a middle keeps velocities behind the positions, in ps.

    As `Integrator::getVelocityTimeOffset()` of OpenMM says, which Python does not see.
    """
    import openmm

    integrator = _acting(integrator)
    is_leapfrog = isinstance(integrator, openmm.VerletIntegrator)
    return 0.5 * float(integrator.getStepSize()._value) if is_leapfrog else 0.0


def _acting(integrator: openmm.Integrator) -> openmm.Integrator:
    """The integrator itself, or the first of a compound one."""
    import openmm

    if isinstance(integrator, openmm.CompoundIntegrator):
        return integrator.getIntegrator(0)
    return integrator
