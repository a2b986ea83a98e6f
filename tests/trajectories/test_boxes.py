"""Periodic boxes: whole molecules, nearest images, and a solvated peptide cut by the boundary."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import validation_cases as cases
from openmm import app, unit

from atmos_openmm.trajectories.boxes import close_pairs, make_whole, reduced_box, spanning_tree
from atmos_openmm.validation import EnergyValidator

CUBE = np.diag([2.0, 2.0, 2.0])
#: A rhombic dodecahedron, and a skewed box.
DODECAHEDRON = 2.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
SKEWED = np.array([[1.5, 0, 0], [0.7, 1.4, 0], [-0.6, 0.65, 1.3]])


def brute_force(points, cutoff, box):
    """All pairs by a loop over 27 images."""
    shifts = np.array([np.array(n) @ box for n in product((-1, 0, 1), repeat=3)])
    found = {}
    for i in range(len(points)):
        for j in range(i):
            distance = np.linalg.norm(points[i] - points[j] + shifts, axis=1).min()
            if distance < cutoff:
                found[j, i] = distance
    return found


@pytest.mark.parametrize("box", [CUBE, DODECAHEDRON, SKEWED])
def test_close_pairs_are_those_of_all_images(box):
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(60, 3)) @ box
    moved = points + rng.integers(-3, 4, size=(60, 3)) @ box
    pairs, distances = close_pairs(moved, 0.3, box)
    expected = brute_force(points, 0.3, box)
    assert {tuple(pair) for pair in pairs.tolist()} == set(expected)
    assert len(expected) > 20
    for pair, distance in zip(pairs.tolist(), distances, strict=True):
        assert distance == pytest.approx(expected[tuple(pair)], abs=1e-12)
    # Without the box fewer pairs are near.
    assert len(close_pairs(points, 0.3)[0]) < len(expected)


def test_a_box_too_thin_for_the_cutoff_is_an_error():
    with pytest.raises(ValueError, match="0.500 nm high"):
        close_pairs(np.zeros((2, 3)), 0.3, np.diag([2, 2, 0.5]))


@pytest.mark.parametrize("box", [CUBE, DODECAHEDRON, SKEWED])
def test_molecules_are_made_whole(box):
    """A chain longer than the box, its atoms wrapped one by one."""
    rng = np.random.default_rng(1)
    chain = np.cumsum(rng.normal(scale=0.1, size=(80, 3)), axis=0)
    assert np.ptp(chain, axis=0).max() > 1.0
    fractional = chain @ np.linalg.inv(box)
    wrapped = (fractional - np.floor(fractional)) @ box
    tree = spanning_tree(80, [(i, i + 1) for i in range(79)])
    whole = make_whole(wrapped, tree, box)
    np.testing.assert_allclose(whole - whole[0], chain - chain[0], atol=1e-12)
    np.testing.assert_array_equal(whole[0], wrapped[0])


def test_boxes_are_reduced_and_checked():
    box = reduced_box(np.array([[2.0, 0, 0], [1.9, 2.0, 0], [0, 1.5, 2.0]]))
    assert abs(box[1, 0]) <= 1.0 and abs(box[2, 1]) <= 1.0 and abs(box[2, 0]) <= 1.0
    assert np.linalg.det(box) == pytest.approx(8.0)
    with pytest.raises(ValueError, match="first box vector"):
        reduced_box(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 2]]))
    with pytest.raises(ValueError, match="finite"):
        reduced_box(np.full((3, 3), np.nan))


@pytest.fixture(scope="module")
def solvated():
    """Capped alanine with nine waters near a face of a cube of 2.2 nm, PME."""
    topology, _, minimum = cases.peptide("A")
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    shape = np.array([[0, 0, 0], [0.09572, 0, 0], [-0.023999, 0.092663, 0]])
    water = app.Topology()
    chain, coordinates = water.addChain("W"), []
    for x, y in product((-0.7, 0.0, 0.7), repeat=2):
        residue = water.addResidue("HOH", chain)
        oxygen = water.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            water.addBond(oxygen, water.addAtom(name, app.element.hydrogen, residue))
        coordinates.append(shape + [x, y, 1.0])
    modeller = app.Modeller(topology, minimum * unit.nanometer)
    modeller.add(water, np.concatenate(coordinates) * unit.nanometer)
    modeller.topology.setUnitCellDimensions([2.2, 2.2, 2.2])
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    system = field.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9, constraints=app.HBonds
    )
    return modeller.topology, system, positions


def test_a_solvated_peptide_is_the_same_in_any_image(solvated):
    """Shifted by half a box and wrapped atom by atom, molecules are cut; nothing else changes."""
    topology, system, positions = solvated
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    box = np.diag([2.2, 2.2, 2.2])
    whole = validator.validate(positions, periodicBoxVectors=box)
    assert whole.geometry.broken_bonds == whole.geometry.wrong_chirality == ()
    assert validator._judge.geometry.solute.tolist() == list(range(22))
    shifted = positions - positions[cases.atom(topology, "ALA", "CA")]
    wrapped = shifted - np.floor(shifted / 2.2) * 2.2
    assert np.ptp(wrapped[:22], axis=0).max() > 1.5
    cut = validator.validate(wrapped, periodicBoxVectors=box)
    assert (cut.verdict, cut.reason, cut.geometry.clashes) == (
        whole.verdict,
        whole.reason,
        whole.geometry.clashes,
    )
    assert cut.geometry.bond_outliers == whole.geometry.bond_outliers
    assert cut.geometry.worst_angle_sigma == pytest.approx(
        whole.geometry.worst_angle_sigma, abs=1e-6
    )
    # PME's mesh does not move with the molecules: its error (1e-5 of the force) shows.
    assert cut.energies.raw_kj_per_mol == pytest.approx(whole.energies.raw_kj_per_mol, abs=0.5)


def test_an_overlap_with_solvent_across_the_boundary_is_found(solvated):
    topology, system, positions = solvated
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    assert validator.validate(positions).reason != "environment"
    water = next(r for r in topology.residues() if r.name == "HOH")
    atoms = [a.index for a in water.atoms()]
    carbon = cases.atom(topology, "ALA", "CB")
    moved = positions.copy()
    # On top of CB, one box away.
    moved[atoms] += positions[carbon] + [0.05, 0, 2.2] - positions[atoms[0]]
    verdict = validator.validate(moved)
    assert (verdict.verdict, verdict.reason) == ("invalid", "environment")
    assert "A/ALA2/" in verdict.detail and "HOH" in verdict.detail
    assert verdict.geometry.broken_bonds == ()


def test_water_without_bonds_in_the_topology_does_not_clash_with_itself(solvated):
    """Readers of GROMACS files leave rigid water without bonds; its constraints tell enough."""
    topology, system, positions = solvated
    bare = app.Topology()
    copies = {}
    for chain in topology.chains():
        new_chain = bare.addChain(chain.id)
        for residue in chain.residues():
            new_residue = bare.addResidue(residue.name, new_chain, residue.id)
            for atom in residue.atoms():
                copies[atom] = bare.addAtom(atom.name, atom.element, new_residue)
    for bond in topology.bonds():
        if bond[0].residue.name != "HOH":
            bare.addBond(copies[bond[0]], copies[bond[1]])
    found = EnergyValidator(bare, system, relaxationIterations=0).validate(positions)
    whole = EnergyValidator(topology, system, relaxationIterations=0).validate(positions)
    assert found.geometry.clashes == whole.geometry.clashes == 0
    # And molecules cut by the boundary are still made whole.
    wrapped = positions - np.floor(positions / 2.2) * 2.2
    cut = EnergyValidator(bare, system, relaxationIterations=0).validate(wrapped)
    assert cut.geometry.constraint_error_nm == pytest.approx(
        whole.geometry.constraint_error_nm, abs=1e-6
    )
