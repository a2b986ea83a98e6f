"""Superposition, the energy window and the velocity draw."""

import math

import numpy as np
import pytest
from openmm import unit
from scipy.spatial.transform import Rotation

from atmos_openmm.core.geometry import centroid, rmsd, superpose
from atmos_openmm.jump.acceptance import EnergyWindow, RunningStatistics
from atmos_openmm.jump.velocities import (
    GAS_CONSTANT_KJ_PER_MOL_K,
    thermal_velocities,
    without_net_momentum,
)


@pytest.fixture
def cloud():
    return np.random.default_rng(1).normal(size=(12, 3))


def test_superposition_undoes_any_rigid_motion(cloud):
    for turn in Rotation.random(20, random_state=2):
        moved = turn.apply(cloud) + [3.0, -2.0, 0.5]
        np.testing.assert_allclose(superpose(moved, cloud), cloud, atol=1e-13)


def test_superposition_never_reflects(cloud):
    mirrored = cloud * [1, 1, -1]
    fitted = superpose(mirrored, cloud)

    def volume(points):
        return np.linalg.det(points[1:4] - points[0])

    assert np.sign(volume(fitted)) == np.sign(volume(mirrored)) == -np.sign(volume(cloud))


def test_superposition_is_optimal_and_keeps_the_shape(cloud):
    rng = np.random.default_rng(3)
    other = cloud + rng.normal(scale=0.3, size=cloud.shape) + 1.0
    fitted = superpose(other, cloud)
    best = ((fitted - cloud) ** 2).sum()
    distances = np.linalg.norm(other[:, None] - other[None], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(fitted[:, None] - fitted[None], axis=2), distances, atol=1e-13
    )
    np.testing.assert_allclose(centroid(fitted), centroid(cloud), atol=1e-14)
    # Any small further rotation about the centre makes it worse.
    for axis in rng.normal(size=(20, 3)):
        turned = Rotation.from_rotvec(1e-3 * axis).apply(fitted - centroid(fitted))
        assert ((turned + centroid(fitted) - cloud) ** 2).sum() > best
    assert rmsd(other, cloud) == pytest.approx(math.sqrt(best / len(cloud)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_superposition_of_degenerate_sets(count):
    # One point, a line and a plane have no unique rotation; the result still has to fit.
    target = np.random.default_rng(4).normal(size=(count, 3))
    moved = Rotation.from_rotvec([0.4, -1.0, 2.0]).apply(target) + 5.0
    np.testing.assert_allclose(superpose(moved, target), target, atol=1e-13)


def test_welford_equals_two_passes_far_from_zero():
    values = np.random.default_rng(5).normal(loc=-1e6, scale=20, size=1000)
    running = RunningStatistics()
    for value in values:
        running.add(float(value))
    assert running.mean == pytest.approx(values.mean(), rel=1e-14)
    assert running.standard_deviation == pytest.approx(values.std(ddof=1), rel=1e-9)
    running.add(math.nan)
    assert running.count == 1000


def test_window_is_one_sided():
    window = EnergyWindow(6.0, 3, RunningStatistics())
    for value in (-1.0, 0.0, 1.0):
        assert not window.ready
        window.statistics.add(value)
    assert window.ready
    assert window.limit_kj_per_mol == pytest.approx(6.0)
    assert window.contains(-1e9) and window.contains(6.0)
    assert not window.contains(6.001)
    assert not window.contains(math.nan) and not window.contains(-math.inf)


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
