"""Metrics on cases whose answer is known by calculation, and runs in turns."""

import time

import numpy as np
import pytest

from atmos_openmm.core.geometry import torsion_angles
from atmos_openmm.evaluation.atoms import AtomTable
from atmos_openmm.evaluation.divergence import (
    jensen_shannon_distance,
    jensen_shannon_divergence,
    resampled_divergence,
    torsion_histogram,
)
from atmos_openmm.evaluation.torsions import find_torsions
from atmos_openmm.evaluation.transitions import (
    UNASSIGNED,
    Core,
    assign_cores,
    count_transitions,
    event_rate,
    rate_ratio,
)


def _four_atoms(angle):
    """Atoms with a known dihedral: looking from b to c, d is turned by `angle` clockwise of a."""
    a, b, c = [1.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.0, 0.0, -1.5]
    # The viewer looks along -z, so that clockwise is a negative rotation about +z.
    d = [np.cos(-angle), np.sin(-angle), -1.8]
    return np.array([a, b, c, d])


def test_dihedral_value_and_sign():
    angles = np.radians([-179.0, -120.0, -60.0, -1.0, 0.0, 1e-5, 57.0, 90.0, 179.999])
    positions = np.array([_four_atoms(angle) for angle in angles])
    measured = torsion_angles(positions, np.array([[0, 1, 2, 3]]))
    assert measured.shape == (len(angles), 1)
    np.testing.assert_allclose(measured[:, 0], angles, atol=1e-12)


def test_dihedral_is_invariant_to_rigid_motion_and_changes_sign_in_the_mirror():
    random = np.random.default_rng(1)
    positions = random.normal(size=(5, 6, 3))
    quadruples = np.array([[0, 1, 2, 3], [5, 2, 4, 1]])
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    angles = torsion_angles(positions, quadruples)
    np.testing.assert_allclose(
        torsion_angles(positions @ rotation.T + 3.0, quadruples), angles, atol=1e-9
    )
    np.testing.assert_allclose(torsion_angles(-positions, quadruples), -angles, atol=1e-12)


def _chain(names):
    """A Topology with backbone atoms only, peptide bonds drawn between neighbours."""
    from openmm import app

    topology = app.Topology()
    chain = topology.addChain()
    carbon = None
    for name in names:
        residue = topology.addResidue(name, chain)
        atoms = {"ACE": ["C"], "NME": ["N"]}.get(name, ["N", "CA", "C"])
        made = {a: topology.addAtom(a, app.Element.getBySymbol(a[0]), residue) for a in atoms}
        for first, second in (("N", "CA"), ("CA", "C")):
            if first in made and second in made:
                topology.addBond(made[first], made[second])
        if carbon is not None and "N" in made:
            topology.addBond(carbon, made["N"])
        carbon = made.get("C")
    return topology


def test_backbone_torsions_of_a_capped_dipeptide_agree_with_mdtraj():
    mdtraj = pytest.importorskip("mdtraj")
    topology = _chain(["ACE", "ALA", "GLY", "NME"])
    torsions = find_torsions(AtomTable.from_openmm(topology))
    assert torsions.residues == ("ALA2", "GLY3")
    positions = np.random.default_rng(2).normal(size=(4, topology.getNumAtoms(), 3))
    trajectory = mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology))
    quadruples = {"phi": [[0, 1, 2, 3], [3, 4, 5, 6]], "psi": [[1, 2, 3, 4], [4, 5, 6, 7]]}
    # mdtraj computes in float32 and needs N, CA, C in each residue: the caps lack them.
    for found, expected in zip(torsions.phi_psi(trajectory.xyz), quadruples.values(), strict=True):
        theirs = mdtraj.compute_dihedrals(trajectory, expected)
        np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_no_torsion_across_a_gap_and_a_clear_error_without_any():
    from openmm import app

    topology = _chain(["ALA", "ALA", "ALA"])
    assert find_torsions(AtomTable.from_openmm(topology)).residues == ("ALA2",)
    gapped = app.Topology()
    chain = gapped.addChain()
    for _ in range(3):
        residue = gapped.addResidue("ALA", chain)
        for name in ("N", "CA", "C"):
            gapped.addAtom(name, app.Element.getBySymbol(name[0]), residue)
    with pytest.raises(ValueError, match="no torsion was found"):
        find_torsions(AtomTable.from_openmm(gapped))


