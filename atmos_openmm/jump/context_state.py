"""Readings of an OpenMM Context as arrays, and the little minimisation of a relaxation stage.

A Context that meets coordinates which its force field cannot judge raises on some platforms and
returns NaN on others; here it is NaN everywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openmm

RELAXATION_TOLERANCE_KJ_PER_MOL_NM = 10.0


def state_positions(state: openmm.State) -> NDArray[np.float64]:
    """Positions [P, 3] of a State in nm."""
    return np.array(state.getPositions(asNumpy=True)._value, dtype=np.float64)


def state_velocities(state: openmm.State) -> NDArray[np.float64]:
    """Velocities [P, 3] of a State in nm/ps."""
    return np.asarray(state.getVelocities(asNumpy=True)._value, dtype=np.float64)


def state_box(state: openmm.State) -> NDArray[np.float64]:
    """Periodic box vectors [3, 3] of a State in nm, rows a, b, c."""
    return np.asarray(state.getPeriodicBoxVectors(asNumpy=True)._value, dtype=np.float64)


def state_forces(state: openmm.State) -> NDArray[np.float64]:
    """Forces [P, 3] of a State in kJ/mol/nm."""
    return np.asarray(state.getForces(asNumpy=True)._value, dtype=np.float64)


def positions_and_forces(context: openmm.Context, groups: int) -> tuple[NDArray[np.float64], bool]:
    """Positions [P, 3] in nm, and whether the forces of the groups are finite.

    A finite energy is no guarantee: where two atoms of an angle coincide it has no gradient.
    """
    import openmm

    try:
        state = context.getState(positions=True, forces=True, groups=groups)
    except openmm.OpenMMException as error:
        if "NaN" not in str(error):
            raise
        return state_positions(context.getState(positions=True)), False
    return state_positions(state), bool(np.isfinite(state_forces(state)).all())


def potential_energy(context: openmm.Context, groups: int) -> float:
    """Potential energy of the force groups in kJ/mol; NaN where OpenMM refuses the positions."""
    import openmm

    try:
        return float(context.getState(energy=True, groups=groups).getPotentialEnergy()._value)
    except openmm.OpenMMException as error:
        if "NaN" in str(error):
            return math.nan
        raise


def minimized_energy(context: openmm.Context, groups: int, iterations: int) -> float:
    """Minimise a little; the energy afterwards, NaN where OpenMM refuses the positions."""
    import openmm

    try:
        openmm.LocalEnergyMinimizer.minimize(
            context, RELAXATION_TOLERANCE_KJ_PER_MOL_NM, iterations
        )
    except openmm.OpenMMException as error:
        if "NaN" not in str(error):
            raise
        return math.nan
    return potential_energy(context, groups)
