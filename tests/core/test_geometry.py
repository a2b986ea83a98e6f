"""Superposition and torsions of the ground floor, one frame and many."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from atmos_openmm.core.geometry import (
    bond_angles,
    centroid,
    gyration_radius,
    rmsd,
    rotations_onto,
    superpose,
    torsion_angles,
)

ATOMS = 9


def frames(count: int = 5, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, ATOMS, 3))


def turned(x: np.ndarray, seed: int = 2) -> np.ndarray:
    """Moved rigidly, each frame by a motion of its own."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(len(x), 3, 3)))
    q[:, :, 0] *= np.sign(np.linalg.det(q))[:, None]
    return x @ q + rng.normal(size=(len(x), 1, 3))


def test_a_rigid_motion_is_undone():
    x = frames()
    np.testing.assert_allclose(superpose(turned(x), x), x, atol=1e-13)
    assert rmsd(turned(x), x).shape == (5,)
    assert rmsd(turned(x), x).max() < 1e-13


def test_one_frame_is_as_a_batch_of_one():
    x, y = frames(2)
    np.testing.assert_array_equal(superpose(x, y), superpose(x[None], y[None])[0])
    np.testing.assert_array_equal(centroid(superpose(x, y)), centroid(superpose(x[None], y)[0]))
    assert float(rmsd(x, y)) == rmsd(x[None], y[None])[0]


def test_gyration_radius_is_that_of_a_known_shape():
    cube = np.array([[a, b, c] for a in (0.0, 2.0) for b in (0.0, 2.0) for c in (0.0, 2.0)])
    np.testing.assert_allclose(gyration_radius(cube), np.sqrt(3.0))
    np.testing.assert_allclose(
        gyration_radius(np.stack([cube, 2.0 * cube + 1.0])), [3**0.5, 12**0.5]
    )


def test_rmsd_agrees_with_mdtraj():
    x = frames().astype(np.float32)
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(ATOMS):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    theirs = mdtraj.rmsd(mdtraj.Trajectory(x, topology), mdtraj.Trajectory(x[:1], topology))
    # Theirs is computed in single precision.
    np.testing.assert_allclose(rmsd(x, x[0]), theirs, atol=2e-4)


def test_a_mirror_image_stays_one():
    x = frames()
    np.testing.assert_allclose(np.linalg.det(rotations_onto(-x, x)), 1.0, atol=1e-12)
    assert rmsd(-x, x).min() > 0.3


def test_superposition_is_optimal_and_keeps_the_shape():
    cloud = np.random.default_rng(1).normal(size=(12, 3))
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
    assert rmsd(other, cloud) == pytest.approx(np.sqrt(best / len(cloud)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_superposition_of_degenerate_sets(count):
    # One point, a line and a plane have no unique rotation; the result still has to fit.
    target = np.random.default_rng(4).normal(size=(count, 3))
    moved = Rotation.from_rotvec([0.4, -1.0, 2.0]).apply(target) + 5.0
    np.testing.assert_allclose(superpose(moved, target), target, atol=1e-13)


def test_fitted_atoms_carry_the_others():
    x = frames()
    fit = np.array([0, 2, 3, 7])
    moved = superpose(turned(x), x, fit)
    np.testing.assert_allclose(moved, x, atol=1e-13)
    changed = x.copy()
    changed[:, 1] += 1.0
    assert rmsd(turned(changed), x, fit).max() < 1e-13
    assert rmsd(turned(changed), x).min() > 0.05


def test_nothing_has_no_deviation():
    assert np.isnan(rmsd(np.zeros((3, 0, 3)), np.zeros((3, 0, 3)))).all()


@pytest.mark.parametrize("angle", [-3.0, -1.0, 0.0, 1e-9, 0.5, 2.0, np.pi])
def test_a_torsion_is_what_it_was_built_with(angle):
    x = np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [np.cos(angle), np.sin(angle), 1]])
    # The IUPAC sign: looking from the second to the third atom, clockwise is positive; that is a
    # right-handed turn about the axis.
    assert torsion_angles(x, [(0, 1, 2, 3)])[0] == pytest.approx(angle, abs=1e-15)
    assert torsion_angles(x[None, None], [(0, 1, 2, 3)]).shape == (1, 1, 1)


def test_positions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 2\), expected \[..., atoms, 3\]"):
        torsion_angles(np.zeros((4, 2)), [(0, 1, 2, 3)])


def test_bond_angles_keep_their_digits_near_straight():
    small = 1e-7
    x = np.array([[[1.0, 0, 0], [0, 0, 0], [0, 2.0, 0], [-np.cos(small), np.sin(small), 0]]])
    found = bond_angles(x, np.array([[0, 1, 2], [0, 1, 3]]))
    np.testing.assert_allclose(found, [[np.pi / 2, np.pi - small]], rtol=0, atol=1e-15)