def test_divergence_of_known_histograms():
    # Equal: 0. Disjoint: ln 2. Half overlap, p = (1/2, 1/2, 0), q = (0, 1/2, 1/2):
    # m = (1/4, 1/2, 1/4), KL = (1/2) ln 2 on both sides.
    assert jensen_shannon_divergence([3, 1, 0], [30, 10, 0]) == pytest.approx(0, abs=1e-15)
    assert jensen_shannon_divergence([1, 0], [0, 5]) == pytest.approx(np.log(2))
    assert jensen_shannon_divergence([1, 1, 0], [0, 1, 1]) == pytest.approx(np.log(2) / 2)
    assert jensen_shannon_distance([1, 0], [0, 5]) == pytest.approx(np.sqrt(np.log(2)))


def test_divergence_agrees_with_scipy_and_is_symmetric():
    spatial = pytest.importorskip("scipy.spatial.distance")
    random = np.random.default_rng(3)
    p, q = random.poisson(2.0, size=(2, 50, 50))
    ours = jensen_shannon_distance(p, q)
    assert ours == pytest.approx(spatial.jensenshannon(p.ravel(), q.ravel()), rel=1e-12)
    assert ours == pytest.approx(jensen_shannon_distance(q, p), rel=1e-12)


@pytest.mark.parametrize("bad", [[0, 0], [1, -1], [np.nan, 1], [1, 1, 1]])
def test_divergence_refuses_what_is_no_histogram(bad):
    with pytest.raises(ValueError, match="histogram"):
        jensen_shannon_divergence(bad, [1, 1])


def test_histogram_counts_every_frame_at_the_right_place():
    phi = np.array([-np.pi, np.pi, 0.01, 3 * np.pi])
    psi = np.array([0.01, 0.01, -np.pi, 0.01])
    counts = torsion_histogram(phi, psi, bins=50)
    assert counts.sum() == 4
    assert counts[0, 25] == 3 and counts[25, 0] == 1  # pi and -pi are one angle
    with pytest.raises(ValueError, match="not finite"):
        torsion_histogram(np.array([np.nan]), np.array([0.0]))


def test_divergence_of_resampled_frames_is_the_error_of_so_many_samples():
    # 8 n JSD is chi-squared with 99 degrees of freedom for large n (one side exact); the mean of
    # 200 repeats has the relative sd sqrt(2/99/200) = 1 %, and the next order adds about 1 %.
    measured = resampled_divergence(np.ones((10, 10)), 20000, repeats=200)
    assert measured == pytest.approx(99 / (8 * 20000), rel=0.05)
    # Single samples fall in one bin of two: JSD of (1, 0) from (1/2, 1/2), m = (3/4, 1/4).
    one = (np.log(4 / 3) + (np.log(2 / 3) + np.log(2)) / 2) / 2
    assert resampled_divergence(np.array([7.0, 7.0]), 1) == pytest.approx(one)


def test_recrossings_of_the_boundary_do_not_count():
    # From -60, twenty visits across 0 that turn back before the core at +30, then one that arrives.
    wiggle = np.tile([-10.0, 20.0, -20.0, 10.0], 20)
    degrees = np.concatenate([[-60.0], wiggle, [60.0], wiggle, [70.0], [-90.0]])
    result = count_transitions([np.radians(degrees)])
    np.testing.assert_array_equal(result.counts, [[0, 1], [1, 0]])
    assert result.total == 2
    naive = np.count_nonzero(np.diff(np.sign(degrees)))
    assert naive > 40  # what a count of sign changes would have said


def test_beta_structures_across_180_are_one_basin():
    degrees = np.array([-170.0, 178.0, 165.0, -175.0, 170.0, -150.0])
    result = count_transitions([np.radians(degrees)])
    assert result.total == 0
    np.testing.assert_allclose(result.fractions, [1, 0])


def test_assignment_and_joins_between_trajectories():
    degrees = np.array([0.0, 10.0, -60.0, 0.0, 60.0])
    states = assign_cores(np.radians(degrees))
    np.testing.assert_array_equal(states, [UNASSIGNED, UNASSIGNED, 0, 0, 1])
    apart = count_transitions([np.radians([-60.0, -60.0]), np.radians([60.0, 60.0])])
    assert apart.total == 0
    np.testing.assert_allclose(apart.fractions, [0.5, 0.5])
    with pytest.raises(ValueError, match="overlaps"):
        assign_cores(np.radians(degrees), (Core("a", -90, 0), Core("b", -70, 70)))


def test_transitions_of_a_two_state_chain_match_its_rate():
    # A Markov chain that changes state with probability p each frame makes n p changes, sd
    # sqrt(n p (1 - p)).
    random = np.random.default_rng(5)
    n, p = 20000, 0.01
    states = np.cumsum(random.random(n) < p) % 2
    angles = np.where(states == 0, -1.2, 1.0)
    expected = (n - 1) * p
    assert abs(count_transitions([angles]).total - expected) < 4 * np.sqrt(expected)


