"""The verdict on frames with one known fault each, and on frames of real dynamics."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import validation_cases as cases
from openmm import app, unit

from atmos_openmm.systems import ScreenSpec
from atmos_openmm.systems.peptides import set_backbone
from atmos_openmm.validation import EnergyValidator

KT = 0.00831446261815324 * cases.TEMPERATURE_K


@pytest.fixture(scope="module")
def validator():
    topology, system, _ = cases.peptide("A")
    return EnergyValidator(
        topology, system, reference=cases.dynamics()[::2], relaxationIterations=50
    )


@pytest.fixture(scope="module")
def raw_validator():
    """The same without relaxation and without a reference: only the geometry speaks."""
    topology, system, _ = cases.peptide("A")
    return EnergyValidator(topology, system, relaxationIterations=0)


@pytest.fixture
def frame():
    return cases.dynamics()[51].copy()


def test_frames_of_dynamics_are_valid(validator):
    """Of 25 frames that the reference does not hold, each is valid as it is."""
    for positions in cases.dynamics()[1::8]:
        verdict = validator.validate(positions)
        assert (verdict.verdict, verdict.reason, verdict.detail) == ("valid", "accepted", "")
        assert verdict.energies.in_window and verdict.isValid
        assert (
            verdict.geometry.clashes
            == verdict.geometry.bond_outliers
            == verdict.geometry.angle_outliers
            == 0
        )
        assert verdict.energies.relaxed_kj_per_mol < verdict.energies.constrained_kj_per_mol
        # Dynamics keeps constraints to 1e-5 of a length of at most 0.11 nm, so nothing moves.
        assert verdict.geometry.constraint_error_nm < 2e-6
        assert verdict.energies.constrained_kj_per_mol == pytest.approx(
            verdict.energies.raw_kj_per_mol, abs=0.05
        )
        assert verdict.energies.raw_kj_per_mol == pytest.approx(
            sum(verdict.energies.by_force_kj_per_mol.values()), abs=1e-9
        )
        assert (
            0.001 < verdict.relaxation.rmsd_heavy_nm < 0.1
            and 0.001 < verdict.relaxation.rmsd_all_nm < 0.1
        )


def test_omega_agrees_with_mdtraj(validator, frame):
    mdtraj = pytest.importorskip("mdtraj")
    topology = cases.peptide("A")[0]
    verdict = validator.validate(frame)
    atoms = [
        [cases.atom(topology, *pair) for pair in torsion]
        for torsion in (
            (("ACE", "CH3"), ("ACE", "C"), ("ALA", "N"), ("ALA", "CA")),
            (("ALA", "CA"), ("ALA", "C"), ("NME", "N"), ("NME", "C")),
        )
    ]
    trajectory = mdtraj.Trajectory(frame, mdtraj.Topology.from_openmm(topology))
    expected = np.degrees(mdtraj.compute_dihedrals(trajectory, atoms)[0])
    assert validator.omegaLabels == ("A/ACE1-ALA2", "A/ALA2-NME3")
    # mdtraj computes in single precision.
    np.testing.assert_allclose(verdict.geometry.omega_deg, expected, atol=1e-3)


def test_a_mirror_image_is_invalid_with_the_same_energy(validator, frame):
    right, mirrored = validator.validate(frame), validator.validate(-frame)
    assert mirrored.energies.raw_kj_per_mol == pytest.approx(
        right.energies.raw_kj_per_mol, abs=1e-9
    )
    assert mirrored.energies.in_window
    assert (mirrored.verdict, mirrored.reason) == ("invalid", "chirality")
    assert mirrored.geometry.wrong_chirality == ("A/ALA2/CA",)
    assert "A/ALA2/CA" in mirrored.detail


def test_the_right_hand_can_be_given(frame):
    topology, system, minimum = cases.peptide("A")
    with pytest.warns(UserWarning, match="opposite hand"):
        mirrored = EnergyValidator(
            topology, system, relaxationIterations=0, nativePositions=-minimum
        )
    assert mirrored.validate(-frame).verdict == "valid"
    assert mirrored.validate(frame).reason == "chirality"


def test_a_flat_centre_is_invalid(raw_validator, frame):
    """CA moved into the plane of three of its neighbours has no hand."""
    topology = cases.peptide("A")[0]
    n, c, cb = (frame[cases.atom(topology, "ALA", name)] for name in ("N", "C", "CB"))
    frame[cases.atom(topology, "ALA", "CA")] = (n + c + cb) / 3
    verdict = raw_validator.validate(frame)
    assert verdict.verdict == "invalid"
    assert verdict.geometry.wrong_chirality == ("A/ALA2/CA",)


def test_a_stretched_bond_is_measured_in_thermal_widths(raw_validator):
    """0.03 nm on a bond of known force constant; within the screen, and far from thermal."""
    topology, system, minimum = cases.peptide("A")
    c, n = cases.atom(topology, "ALA", "C"), cases.atom(topology, "NME", "N")
    force = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    terms = (force.getBondParameters(i) for i in range(force.getNumBonds()))
    _, _, length, constant = next(t for t in terms if {t[0], t[1]} == {c, n})
    before = np.linalg.norm(minimum[c] - minimum[n])
    positions = cases.stretched(topology, minimum, c, n, 0.03)
    verdict = raw_validator.validate(positions)
    expected = (before + 0.03 - length._value) / np.sqrt(KT / constant._value)
    assert verdict.geometry.bond_outliers == 1
    assert verdict.geometry.worst_bond == "A/ALA2/C-A/NME3/N"
    assert verdict.geometry.worst_bond_sigma == pytest.approx(expected, rel=1e-6)
    assert verdict.geometry.broken_bonds == ()
    assert (verdict.verdict, verdict.reason) == ("invalid", "strain")
    # The pull of the bond dominates: k x, on both ends.
    assert verdict.energies.largest_force_atom in ("A/ALA2/C", "A/NME3/N")
    pull = constant._value * (before + 0.03 - length._value)
    assert verdict.energies.largest_force_kj_per_mol_nm == pytest.approx(pull, rel=0.2)


def test_a_broken_bond_stays_broken_however_well_it_relaxes(validator, frame):
    topology = cases.peptide("A")[0]
    c, n = cases.atom(topology, "ALA", "C"), cases.atom(topology, "NME", "N")
    verdict = validator.validate(cases.stretched(topology, frame, c, n, 0.06))
    assert (verdict.verdict, verdict.reason) == ("invalid", "bonds")
    assert verdict.geometry.broken_bonds == ("A/ALA2/C-A/NME3/N",)
    assert "0.19" in verdict.detail and "0.1335" in verdict.detail
    limit = validator.reference.window_limit(6)
    assert verdict.energies.relaxed_kj_per_mol < limit < verdict.energies.constrained_kj_per_mol


def test_a_bent_angle_is_an_outlier(raw_validator):
    topology, system, minimum = cases.peptide("A")
    ca, c, o = (cases.atom(topology, "ALA", name) for name in ("CA", "C", "O"))
    # Swing O about C in the plane of CA, C, O by 0.5 radians.
    from scipy.spatial.transform import Rotation

    normal = np.cross(minimum[ca] - minimum[c], minimum[o] - minimum[c])
    swing = Rotation.from_rotvec(0.5 * normal / np.linalg.norm(normal))
    positions = minimum.copy()
    positions[o] = minimum[c] + swing.apply(minimum[o] - minimum[c])
    verdict = raw_validator.validate(positions)
    force = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicAngleForce))
    terms = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    _, _, _, angle, constant = next(t for t in terms if {t[0], t[2]} == {ca, o} and t[1] == c)
    first, second = minimum[ca] - minimum[c], minimum[o] - minimum[c]
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    expected = (np.arccos(cosine) + 0.5 - angle._value) / np.sqrt(KT / constant._value)
    n = cases.atom(topology, "NME", "N")
    _, _, _, angle2, constant2 = next(t for t in terms if {t[0], t[2]} == {n, o} and t[1] == c)
    # Both angles at C that O takes part in are off; the larger one is named.
    assert verdict.geometry.angle_outliers == 2
    assert verdict.geometry.worst_angle in ("A/ALA2/CA-C-O", "A/ALA2/O-C-A/NME3/N")
    if verdict.geometry.worst_angle == "A/ALA2/CA-C-O":
        assert verdict.geometry.worst_angle_sigma == pytest.approx(expected, rel=1e-6)
    else:
        third = minimum[n] - minimum[c]
        cosine = third @ second / np.linalg.norm(third) / np.linalg.norm(second)
        opposite = (np.arccos(cosine) - 0.5 - angle2._value) / np.sqrt(KT / constant2._value)
        # CA, C, O and N lie in a plane to within a few hundredths of a radian.
        assert verdict.geometry.worst_angle_sigma == pytest.approx(opposite, rel=0.05)
        assert abs(opposite) > abs(expected)
    assert verdict.geometry.bond_outliers == 0


def clashing(phi_deg: float = -30.0, psi_deg: float = 30.0):
    """The dipeptide with torsions that push atoms into each other, all bonds and angles kept."""
    topology, _, minimum = cases.peptide("A")
    return set_backbone(topology, minimum, np.radians(phi_deg), np.radians(psi_deg))


def test_a_clash_is_invalid_until_it_is_relaxed(validator, raw_validator):
    positions = clashing()
    found = raw_validator.validate(positions)
    assert (found.verdict, found.reason) == ("invalid", "clash")
    assert (
        found.geometry.clashes >= 1
        and found.geometry.bond_outliers == found.geometry.angle_outliers == 0
    )
    names = found.geometry.worst_clash.split(" and ")
    topology = cases.peptide("A")[0]
    pair = [cases.atom(topology, label.split("/")[1][:3], label.split("/")[2]) for label in names]
    distance = np.linalg.norm(positions[pair[0]] - positions[pair[1]])
    assert found.geometry.worst_clash_nm == pytest.approx(distance)
    relaxed = validator.validate(positions)
    assert (relaxed.verdict, relaxed.reason) == ("valid after relaxation", "clash")
    assert relaxed.relaxation.relaxed_clashes == 0
    assert found.geometry.worst_clash in relaxed.detail


def test_what_the_relaxation_breaks_is_seen(validator):
    """The minimiser escapes this overlap by turning a peptide bond."""
    before = validator.validate(clashing(0.0, 0.0))
    assert before.geometry.flipped_torsions == () and before.geometry.clashes == 3
    assert (before.verdict, before.reason) == ("invalid", "cis_trans")
    assert before.detail.endswith("(after relaxation)")
    assert before.relaxation.relaxed_clashes == 0


def test_clashes_agree_with_brute_force(raw_validator):
    """All pairs more than three bonds apart, by a loop over pairs and shortest paths."""
    from scipy.sparse.csgraph import shortest_path

    topology, _, minimum = cases.peptide("A")
    count = topology.getNumAtoms()
    graph = np.zeros((count, count))
    for a, b in topology.bonds():
        graph[a.index, b.index] = 1
    steps = shortest_path(graph, directed=False)
    bondi = {"H": 0.12, "C": 0.17, "N": 0.155, "O": 0.152}
    radii = [bondi[a.element.symbol] for a in topology.atoms()]
    rng = np.random.default_rng(5)
    noisy = minimum + rng.normal(scale=0.05, size=(count, 3))
    factor = ScreenSpec.clash_factor
    for positions in (clashing(), clashing(0.0, 0.0), minimum * 0.6, noisy):
        expected = sum(
            np.linalg.norm(positions[i] - positions[j]) < factor * (radii[i] + radii[j])
            for i in range(count)
            for j in range(i)
            if steps[i, j] > 3
        )
        assert raw_validator.validate(positions).geometry.clashes == expected


def test_a_flipped_peptide_bond_is_invalid(validator, frame):
    topology = cases.peptide("A")[0]
    c, n = cases.atom(topology, "ALA", "C"), cases.atom(topology, "NME", "N")
    flipped = cases.turned(topology, frame, c, n, np.pi)
    verdict = validator.validate(flipped)
    assert verdict.geometry.cis_peptide_bonds == ("A/ALA2-NME3",)
    assert (verdict.verdict, verdict.reason) == ("invalid", "cis_trans")
    assert "expected trans" in verdict.detail
    before = validator.validate(frame).geometry.omega_deg[1]
    assert (verdict.geometry.omega_deg[1] - before) % 360 == pytest.approx(180, abs=1e-6)


def test_a_cis_bond_of_the_native_structure_is_expected(frame):
    topology, system, minimum = cases.peptide("A")
    c, n = cases.atom(topology, "ALA", "C"), cases.atom(topology, "NME", "N")
    native = cases.turned(topology, minimum, c, n, np.pi)
    validator = EnergyValidator(topology, system, relaxationIterations=0, nativePositions=native)
    assert validator.validate(native).geometry.flipped_torsions == ()
    assert validator.validate(frame).reason == "cis_trans"
    assert "expected cis" in validator.validate(frame).detail


def test_a_bond_before_proline_may_be_cis():
    topology, system, minimum = cases.peptide("AP")
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    c, n = cases.atom(topology, "ALA", "C"), cases.atom(topology, "PRO", "N")
    verdict = validator.validate(cases.turned(topology, minimum, c, n, np.pi))
    assert verdict.geometry.cis_peptide_bonds == ("A/ALA2-PRO3",)
    assert verdict.geometry.flipped_torsions == ()
    assert verdict.reason != "cis_trans"


def test_a_threaded_ring_is_found():
    """A methyl hydrogen of the cap put through the ring of phenylalanine."""
    topology, system, minimum = cases.peptide("F")
    validator = EnergyValidator(topology, system, relaxationIterations=20)
    assert validator.validate(minimum).geometry.threaded_rings == ()
    ring = [cases.atom(topology, "PHE", n) for n in ("CG", "CD1", "CE1", "CZ", "CE2", "CD2")]
    centre = minimum[ring].mean(axis=0)
    normal = np.cross(minimum[ring[0]] - centre, minimum[ring[1]] - centre)
    normal /= np.linalg.norm(normal)
    carbon, hydrogen = cases.atom(topology, "ACE", "CH3"), cases.atom(topology, "ACE", "H1")
    positions = minimum.copy()
    positions[carbon], positions[hydrogen] = centre - 0.05 * normal, centre + 0.06 * normal
    verdict = validator.validate(positions)
    assert verdict.verdict == "invalid"
    assert len(verdict.geometry.threaded_rings) == 1
    assert (
        "A/ACE1/" in verdict.geometry.threaded_rings[0]
        and "A/PHE2/" in verdict.geometry.threaded_rings[0]
    )
    # Beside the ring, at the same height, nothing is threaded.
    offset = 0.4 * (minimum[ring[0]] - centre) / np.linalg.norm(minimum[ring[0]] - centre)
    positions[carbon] += offset
    positions[hydrogen] += offset
    assert validator.validate(positions).geometry.threaded_rings == ()


def test_frames_that_are_not_finite_get_a_verdict(validator, frame):
    for value in (np.nan, np.inf):
        frame[4, 2] = value
        verdict = validator.validate(frame)
        assert (verdict.verdict, verdict.reason) == ("invalid", "nonfinite")
        assert "1 atoms" in verdict.detail
        assert np.isnan(verdict.energies.raw_kj_per_mol) and not verdict.energies.in_window
        assert set(verdict.energies.by_force_kj_per_mol) == set(validator.forceNames)
    # The validator is none the worse for it.
    assert validator.validate(cases.dynamics()[51]).verdict == "valid"


def test_atoms_on_top_of_each_other_get_a_verdict(validator, frame):
    topology = cases.peptide("A")[0]
    frame[cases.atom(topology, "NME", "H1")] = frame[cases.atom(topology, "ACE", "H1")]
    verdict = validator.validate(frame)
    assert verdict.verdict == "invalid"
    assert verdict.geometry.clashes >= 1 and verdict.geometry.worst_clash_nm == 0.0
    assert validator.validate(cases.dynamics()[51]).verdict == "valid"


@pytest.mark.parametrize(
    "positions",
    [
        np.zeros((22, 3)),
        np.outer(0.1 * np.arange(22), [1, 0, 0]),
        np.random.default_rng(1).normal(scale=1e4, size=(22, 3)),
        np.random.default_rng(2).normal(scale=1e-6, size=(22, 3)),
        np.random.default_rng(3).normal(scale=1e160, size=(22, 3)),
    ],
    ids=["all in one place", "on a line", "far apart", "in a point", "beyond all numbers"],
)
def test_whatever_comes_gets_a_verdict(validator, positions):
    """Warnings are errors in these tests: nothing overflows unnoticed either."""
    verdict = validator.validate(positions)
    assert verdict.verdict == "invalid"
    if np.abs(positions).max() > 1e9:
        assert verdict.reason == "nonfinite" and "22 atoms" in verdict.detail
    else:
        assert verdict.reason == "bonds" and len(verdict.geometry.broken_bonds) > 10
    assert validator.validate(cases.dynamics()[51]).verdict == "valid"


def test_constraints_are_measured_before_they_are_applied(raw_validator, frame):
    """A bond to hydrogen 0.03 nm too long: the energy after constraints does not show it."""
    topology = cases.peptide("A")[0]
    ca, ha = cases.atom(topology, "ALA", "CA"), cases.atom(topology, "ALA", "HA")
    before = raw_validator.validate(frame)
    verdict = raw_validator.validate(cases.stretched(topology, frame, ca, ha, 0.03))
    assert verdict.geometry.constraint_error_nm == pytest.approx(0.03, abs=1e-5)
    assert verdict.geometry.worst_constraint == "A/ALA2/CA-HA"
    # The width that stands in for a force constant is 0.003 nm at 300 K.
    assert verdict.geometry.worst_bond_sigma == pytest.approx(10.0, abs=0.01)
    # The constraint moves CA by a twelfth of what the hydrogen moves.
    assert verdict.energies.constrained_kj_per_mol == pytest.approx(
        before.energies.constrained_kj_per_mol, abs=10 * KT
    )
    broken = raw_validator.validate(cases.stretched(topology, frame, ca, ha, 0.06))
    assert broken.reason == "bonds"


def test_noise_minimises_well_and_is_invalid_all_the_same(validator):
    """Frames displaced by 0.1 nm of noise: most minimise into the window, none is valid."""
    _, _, minimum = cases.peptide("A")
    rng = np.random.default_rng(11)
    relaxed = []
    for _ in range(6):
        verdict = validator.validate(minimum + rng.normal(scale=0.1, size=minimum.shape))
        assert verdict.verdict == "invalid"
        assert verdict.reason in ("bonds", "chirality")
        relaxed.append(verdict.energies.relaxed_kj_per_mol)
    assert np.min(relaxed) < validator.reference.window_limit(6)


def test_without_a_reference_a_hot_frame_is_told_from_a_thermal_one():
    """The harmonic window: f kT / 2 above the minimum. Displacements times 3 give 9 times that."""
    topology, system, _ = cases.peptide("A")
    validator = EnergyValidator(topology, system, relaxationIterations=200)
    thermal = [validator.validate(x) for x in cases.dynamics()[1::40]]
    assert all(v.verdict == "valid" for v in thermal)
    freedom = 3 * 22 - system.getNumConstraints() - 6
    verdict = thermal[0]
    limit = freedom / 2 + 6 * np.sqrt(freedom / 2)
    assert (
        verdict.energies.window_limit_kj_per_mol - verdict.energies.relaxed_kj_per_mol
        == pytest.approx(limit * KT, rel=1e-9)
    )
    # Equipartition itself: the mean energy above the minimum, to 6 standard errors of ten frames
    # and the quarter that anharmonic torsions and the unfinished minimisation take or give.
    above = [v.energies.constrained_kj_per_mol - v.energies.relaxed_kj_per_mol for v in thermal]
    expected = freedom / 2 * KT
    spread = 6 * KT * np.sqrt(freedom / 2 / len(above))
    assert abs(np.mean(above) - expected) < spread + 0.25 * expected
    # Bonds and angles of a hotter frame, at 2,700 K in energy.
    from atmos_openmm.validation.relaxation import relax_frame

    frame = cases.dynamics()[41]
    near = relax_frame(validator._judge.context, frame, iterations=200).relaxed_nm
    centred = frame - frame.mean(axis=0)
    still = near - near.mean(axis=0)
    hot = validator.validate(still + 3.0 * (centred - still))
    assert not hot.energies.in_window
    assert hot.verdict != "valid"


def test_wrong_input_is_explained(validator):
    topology, system, minimum = cases.peptide("A")
    with pytest.raises(ValueError, match=r"\(5, 3\).*22 particles"):
        validator.validate(minimum[:5])
    other = cases.peptide("F")[1]
    with pytest.raises(ValueError, match="22 atoms and the System 32 particles"):
        EnergyValidator(topology, other)
    with pytest.raises(ValueError, match="no platform 'Nowhere'"):
        EnergyValidator(topology, system, platform="Nowhere")
    for arguments in (
        {"temperature": -1},
        {"energyWindow": 0},
        {"relaxationIterations": -1},
        {"outlierSigmas": 11},
    ):
        with pytest.raises(ValueError):
            EnergyValidator(topology, system, **arguments)
    bare = app.Topology()
    residue = bare.addResidue("ALA", bare.addChain())
    for atom in list(topology.atoms())[6:16]:
        bare.addAtom(atom.name, atom.element, residue)
    empty = openmm.System()
    for _ in range(10):
        empty.addParticle(12.0)
    with pytest.raises(ValueError, match="bonds"):
        EnergyValidator(bare, empty)


def test_quantities_are_accepted(raw_validator, frame):
    bare = raw_validator.validate(frame)
    angstrom = raw_validator.validate(unit.Quantity((frame * 10).tolist(), unit.angstrom))
    assert angstrom.energies.raw_kj_per_mol == pytest.approx(bare.energies.raw_kj_per_mol, rel=1e-9)
    topology, system, _ = cases.peptide("A")
    warm = EnergyValidator(topology, system, temperature=600 * unit.kelvin, relaxationIterations=0)
    assert warm.kT.unit == unit.kilojoule_per_mole
    # Widths grow with the square root of the temperature.
    assert warm.validate(frame).geometry.worst_bond_sigma == pytest.approx(
        bare.geometry.worst_bond_sigma / np.sqrt(2), rel=1e-9
    )


def test_the_columns_of_a_row_stay(validator, frame):
    forces = [f"energy_{name}_kj_per_mol" for name in validator.forceNames]
    columns = (
        "frame time_ps verdict reason detail | energy_raw_kj_per_mol energy_constrained_kj_per_mol "
        "energy_relaxed_kj_per_mol window_limit_kj_per_mol in_window largest_force_kj_per_mol_nm "
        "largest_force_atom clashes worst_clash worst_clash_nm bond_outliers worst_bond "
        "worst_bond_sigma angle_outliers worst_angle worst_angle_sigma constraint_error_nm "
        "worst_constraint broken_bonds wrong_chirality flipped_torsions threaded_rings omega_deg "
        "cis_peptide_bonds rmsd_heavy_nm rmsd_all_nm relaxed_clashes bent_groups puckered_rings "
        "rounding_kj_per_mol"
    )
    before, after = (part.split() for part in columns.split("|"))
    for positions in (frame, np.full_like(frame, np.nan)):
        row = validator.validate(positions).row(validator.omegaLabels)
        assert list(row) == before + forces + after
