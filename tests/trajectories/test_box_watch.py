"""Frames whose periodic box is missing, or is another one than the System's."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.box_watch import BoxWatch, is_box
from atmos_openmm.trajectories.reader import open_frames
from atmos_openmm.validation import EnergyValidator

CUBE = np.diag([3.0, 3.0, 3.0])
DODECAHEDRON = 3.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
#: The same lattice, from vectors of which two span a hexagon.
HEXAGONAL = 3.0 * np.array(
    [[1, 0, 0], [0.5, np.sqrt(3) / 2, 0], [0.5, np.sqrt(3) / 6, np.sqrt(2 / 3)]]
)
OCTAHEDRON = 3.0 * np.array(
    [[1, 0, 0], [1 / 3, np.sqrt(8) / 3, 0], [-1 / 3, np.sqrt(2) / 3, np.sqrt(2 / 3)]]
)
BOXES = {"cube": CUBE, "dodecahedron": DODECAHEDRON, "octahedron": OCTAHEDRON}


def seen(expected, *boxes):
    watch = BoxWatch(expected, "the System", "what then")
    for number, box in enumerate(boxes):
        watch.see(number, box)
    return watch.remarks("md.xtc")


def test_zeros_are_no_box():
    assert is_box(CUBE) and is_box(HEXAGONAL)
    for box in (None, np.zeros((3, 3)), np.full((3, 3), np.nan), np.diag([3.0, 3.0, 0.0])):
        assert not is_box(box)


@pytest.mark.parametrize("name", BOXES)
def test_a_box_is_compared_by_its_lattice(name):
    box = BOXES[name]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    reduced_otherwise = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ box
    assert seen(box, box, 1.3 * box, box @ turn, -box, reduced_otherwise) == []
    assert seen(box, box * [1.01, 0.99, 1.0]) == []  # a barostat for each axis
    for other in BOXES.keys() - {name}:
        (told,) = seen(box, box, BOXES[other])
        assert told.startswith("md.xtc: the box of 1 of 2 frames has another shape than that of")
        assert "degrees in frame 1, 3.000 x 3.000 x 3.000 nm with angles" in told
    assert "3.000 x 3.000 x 6.000 nm" in seen(box, box * [[1], [1], [2]])[0]
    assert seen(None, box, None) == []
    (told,) = seen(box, box, None, box, None)
    assert told == (
        "md.xtc: 2 of 4 frames have no periodic box (none, or zeros; the first is frame 1): what "
        "then"
    )


def test_one_lattice_may_be_written_in_two_ways():
    assert seen(DODECAHEDRON, HEXAGONAL) == []


@pytest.fixture(scope="module")
def peptide():
    """A peptide in the middle of a cube of 3 nm with PME."""
    topology, x = build_peptide("ACE-ALA-NME")
    topology.setPeriodicBoxVectors(CUBE * unit.nanometer)
    system = app.ForceField("amber14-all.xml").createSystem(
        topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9, constraints=app.HBonds
    )
    return topology, system, np.asarray(x) - np.mean(x, axis=0) + 1.5


def write(path, topology, frames, lengths):
    trajectory = mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(topology))
    trajectory.unitcell_lengths = np.asarray(lengths, float)
    trajectory.unitcell_angles = np.full((len(frames), 3), 90.0)
    trajectory.save(str(path))
    return path


@pytest.mark.parametrize("kind", ["dcd", "xtc"])
def test_boxes_of_zeros_are_none(peptide, tmp_path, kind):
    """All of them, or some; no frame has energies that are not finite for it."""
    topology, system, x = peptide
    validator, path = EnergyValidator(topology, system, relaxationIterations=0), tmp_path / "md"
    path, frames = path.with_suffix(f".{kind}"), np.stack([x] * 4)
    for missing in (range(4), [1]):
        lengths = np.full((4, 3), 3.0)
        lengths[list(missing)] = 0.0
        write(path, topology, frames, lengths)
        boxes = [frame.box_nm for frame in open_frames(path, topology).frames()]
        assert [box is None for box in boxes] == [k in missing for k in range(4)]
        found = [f.energies.raw_kj_per_mol for f in validator.validateTrajectory(path).frames]
        # In the System's own box, which here is theirs.
        np.testing.assert_allclose(found, found[0], atol=1e-6)


def test_evaluate_says_it_too(peptide, tmp_path):
    topology, _, x = peptide
    pdb = tmp_path / "md.pdb"
    with open(pdb, "w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    frames = np.stack([x] * 4)
    path = write(tmp_path / "md.dcd", topology, frames, [[3, 3, 3]] * 3 + [[0, 0, 0]])
    told = " ".join(read_ensemble([path], name="x", topology=pdb).notes)
    assert "1 of 4 frames have no periodic box" in told and "as they are, whole or not" in told
    write(path, topology, frames, [[3, 3, 6]] * 4)
    told = " ".join(read_ensemble([path], name="x", topology=pdb).notes)
    assert "4 of 4 frames has another shape than that of the structure" in told
    write(path, topology, frames, [[3.05, 3.05, 3.05]] * 4)
    assert "box" not in " ".join(read_ensemble([path], name="x", topology=pdb).notes)