def test_rates_with_and_without_events():
    none = event_rate(0, 100.0)
    assert none.per_second == 0 and none.high == pytest.approx(2.996 / 100, rel=1e-3)
    some = event_rate(10, 100.0)
    # Garwood's interval for ten events, from tables: 4.795 to 18.39.
    assert (some.low, some.high) == pytest.approx((0.04795, 0.1839), rel=1e-3)
    for bad in ((1, 0.0), (-1, 1.0)):
        with pytest.raises(ValueError, match="events"):
            event_rate(*bad)


def test_ratio_of_rates():
    ratio = rate_ratio(event_rate(40, 10.0), event_rate(4, 10.0))
    assert ratio.value == pytest.approx(10) and ratio.low < 10 < ratio.high
    assert not ratio.is_lower_bound
    bound = rate_ratio(event_rate(30, 10.0), event_rate(0, 20.0))
    assert bound.is_lower_bound
    # P(all 30 events in the first | share s) = s^30 = 0.05; r = s/(1 - s) * 20/10.
    share = 0.05 ** (1 / 30)
    assert bound.value == pytest.approx(share / (1 - share) * 2)


def test_ratio_interval_covers_the_truth():
    # 95 % intervals over 400 repeats: at least 95 % nominal; below 0.92 would be 3 sd off.
    random = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        first, second = random.poisson(60.0), random.poisson(3.0)
        ratio = rate_ratio(event_rate(int(first), 1.0), event_rate(int(second), 1.0))
        covered += ratio.low <= 20.0 <= ratio.high
    assert covered / 400 > 0.92


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    """A hybrid run and plain MD in turns of a fifth of a second, vacuum, Reference."""
    import sampling_cases as cases

    from atmos_openmm.evaluation import side_by_side

    folder = tmp_path_factory.mktemp("turns") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "TURN_SECONDS", 0.2)
        with cases.hybrid_sampler(folder, walkers=1, commitSeconds=30.0) as sampler:
            md = side_by_side.plain_md_context(sampler, seed=3)
            began = time.process_time()
            seen = []
            result = side_by_side.run_in_turns(
                sampler,
                md,
                seconds=1.0,
                md_seconds=1.4,
                frame_steps=10,
                progress=lambda clock, state: seen.append(clock),
            )
            whole = time.process_time() - began
    hybrid = side_by_side.read_hybrid_frames(folder, result, cases.dipeptide()[0])
    return result, hybrid, whole, seen


def test_turns_have_separate_clocks_that_add_up(turns):
    result, _, whole, seen = turns
    assert 1.0 <= result.hybrid_seconds and 1.4 <= result.md_seconds
    # All work is within one of the two turns but the bookkeeping between them. Processor time,
    # because a busy machine may stop the process anywhere.
    assert 0 <= whole - result.hybrid_cpu_seconds - result.md_cpu_seconds < 0.1 * whole
    assert np.all(np.diff(result.cycle_seconds) > 0)
    assert np.all(np.diff(result.md_frame_seconds) > 0)
    assert len(seen) >= 2 and seen == sorted(seen)  # turns of 0.2 s in 1 s, more if all goes well
    # A process on one thread uses no more processor time than wall-clock time.
    assert 0 < result.hybrid_cpu_seconds <= 1.05 * result.hybrid_seconds
    assert 0 < result.md_cpu_seconds <= 1.05 * result.md_seconds


def test_turns_count_steps_frames_and_jumps(turns):
    result, hybrid, _, _ = turns
    cycles = len(result.cycle_seconds)
    assert len(hybrid.positions_nm) == len(hybrid.seconds) == 2 * cycles  # 10 steps, one in 5
    np.testing.assert_allclose(hybrid.seconds[1::2], result.cycle_seconds)
    assert np.all(np.diff(hybrid.seconds) > 0)
    assert result.md_steps == 10 * len(result.md_positions_nm)
    assert result.seconds_per_md_step == result.md_seconds / result.md_steps
    assert len(hybrid.jump_seconds) == np.count_nonzero(hybrid.proposals["reason"] == 0) > 0


def test_plain_md_of_the_turns_is_md_of_the_same_system(turns):
    import openmm
    import sampling_cases as cases

    result, _, _, _ = turns
    topology, system, _ = cases.dipeptide()
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    for frame in (0, len(result.md_positions_nm) - 1):
        context.setPositions(result.md_positions_nm[frame].astype(float))
        energy = context.getState(energy=True).getPotentialEnergy()._value
        # Positions rounded to single precision, 6e-8 nm at 1 nm, times forces of some 1e3
        # kJ/mol/nm on 22 atoms; bonds of 4e5 kJ/mol/nm^2 stay within it.
        assert energy == pytest.approx(result.md_energies_kj_per_mol[frame], abs=0.05)
