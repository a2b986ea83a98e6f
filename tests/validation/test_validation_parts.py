"""Forces, relaxation, superposition, reference energies: each against a known answer."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import validation_cases as cases
from openmm import unit

from atmos_openmm.core.geometry import rmsd
from atmos_openmm.validation import EnergyReference
from atmos_openmm.validation.contexts import evaluation_context, put_frame
from atmos_openmm.validation.defects import Defect, decide
from atmos_openmm.validation.forces import largest_force, movable_particles
from atmos_openmm.validation.reference import (
    compare_energies,
    histogram_edges,
    jensen_shannon_bits,
    read_reference,
)
from atmos_openmm.validation.relaxation import RelaxationError, relax_frame
from atmos_openmm.validation.terms import angle_deviations, angle_terms, thermal_energy


def spring_system(masses=(12.0, 12.0, 12.0)):
    """Three particles in a row; the second spring is ten times as stiff."""
    system = openmm.System()
    for mass in masses:
        system.addParticle(mass)
    bonds = openmm.HarmonicBondForce()
    bonds.addBond(0, 1, 0.1, 1000.0)
    bonds.addBond(1, 2, 0.1, 10000.0)
    system.addForce(bonds)
    return system


def forces_of(context):
    forces = context.getState(forces=True).getForces(asNumpy=True)
    return forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)


def test_largest_force_is_analytic():
    system = spring_system()
    context = evaluation_context(system)
    put_frame(context, np.array([[0, 0, 0], [0.12, 0, 0], [0.25, 0, 0]]))
    found = largest_force(forces_of(context), movable_particles(system))
    # On particle 2 the stiff spring, 10000 * 0.03; on particle 1 that minus 1000 * 0.02.
    assert found == (2, pytest.approx(300.0))


def test_massless_particles_bear_no_force():
    system = spring_system(masses=(12.0, 12.0, 0.0))
    context = evaluation_context(system)
    put_frame(context, np.array([[0, 0, 0], [0.12, 0, 0], [0.25, 0, 0]]))
    found = largest_force(forces_of(context), movable_particles(system))
    assert found == (1, pytest.approx(280.0))


def test_relaxation_projects_constraints_and_then_minimises():
    system = spring_system()
    system.addConstraint(0, 1, 0.1)
    result = relax_frame(
        evaluation_context(system), np.array([[0, 0, 0], [0.12, 0, 0], [0.25, 0, 0]]), None, 100
    )
    # Equal masses: each end moves by half of the error.
    np.testing.assert_allclose(result.constrained_nm[:, 0], [0.01, 0.11, 0.25], atol=1e-6)
    assert result.constrained_kj_per_mol == pytest.approx(0.5 * 10000 * 0.04**2, rel=1e-3)
    assert result.relaxed_kj_per_mol == pytest.approx(0.0, abs=1e-2)
    assert np.linalg.norm(result.relaxed_nm[1] - result.relaxed_nm[0]) == pytest.approx(
        0.1, abs=1e-5
    )
    raw = relax_frame(
        evaluation_context(system), np.array([[0, 0, 0], [0.12, 0, 0], [0.25, 0, 0]]), None, 0
    )
    assert raw.relaxed_nm is None and np.isnan(raw.relaxed_kj_per_mol)


def test_a_failed_relaxation_leaves_a_usable_context():
    def fail_far_out(state):
        positions = state.getPositions(asNumpy=True)
        if positions[0, 0].value_in_unit(unit.nanometer) > 1:
            raise ValueError("too far out")
        return 0.0, np.zeros((3, 3))

    system = spring_system()
    system.addForce(openmm.PythonForce(fail_far_out))
    context = evaluation_context(system)
    with pytest.raises(RelaxationError, match="too far out"):
        relax_frame(context, np.full((3, 3), 2.0), None, 10)
    good = relax_frame(context, np.array([[0, 0, 0], [0.12, 0, 0], [0.25, 0, 0]]), None, 10)
    assert np.isfinite(good.relaxed_kj_per_mol)


def test_rmsd_knows_rotations_and_mirrors():
    from scipy.spatial.transform import Rotation

    mdtraj = pytest.importorskip("mdtraj")
    rng = np.random.default_rng(2)
    first = rng.normal(size=(12, 3))
    second = first + rng.normal(scale=0.1, size=(12, 3))
    turned = Rotation.random(random_state=3).apply(second) + [1.0, -2.0, 3.0]
    value = rmsd(turned, first)
    frames = mdtraj.Trajectory(np.array([first, second]), None)
    assert value == pytest.approx(mdtraj.rmsd(frames, frames, 0)[1], rel=1e-4)
    assert value == pytest.approx(rmsd(second, first), abs=1e-12)
    assert rmsd(turned, second) < 1e-12
    assert rmsd(-first, first) > 0.3


def test_angles_near_straight_keep_their_digits():
    system = openmm.System()
    for _ in range(3):
        system.addParticle(1.0)
    force = openmm.HarmonicAngleForce()
    force.addAngle(0, 1, 2, np.pi, 100.0)
    force.addAngle(0, 1, 2, 1.0, 0.0)
    system.addForce(force)
    terms = angle_terms(system, 300.0)
    assert len(terms) == 1  # one without a force constant says nothing
    assert terms.sigma[0] == pytest.approx(np.sqrt(thermal_energy(300.0) / 100.0))
    tiny = 1e-9
    positions = np.array([[0.1, 0, 0], [0, 0, 0], [-0.1, 0.1 * tiny, 0]])
    assert angle_deviations(terms, positions)[0] == pytest.approx(-tiny, rel=1e-5)
    assert angle_deviations(terms, np.zeros((3, 3)))[0] == np.pi


def test_the_first_fault_decides():
    clash, energy, hand = (Defect(r, r) for r in ("clash", "energy", "chirality"))
    assert decide([], []) == ("valid", Defect("accepted", ""))
    assert decide([energy, clash, hand], []) == ("invalid", hand)
    assert decide([energy, clash], []) == ("valid after relaxation", clash)
    assert decide([energy], None) == ("invalid", energy)
    verdict, defect = decide([clash], [energy])
    assert (verdict, defect.reason) == ("invalid", "energy")
    assert "after relaxation" in defect.detail
    # What only the relaxed frame shows does not count against a frame that is right as it is.
    assert decide([], [energy])[0] == "valid"


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(8)
    return EnergyReference(rng.normal(-100.0, 10.0, size=4000), "a Gaussian")


def test_distances_between_distributions_are_known(reference):
    kt = thermal_energy(300.0)
    energies = reference.energies_kj_per_mol
    same = compare_energies(energies, reference, width=6, kt=kt)
    assert same.wasserstein_kj_per_mol == 0 and same.jensen_shannon_bits == 0
    assert same.fraction_in_window == 1.0
    shifted = compare_energies(energies + 7.5, reference, width=6, kt=kt)
    assert shifted.wasserstein_kj_per_mol == pytest.approx(7.5, rel=1e-9)
    assert shifted.wasserstein_kt == pytest.approx(7.5 / kt, rel=1e-9)
    far = compare_energies(energies + 1e6, reference, width=6, kt=kt)
    assert far.jensen_shannon_bits == pytest.approx(1.0)
    assert far.fraction_in_window == 0.0
    # Two Gaussians one sd apart: JS = 0.1609 bits (numerical integral); the bins blur a little.
    wider = np.random.default_rng(9).normal(-90.0, 10.0, size=4000)
    one_apart = compare_energies(wider, reference, width=6, kt=kt).jensen_shannon_bits
    assert one_apart == pytest.approx(gaussian_divergence_bits(1.0), abs=0.02)


def gaussian_divergence_bits(shift):
    """Jensen-Shannon divergence of two unit Gaussians a shift apart, by quadrature."""
    x = np.linspace(-10, 10 + shift, 20001)
    p = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    q = np.exp(-((x - shift) ** 2) / 2) / np.sqrt(2 * np.pi)
    m = (p + q) / 2
    integrand = (p * np.log2(p / m) + q * np.log2(q / m)) / 2
    return float(np.sum(integrand) * (x[1] - x[0]))


def test_wasserstein_is_the_mean_distance_of_sorted_samples(reference):
    """True for samples of one size; repeating every number of one sample changes nothing."""
    rng = np.random.default_rng(12)
    other = np.concatenate([rng.exponential(30.0, size=3999) - 120.0, [5e4]])
    expected = np.mean(np.abs(np.sort(other) - np.sort(reference.energies_kj_per_mol)))
    for energies in (other, np.repeat(other, 3)):
        found = compare_energies(energies, reference, width=6, kt=2.5)
        assert found.wasserstein_kj_per_mol == pytest.approx(expected, rel=1e-10)


def test_energies_that_are_not_finite_count_against_the_window(reference):
    energies = np.array([-100.0, np.nan, np.inf, -90.0])
    found = compare_energies(energies, reference, width=6, kt=2.5)
    assert found.fraction_in_window == 0.5
    nothing = compare_energies(np.array([np.nan]), reference, width=6, kt=2.5)
    assert nothing.fraction_in_window == 0.0 and np.isnan(nothing.wasserstein_kt)


def test_low_energies_are_no_fault(reference):
    found = compare_energies(np.full(30, -1000.0), reference, width=6, kt=2.5)
    assert found.fraction_in_window == 1.0


def test_every_energy_has_a_bin(reference):
    edges = histogram_edges(reference.energies_kj_per_mol)
    assert edges[0] == -np.inf and edges[-1] == np.inf
    assert np.all(np.diff(edges[1:-1]) > 0)
    low, high = reference.energies_kj_per_mol.min(), reference.energies_kj_per_mol.max()
    inside = jensen_shannon_bits(np.array([low, high]), np.array([low, high]), edges)
    assert inside == 0
    assert jensen_shannon_bits(np.array([low]), np.array([low - 1]), edges) == 1
    assert jensen_shannon_bits(np.array([high]), np.array([high + 1]), edges) == 1


@pytest.mark.parametrize(
    "energies, message",
    [
        (np.zeros(5), "at least 20"),
        (np.zeros(50), "the same number"),
        (np.array([np.nan] * 3 + list(range(50))), "3 of the 53"),
    ],
)
def test_a_reference_that_is_of_no_use_is_refused(energies, message):
    with pytest.raises(ValueError, match=message):
        EnergyReference(energies, "a test")


def read(source):
    return read_reference(source, None, lambda *_: pytest.fail(), temperature_K=300.0)


def test_energies_are_read_from_files(tmp_path):
    energies = np.random.default_rng(4).normal(size=40)
    np.savez(tmp_path / "a.npz", energies_kj_per_mol=energies, positions=np.zeros((40, 3, 3)))
    np.savez(tmp_path / "b.npz", whatever=energies)
    np.savez(tmp_path / "c.npz", first=energies, second=energies)
    np.save(tmp_path / "d.npy", energies)
    for name in ("a.npz", "b.npz", "d.npy"):
        np.testing.assert_array_equal(read(tmp_path / name).energies_kj_per_mol, energies)
    with pytest.raises(ValueError, match=r"\['first', 'second'\]"):
        read(tmp_path / "c.npz")
    with pytest.raises(FileNotFoundError, match="no reference"):
        read(tmp_path / "missing.npz")
    np.testing.assert_array_equal(read(energies).energies_kj_per_mol, energies)


def test_energies_are_read_from_the_csv_of_a_state_data_reporter(tmp_path):
    from openmm import app

    topology, system, minimum = cases.peptide("A")
    simulation = app.Simulation(
        topology,
        system,
        openmm.LangevinMiddleIntegrator(300, 1, 0.002),
        openmm.Platform.getPlatformByName("Reference"),
    )
    simulation.context.setPositions(minimum)
    path = tmp_path / "log.csv"
    with path.open("w") as file:
        simulation.reporters.append(
            app.StateDataReporter(file, 2, step=True, potentialEnergy=True, temperature=True)
        )
        simulation.step(50)
    energies = read(path).energies_kj_per_mol
    assert len(energies) == 25
    state = simulation.context.getState(energy=True).getPotentialEnergy()
    assert energies[-1] == pytest.approx(state.value_in_unit(unit.kilojoule_per_mole), abs=1e-6)
    path.write_text("step,temperature\n1,300\n")
    with pytest.raises(ValueError, match="'temperature'"):
        read(path)
    path.write_text("energy\n1.0\nbroken\n")
    with pytest.raises(ValueError, match="broken"):
        read(path)
