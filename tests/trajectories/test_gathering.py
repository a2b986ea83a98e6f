"""Molecules that touch keep touching when they are made whole, whatever the wrapping."""

from __future__ import annotations

from itertools import product

import mdtraj
import numpy as np
import pytest
from openmm import app, unit
from scipy.spatial.distance import cdist

from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.trajectories.boxes import bring_together, make_whole, spanning_tree

LENGTHS = (40, 40, 6)
MOLECULES = [
    np.arange(start, start + count)
    for start, count in zip(np.cumsum([0, *LENGTHS[:-1]]), LENGTHS, strict=True)
]
BONDS = [(int(a), int(a) + 1) for m in MOLECULES for a in m[:-1]]
#: The rods are 5.9 nm long and meet at their ends, where their centres are 5.6 nm apart.
BOXES = {
    "rectangular": np.diag([8.5, 5.0, 4.5]),
    "triclinic": np.array([[8.5, 0, 0], [2.5, 5.5, 0], [-3.0, 2.2, 5.0]]),
    "dodecahedron": 8.6 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]]),
}


def rods():
    """Two rods that touch at their ends, and a small molecule at the far end of the second."""
    first = np.arange(40)[:, None] * [0.15, 0.0, 0.0]
    second = [5.6, 0.32, 0.0] + np.arange(40)[:, None] * [0.14, 0.05, 0.02]
    small = second[-1] + [0.1, 0.25, 0.2] + np.arange(6)[:, None] * [0.0, 0.12, 0.05]
    return np.concatenate([first, second, small])


def contacts(x):
    """Pairs of atoms of different molecules nearer than 0.5 nm."""
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    near = (cdist(x, x) < 0.5) & (owner[:, None] < owner)
    return set(zip(*np.nonzero(near), strict=True))


def shaken(x, box, rng):
    """Every molecule moved by box vectors, the whole by anything, all atoms wrapped one by one."""
    moved = x + rng.uniform(-10, 10, 3)
    for molecule in MOLECULES:
        moved[molecule] += rng.integers(-3, 4, 3) @ box
    fractional = moved @ np.linalg.inv(box)
    return (fractional - np.floor(fractional)) @ box


@pytest.mark.parametrize("name", BOXES)
def test_a_wrapped_complex_comes_back_with_its_contacts(name):
    box, rng = BOXES[name], np.random.default_rng(3)
    tree = spanning_tree(sum(LENGTHS), BONDS)
    x = rods()
    expected = contacts(x)
    assert {(a // 40, b // 40) for a, b in expected} == {(0, 1), (1, 2)}
    for _ in range(20):
        whole = make_whole(shaken(x, box, rng), tree, box)
        together = bring_together(whole, MOLECULES, box)
        assert contacts(together) == expected
        np.testing.assert_allclose(together - together[0], x - x[0], atol=1e-9)


@pytest.mark.parametrize("name", BOXES)
def test_the_nearest_atoms_are_those_of_all_images(name):
    """Against a search of 343 images."""
    box, rng = BOXES[name], np.random.default_rng(5)
    steps = np.array(list(product(range(-3, 4), repeat=3))) @ box
    for _ in range(10):
        x = rng.uniform(-15, 15, (9, 3))
        together = bring_together(x, [np.arange(5), np.arange(5, 9)], box)
        moves = together - x
        np.testing.assert_allclose(moves[:5], 0)
        np.testing.assert_allclose(moves[5:], moves[5] + np.zeros((4, 1)), atol=1e-12)
        shift = moves[5] @ np.linalg.inv(box)
        np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)
        apart = (x[5:, None] - x[:5]).reshape(-1, 3)
        apart -= np.round(apart @ np.linalg.inv(box)) @ box
        best = np.linalg.norm(apart[:, None] + steps, axis=-1).min()
        assert cdist(together[:5], together[5:]).min() == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", BOXES)
def test_files_come_with_their_contacts(tmp_path, name):
    """Through a PDB file and an XTC file, as every command reads them."""
    topology = app.Topology()
    for label, molecule in zip("ABC", MOLECULES, strict=True):
        residue = topology.addResidue(f"MO{label}", topology.addChain(label))
        atoms = [
            topology.addAtom(f"C{k}", app.element.carbon, residue) for k in range(len(molecule))
        ]
        for pair in zip(atoms, atoms[1:], strict=False):
            topology.addBond(*pair)
    x, box, rng = rods(), BOXES[name], np.random.default_rng(7)
    with open(tmp_path / "rods.pdb", "w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    frames = np.stack([shaken(x, box, rng) for _ in range(6)])
    trajectory = mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(topology))
    trajectory.unitcell_vectors = np.stack([box] * 6)
    trajectory.save(str(tmp_path / "rods.xtc"))
    read = read_ensemble([tmp_path / "rods.xtc"], name="x", topology=tmp_path / "rods.pdb")
    for frame in read.ensemble.positions_nm.astype(float):
        # XTC rounds to 0.001 nm, some 0.5 nm away from a pair at the limit.
        np.testing.assert_allclose(frame - frame[0], x - x[0], atol=3e-3)
