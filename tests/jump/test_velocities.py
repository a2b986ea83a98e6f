"""The velocity draw: temperature of every mass, drift."""

import math

import numpy as np
import pytest
from openmm import unit

from atmos_openmm.jump.velocities import (
    GAS_CONSTANT_KJ_PER_MOL_K,
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
