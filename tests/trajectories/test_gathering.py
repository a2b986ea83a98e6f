"""Molecules that touch keep touching when they are made whole, whatever the wrapping."""

from __future__ import annotations

from itertools import product

import mdtraj
import numpy as np
import pytest
from data_cases import SHARED
from openmm import app, unit
from scipy.spatial.distance import cdist

from atmos_openmm.data.mdtraj_formats import import_trajectories
from atmos_openmm.data.sources import open_samples
from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.structure_files import read_structure_file
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


def test_what_touches_is_not_moved_for_a_nearer_image():
    """Two molecules that touch on both sides, in a small box, stay as they were written."""
    box = np.diag([2.0, 4.0, 4.0])
    x = np.array([[0.0, 0, 0], [0.8, 0, 0], [1.1, 0, 0], [1.75, 0, 0]])
    molecules = [np.array([0, 1]), np.array([2, 3])]
    np.testing.assert_array_equal(bring_together(x, molecules, box), x)
    apart = x + [[0.0, 0, 0], [0, 0, 0], [0.0, 4, 0], [0, 4, 0]]
    together = bring_together(apart, molecules, box)
    assert cdist(together[:2], together[2:]).min() == pytest.approx(0.25)


def stretched(sequence):
    """A peptide with its longest extent along x."""
    topology, x = build_peptide(sequence)
    centred = np.asarray(x) - np.mean(x, axis=0)
    return topology, centred @ np.linalg.svd(centred, full_matrices=False)[2].T


def gathered(folder, topology, frames, box):
    """Frames as evaluate reads them from an XTC file, and as data import writes them."""
    topology.setPeriodicBoxVectors(box * unit.nanometer)
    with open(folder / "all.pdb", "w") as file:
        app.PDBFile.writeFile(topology, frames[0] * unit.nanometer, file, keepIds=True)
    trajectory = mdtraj.Trajectory(
        frames, mdtraj.Topology.from_openmm(topology), time=np.arange(len(frames))
    )
    trajectory.unitcell_vectors = np.stack([box] * len(frames))
    trajectory.save(str(folder / "all.xtc"))
    read = read_ensemble([folder / "all.xtc"], name="x", topology=folder / "all.pdb")
    import_trajectories(
        folder / "own.h5", [folder / "all.xtc"], folder / "all.pdb", temperature_kelvin=300.0
    )
    (sample,) = open_samples([folder / "own.h5"])
    return read.ensemble.positions_nm.astype(float), sample.positions_nm().astype(float)


def test_long_chains_end_to_end_stay_end_to_end(tmp_path):
    """ALA15, ALA7 and ALA7, straight, 0.26 nm between them, whole and wrapped atom by atom."""
    modeller, atoms = None, []
    for count in (15, 7, 7):
        topology, x = stretched("-".join(["ACE", *["ALA"] * count, "NME"]))
        if modeller is None:
            modeller, before = app.Modeller(topology, x * unit.nanometer), x
        else:
            steps = np.arange(0.0, 12.0, 5e-4)
            x = x + [before[:, 0].min() - x[:, 0].min(), 0.0, 0.0]
            apart = [cdist(before, x + [step, 0.0, 0.0]).min() for step in steps[::20]]
            last = max(k for k, gap in enumerate(apart) if gap < 0.26) * 20
            step = next(s for s in steps[last:] if cdist(before, x + [s, 0.0, 0.0]).min() > 0.26)
            x = x + [step, 0.0, 0.0]
            modeller.add(topology, x * unit.nanometer)
            before = x
        atoms.append(np.arange(len(x)) + (atoms[-1][-1] + 1 if atoms else 0))
    x = np.array(modeller.positions.value_in_unit(unit.nanometer))
    box = np.diag([12.0, 6.0, 6.0])
    assert np.ptp(x[:, 0]) > 11.0
    moved = x - x.min(axis=0) + np.arange(0.0, 12.0, 3.0)[:, None, None] * [1.0, 0.5, 0.0]
    for frames in (moved, moved - np.floor(moved / np.diag(box)) * np.diag(box)):
        for found in gathered(tmp_path, modeller.topology, frames, box):
            for frame in found:
                for one, two in zip(atoms, atoms[1:], strict=False):
                    assert cdist(frame[one], frame[two]).min() == pytest.approx(0.26, abs=4e-3)


@pytest.mark.skipif(not (SHARED / "structures").exists(), reason="no real structures")
def test_copies_in_a_rhombic_dodecahedron_stay_where_they_are(tmp_path):
    """1L2Y and a copy 1.8 nm away with 0.30 nm between their nearest atoms, box of 4 nm."""
    file = read_structure_file(SHARED / "structures" / "1l2y.pdb")
    x, count = np.asarray(file.positions_nm), file.topology.getNumAtoms()
    y = x + np.array([0.6784781, -0.92753909, -1.385402])
    assert cdist(x, y).min() == pytest.approx(0.3, abs=1e-3)
    modeller = app.Modeller(file.topology, x * unit.nanometer)
    modeller.add(file.topology, y * unit.nanometer)
    box = 4.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
    rng, both = np.random.default_rng(9), np.concatenate([x, y])
    wrapped = (both + rng.uniform(-4, 4, 3)) @ np.linalg.inv(box)
    frames = np.stack([both, (wrapped - np.floor(wrapped)) @ box])
    for found in gathered(tmp_path, modeller.topology, frames, box):
        for frame in found:
            centres = frame[count:].mean(axis=0) - frame[:count].mean(axis=0)
            assert np.linalg.norm(centres) == pytest.approx(1.8, abs=2e-3)
            assert cdist(frame[:count], frame[count:]).min() == pytest.approx(0.3, abs=2e-3)
