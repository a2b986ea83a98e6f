"""The velocity draw: temperature of every mass, drift."""

import math

import numpy as np
import openmm
import pytest
from openmm import unit
from torsion_support import chain_positions, chain_system, start

from atmos_openmm.jump.velocities import (
    GAS_CONSTANT_KJ_PER_MOL_K,
    carry_velocities,
    thermal_velocities,
    without_net_momentum,
)


def test_velocities_have_the_temperature_of_every_mass():
    masses = np.repeat([0.0, 1.008, 12.0, 200.0], 5000)
    velocities = thermal_velocities(masses, 310.0, seed=3, attempt=5)
    assert (velocities[masses == 0] == 0).all()
    for mass in (1.008, 12.0, 200.0):
        kinetic = mass * (velocities[masses == mass] ** 2).mean()
        expected = GAS_CONSTANT_KJ_PER_MOL_K * 310.0
        # The mean of n squared normals has the relative standard error sqrt(2 / n).
        assert abs(kinetic / expected - 1) < 5 * math.sqrt(2 / 15000)
    # Massless particles take no numbers: leaving them out changes nothing for the others.
    np.testing.assert_array_equal(
        velocities[masses > 0], thermal_velocities(masses[masses > 0], 310.0, 3, 5)
    )


def test_gas_constant_is_that_of_openmm():
    value = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    assert pytest.approx(value, rel=1e-15) == GAS_CONSTANT_KJ_PER_MOL_K


def test_drift_removal_leaves_massless_particles_alone():
    masses = np.array([0.0, 1.0, 3.0])
    velocities = np.array([[0.0, 0, 0], [1.0, 0, 0], [0.0, 2.0, 0]])
    result = without_net_momentum(velocities, masses)
    np.testing.assert_allclose((masses[:, None] * result).sum(axis=0), 0, atol=1e-15)
    assert (result[0] == 0).all()
    np.testing.assert_allclose(result[1] - result[2], velocities[1] - velocities[2])


def _velocities(context):
    return np.array(context.getState(velocities=True).getVelocities(asNumpy=True)._value)


def _carried(constrained, count=3000):
    """Maxwell's velocities of a chain, and where they are carried to with its torsions turned."""
    system = chain_system(5, constrained=constrained)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 1e-9)
    integrator.setConstraintTolerance(1e-10)
    before, after = chain_positions(5), chain_positions(5, torsion=1.1)
    context = start(system, integrator, before)
    masses = np.full(5, 14.0)
    old, new = [], []
    for attempt in range(count):
        context.setPositions(before)
        context.setVelocities(thermal_velocities(masses, 300.0, 1, attempt))
        context.applyVelocityConstraints(1e-10)
        old.append(_velocities(context))
        carry_velocities(context, before, after, old[-1], masses, 300.0, 2, attempt)
        new.append(_velocities(context))
    return before, after, np.array(old), np.array(new)


def test_carried_velocities_are_maxwells_on_the_new_constraints():
    _, after, old, new = _carried(constrained=True)
    bonds = np.diff(after, axis=0)
    np.testing.assert_allclose((np.diff(new, axis=1) * bonds).sum(-1), 0, atol=1e-8)
    # 2 K / kT is a chi-square variable of 15 - 4 degrees of freedom: mean n, variance 2 n.
    n, count = 11, len(new)
    thermal = GAS_CONSTANT_KJ_PER_MOL_K * 300.0
    values = 14.0 * (new**2).sum(axis=(1, 2)) / thermal
    assert abs(values.mean() - n) < 5 * math.sqrt(2 * n / count)
    assert abs(values.var() - 2 * n) < 5 * math.sqrt((8 * n**2 + 48 * n) / count)
    # They remember: only what the constraints forbade is new.
    overlap = (old * new).sum() / math.sqrt((old**2).sum() * (new**2).sum())
    assert overlap > 0.5
    # Old velocities that merely lose what the new constraints forbid would be too slow.
    forbidden = np.linalg.qr(_gradients(after))[0]
    flat = old.reshape(count, -1)
    lost = flat - flat @ forbidden @ forbidden.T
    assert 14.0 * (lost**2).sum(axis=1).mean() / thermal < n - 0.5


def _gradients(x):
    """Of the squared bond lengths of a chain, [3 P, bonds]."""
    columns = []
    for k in range(len(x) - 1):
        column = np.zeros_like(x)
        column[k], column[k + 1] = x[k] - x[k + 1], x[k + 1] - x[k]
        columns.append(column.ravel())
    return np.array(columns).T


def test_without_constraints_velocities_stay_as_they_are():
    _, _, old, new = _carried(constrained=False, count=3)
    np.testing.assert_array_equal(old, new)
